package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Defaults of [Search].
const (
	DefaultSearchFrom      = 500
	DefaultSearchLowest    = 50
	DefaultSearchHighest   = 1e6
	DefaultSearchPrecision = 0.05
	DefaultSearchProbe     = 5 * time.Second
	DefaultSearchWarmup    = time.Second
)

// What a percentile takes to mean something: ten requests beyond it.
const (
	samplesP99  = 1_000
	samplesP999 = 10_000
)

// Search says what [FindMaxRate] looks for. At least one limit has to be given;
// every other field has a default for its zero value.
type Search struct {
	// P99 and P999 are what those percentiles of the latency may be at most.
	P99  time.Duration `json:"p99_ns,omitempty"`
	P999 time.Duration `json:"p999_ns,omitempty"`

	// Errors is the share of requests that may fail, from 0, the default, up to,
	// not including, 1.
	Errors float64 `json:"errors"`

	From    float64 `json:"from"`    // the first rate that is tried
	Lowest  float64 `json:"lowest"`  // below it, the search gives up
	Highest float64 `json:"highest"` // above it, nothing is tried

	// Precision ends the search: the lowest rate that is too high is then at
	// most by this share above the highest good one.
	Precision float64 `json:"precision"`

	// Probe is how long each rate is held at least, without the warm-up. It is
	// held longer where there would be fewer than 1,000 requests (10,000 with
	// P999). The final run is held twice as long.
	Probe time.Duration `json:"probe_ns"`
}

func (s Search) withDefaults() Search {
	setDefault(&s.Highest, DefaultSearchHighest)
	if s.From == 0 {
		s.From = min(DefaultSearchFrom, s.Highest)
	}
	if s.Lowest == 0 {
		s.Lowest = min(DefaultSearchLowest, s.From)
	}
	setDefault(&s.Precision, DefaultSearchPrecision)
	setDefault(&s.Probe, DefaultSearchProbe)
	return s
}

// Validate returns an error that names every field that makes no sense.
func (s Search) Validate() error {
	s = s.withDefaults()
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("loadgen: search: "+format, args...))
		}
	}
	bad(s.P99 != 0 || s.P999 != 0, "P99, P999: there is no limit: give at least one")
	bad(s.P99 >= 0 && s.P99 <= maxLatency, "P99: %v: use more than 0 and at most %v", s.P99, maxLatency)
	bad(s.P999 >= 0 && s.P999 <= maxLatency, "P999: %v: use more than 0 and at most %v", s.P999, maxLatency)
	bad(s.Errors >= 0 && s.Errors < 1, "Errors: %v: use 0 to less than 1", s.Errors)
	bad(s.Lowest > 0 && s.Lowest <= s.From && s.From <= s.Highest && s.Highest <= maxRate,
		"Lowest, From, Highest: %v, %v, %v: use rates over 0 that rise, up to %d", s.Lowest, s.From, s.Highest, int64(maxRate))
	bad(s.Precision >= 0.001 && s.Precision <= 1, "Precision: %v: use 0.001 to 1", s.Precision)
	bad(s.Probe > 0, "Probe: %v: use a positive duration", s.Probe)
	return errors.Join(errs...)
}

// samples is how many requests a probe has at least.
func (s *Search) samples() float64 {
	if s.P999 > 0 {
		return samplesP999
	}
	return samplesP99
}

// Verdict is what a probe says about its rate.
type Verdict string

// The verdicts. A probe in which the generator was saturated says nothing about
// the target, however good or bad its latencies are.
const (
	Good             Verdict = "good"
	Bad              Verdict = "bad"
	SaturatedVerdict Verdict = "generator saturated"
	Cut              Verdict = "interrupted"
)

// The phases of a search.
const (
	PhaseCheck   = "check"   // does the target answer at all
	PhaseRamp    = "ramp"    // twice as much each time, until it is too much
	PhaseBisect  = "bisect"  // between what is good and what is too much
	PhaseConfirm = "confirm" // the answer once more, for longer
)

// A Probe is a rate that was tried.
type Probe struct {
	Phase   string  `json:"phase"`
	Rate    float64 `json:"rate"` // 0 in the phase check, which is a closed loop
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"` // empty if it is good
	Result  *Result `json:"result"`
}

// A MaxRate is what came of a search.
type MaxRate struct {
	Search Search `json:"search"`

	// Rate is the highest rate that was good and was confirmed, in requests per
	// second; 0 if none was.
	Rate float64 `json:"rate"`

	// Unconfirmed is the highest rate that had been good when the search was
	// interrupted.
	Unconfirmed float64 `json:"unconfirmed,omitempty"`

	// TooHigh is the lowest rate above Rate that was not good, and Limit why: Bad
	// if it is the target's limit, SaturatedVerdict if it is the generator's. Both
	// are empty if even Search.Highest was good. TooHigh is 0 with a target that
	// gave no right answer at all.
	TooHigh float64 `json:"too_high,omitempty"`
	Limit   Verdict `json:"limit,omitempty"`
	Why     string  `json:"why,omitempty"` // in words, with figures

	// AtLeast: the target's limit was not reached, and may be anywhere above Rate.
	AtLeast bool `json:"at_least"`

	// Saturated: what kept the search from going on was the generator.
	Saturated   bool    `json:"generator_saturated"`
	Interrupted bool    `json:"interrupted"`
	Confirmed   *Result `json:"confirmed,omitempty"` // the run that Rate is confirmed by
	Probes      []Probe `json:"probes"`              // all, in their order
}

// FindMaxRate searches the highest rate at which a target stays within limits
// of latency and errors: it doubles the rate until that is too much, bisects, and
// confirms what it found by a longer run. cfg has neither Rate nor Callers nor
// Duration nor Count; its Warmup, a second by default, comes before each probe.
// Keys should be in the cache already, or the search measures the source. done
// is called with each probe as it ends, unless it is nil.
//
// A machine has moments of its own, so a rate that is not good is tried up to
// twice more, and two good probes make it good; two bad ones are needed to call
// it the target's limit. The error is about cfg and s only.
func FindMaxRate(ctx context.Context, cfg Config, s Search, done func(Probe)) (*MaxRate, error) {
	if cfg.Rate != 0 || cfg.Callers != 0 || cfg.Duration != 0 || cfg.Count != 0 {
		return nil, errors.New("loadgen: Rate, Callers, Duration, Count: a search chooses them: leave them out")
	}
	if cfg.Keys.Trace != nil && !cfg.Keys.Repeat {
		return nil, errors.New("loadgen: Keys.Repeat: a search needs more requests than a trace has: repeat it")
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	setDefault(&cfg.Warmup, DefaultSearchWarmup)
	session, err := newSession(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer session.close()
	f := &finder{session: session, search: s.withDefaults(), done: done}
	f.found.Search = f.search
	f.find()
	f.conclude()
	return &f.found, nil
}

// finder is the state of one search.
type finder struct {
	session *session
	search  Search
	done    func(Probe)
	found   MaxRate

	// good has the rates that were good and none that was not below them; they
	// rise. above is the lowest that was not, if its Rate is not 0.
	good  []float64
	above Probe
}

// find leaves found.Confirmed empty if no rate is good.
func (f *finder) find() {
	if !f.answers() || !f.ramp() {
		return
	}
	for len(f.good) > 0 {
		if !f.bisect() {
			return
		}
		best := f.good[len(f.good)-1]
		p := f.try(PhaseConfirm, best)
		switch p.Verdict {
		case Cut:
			return
		case Good:
			f.found.Rate, f.found.Confirmed = best, p.Result
			return
		}
		// It was good by chance: on with what is below. The next best rate may be
		// far below, and what is between is bisected again.
		f.note(p)
		if len(f.good) == 0 && !f.descend(best) {
			return
		}
	}
}

// answers reports whether the target gives a right answer at all: lower rates
// do not help one that is not there.
func (f *finder) answers() bool {
	r := f.session.run(func(c *Config) {
		c.Callers, c.Rate, c.Count, c.Warmup, c.part = 1, 0, 20, 0, PhaseCheck
	})
	p := Probe{Phase: PhaseCheck, Result: r, Verdict: Good}
	switch {
	case r.Interrupted:
		p.Verdict, p.Why = Cut, string(Cut)
	case r.Completed == r.Failed:
		p.Verdict, p.Why = Bad, fmt.Sprintf("not one of %d requests was answered rightly", r.Requests)
		if len(r.Failures) > 0 {
			p.Why += ": " + r.Failures[0].Error
		}
	}
	f.add(p)
	if p.Verdict != Good {
		f.above = p
	}
	return p.Verdict == Good
}

// ramp raises the rate until it is too high. If the first one is already, it
// looks for a lower one. It returns false if the search is at its end.
func (f *finder) ramp() bool {
	for rate := f.search.From; ; rate = min(f.step(rate*2), f.search.Highest) {
		p := f.try(PhaseRamp, rate)
		if p.Verdict == Cut {
			return false
		}
		f.note(p)
		if p.Verdict != Good {
			return len(f.good) > 0 || f.descend(rate)
		}
		if rate >= f.search.Highest {
			return true
		}
	}
}

// descend looks for a good rate below one that was not.
func (f *finder) descend(rate float64) bool {
	for rate > f.search.Lowest {
		rate = max(f.step(rate/4), f.search.Lowest)
		p := f.try(PhaseRamp, rate)
		if p.Verdict == Cut {
			return false
		}
		f.note(p)
		if p.Verdict == Good {
			return true
		}
	}
	return false
}

// bisect narrows down what lies between the highest good rate and the lowest
// that was not. It returns false if the search was interrupted.
func (f *finder) bisect() bool {
	for len(f.good) > 0 && f.above.Rate > 0 {
		low, high := f.good[len(f.good)-1], f.above.Rate
		middle := f.step(math.Sqrt(low * high))
		if high <= low*(1+f.search.Precision) || middle <= low || middle >= high {
			break
		}
		p := f.try(PhaseBisect, middle)
		if p.Verdict == Cut {
			return false
		}
		f.note(p)
	}
	return true
}

// note keeps the order of what is good and what is not: a rate that was not
// good takes those above it with it.
func (f *finder) note(p Probe) {
	if p.Verdict == Good {
		f.good = append(f.good, p.Rate)
		return
	}
	f.above = p
	for n := len(f.good); n > 0 && f.good[n-1] >= p.Rate; n-- {
		f.good = f.good[:n-1]
	}
}

// step rounds a rate to a number that people can read, as finely as the search
// needs it.
func (f *finder) step(rate float64) float64 {
	digits := math.Floor(math.Log10(rate * f.search.Precision / 4))
	if digits < 0 { // a division by a power of ten, for 70.7 and not 70.70000000000001
		unit := math.Pow(10, -digits)
		return math.Round(rate*unit) / unit
	}
	unit := math.Pow(10, digits)
	return math.Round(rate/unit) * unit
}

// try finds out about a rate: by one probe if it is good, and otherwise by two
// that agree, of three at most.
func (f *finder) try(phase string, rate float64) Probe {
	first := f.probe(phase, rate)
	if first.Verdict == Good || first.Verdict == Cut {
		return first
	}
	seen := []Probe{first}
	for len(seen) < 3 {
		if !f.settle() {
			return Probe{Phase: phase, Rate: rate, Verdict: Cut}
		}
		p := f.probe(phase, rate)
		if p.Verdict == Cut {
			return p
		}
		for _, before := range seen {
			if before.Verdict == p.Verdict {
				if p.Verdict != Good {
					f.settle()
				}
				return p
			}
		}
		seen = append(seen, p)
	}
	// Three different ones. It is not the target's limit for sure.
	f.settle()
	for _, p := range seen {
		if p.Verdict == SaturatedVerdict {
			return p
		}
	}
	return first
}

// settleTime bounds how long a target is waited for after it was overloaded.
const settleTime = 30 * time.Second

// settle waits until the target is rid of what an overload has left in its
// queues, so that it is not charged to the next probe. Requests that come one at
// a time tell: they are within the limit, or no faster than those before them.
// It returns false if the search was interrupted.
func (f *finder) settle() bool {
	limit := max(f.search.P99, f.search.P999)
	clock := f.session.cfg.Clock
	before := maxLatency
	for end := clock.Now().Add(settleTime); clock.Now().Before(end); {
		r := f.session.run(func(c *Config) {
			c.Callers, c.Rate, c.Count, c.Warmup, c.part = 1, 0, 10, 0, "settle"
		})
		if r.Interrupted {
			return false
		}
		if r.Failed == 0 && (r.Latency.Max <= limit || r.Latency.Max > before/10*9) {
			return true
		}
		before = r.Latency.Max
		if r.Latency.Max < 10*time.Millisecond { // failures that come at once
			clock.SleepUntil(f.session.ctx, clock.Now().Add(100*time.Millisecond))
		}
	}
	return f.session.ctx.Err() == nil
}

func (f *finder) probe(phase string, rate float64) Probe {
	hold := f.search.Probe
	if phase == PhaseConfirm {
		hold *= 2
	}
	// A fifth more: Poisson arrivals may be fewer than their mean.
	hold = max(hold, time.Duration(f.search.samples()*1.2/rate*float64(time.Second)))
	r := f.session.run(func(c *Config) {
		c.Rate, c.Duration, c.Count = rate, hold, 0
		c.part = fmt.Sprintf("probe %d, %s", len(f.found.Probes), phase)
	})
	p := Probe{Phase: phase, Rate: rate, Result: r}
	p.Verdict, p.Why = f.search.judge(r)
	f.add(p)
	return p
}

func (f *finder) add(p Probe) {
	f.found.Probes = append(f.found.Probes, p)
	if f.done != nil {
		f.done(p)
	}
}

// judge tells what a probe says about its rate, and why.
func (s *Search) judge(r *Result) (Verdict, string) {
	p99, p999 := r.Latency.P99, r.Latency.P999
	switch {
	case r.Interrupted:
		return Cut, string(Cut)
	case r.Saturated:
		return SaturatedVerdict, fmt.Sprintf("the generator sent %s late at p99 (limit %s)", short(r.Lag.P99), short(SaturatedLag))
	case float64(r.Failed) > s.Errors*float64(r.Requests):
		why := fmt.Sprintf("%d of %d requests failed", r.Failed, r.Requests)
		if len(r.Failures) > 0 {
			why += ", the first by " + r.Failures[0].Outcome
		}
		return Bad, why
	case s.P99 > 0 && p99 > s.P99:
		return Bad, fmt.Sprintf("p99 was %s (limit %s)", short(p99), short(s.P99))
	case s.P999 > 0 && p999 > s.P999:
		return Bad, fmt.Sprintf("p99.9 was %s (limit %s)", short(p999), short(s.P999))
	case float64(r.Completed) < s.samples():
		return Bad, fmt.Sprintf("only %d requests were completed", r.Completed)
	}
	return Good, ""
}

// conclude says what the probes come to.
func (f *finder) conclude() {
	m := &f.found
	if m.Confirmed == nil && len(f.good) > 0 {
		m.Unconfirmed = f.good[len(f.good)-1]
	}
	m.Interrupted = m.Confirmed == nil && f.session.ctx.Err() != nil
	if f.above.Verdict != "" {
		m.TooHigh, m.Limit, m.Why = f.above.Rate, f.above.Verdict, f.above.Why
	}
	if m.Confirmed != nil && m.Limit == "" {
		m.Why = fmt.Sprintf("nothing above %s/s was tried", trim(f.search.Highest))
	}
	m.AtLeast = m.Rate > 0 && m.Limit != Bad
	m.Saturated = m.Limit == SaturatedVerdict
}
