package loadgen

import (
	"context"
	"fmt"
	"runtime"
)

// A session is what runs one after the other share: the targets with their
// connections, and how far they have come in the keys. It belongs to one
// goroutine.
type session struct {
	ctx     context.Context
	cfg     Config // with its defaults; runs replace what is their own
	targets []target
	keys    *keySet
	nextKey func() (key string, ok bool) // of open loops
	cleanup []func()
}

// newSession returns an error if the Config makes no sense.
func newSession(ctx context.Context, cfg Config) (*session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &session{ctx: ctx, cfg: cfg, keys: newKeySet(cfg.Keys)}
	s.nextKey = s.keys.picker(newRand(cfg.Seed, streamKeys))
	if cfg.Do != nil {
		s.targets = []target{funcTarget(cfg.Do)}
	}
	for i, raw := range cfg.URLs {
		t, err := newHTTPTarget(raw, &s.cfg)
		if err != nil {
			return nil, fmt.Errorf("loadgen: URLs[%d]: %w", i, err)
		}
		s.targets = append(s.targets, t)
	}
	if s.cfg.Clock == nil {
		clock := newSystemClock()
		s.cleanup = append(s.cleanup, clock.close)
		s.cfg.Clock = clock
	}
	stop := context.AfterFunc(ctx, s.disconnect)
	s.cleanup = append(s.cleanup, func() { stop() }, s.disconnect)
	return s, nil
}

func (s *session) close() {
	for _, f := range s.cleanup {
		f()
	}
}

// disconnect closes the targets' connections, and so ends requests on them.
func (s *session) disconnect() {
	for _, t := range s.targets {
		if c, ok := t.(interface{ close() }); ok {
			c.close()
		}
	}
}

// run measures one load: the session's Config after change, which may set all
// that is about how much is sent and when. It returns when all requests have
// ended.
func (s *session) run(change func(*Config)) *Result {
	r := &run{session: s, cfg: s.cfg}
	change(&r.cfg)
	r.failures.keep = r.cfg.KeepFailures
	for range min(runtime.GOMAXPROCS(0), 16) {
		r.tallies = append(r.tallies, newTally(&r.cfg, len(s.targets)))
	}
	waits := s.connectionWaits()
	r.start = r.cfg.Clock.Now()
	stopProgress, stopCounting := r.startProgress(), r.startCounting()
	if r.cfg.Callers > 0 {
		r.closedLoop()
	} else {
		r.openLoop()
	}
	stopCounting()
	stopProgress()
	res := r.result()
	res.ConnectionWaits = s.connectionWaits() - waits
	return res
}

// connectionWaits returns how many requests have had to wait for a connection.
func (s *session) connectionWaits() int64 {
	var n int64
	for _, t := range s.targets {
		if h, ok := t.(*httpTarget); ok {
			n += h.dialer.waits.Load()
		}
	}
	return n
}

// traceInfo returns nil if there is no trace.
func (s *session) traceInfo() *TraceInfo {
	trace := s.cfg.Keys.Trace
	if trace == nil {
		return nil
	}
	info := &TraceInfo{Requests: int64(len(trace.Requests)), Repeat: s.cfg.Keys.Repeat, Taken: s.keys.next.Load()}
	if !info.Repeat {
		info.Ended = info.Taken > info.Requests // the one that was not there
		info.Taken = min(info.Taken, info.Requests)
	}
	return info
}
