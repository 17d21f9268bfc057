package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubbleClock is the time of a synctest bubble, late by late at every sleep.
type bubbleClock struct{ late time.Duration }

func (bubbleClock) Now() time.Time { return time.Now() }

func (c bubbleClock) SleepUntil(ctx context.Context, t time.Time) {
	timer := time.NewTimer(time.Until(t) + c.late)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func mustRun(t *testing.T, ctx context.Context, cfg Config) *Result {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = bubbleClock{}
	}
	r, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpenLoopSendsAtIntendedTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards sent
		var sent []time.Duration
		start := time.Now()
		r := mustRun(t, t.Context(), Config{Rate: 100, Duration: time.Second, Do: func(context.Context, string) error {
			mu.Lock()
			sent = append(sent, time.Since(start))
			mu.Unlock()
			time.Sleep(25 * time.Millisecond) // more than the spacing
			return nil
		}})
		if len(sent) != 100 || r.Requests != 100 || r.Completed != 100 || r.Failed != 0 {
			t.Fatalf("%d sent, result %d requests, %d completed, %d failed", len(sent), r.Requests, r.Completed, r.Failed)
		}
		for i, at := range sent {
			if want := time.Duration(i) * 10 * time.Millisecond; at != want {
				t.Fatalf("request %d was sent at %v, want %v", i, at, want)
			}
		}
		if r.Latency.Max != 25*time.Millisecond || r.Lag.Max != 0 || r.Saturated {
			t.Errorf("latency up to %v, lag up to %v, saturated %v", r.Latency.Max, r.Lag.Max, r.Saturated)
		}
		if r.Elapsed != 1015*time.Millisecond {
			t.Errorf("elapsed %v", r.Elapsed)
		}
	})
}

// The promise of an open loop: a second in which the target stands still is
// seen in the latency of every request that was meant to be sent in it.
func TestStallIsChargedToEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		frozen := func(context.Context, string) error {
			if now := time.Since(start); now >= time.Second && now < 2*time.Second {
				time.Sleep(2*time.Second - now)
			}
			return nil
		}
		r := mustRun(t, t.Context(), Config{Rate: 100, Duration: 3 * time.Second, Do: frozen})
		want := []SecondStats{
			{Second: 0, Requests: 100},
			{Second: 1, Requests: 100, P50: 500 * time.Millisecond, P99: 990 * time.Millisecond, Max: time.Second},
			{Second: 2, Requests: 100},
		}
		if len(r.Seconds) != len(want) {
			t.Fatalf("seconds: %+v", r.Seconds)
		}
		for i, got := range r.Seconds {
			w := want[i]
			near := func(a, b time.Duration) bool { return math.Abs(float64(a-b)) <= 0.02*float64(b)+1000 }
			if got.Requests != w.Requests || got.Failed != 0 || got.Max != w.Max || !near(got.P50, w.P50) || !near(got.P99, w.P99) {
				t.Errorf("second %d: %+v, want about %+v", i, got, w)
			}
		}
		if w := r.Window(0, 1); w.Count != 100 || w.Max != 0 {
			t.Errorf("before: %+v", w)
		}
		if w := r.Window(1, 3); w.Count != 200 || w.Max != time.Second {
			t.Errorf("from the stall on: %+v", w)
		}
		if r.Saturated {
			t.Error("a stall of the target was taken for the generator's")
		}

		// The same stall in a closed loop is seen once a caller: that is what
		// the mode's label warns of.
		start = time.Now()
		closed := mustRun(t, t.Context(), Config{Callers: 1, Duration: 3 * time.Second, Do: func(ctx context.Context, key string) error {
			time.Sleep(10 * time.Millisecond)
			return frozen(ctx, key)
		}})
		if closed.Mode != ClosedLoop || closed.Latency.P99 > 20*time.Millisecond {
			t.Errorf("%s: p99 %v", closed.Mode, closed.Latency.P99)
		}
		if notes := strings.Join(closed.Notes(), "\n"); !strings.Contains(notes, "closed loop") {
			t.Errorf("notes: %s", notes)
		}
	})
}

func TestMaxOutstandingDropsAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustRun(t, t.Context(), Config{
			Rate: 100, Duration: time.Second, MaxOutstanding: 10, KeepFailures: 3,
			Do: func(context.Context, string) error { time.Sleep(195 * time.Millisecond); return nil },
		})
		// Ten go out every 200 ms, and the ten after them find the bound reached.
		want := map[string]int64{"ok": 50, "dropped": 50}
		if fmt.Sprint(r.Outcomes) != fmt.Sprint(want) || r.Requests != 100 || r.Completed != 50 || r.Failed != 50 {
			t.Errorf("outcomes %v, want %v; %d requests, %d completed, %d failed", r.Outcomes, want, r.Requests, r.Completed, r.Failed)
		}
		if len(r.Failures) != 3 || r.Failures[0].At != 100*time.Millisecond || r.Failures[0].Outcome != "dropped" {
			t.Errorf("failures: %+v", r.Failures)
		}
		if r.Seconds[0].Dropped != 50 || r.WithinErrors(49) || !r.WithinErrors(50) {
			t.Errorf("dropped in second 0: %d", r.Seconds[0].Dropped)
		}
	})
}

func TestSaturatedByALateClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Rate: 50, Duration: time.Second, Do: func(context.Context, string) error { return nil }}
		cfg.Clock = bubbleClock{late: 5 * time.Millisecond}
		r := mustRun(t, t.Context(), cfg)
		if !r.Saturated || r.Lag.P50 < 4900*time.Microsecond || r.Latency.P50 < 4900*time.Microsecond || r.Service.Max != 0 {
			t.Errorf("saturated %v, lag %v, latency %v, from actual send %v", r.Saturated, r.Lag.P50, r.Latency.P50, r.Service.Max)
		}
		if notes := strings.Join(r.Notes(), "\n"); !strings.Contains(notes, "generator saturated") {
			t.Errorf("notes: %s", notes)
		}
		if r.Seconds[0].LagP99 < 4900*time.Microsecond {
			t.Errorf("second 0: %+v", r.Seconds[0])
		}
		cfg.Clock = bubbleClock{late: SaturatedLag}
		if r := mustRun(t, t.Context(), cfg); !r.Saturated || r.Lag.P99 != SaturatedLag {
			t.Errorf("not saturated at a lag of %v", r.Lag.P99)
		}
		cfg.Clock = bubbleClock{late: 500 * time.Microsecond}
		if r := mustRun(t, t.Context(), cfg); r.Saturated {
			t.Errorf("saturated at a lag of %v", r.Lag.P99)
		}
	})
}

func TestWarmupIsSentButNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var calls int
		var mu sync.Mutex // guards calls
		do := func(context.Context, string) error {
			mu.Lock()
			calls++
			mu.Unlock()
			if time.Since(start) < 2*time.Second {
				return errors.New("still cold")
			}
			return nil
		}
		r := mustRun(t, t.Context(), Config{Rate: 10, Warmup: 2 * time.Second, Count: 15, Do: do})
		if calls != 35 || r.Requests != 15 || r.Failed != 0 || r.WarmupRequests != 20 || r.WarmupFailed != 20 {
			t.Errorf("%d calls; %d requests, %d failed; warm-up %d, %d failed", calls, r.Requests, r.Failed, r.WarmupRequests, r.WarmupFailed)
		}
		if len(r.Seconds) != 2 || r.Seconds[0].Requests != 10 || r.Seconds[1].Requests != 5 {
			t.Errorf("seconds: %+v", r.Seconds)
		}
	})
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		do := func(context.Context, string) error { time.Sleep(10 * time.Millisecond); return nil }
		r := mustRun(t, t.Context(), Config{Callers: 4, Duration: time.Second, Do: do})
		if r.Completed != 400 || math.Abs(r.Throughput-400) > 0.1 || r.Lag.Count != 0 || r.Latency.Max != 10*time.Millisecond {
			t.Errorf("completed %d, %v/s, lag of %d, latency up to %v", r.Completed, r.Throughput, r.Lag.Count, r.Latency.Max)
		}
		r = mustRun(t, t.Context(), Config{Callers: 4, Count: 10, Warmup: 100 * time.Millisecond, Do: do})
		if r.Completed != 10 || r.WarmupRequests != 40 {
			t.Errorf("completed %d, warm-up %d", r.Completed, r.WarmupRequests)
		}
	})
}

func TestCancelStopsAndStillReports(t *testing.T) {
	for _, callers := range []int{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(1005*time.Millisecond, cancel)
			start := time.Now()
			cfg := Config{Callers: callers, Duration: time.Hour, Timeout: time.Minute, Do: func(ctx context.Context, _ string) error {
				if time.Since(start) < 900*time.Millisecond {
					time.Sleep(10 * time.Millisecond)
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}}
			if callers == 0 {
				cfg.Rate = 100
			}
			r := mustRun(t, ctx, cfg)
			if took := time.Since(start); took != 1005*time.Millisecond {
				t.Errorf("callers %d: Run returned after %v", callers, took)
			}
			if !r.Interrupted || r.Failed != 0 || r.Outcomes["ok"] < 90 || r.Outcomes["interrupted"] < 5 {
				t.Errorf("callers %d: interrupted %v, failed %d, outcomes %v", callers, r.Interrupted, r.Failed, r.Outcomes)
			}
			if !r.WithinErrors(0) {
				t.Error("what was interrupted counts as failed")
			}
		})
	}
}

func TestDoErrorsAreClassified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustRun(t, t.Context(), Config{
			Rate: 10, Count: 10, Timeout: time.Second,
			Keys: Keys{Dist: Sequential, N: 5, Format: "%d"},
			Do: func(ctx context.Context, key string) error {
				switch key {
				case "0":
					return fmt.Errorf("%w: 1 and not 2", ErrWrongValue)
				case "1":
					return ErrNotFound
				case "2":
					<-ctx.Done()
					return ctx.Err()
				case "3":
					return errors.New("boom")
				}
				return nil
			},
		})
		want := map[string]int64{"wrong_value": 2, "not_found": 2, "timeout": 2, "error": 2, "ok": 2}
		if fmt.Sprint(r.Outcomes) != fmt.Sprint(want) || r.Failed != 8 {
			t.Errorf("outcomes %v, want %v", r.Outcomes, want)
		}
		if f := r.Failures[0]; f.Key != `"0"` || f.Target != "func" || f.Error != "wrong value: 1 and not 2" {
			t.Errorf("first failure: %+v", f)
		}
		if r.Latency.Max != time.Second {
			t.Errorf("the timeouts' latency is missing: max %v", r.Latency.Max)
		}
	})
}

func TestPoissonArrivals(t *testing.T) {
	offsets := func(seed uint64) []time.Duration {
		cfg := Config{Rate: 1000, Arrivals: Poisson, Duration: 20 * time.Second, Seed: seed}
		a := newArrivals(&cfg)
		var all []time.Duration
		for at, ok := a.next(); ok; at, ok = a.next() {
			all = append(all, at)
		}
		return all
	}
	one := offsets(1)
	if n := float64(len(one)); math.Abs(n-20_000) > 6*math.Sqrt(20_000) {
		t.Errorf("%v arrivals in 20 s at 1,000/s", n)
	}
	if !slices.IsSorted(one) || !slices.Equal(one, offsets(1)) || slices.Equal(one, offsets(2)) {
		t.Error("arrivals do not follow their seed alone")
	}
	// The gaps of a Poisson process: as large as their mean is their deviation.
	var sum, squares float64
	for i := 1; i < len(one); i++ {
		gap := (one[i] - one[i-1]).Seconds()
		sum, squares = sum+gap, squares+gap*gap
	}
	n := float64(len(one) - 1)
	if cv := math.Sqrt(squares/n-(sum/n)*(sum/n)) / (sum / n); cv < 0.95 || cv > 1.05 {
		t.Errorf("deviation of the gaps is %.3f of their mean", cv)
	}
}

// The system's clock sleeps in the kernel, where a bubble's time stands still.
func TestSystemClockInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Run(t.Context(), Config{Rate: 1000, Count: 5, Do: func(context.Context, string) error { return nil }})
		if err != nil || r.Completed != 5 || r.Elapsed != 4*time.Millisecond {
			t.Errorf("completed %d in %v, error %v", r.Completed, r.Elapsed, err)
		}
	})
}

func TestSystemClock(t *testing.T) {
	c := newSystemClock()
	defer c.close()
	for _, d := range []time.Duration{-1, 100 * time.Microsecond, 5 * time.Millisecond} {
		until := time.Now().Add(d)
		c.SleepUntil(t.Context(), until)
		if now := time.Now(); now.Before(until) {
			t.Errorf("woke %v too early", until.Sub(now))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.SleepUntil(ctx, time.Now().Add(time.Hour))
}

func TestValidateNamesFieldAndRemedy(t *testing.T) {
	do := func(context.Context, string) error { return nil }
	for want, cfg := range map[string]Config{
		"URLs: no target":              {},
		"both URLs and Do":             {URLs: []string{"http://h"}, Do: do},
		"URLs[0]":                      {URLs: []string{"h"}},
		"Rate: -1":                     {Do: do, Rate: -1},
		"set Rate or Callers":          {Do: do, Rate: 1, Callers: 1},
		"Callers: -1":                  {Do: do, Callers: -1},
		`Arrivals: "often"`:            {Do: do, Arrivals: "often"},
		`Pick: "best"`:                 {Do: do, Pick: "best"},
		"Duration: -1s":                {Do: do, Duration: -time.Second},
		"Count: -1":                    {Do: do, Count: -1},
		"Warmup: -1s":                  {Do: do, Warmup: -time.Second},
		"Timeout: -1s":                 {URLs: []string{"http://h"}, Timeout: -time.Second},
		"Timeout: 2h":                  {Do: do, Timeout: 2 * time.Hour},
		"MaxOutstanding: -1":           {Do: do, MaxOutstanding: -1},
		"KeepFailures: -1":             {Do: do, KeepFailures: -1},
		"ProgressEvery: -1s":           {Do: do, ProgressEvery: -time.Second},
		"HTTP.Connections: -1":         {Do: do, HTTP: HTTPOptions{Connections: -1}},
		"Keys.N: -1":                   {Do: do, Keys: Keys{N: -1}},
		"Keys.ZipfS: -1":               {Do: do, Keys: Keys{ZipfS: -1}},
		`Keys.Format: "key"`:           {Do: do, Keys: Keys{Format: "key"}},
		`Keys.Format: "%d-%d"`:         {Do: do, Keys: Keys{Format: "%d-%d"}},
		`Keys.Dist: "hot"`:             {Do: do, Keys: Keys{Dist: "hot"}},
		"weighted needs a key file":    {Do: do, Keys: Keys{Dist: Weighted}},
		"Keys.List[1]: weight NaN":     {Do: do, Keys: Keys{List: []WeightedKey{{"a", 1}, {"b", math.NaN()}}}},
		"Keys.List: the weights add u": {Do: do, Keys: Keys{Dist: Weighted, List: []WeightedKey{{"a", 0}}}},
	} {
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if err := (Config{Do: do}).Validate(); err != nil {
		t.Errorf("a target alone is not enough: %v", err)
	}
}

// Counting is told when the warm-up is over, once for each load, and not of one that ended
// before.
func TestCountingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		cfg := Config{Rate: 100, Duration: time.Second, Warmup: 500 * time.Millisecond,
			Counting: func() { at = append(at, time.Since(start)) },
			Do:       func(context.Context, string) error { return nil }}
		mustRun(t, t.Context(), cfg)
		if !slices.Equal(at, []time.Duration{500 * time.Millisecond}) {
			t.Errorf("it was told after %v", at)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		mustRun(t, ctx, cfg)
		if len(at) != 1 {
			t.Errorf("of a load that did not count it was told after %v", at)
		}
	})
}
