// Package result is the form in which measurements of environments are kept: JSON with
// every sample, and Go benchmark lines that benchstat reads. It measures nothing.
package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/machine"
	"github.com/geecache/geecache/internal/stat"
)

// Format is the version of the form. A file of another one is refused.
const Format = 1

// A File is what one run in one environment found.
type File struct {
	Format      int               `json:"format"`
	Environment string            `json:"environment"` // local, docker, emulator or aws
	Begun       time.Time         `json:"begun"`
	Seconds     float64           `json:"seconds"` // the whole run
	Machine     machine.Info      `json:"machine"`
	Versions    map[string]string `json:"versions"`     // of geecache, and of what it ran on
	Load        [2]float64        `json:"load_average"` // of a minute, before and after; this machine's
	Deployment  Deployment        `json:"deployment"`
	Partial     string            `json:"partial,omitempty"` // why tests or repetitions are missing; empty: none are
	Tests       []Test            `json:"tests"`
}

// A Deployment is what was deployed and measured.
type Deployment struct {
	Nodes      int    `json:"nodes"`
	CacheBytes int64  `json:"cache_bytes,omitempty"` // of each node; 0: the program's own
	Image      string `json:"image,omitempty"`       // with its digest, where there is one
	Registry   string `json:"registry,omitempty"`    // how nodes find each other
}

// The states of a test.
const (
	Measured    = "measured"
	Partial     = "partial"            // some repetitions are there
	Failed      = "failed"             // Evidence says why
	Unsupported = "not supported here" // Evidence says why
)

// A Test is one of the judge's tests, as it went in one environment.
type Test struct {
	ID       string  `json:"id"` // as package judge names them, such as "deploy"
	State    string  `json:"state"`
	Evidence string  `json:"evidence,omitempty"` // what was tried, and what came of it
	Method   string  `json:"method"`             // what was done, in one or two sentences
	Seconds  float64 `json:"seconds"`            // the whole test

	Series []Series `json:"series,omitempty"` // measured quantities
	Counts []Count  `json:"counts,omitempty"` // counted ones
	Facts  []Fact   `json:"facts,omitempty"`  // what was found to be so, or not
	Notes  []string `json:"notes,omitempty"`  // what a reader has to know
}

// A Series is one quantity, measured several times. Its name is made of words with
// slashes between them: "total", "stage/image", "lookup/dns".
type Series struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`              // s, ms, 1/s, USD, ...
	Samples []float64 `json:"samples"`           // in the order in which they were taken; warm-ups are not here
	Warmups int       `json:"warmups,omitempty"` // how many were taken before them
	Note    string    `json:"note,omitempty"`    // e.g. the client's mode
	Load    *LoadInfo `json:"load,omitempty"`    // of what the load tool has sent meanwhile

	// Unsupported says why the environment has none of it, and NotMeasured why nobody has
	// looked, and how to. At most one of them is not empty, and only if there are no samples.
	Unsupported string `json:"unsupported,omitempty"`
	NotMeasured string `json:"not_measured,omitempty"`
}

// LoadInfo says how sure a figure is that the load tool has found.
type LoadInfo struct {
	Rate      float64 `json:"rate"` // requests per second
	LagP99    float64 `json:"lag_p99_ms"`
	Saturated bool    `json:"generator_saturated"` // the lag is over the load tool's limit
	Requests  int64   `json:"requests"`
	Failed    int64   `json:"failed"`

	// AtLeast: the rate was searched for, and above it the load tool itself was late, so
	// that the most that can be had may be more.
	AtLeast bool `json:"at_least,omitempty"`

	// Scheduling is how the system scheduled the load tool: "normal", or "real-time",
	// before all other processes. Empty: it is not known.
	Scheduling string `json:"scheduling,omitempty"`
}

// A Count is something that was counted, once or at the end of each repetition.
type Count struct {
	Name   string `json:"name"`
	Values []int  `json:"values"`
	Note   string `json:"note,omitempty"`
}

// The verdicts of a Fact.
const (
	Done     = "done"
	Accepted = "accepted but not done"
	Refused  = "refused"
	Unknown  = "not tried" // Evidence says why
)

// A Fact is one call or behaviour that was probed, and what came of it.
type Fact struct {
	Name     string `json:"name"` // such as "ecs:UpdateService"
	Verdict  string `json:"verdict"`
	Evidence string `json:"evidence"`
	Times    int    `json:"times,omitempty"` // how often it was tried, if more than once
}

// Test returns the test of an ID, or nil.
func (f *File) Test(id string) *Test {
	if f == nil {
		return nil
	}
	for i := range f.Tests {
		if f.Tests[i].ID == id {
			return &f.Tests[i]
		}
	}
	return nil
}

// Whole reports whether a test says all that it can: what an environment does not support is
// a finding, too. A nil test says nothing.
func (t *Test) Whole() bool {
	return t != nil && (t.State == Measured || t.State == Unsupported)
}

// Find returns the series of a name, or nil; of a nil test, too.
func (t *Test) Find(name string) *Series {
	if t == nil {
		return nil
	}
	for i := range t.Series {
		if t.Series[i].Name == name {
			return &t.Series[i]
		}
	}
	return nil
}

// Count returns the count of a name, or nil; of a nil test, too.
func (t *Test) Count(name string) *Count {
	if t == nil {
		return nil
	}
	for i := range t.Counts {
		if t.Counts[i].Name == name {
			return &t.Counts[i]
		}
	}
	return nil
}

// Add adds a sample to the series of a name, which it makes if there is none.
func (t *Test) Add(name, unit string, sample float64) *Series {
	s := t.Find(name)
	if s == nil {
		t.Series = append(t.Series, Series{Name: name, Unit: unit})
		s = &t.Series[len(t.Series)-1]
	}
	s.Samples = append(s.Samples, sample)
	return s
}

// AddCount adds a value to the count of a name, which it makes if there is none.
func (t *Test) AddCount(name string, value int) *Count {
	c := t.Count(name)
	if c == nil {
		t.Counts = append(t.Counts, Count{Name: name})
		c = &t.Counts[len(t.Counts)-1]
	}
	c.Values = append(c.Values, value)
	return c
}

// Median returns the median of the samples, and NaN if there are none; of nil, too.
func (s *Series) Median() float64 { return s.Quantile(0.5) }

// Quantile returns the q-quantile of the samples, as Median does.
func (s *Series) Quantile(q float64) float64 {
	if s == nil {
		return math.NaN()
	}
	return stat.Quantile(s.Samples, q)
}

// Interval returns where the median lies with 95% confidence. With fewer than six samples
// it is their range, and exact is false.
func (s *Series) Interval() (iv stat.Interval, exact bool) {
	if s == nil {
		return stat.MedianInterval(nil)
	}
	return stat.MedianInterval(s.Samples)
}

// Load reads a results file.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var f File
	if err := dec.Decode(&f); err != nil {
		return nil, unreadable(path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is no results file of `geecache env bench`: something follows its end: measure anew", path)
	}
	if f.Format != Format {
		return nil, fmt.Errorf("%s has format %d, and this program reads %d: measure anew", path, f.Format, Format)
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w: measure anew, or take the file as it was written", path, err)
	}
	return &f, nil
}

// unreadable says why a file cannot be read, and what to do.
func unreadable(path string, err error) error {
	remedy := "name one"
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err, remedy = errors.New("it ends in the middle"), "measure anew, or copy it whole"
	case errors.As(err, &kind):
		err, remedy = fmt.Errorf("%s is a %s", kind.Field, kind.Value), "measure anew, or take the file as it was written"
	case strings.Contains(err.Error(), "unknown field"):
		err, remedy = errors.New(strings.TrimPrefix(err.Error(), "json: ")), "read it with the program that has written it, or measure anew"
	}
	return fmt.Errorf("%s is no results file of `geecache env bench`: %w: %s", path, err, remedy)
}

// validate returns an error that names the first field with a value that no run writes.
func (f *File) validate() error {
	if !slices.Contains([]string{"local", "docker", "emulator", "aws"}, f.Environment) {
		return fmt.Errorf("environment is %q", f.Environment)
	}
	if f.Seconds < 0 || f.Deployment.Nodes < 0 || f.Deployment.CacheBytes < 0 {
		return fmt.Errorf("seconds is %v, deployment.nodes %d and deployment.cache_bytes %d: none is negative", f.Seconds, f.Deployment.Nodes, f.Deployment.CacheBytes)
	}
	seen := make(map[string]bool)
	for i := range f.Tests {
		t := &f.Tests[i]
		if t.ID == "" || seen[t.ID] {
			return fmt.Errorf("tests[%d].id is %q: each test has an ID of its own", i, t.ID)
		}
		seen[t.ID] = true
		if err := t.validate(); err != nil {
			return fmt.Errorf("test %s: %w", t.ID, err)
		}
	}
	return nil
}

func (t *Test) validate() error {
	if states := []string{Measured, Partial, Failed, Unsupported}; !slices.Contains(states, t.State) {
		return fmt.Errorf("state is %q, and none of %s", t.State, strings.Join(states, ", "))
	}
	if t.Seconds < 0 {
		return fmt.Errorf("seconds is %v, and no time is negative", t.Seconds)
	}
	for i, s := range t.Series {
		switch {
		case s.Name == "" || s.Unit == "":
			return fmt.Errorf("series[%d] has the name %q and the unit %q: it needs both", i, s.Name, s.Unit)
		case len(s.Samples) > 0 && slices.Min(s.Samples) < 0:
			return fmt.Errorf("series %s has the sample %v, and none is negative", s.Name, slices.Min(s.Samples))
		}
	}
	for i, c := range t.Counts {
		if c.Name == "" || len(c.Values) > 0 && slices.Min(c.Values) < 0 {
			return fmt.Errorf("counts[%d] is %q with values %v: it needs a name, and no value is negative", i, c.Name, c.Values)
		}
	}
	for i, one := range t.Facts {
		if one.Name == "" || !slices.Contains([]string{Done, Accepted, Refused, Unknown}, one.Verdict) {
			return fmt.Errorf("facts[%d] is %q with the verdict %q: it needs a name, and one of the verdicts %s", i, one.Name, one.Verdict,
				strings.Join([]string{Done, Accepted, Refused, Unknown}, ", "))
		}
	}
	return nil
}

// Write writes the results beside each other: the JSON to path, and Go benchmark lines to
// the same name with .txt. It makes the folder. A file that was there is replaced at once,
// or stays as it is.
func (f *File) Write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := replace(path, append(text, '\n')); err != nil {
		return err
	}
	return replace(strings.TrimSuffix(path, ".json")+".txt", f.Lines())
}

func replace(path string, text []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return errors.Join(err, ignoreAbsent(os.Remove(next)))
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// word keeps of a name what a benchmark's name may hold.
var word = regexp.MustCompile(`[^A-Za-z0-9_.]+`)

// Lines returns the samples as Go benchmark lines, one for each.
func (f *File) Lines() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/geecache/geecache/internal/envbench\ncpu: %s\n", f.Machine.OS, f.Machine.Arch, f.Machine.CPU)
	for _, t := range f.Tests {
		for _, s := range t.Series {
			var parts []string
			for _, p := range strings.Split(s.Name, "/") {
				parts = append(parts, word.ReplaceAllString(p, "-"))
			}
			unit := strings.ReplaceAll(s.Unit, " ", "-")
			for _, v := range s.Samples {
				fmt.Fprintf(&b, "BenchmarkEnv/%s/%s/env=%s 1 %s %s\n", t.ID, strings.Join(parts, "/"), f.Environment, strconv.FormatFloat(v, 'g', -1, 64), unit)
			}
		}
	}
	return b.Bytes()
}

// Machines returns the machines of files, each once, as a reader tells them apart.
func Machines(files []*File) (names []string) {
	for _, f := range files {
		name := fmt.Sprintf("%s, %d processors, %s/%s, kernel %s", f.Machine.CPU, f.Machine.CPUs, f.Machine.OS, f.Machine.Arch, f.Machine.Kernel)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
