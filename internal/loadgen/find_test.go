package loadgen

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A queue is a target with one server, who takes a known time for each request
// and does them in their order. Requests that are given up are done all the same.
type queue struct {
	service func() time.Duration

	mu     sync.Mutex // guards freeAt, and service's calls
	freeAt time.Time
}

func (q *queue) do(ctx context.Context, _ string) error {
	q.mu.Lock()
	if now := time.Now(); q.freeAt.Before(now) {
		q.freeAt = now
	}
	q.freeAt = q.freeAt.Add(q.service())
	done := q.freeAt
	q.mu.Unlock()
	return sleepUntil(ctx, done)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// slowGenerator is a clock on a machine with one processor, of which each look
// at the clock takes some: more than so many requests a second, it is late.
type slowGenerator struct {
	bubbleClock
	cpu queue
}

func (g *slowGenerator) Now() time.Time {
	_ = g.cpu.do(context.Background(), "")
	return time.Now()
}

// find runs a search in a bubble.
func find(t *testing.T, cfg Config, s Search) (m *MaxRate) {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = bubbleClock{}
	}
	probes := 0
	m, err := FindMaxRate(t.Context(), cfg, s, func(Probe) { probes++ })
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Probes {
		t.Log(p)
	}
	t.Log(m.Answer())
	if probes != len(m.Probes) {
		t.Errorf("told of %d of %d probes", probes, len(m.Probes))
	}
	return m
}

// brackets checks that an answer's interval holds the truth, within a share of
// it, and is as narrow as was asked for.
func brackets(t *testing.T, m *MaxRate, truth, tolerance float64) {
	t.Helper()
	if m.Rate > truth*(1+tolerance) || m.TooHigh < truth*(1-tolerance) {
		t.Errorf("found %v to %v, the truth is %v", m.Rate, m.TooHigh, truth)
	}
	if m.TooHigh > m.Rate*(1+m.Search.Precision) {
		t.Errorf("%v to %v is wider than %v", m.Rate, m.TooHigh, m.Search.Precision)
	}
	if m.Limit != Bad || m.AtLeast || m.Saturated || m.Why == "" {
		t.Errorf("limit %q, at least %v, saturated %v, why %q", m.Limit, m.AtLeast, m.Saturated, m.Why)
	}
	if c := m.Confirmed; c == nil || c.Config.Rate != m.Rate || c.Failed != 0 || c.Latency.P99 > m.Search.P99 && m.Search.P99 > 0 {
		t.Errorf("confirmed by %+v", c)
	}
	for _, p := range m.Probes[1:] {
		if n := p.Result.Requests; float64(n) < m.Search.samples() {
			t.Errorf("%d requests in a probe", n)
		}
	}
}

// With evenly spaced requests that each take 1/700 s, the limit is 700/s: from
// there on the queue grows as long as the rate is held.
func TestFindMaxRateOfASteadyServer(t *testing.T) {
	for _, from := range []float64{500, 3000, 100} {
		synctest.Test(t, func(t *testing.T) {
			q := &queue{service: always(time.Second / 700)}
			m := find(t, Config{Do: q.do}, Search{P99: 10 * time.Millisecond, From: from, Precision: 0.02})
			brackets(t, m, 700, 0.003)
		})
	}
}

// Poisson arrivals at a server whose times are exponential (M/M/1): the time in
// the system is exponential too, with the rate of service less that of arrivals.
// So its p99 is ln(100)/(service - arrivals).
func TestFindMaxRateOfAQueue(t *testing.T) {
	const service = 500.0
	limit := 40 * time.Millisecond
	truth := service - math.Log(100)/limit.Seconds() // 385/s
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		q := &queue{service: func() time.Duration { return time.Duration(rng.ExpFloat64() / service * 1e9) }}
		m := find(t, Config{Do: q.do, Arrivals: Poisson, Seed: 3}, Search{P99: limit, From: 50, Probe: 20 * time.Second})
		brackets(t, m, truth, 0.05)
	})
}

func TestFindMaxRateAtP999(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every 500th request takes 30 ms, which p99 does not see.
		n := 0
		q := &queue{}
		q.service = func() time.Duration {
			if n++; n%500 == 0 {
				return 30 * time.Millisecond
			}
			return 100 * time.Microsecond
		}
		// At p99.9 the limit is where 30 ms of requests have to wait: one in 500 is
		// twice what may be above 10 ms, at any rate.
		s := Search{P999: 10 * time.Millisecond, From: 400, Lowest: 100}
		if m := find(t, Config{Do: q.do}, s); m.Rate != 0 || m.TooHigh != 100 || !strings.Contains(m.Why, "p99.9 was") {
			t.Errorf("found %v, too high %v: %s", m.Rate, m.TooHigh, m.Why)
		}
		s = Search{P999: 31 * time.Millisecond, P99: 31 * time.Millisecond, From: 400, Highest: 800}
		if m := find(t, Config{Do: q.do}, s); m.Rate != 800 || !m.AtLeast || m.Saturated || m.Limit != "" || !strings.Contains(m.Answer(), "nothing above 800/s") {
			t.Errorf("found %v, at least %v: %s", m.Rate, m.AtLeast, m.Answer())
		}
	})
}

// Moments that have nothing to do with the rate spoil some probes, good rates'
// as well: now and then, all that comes in 150 ms is late. That is more than one
// percent of a probe, and must not be taken for the limit.
func TestFindMaxRateDespiteNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		var mu sync.Mutex // guards noise
		noise := time.Now()
		q := &queue{service: always(time.Second / 700)}
		noisy := func(ctx context.Context, key string) error {
			mu.Lock()
			for time.Since(noise) > 150*time.Millisecond {
				noise = noise.Add(time.Duration(15+rng.IntN(30)) * time.Second)
			}
			late := !time.Now().Before(noise)
			mu.Unlock()
			err := q.do(ctx, key)
			if late {
				time.Sleep(50 * time.Millisecond)
			}
			return err
		}
		m := find(t, Config{Do: noisy}, Search{P99: 10 * time.Millisecond})
		brackets(t, m, 700, 0.003)
		spoilt := 0
		for _, p := range m.Probes {
			if p.Rate < 690 && p.Verdict == Bad {
				spoilt++
			}
		}
		if spoilt == 0 {
			t.Error("no probe of a good rate was spoilt: this test has shown nothing")
		}
	})
}

// A target that refuses what is over 60 requests in 100 ms: errors are a limit
// as well as latency.
func TestFindMaxRateOfATargetThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards n and window
		var n int
		var window time.Time
		refusing := func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if now := time.Now(); now.Sub(window) >= 100*time.Millisecond {
				window, n = now, 0
			}
			if n++; n > 60 {
				return errors.New("too many")
			}
			return nil
		}
		m := find(t, Config{Do: refusing}, Search{P99: time.Millisecond})
		brackets(t, m, 600, 0.02)
		if !strings.Contains(m.Why, "requests failed, the first by error") {
			t.Errorf("why: %s", m.Why)
		}
		// A share that may fail moves the limit: at 800/s, a quarter does.
		m = find(t, Config{Do: refusing}, Search{P99: time.Millisecond, Errors: 0.25, Precision: 0.02})
		if m.Rate < 770 || m.TooHigh > 830 {
			t.Errorf("found %v to %v", m.Rate, m.TooHigh)
		}
	})
}

func TestFindMaxRateOfATargetThatFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		m := find(t, Config{Do: func(context.Context, string) error { return errors.New("refused") }}, Search{P99: time.Millisecond})
		if m.Rate != 0 || m.Limit != Bad || m.AtLeast || len(m.Probes) != 1 || !strings.Contains(m.Answer(), "not one of 20 requests was answered rightly: refused") {
			t.Errorf("%+v", m)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A target that is too slow at any rate: the search says so, and ends.
func TestFindMaxRateOfATargetThatIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, string) error { time.Sleep(20 * time.Millisecond); return nil }
		m := find(t, Config{Do: slow}, Search{P99: 10 * time.Millisecond})
		if m.Rate != 0 || m.TooHigh != DefaultSearchLowest || m.Limit != Bad || m.Answer() != "no rate: 50/s is too much already (p99 was 20ms (limit 10ms))" {
			t.Errorf("found %v: %s", m.Rate, m.Answer())
		}
	})
}

// The generator manages about 2,000/s. What it cannot do is not the target's
// limit, and what it can is not spoilt by it.
func TestFindMaxRateKnowsTheGenerator(t *testing.T) {
	generator := func() Clock { return &slowGenerator{cpu: queue{service: always(200 * time.Microsecond)}} }
	synctest.Test(t, func(t *testing.T) {
		fast := func(context.Context, string) error { return nil }
		m := find(t, Config{Do: fast, Clock: generator()}, Search{P99: 5 * time.Millisecond})
		if !m.AtLeast || !m.Saturated || m.Limit != SaturatedVerdict || m.Rate < 1000 || m.Rate > 2500 || m.Confirmed == nil || m.Confirmed.Saturated {
			t.Errorf("%s", m.Answer())
		}
		if !strings.HasPrefix(m.Answer(), "at least ") || !strings.Contains(m.Answer(), "generator was saturated") {
			t.Errorf("%s", m.Answer())
		}
		m = find(t, Config{Do: fast, Clock: generator()}, Search{P99: 5 * time.Millisecond, From: 4000, Lowest: 3000})
		if m.Rate != 0 || m.Limit != SaturatedVerdict || !m.Saturated || m.AtLeast || !strings.HasPrefix(m.Answer(), "no answer: the generator was saturated") {
			t.Errorf("%s", m.Answer())
		}
		q := &queue{service: always(time.Second / 300)}
		m = find(t, Config{Do: q.do, Clock: generator()}, Search{P99: 10 * time.Millisecond, From: 100})
		brackets(t, m, 300, 0.003)
	})
}

func TestFindMaxRateInterrupted(t *testing.T) {
	for _, after := range []time.Duration{time.Millisecond, 3 * time.Second, 20 * time.Second, 42 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			q := &queue{service: always(time.Second / 700)}
			m, err := FindMaxRate(ctx, Config{Do: q.do, Clock: bubbleClock{}}, Search{P99: 10 * time.Millisecond, From: 100}, nil)
			if err != nil || !m.Interrupted || m.Confirmed != nil || m.Rate != 0 || m.AtLeast || !strings.HasPrefix(m.Answer(), "interrupted") {
				t.Errorf("after %v: %v, %+v", after, err, m)
			}
			if after > 10*time.Second && m.Unconfirmed < 100 {
				t.Errorf("after %v: good so far: %v", after, m.Unconfirmed)
			}
		})
	}
}

func TestSearchNamesFieldAndRemedy(t *testing.T) {
	do := func(context.Context, string) error { return nil }
	good := Search{P99: time.Millisecond}
	for want, c := range map[string]struct {
		cfg Config
		s   Search
	}{
		"no limit":          {Config{Do: do}, Search{}},
		"P99: -1":           {Config{Do: do}, Search{P99: -1}},
		"P999: 2h":          {Config{Do: do}, Search{P999: 2 * time.Hour}},
		"Errors: 1":         {Config{Do: do}, Search{P99: 1, Errors: 1}},
		"rates over 0 that": {Config{Do: do}, Search{P99: 1, From: 10, Lowest: 20}},
		"Precision: 2":      {Config{Do: do}, Search{P99: 1, Precision: 2}},
		"Probe: -1s":        {Config{Do: do}, Search{P99: 1, Probe: -time.Second}},
		"a search chooses":  {Config{Do: do, Rate: 5}, good},
		"no target":         {Config{}, good},
		"repeat it":         {Config{Do: do, Keys: Keys{Trace: abc()}}, good},
	} {
		if _, err := FindMaxRate(t.Context(), c.cfg, c.s, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
