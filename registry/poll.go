package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// The defaults of a Poller.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = 10 * time.Second
	DefaultBackoff  = 15 * time.Second
)

// A Poller is a [Discoverer] that asks again and again. It is the one loop of all
// registries that cannot tell of a change by themselves. Its zero value but for
// Lookup is ready to use; it must not be changed once Watch was called.
type Poller struct {
	// Lookup asks the registry once. next is when what it returned is no longer
	// to be relied on, as with the TTL of DNS; 0 means that it does not know.
	Lookup func(ctx context.Context) (members []Member, next time.Duration, err error)

	// Interval is the time between two lookups, from the end of one to the begin
	// of the next, when all is well. Each is up to a tenth shorter or longer, so
	// that many nodes do not ask at one moment. Zero means DefaultInterval.
	// A next that is shorter comes first; a longer one changes nothing.
	Interval time.Duration

	// Timeout bounds a lookup. Zero means DefaultTimeout.
	Timeout time.Duration

	// Backoff is the longest pause when lookups fail: it doubles from Interval
	// on. Zero means DefaultBackoff, or Interval if that is longer. A
	// [ThrottledError] may ask for more.
	Backoff time.Duration

	// Rand returns numbers in [0, 1). Nil means math/rand/v2.
	Rand func() float64
}

var _ Discoverer = (*Poller)(nil)

// Watch implements [Discoverer]. It yields the result of every lookup.
func (p *Poller) Watch(ctx context.Context) iter.Seq2[[]Member, error] {
	return func(yield func([]Member, error) bool) {
		for failed := 0; ctx.Err() == nil; {
			members, next, err := p.lookup(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failed++
			} else {
				failed = 0
			}
			if !yield(members, err) {
				return
			}
			pause := time.NewTimer(p.pause(failed, next, err))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
			}
		}
	}
}

func (p *Poller) lookup(ctx context.Context) ([]Member, time.Duration, error) {
	timeout := orDefault(p.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	members, next, err := p.Lookup(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return members, next, err
}

// pause returns how long to wait after a lookup, the failed-th in a row that failed.
func (p *Poller) pause(failed int, next time.Duration, err error) time.Duration {
	interval := orDefault(p.Interval, DefaultInterval)
	random := p.Rand
	if random == nil {
		random = rand.Float64
	}
	early := 0.1 // the share of the pause that may be left out, as jitter
	d := interval
	switch {
	case failed > 0:
		d = min(interval<<min(failed-1, 16), max(orDefault(p.Backoff, DefaultBackoff), interval))
		var throttled *ThrottledError
		if errors.As(err, &throttled) && throttled.RetryAfter > d {
			d, early = throttled.RetryAfter, 0
		}
	case 0 < next && next < d:
		d, early = next, 0 // sooner, the answer would be the same
	}
	return d + time.Duration((0.2*random()-early)*float64(d))
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}
