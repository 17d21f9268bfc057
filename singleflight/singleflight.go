package singleflight

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxAbandoned is the limit of a [Config] that names none.
const DefaultMaxAbandoned = 64

const numShards = 64 // a power of two

// A Config says how a [Group] is set up. The zero Config is valid, and so is
// every other one.
type Config struct {
	// Timeout ends a flight: its callers get ErrTimeout, whatever fn does. Zero
	// or less means none.
	Timeout time.Duration

	// MaxAbandoned is the number of abandoned functions still running at which
	// no new flight is started. Flights that are in the air at that moment may
	// be abandoned on top of it. Zero means DefaultMaxAbandoned, less than zero
	// no limit.
	MaxAbandoned int

	// Grace is how long a function may run on after its flight has ended until
	// it counts as abandoned. Zero means that it counts at once, until it
	// returns. A function that needs a moment to obey its context (a query is
	// cancelled by a round trip to the database) needs a grace, or many callers
	// who leave together make the group refuse flights for that moment.
	Grace time.Duration
}

// A Group makes one call for many callers. It is safe for concurrent use. Make
// one with [New].
type Group[V any] struct {
	timeout      time.Duration
	grace        time.Duration
	maxAbandoned int64
	shards       [numShards]shard[V]

	flights, inFlight, suppressed, timeouts, refused, abandoned, abandonedRunning atomic.Int64
}

// A shard holds the flights of a part of the keys.
type shard[V any] struct {
	mu      sync.Mutex
	flights map[string]*flight[V] // guarded by mu, as are the flights' fields

	_ [48]byte // to 64 bytes, so that two shards never share a cache line
}

// A flight is one call of fn. While it is in its shard's map, callers may join
// it. It ends, once, by what comes first: fn returns, the time is over, or the
// last waiter leaves. Its end, its result and its removal from the map are one
// step under the shard's lock.
type flight[V any] struct {
	group *Group[V]
	shard *shard[V]
	key   string

	ctx    flightContext
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end

	// Written under shard.mu. val and err are final, and may be read without
	// it, once done is closed.
	val       V
	err       error
	waiters   int
	ended     bool
	returned  bool        // fn has
	abandoned bool        // counted in abandonedRunning
	timer     *time.Timer // of the timeout, then of the grace; may be nil
}

// A flightContext is fn's context. The deadline is there for fn to pass on; the
// flight's own timer keeps it. If a timer of the context did, fn could return its
// context's error before the flight has timed out, and callers would get that.
type flightContext struct {
	context.Context
	deadline time.Time // zero: none
}

// Deadline implements context.Context.
func (c *flightContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// New returns a group without flights.
func New[V any](cfg Config) *Group[V] {
	g := &Group[V]{timeout: cfg.Timeout, grace: cfg.Grace, maxAbandoned: int64(cfg.MaxAbandoned)}
	if g.maxAbandoned == 0 {
		g.maxAbandoned = DefaultMaxAbandoned
	}
	for i := range g.shards {
		g.shards[i].flights = make(map[string]*flight[V])
	}
	return g
}

// Do calls fn and returns its result. If a call for the same key is in flight, Do
// waits for that one's result instead: then shared is true, whether it gets the
// result or leaves before. The caller who started the flight has shared false,
// even if others have joined it. hash is a hash of key, well mixed in its low
// bits; the same key must always have the same one.
//
// fn runs in a goroutine of its own. Its context has the values of ctx, but not
// its end: it ends when the last caller has left, at Config.Timeout (which is its
// deadline), or after fn has returned.
//
// A caller whose ctx ends leaves at once, with context.Cause(ctx) as the error,
// unless the result is there. If ctx has ended before the call, nothing is
// started or joined. When the last caller leaves, the flight is over: who comes
// later starts a new one and never gets a cancelled flight's error.
//
// If fn panics, all callers get a [*PanicError]; if it calls runtime.Goexit,
// [ErrGoexit]. A fn that goes on after its flight has ended is abandoned: its
// result is thrown away, and while too many of them are running, Do returns
// [ErrTooManyAbandoned] instead of starting a flight.
//
// What fn has done has happened before its flight can no longer be joined. So a
// fn that stores its result in a cache should first look there: a caller may miss
// in the cache, then the flight that was to fill it ends, then the caller finds no
// flight and starts another. The second look, in fn, saves that call.
func (g *Group[V]) Do(ctx context.Context, hash uint64, key string, fn func(ctx context.Context) (V, error)) (v V, shared bool, err error) {
	if ctx.Err() != nil {
		return v, false, context.Cause(ctx)
	}
	s := &g.shards[hash%numShards]
	s.mu.Lock()
	f := s.flights[key]
	if f != nil {
		f.waiters++
		s.mu.Unlock()
		g.suppressed.Add(1)
		v, err = f.wait(ctx)
		return v, true, err
	}
	if g.maxAbandoned >= 0 && g.abandonedRunning.Load() >= g.maxAbandoned {
		s.mu.Unlock()
		g.refused.Add(1)
		return v, false, ErrTooManyAbandoned
	}
	f = g.startLocked(ctx, s, key)
	s.mu.Unlock()
	go f.run(fn)
	v, err = f.wait(ctx)
	return v, false, err
}

// startLocked puts a new flight with one waiter into the shard.
func (g *Group[V]) startLocked(ctx context.Context, s *shard[V], key string) *flight[V] {
	f := &flight[V]{group: g, shard: s, key: key, done: make(chan struct{}), waiters: 1}
	f.ctx.Context, f.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if g.timeout > 0 {
		f.ctx.deadline = time.Now().Add(g.timeout)
		f.timer = time.AfterFunc(g.timeout, f.expire)
	}
	s.flights[key] = f
	g.flights.Add(1)
	g.inFlight.Add(1)
	return f
}

// wait waits for the flight's end or ctx's, what comes first.
func (f *flight[V]) wait(ctx context.Context) (V, error) {
	select {
	case <-f.done:
		return f.val, f.err
	case <-ctx.Done():
	}
	f.shard.mu.Lock()
	if f.ended {
		f.shard.mu.Unlock()
		return f.val, f.err
	}
	f.waiters--
	last := f.waiters == 0
	if last {
		// In the same step as the last waiter's leaving, or a late joiner
		// could find a flight that is about to be cancelled.
		f.endLocked(errAllLeft)
	}
	f.shard.mu.Unlock()
	if last {
		f.cancel(errAllLeft)
	}
	var zero V
	return zero, context.Cause(ctx)
}

// expire ends the flight because its time is over.
func (f *flight[V]) expire() {
	f.shard.mu.Lock()
	if f.ended {
		f.shard.mu.Unlock()
		return
	}
	f.group.timeouts.Add(1)
	f.endLocked(ErrTimeout)
	f.shard.mu.Unlock()
	f.cancel(ErrTimeout)
}

// run calls fn and ends the flight with its result.
func (f *flight[V]) run(fn func(ctx context.Context) (V, error)) {
	var val V
	err := ErrGoexit // unless fn returns or panics
	returned := false
	defer func() {
		if !returned {
			if r := recover(); r != nil {
				err = newPanicError(r)
			}
		}
		f.finish(val, err)
	}()
	val, err = fn(&f.ctx)
	returned = true
}

// finish takes fn's result.
func (f *flight[V]) finish(val V, err error) {
	f.shard.mu.Lock()
	f.returned = true
	if f.timer != nil {
		f.timer.Stop() // if it is too late, expire or abandon finds nothing to do
	}
	switch {
	case !f.ended:
		f.val = val
		f.endLocked(err)
	case f.abandoned:
		f.group.abandonedRunning.Add(-1)
	}
	f.shard.mu.Unlock()
	f.cancel(nil)
}

// endLocked ends the flight: who waits gets f.val and err, nobody can join any
// more. If fn has not returned, it is being abandoned.
func (f *flight[V]) endLocked(err error) {
	f.ended = true
	f.err = err
	delete(f.shard.flights, f.key)
	f.group.inFlight.Add(-1)
	close(f.done)
	if f.returned {
		return
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.group.grace > 0 {
		f.timer = time.AfterFunc(f.group.grace, f.abandon)
	} else {
		f.abandonLocked()
	}
}

// abandon counts fn as abandoned, unless it has returned.
func (f *flight[V]) abandon() {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if !f.returned {
		f.abandonLocked()
	}
}

func (f *flight[V]) abandonLocked() {
	f.abandoned = true
	f.group.abandoned.Add(1)
	f.group.abandonedRunning.Add(1)
}

// Stats counts what a group has done since it was made, and says what it does.
type Stats struct {
	Flights    int64 // started
	InFlight   int64 // now
	Suppressed int64 // callers that joined a flight instead of starting one
	Timeouts   int64 // flights that ended with ErrTimeout
	Refused    int64 // callers that got ErrTooManyAbandoned

	Abandoned        int64 // functions that were still running after their flight's end (and Config.Grace)
	AbandonedRunning int64 // those of them that are running now
}

// Stats returns the group's figures. They are exact when nobody uses the group
// meanwhile.
func (g *Group[V]) Stats() Stats {
	return Stats{
		Flights:          g.flights.Load(),
		InFlight:         g.inFlight.Load(),
		Suppressed:       g.suppressed.Load(),
		Timeouts:         g.timeouts.Load(),
		Refused:          g.refused.Load(),
		Abandoned:        g.abandoned.Load(),
		AbandonedRunning: g.abandonedRunning.Load(),
	}
}
