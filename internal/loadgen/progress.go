package loadgen

import (
	"time"
)

// A Snapshot is how a run is doing.
type Snapshot struct {
	Part        string        // of a series of runs: which one this is; empty for one run
	Elapsed     time.Duration // since the end of the warm-up; negative during it
	Planned     time.Duration // zero if only a count ends the run
	Mode        string
	Rate        float64 // requests per second that were answered since the last snapshot
	TargetRate  float64 // 0 in a closed loop
	Done        int64   // counted requests that have ended
	Failed      int64
	Outstanding int64
	Latency     LatencyStats // of the whole run so far; without its HDR
	LagP99      time.Duration
	Seconds     []SecondStats // the last 60, the current one included
	Trace       *TraceInfo    // nil without a trace
}

// startProgress reports until the function that it returns is called.
func (r *run) startProgress() (stop func()) {
	if r.cfg.Progress == nil {
		return func() {}
	}
	quit := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(r.cfg.ProgressEvery)
		defer tick.Stop()
		var last Snapshot
		for {
			select {
			case <-quit:
				r.cfg.Progress(r.snapshot(last))
				return
			case <-tick.C:
				last = r.snapshot(last)
				r.cfg.Progress(last)
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// CountingLine is how `geecache load` tells that [Config.Counting] was called.
const CountingLine = "counting requests from now on"

// startCounting says when the warm-up is over, unless the function that it returns
// is called before.
func (r *run) startCounting() (stop func()) {
	if r.cfg.Counting == nil {
		return func() {}
	}
	said := make(chan struct{})
	timer := time.AfterFunc(r.cfg.Warmup, func() {
		defer close(said)
		r.cfg.Counting()
	})
	return func() {
		if !timer.Stop() {
			<-said
		}
	}
}

func (r *run) sum() *tally {
	sum := newTally(&r.cfg, len(r.targets))
	for _, t := range r.tallies {
		t.mergeInto(sum)
	}
	return sum
}

func (r *run) snapshot(last Snapshot) Snapshot {
	sum := r.sum()
	s := Snapshot{
		Elapsed:     r.since() - r.cfg.Warmup,
		Planned:     r.cfg.Duration,
		Mode:        r.mode(),
		TargetRate:  r.cfg.Rate,
		Outstanding: r.outstanding.Load(),
		Latency:     latencyStats(sum.latency, sum.maxes[0]),
		LagP99:      time.Duration(sum.lag.ValueAtPercentile(99)),
		Part:        r.cfg.part,
		Trace:       r.traceInfo(),
	}
	for o, n := range sum.outcomes {
		s.Done += n
		if Outcome(o).Failed() {
			s.Failed += n
		}
	}
	since := s.Elapsed
	if last.Mode != "" {
		since -= max(last.Elapsed, 0)
	}
	if since > 0 {
		s.Rate = float64(s.Done-last.Done) / since.Seconds()
	}
	s.Seconds = sum.secondStats()
	if extra := len(s.Seconds) - 60; extra > 0 {
		s.Seconds = s.Seconds[extra:]
	}
	return s
}
