package envbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A BenchConfig says what Bench measures.
type BenchConfig struct {
	Deployment Deployment
	Hello      string // image of a server that only says hello
	Times      int    // how often everything is done; the first time is for warming up and not counted
	From, To   int    // nodes before and after scaling out
}

// A Measurement is one quantity, measured several times.
type Measurement struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Values []float64 `json:"values"`
}

// A BenchResult is what a results file holds.
type BenchResult struct {
	Environment string            `json:"environment"`
	Date        time.Time         `json:"date"`
	Machine     map[string]string `json:"machine"`
	Versions    map[string]string `json:"versions"`
	Load        string            `json:"load_average"` // when the measurement began, and when it ended
	Partial     bool              `json:"partial"`      // it was interrupted
	Method      string            `json:"method"`
	Results     []Measurement     `json:"results"`
}

const benchMethod = "From the call of `up` until every node answers at its own address and all have one ring, with the image in the " +
	"registry; then the same for scaling. Beside it, in turn, as many containers of a static server, made by the same calls and asked in the same way."

// A keeper is a driver that can leave the image in the registry when it removes a
// deployment.
type keeper interface {
	Driver
	remove(ctx context.Context, name string, keepImage bool) error
	versions(ctx context.Context) map[string]string
}

// versions returns those of what deployments run on, as far as they are told.
func (c *cloud) versions(ctx context.Context) map[string]string {
	v := make(map[string]string)
	if text, err := docker(ctx, nil, "version", "--format", "{{.Server.Version}}"); err == nil {
		v["docker"] = text
	}
	p := newProber("", true)
	defer p.close()
	var health struct{ Edition, Version string }
	body, err := p.getPlain(ctx, strings.TrimPrefix(c.Endpoint, "http://"), "/_localstack/health")
	if err == nil && json.Unmarshal(body, &health) == nil {
		v["emulator"] = strings.TrimSpace(health.Edition + " " + health.Version)
	}
	return v
}

// Bench measures how long deploying and scaling take, and beside it the same for
// containers that only say hello. It removes what it makes. If it is interrupted, it
// returns what it has, marked as partial, with the error.
func Bench(ctx context.Context, d Driver, b BenchConfig, o Options) (*BenchResult, error) {
	k, ok := d.(keeper)
	if !ok {
		return nil, errors.New("this environment cannot be measured yet: use emulator")
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	r := &BenchResult{Date: time.Now().UTC(), Machine: machine(), Versions: k.versions(ctx), Method: benchMethod}
	r.Versions["go"] = runtime.Version()
	begin := loadAverage()
	subjects := []Deployment{b.Deployment.WithDefaults(), {Name: "hello", Image: b.Hello, Hello: true}}
	subjects[1] = subjects[1].WithDefaults()
	what := []string{"geecache", "hello"}
	values := make(map[string][]float64)
	err := func() error {
		for i := range b.Times + 1 {
			for j := range subjects {
				at := (i + j) % len(subjects) // neither is always the first
				o.Progress(Event{Stage: "measure", Text: fmt.Sprintf("%d of %d, %s", i, b.Times, what[at])})
				up, scaled, err := cycle(ctx, k, subjects[at], b)
				if err != nil {
					return err
				}
				if i > 0 {
					values[what[at]+"/up"] = append(values[what[at]+"/up"], up)
					values[what[at]+"/scale"] = append(values[what[at]+"/scale"], scaled)
				}
			}
		}
		return nil
	}()
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), goneWithin)
	defer cancel()
	for _, s := range subjects {
		err = errors.Join(err, k.remove(clean, s.Name, false))
	}
	for _, name := range []string{"geecache/up", "hello/up", "geecache/scale", "hello/scale"} {
		if v := values[name]; len(v) > 0 {
			r.Results = append(r.Results, Measurement{Name: name, Unit: "s", Median: median(v), Values: v})
		}
	}
	r.Partial = err != nil
	r.Load = begin + " to " + loadAverage()
	return r, err
}

// cycle deploys, scales out and removes, and returns how many seconds the first two took.
func cycle(ctx context.Context, k keeper, d Deployment, b BenchConfig) (up, scaled float64, err error) {
	d.Nodes = b.From
	begun := time.Now()
	if _, err := k.Up(ctx, d); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", d.Name, err)
	}
	up = time.Since(begun).Seconds()
	begun = time.Now()
	if _, err := k.Scale(ctx, d.Name, b.To); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", d.Name, err)
	}
	scaled = time.Since(begun).Seconds()
	return up, scaled, k.remove(ctx, d.Name, true)
}

// median returns the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// machine describes this machine, as far as it can be known.
func machine() map[string]string {
	m := map[string]string{"os": runtime.GOOS + "/" + runtime.GOARCH, "cpus": fmt.Sprint(runtime.NumCPU())}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m["cpu"] = strings.TrimSpace(value)
				break
			}
		}
	}
	if out, err := exec.Command("uname", "-r").Output(); err == nil {
		m["kernel"] = strings.TrimSpace(string(out))
	}
	return m
}

// loadAverage returns the machine's, where it tells.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
