package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// steady is a run whose figures are known: 100 requests of 20 ms, ten of which
// fail.
func steady(t *testing.T) (r *Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r = mustRun(t, t.Context(), Config{
			Rate: 50, Duration: 2 * time.Second, Label: "my target",
			Keys: Keys{Dist: Sequential, N: 10, Format: "k%d"},
			Do: func(_ context.Context, key string) error {
				time.Sleep(20 * time.Millisecond)
				if key == "k3" {
					return ErrNotFound
				}
				return nil
			},
		})
	})
	return r
}

// What was asked for and not had is in what people read and in what programs read.
func TestRefusalIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustRun(t, t.Context(), Config{Count: 1, RealTimeRefused: "not permitted", Do: func(context.Context, string) error { return nil }})
		var text, data bytes.Buffer
		if err := errors.Join(r.WriteText(&text), r.WriteJSON(&data)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "note: scheduled like any other process: not permitted\n") || !strings.Contains(data.String(), `"realtime_refused": "not permitted"`) {
			t.Errorf("it is not told:\n%s\n%s", &text, &data)
		}
		r.Machine.Scheduling = ScheduledRealTime
		text.Reset()
		if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "seed 0, real-time scheduling\n") {
			t.Errorf("real-time scheduling is not told (%v):\n%s", err, &text)
		}
	})
}

func TestWriteJSON(t *testing.T) {
	var buf bytes.Buffer
	if err := steady(t).WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	at := func(path string) any {
		var v any = got
		for name := range strings.SplitSeq(path, ".") {
			switch node := v.(type) {
			case map[string]any:
				v = node[name]
			case []any:
				i, err := strconv.Atoi(name)
				if err != nil || i >= len(node) {
					return nil
				}
				v = node[i]
			}
		}
		return v
	}
	for path, want := range map[string]any{
		"mode": "open loop", "requests": 100.0, "completed": 100.0, "failed": 10.0,
		"outcomes.ok": 90.0, "outcomes.not_found": 10.0, "generator_saturated": false, "interrupted": false,
		"config.rate": 50.0, "config.keys": 10.0, "config.distribution": "sequential", "config.targets.0": "func",
		"config.duration_ns": 2e9, "elapsed_ns": 2e9, "throughput": 50.0,
		"latency.max_ns": 20e6, "latency.count": 100.0, "lag.max_ns": 0.0,
		"seconds.0.requests": 50.0, "seconds.0.failed": 5.0, "seconds.1.second": 1.0, "seconds.1.max_ns": 20e6,
		"targets.0.failed": 10.0, "failures.0.key": `"k3"`, "failures.0.at_ns": 60e6,
	} {
		if v := at(path); v != want {
			t.Errorf("%s is %v, want %v", path, v, want)
		}
	}
	for _, path := range []string{"machine.go_version", "machine.os", "machine.arch", "machine.cpus", "started_at", "latency.p999_ns"} {
		if at(path) == nil {
			t.Errorf("%s is missing", path)
		}
	}
	text, _ := at("latency.hdr").(string)
	h, err := hdrhistogram.Decode([]byte(text))
	if err != nil || h.TotalCount() != 100 || !h.ValuesAreEquivalent(h.Max(), 20e6) {
		t.Errorf("latency.hdr %q: %v", text, err)
	}
}

func TestWriteBench(t *testing.T) {
	var buf bytes.Buffer
	r := steady(t)
	if err := r.WriteBench(&buf); err != nil {
		t.Fatal(err)
	}
	// The format of Go's benchmarks: a name, a count, and pairs of value and unit.
	line := regexp.MustCompile(`^BenchmarkLoad/target=my_target/rate=50-\d+ 100 (.*)\n$`).FindStringSubmatch(buf.String())
	if line == nil {
		t.Fatalf("line: %q", buf.String())
	}
	fields := strings.Fields(line[1])
	got := make(map[string]float64)
	for i := 0; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			t.Errorf("%s: %v", fields[i+1], err)
		}
		got[fields[i+1]] = value
	}
	if len(fields)%2 != 0 || got["max-ns"] != 20e6 || got["failed"] != 10 || got["req/s"] != 50 || got["ns/op"] < 19.9e6 || got["p99-ns"] != 20e6 {
		t.Errorf("line: %q", buf.String())
	}
	buf.Reset()
	if err := r.WriteBenchHeader(&buf); err != nil || !strings.HasPrefix(buf.String(), "goos: ") {
		t.Errorf("header %q, error %v", buf.String(), err)
	}
}

func TestWriteText(t *testing.T) {
	var buf bytes.Buffer
	if err := steady(t).WriteText(&buf); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"open loop, 50 requests/s (constant), 10 keys (sequential), seed 0\n",
		"100 requests in 2s: 50/s completed, 10 failed\n",
		"20ms", "scheduling lag", "outcomes:  ok 90  not_found 10\n",
		`  at 60ms, func, key "k3": not_found: not found` + "\n",
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, buf.String())
		}
	}
	buf.Reset()
	none := &Result{Mode: OpenLoop, Interrupted: true}
	if err := none.WriteText(&buf); err != nil || !strings.Contains(buf.String(), "note: no request was completed") || none.WithinErrors(0) {
		t.Errorf("a run without answers:\n%s", buf.String())
	}
}

func TestProgressAndLiveView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		view := NewLiveView(&screen)
		var all []Snapshot
		r := mustRun(t, t.Context(), Config{
			Rate: 100, Warmup: time.Second, Duration: 2 * time.Second, ProgressEvery: 400 * time.Millisecond,
			Progress: func(s Snapshot) {
				all = append(all, s)
				view.Draw(s)
			},
			Do: func(context.Context, string) error { time.Sleep(45 * time.Millisecond); return nil },
		})
		last := all[len(all)-1]
		if len(all) != 8 || all[0].Elapsed != -600*time.Millisecond || all[0].Done != 0 {
			t.Fatalf("%d snapshots, the first %+v", len(all), all[0])
		}
		if last.Done != r.Completed || last.Outstanding != 0 || last.Latency.Max != 45*time.Millisecond || len(last.Seconds) != 2 {
			t.Errorf("last: %+v", last)
		}
		// 400 ms in the middle of the run.
		if mid := all[4]; mid.Outstanding < 4 || mid.Outstanding > 5 || mid.Rate < 95 || mid.Rate > 105 {
			t.Errorf("in the middle: outstanding %d, rate %v", mid.Outstanding, mid.Rate)
		}
		if !strings.Contains(screen.String(), "warming up for another 600ms") || !strings.Contains(screen.String(), "\x1b[5A\r\x1b[J") {
			t.Errorf("screen: %q", screen.String())
		}
		screen.Reset()
		view.Clear()
		view.Clear()
		if screen.String() != "\x1b[5A\r\x1b[J" {
			t.Errorf("cleared by %q", screen.String())
		}
	})
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]time.Duration{0, 1, 7, 4}); got != "▁▂█▅" {
		t.Errorf("got %s", got)
	}
	if got := sparkline([]time.Duration{0, 0}); got != "▁▁" {
		t.Errorf("got %s", got)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234: "1.23µs", 12345678: "12.3ms", 999_999_999: "1s", 61 * time.Second: "1m1s",
	} {
		if got := short(d); got != want {
			t.Errorf("%d: %s, want %s", int64(d), got, want)
		}
	}
}
