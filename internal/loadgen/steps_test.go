package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/internal/tracefile"
)

func TestParseSteps(t *testing.T) {
	for text, want := range map[string]string{
		"1000:10s":                 "[{1000 10s}]",
		"1000:10s, 2000:5s,0.5:1m": "[{1000 10s} {2000 5s} {0.5 1m0s}]",
		"1000..3000+1000:1s":       "[{1000 1s} {2000 1s} {3000 1s}]",
		"1000..3500+1000:1s":       "[{1000 1s} {2000 1s} {3000 1s}]",
		"0.1..0.3+0.1:1s":          "[{0.1 1s} {0.2 1s} {0.30000000000000004 1s}]",
		"100..1000x2:1s,10:2s":     "[{100 1s} {200 1s} {400 1s} {800 1s} {10 2s}]",
		"5..5+1:1s":                "[{5 1s}]",
		"1000":                     "it has no duration",
		"":                         "it has no duration",
		"1000:":                    "no positive duration",
		"1000:-1s":                 "no positive duration",
		"0:1s":                     "is no number from 0",
		"1e9:1s":                   "is no number from 0",
		"many:1s":                  `"many" is no number`,
		"1..2:1s":                  "no +STEP or xFACTOR",
		"3..2+1:1s":                "3 is more than 2",
		"1..2x1:1s":                "the factor 1 is not more than 1",
		"1..1000000+1:1s":          "more than 1000 steps",
		"1:1s,":                    `step "": it has no duration: write it as`,
	} {
		steps, err := ParseSteps(text)
		if got := fmt.Sprint(steps); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestStepsHaveTheirOwnDistributions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 300/s are served; the last step shows that nothing is left of the third.
		q := &queue{service: always(time.Second / 300)}
		steps, err := ParseSteps("100..400+100:2s,100:2s")
		if err != nil {
			t.Fatal(err)
		}
		var told []float64
		var parts []string
		cfg := Config{
			Do: q.do, Clock: bubbleClock{}, Warmup: time.Second,
			Progress: func(s Snapshot) { parts = append(parts, s.Part) }, ProgressEvery: time.Second,
		}
		r, err := RunSteps(t.Context(), cfg, steps, func(r *Result) { told = append(told, r.Config.Rate) })
		if err != nil || len(r.Steps) != 5 || r.Planned != 5 || r.Interrupted || r.Saturated {
			t.Fatalf("%+v, %v", r, err)
		}
		if want := []float64{100, 200, 300, 400, 100}; !slices.Equal(told, want) {
			t.Errorf("told of %v", told)
		}
		for i, s := range r.Steps {
			if n := int64(2 * s.Config.Rate); s.Requests != n || s.Completed != n || s.WarmupRequests != n/2 || s.Failed != 0 {
				t.Errorf("step %d: %d requests, warm-up %d, failed %d", i, s.Requests, s.WarmupRequests, s.Failed)
			}
			// At 400/s, 100 more come each second than are served, for 3 s.
			if over := s.Config.Rate > 300; over != (s.Latency.P99 > 4*time.Millisecond) || over && (s.Latency.Max < 990*time.Millisecond || s.Latency.Max > 1010*time.Millisecond) {
				t.Errorf("step %d: p99 %v, max %v", i, s.Latency.P99, s.Latency.Max)
			}
			if s.Lag.P99 != 0 || len(s.Seconds) != 2 {
				t.Errorf("step %d: lag %v, %d seconds", i, s.Lag.P99, len(s.Seconds))
			}
		}
		if parts[0] != "step 1 of 5" || parts[len(parts)-1] != "step 5 of 5" {
			t.Errorf("parts %v", parts)
		}
		var text, js bytes.Buffer
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(text.String(), "\n")
		if !strings.HasPrefix(strings.TrimSpace(lines[1]), "rate/s  completed/s") || !strings.Contains(lines[1], "lag p99") || !strings.HasPrefix(strings.TrimSpace(lines[5]), "400 ") || !strings.Contains(lines[5], "800") {
			t.Errorf("text:\n%s", text.String())
		}
		if err := r.WriteJSON(&js); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Planned int
			Steps   []struct {
				Config  struct{ Rate float64 }
				Latency LatencyStats
				Lag     struct {
					P99 *time.Duration `json:"p99_ns"`
				}
			}
		}
		if err := json.Unmarshal(js.Bytes(), &got); err != nil || got.Planned != 5 || got.Steps[3].Config.Rate != 400 || got.Steps[3].Latency != r.Steps[3].Latency || got.Steps[0].Lag.P99 == nil {
			t.Errorf("JSON: %+v, %v", got, err)
		}
	})
}

func TestStepsTellOfSaturationAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Do: func(context.Context, string) error { return ErrNotFound }, Clock: bubbleClock{late: 2 * time.Millisecond}}
		steps := []Step{{10, time.Second}, {20, time.Second}}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		r, err := RunSteps(ctx, cfg, steps, nil)
		if err != nil || !r.Saturated || !r.Interrupted || len(r.Steps) != 2 || r.Steps[0].Interrupted {
			t.Fatalf("%+v, %v", r, err)
		}
		failed, requests := r.Failed()
		if failed < 20 || requests != failed {
			t.Errorf("%d of %d failed", failed, requests)
		}
		var text bytes.Buffer
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"note: at 10/s: generator saturated: it sent 2ms late", "at 20/s: interrupted", "  at 10/s: at 0s, func, key \"user:"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%q is missing in:\n%s", want, text.String())
			}
		}
	})
	do := func(context.Context, string) error { return nil }
	for want, c := range map[string]struct {
		cfg   Config
		steps []Step
	}{
		"there are none": {Config{Do: do}, nil},
		"steps[1]: -1":   {Config{Do: do}, []Step{{1, 1}, {-1, 1}}},
		"leave them out": {Config{Do: do, Count: 1}, []Step{{1, 1}}},
		"no target":      {Config{}, []Step{{1, 1}}},
	} {
		if _, err := RunSteps(t.Context(), c.cfg, c.steps, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// abc is the trace a b c a b.
func abc() *tracefile.Trace {
	return &tracefile.Trace{Keys: []string{"a", "b", "c"}, Requests: []uint32{0, 1, 2, 0, 1}}
}

func TestTraceEndsTheRunOrStartsAgain(t *testing.T) {
	for _, callers := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex // guards asked
			var asked string
			cfg := Config{Callers: callers, Keys: Keys{Trace: abc()}, Do: func(_ context.Context, key string) error {
				mu.Lock()
				defer mu.Unlock()
				asked += key
				time.Sleep(time.Millisecond)
				return nil
			}}
			r := mustRun(t, t.Context(), cfg)
			if asked != "abcab" || r.Requests != 5 || r.Interrupted || !r.Trace.Ended || r.Trace.Taken != 5 || r.Config.Keys != 3 || r.Config.Distribution != Recorded {
				t.Errorf("asked for %s, %+v, %+v", asked, r, r.Trace)
			}
			asked, cfg.Keys.Repeat, cfg.Count = "", true, 12
			r = mustRun(t, t.Context(), cfg)
			if asked != "abcababcabab" || r.Trace.Ended || r.Trace.Taken < 12 || !r.Trace.Repeat {
				t.Errorf("asked for %s, %+v", asked, r.Trace)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "3 keys (trace)") || !strings.Contains(text.String(), "times over") {
				t.Errorf("%v:\n%s", err, text.String())
			}
		})
	}
}

func TestStepsGoOnInTheTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards asked
		var asked string
		cfg := Config{Keys: Keys{Trace: abc()}, Clock: bubbleClock{}, Do: func(_ context.Context, key string) error {
			mu.Lock()
			defer mu.Unlock()
			asked += key
			return nil
		}}
		r, err := RunSteps(t.Context(), cfg, []Step{{2, time.Second}, {4, time.Second}, {1, time.Second}}, nil)
		if err != nil || asked != "abcab" || len(r.Steps) != 2 || r.Steps[1].Requests != 3 || !r.Steps[1].Trace.Ended || r.Interrupted {
			t.Errorf("asked for %s, %+v, %v", asked, r, err)
		}
		var text bytes.Buffer
		if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "note: 2 of 3 steps were run") {
			t.Errorf("%v:\n%s", err, text.String())
		}
	})
}
