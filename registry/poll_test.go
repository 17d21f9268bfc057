package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
)

var errDown = errors.New("the registry is down")

func member(id string) Member { return Member{Peer: geecache.Peer{ID: id, Addr: id + ":8000"}} }

// pauses returns how long a poller pauses after each of some outcomes, with the
// given random numbers, in turn.
func pauses(t *testing.T, p Poller, outcomes []error, next time.Duration, random ...float64) []time.Duration {
	t.Helper()
	var got []time.Duration
	synctest.Test(t, func(t *testing.T) {
		i, last := 0, time.Now()
		p.Lookup = func(context.Context) ([]Member, time.Duration, error) {
			if i > 0 {
				got = append(got, time.Since(last))
			}
			if last = time.Now(); i == len(outcomes) {
				return nil, 0, nil
			}
			i++
			return []Member{member("a")}, next, outcomes[i-1]
		}
		n := 0
		p.Rand = func() float64 { n++; return random[(n-1)%len(random)] }
		for range p.Watch(t.Context()) {
			if len(got) == len(outcomes) {
				break
			}
		}
	})
	return got
}

func TestPollerPauses(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	throttled := func(after time.Duration) error {
		return fmt.Errorf("asking: %w", &ThrottledError{RetryAfter: after, Err: errDown})
	}
	fine := []error{nil, nil, nil}
	for name, tt := range map[string]struct {
		p        Poller
		outcomes []error
		next     time.Duration
		random   []float64
		want     []time.Duration
	}{
		"default":     {outcomes: fine, want: []time.Duration{2 * s, 2 * s, 2 * s}},
		"jitter":      {outcomes: fine, random: []float64{0, 0.5, 0.75}, want: []time.Duration{1800 * ms, 2 * s, 2100 * ms}},
		"interval":    {p: Poller{Interval: 10 * s}, outcomes: fine, want: []time.Duration{10 * s, 10 * s, 10 * s}},
		"shorter TTL": {outcomes: fine, next: s, random: []float64{0, 0, 0.5}, want: []time.Duration{s, s, 1100 * ms}},
		"longer TTL":  {outcomes: fine, next: time.Hour, want: []time.Duration{2 * s, 2 * s, 2 * s}},
		"errors back off": {
			outcomes: []error{errDown, errDown, errDown, errDown, errDown, nil, errDown},
			want:     []time.Duration{2 * s, 4 * s, 8 * s, 15 * s, 15 * s, 2 * s, 2 * s},
		},
		"no overflow": {outcomes: slices.Repeat([]error{errDown}, 100), want: append([]time.Duration{2 * s, 4 * s, 8 * s}, slices.Repeat([]time.Duration{15 * s}, 97)...)},
		"backoff": {
			p: Poller{Interval: s, Backoff: 3 * s}, outcomes: []error{errDown, errDown, errDown},
			want: []time.Duration{s, 2 * s, 3 * s},
		},
		"backoff is not below the interval": {
			p: Poller{Interval: time.Minute}, outcomes: []error{errDown, errDown}, want: []time.Duration{time.Minute, time.Minute},
		},
		"throttled": {
			outcomes: []error{throttled(0), throttled(time.Minute), throttled(s)}, random: []float64{0.5, 0, 0.5},
			want: []time.Duration{2 * s, time.Minute, 8 * s},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.random == nil {
				tt.random = []float64{0.5}
			}
			if got := pauses(t, tt.p, tt.outcomes, tt.next, tt.random...); !slices.Equal(got, tt.want) {
				t.Errorf("pauses %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPollerBoundsALookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Poller{Timeout: 3 * time.Second, Lookup: func(ctx context.Context) ([]Member, time.Duration, error) {
			<-ctx.Done()
			return nil, 0, ctx.Err()
		}}
		start := time.Now()
		for _, err := range p.Watch(t.Context()) {
			if took := time.Since(start); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 3s") {
				t.Errorf("%v after %v", err, took)
			}
			break
		}
	})
}

func TestPollerEndsWithItsContext(t *testing.T) {
	for name, lookup := range map[string]func(context.Context) ([]Member, time.Duration, error){
		"during a lookup": func(ctx context.Context) ([]Member, time.Duration, error) { <-ctx.Done(); return nil, 0, ctx.Err() },
		"during a pause":  func(context.Context) ([]Member, time.Duration, error) { return nil, 0, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				for _, err := range (&Poller{Lookup: lookup}).Watch(ctx) {
					if err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("it ended after %v", took)
				}
			})
		})
	}
}

func TestThrottledError(t *testing.T) {
	err := error(&ThrottledError{RetryAfter: time.Minute, Err: errDown})
	if !errors.Is(err, ErrThrottled) || !errors.Is(err, errDown) || !strings.Contains(err.Error(), "1m0s") {
		t.Error(err)
	}
	if text := (&ThrottledError{Err: errDown}).Error(); strings.Contains(text, "0s") {
		t.Error(text)
	}
}
