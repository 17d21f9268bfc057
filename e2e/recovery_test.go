//go:build unix

package e2e

import (
	"testing"
	"time"
)

// A sample is how many requests have been answered, and how many of them the source was
// asked for, since the beginning.
type sample struct{ requests, queries int64 }

// hitRatio returns the share of requests that the source was not asked for, between two
// samples; 0 if there were none.
func (s sample) hitRatio(before sample) float64 {
	requests, queries := s.requests-before.requests, s.queries-before.queries
	if requests <= 0 {
		return 0
	}
	return max(1-float64(queries)/float64(requests), 0)
}

// level returns the hit ratio of the next moments.
func level(take func() sample, during time.Duration) float64 {
	before := take()
	time.Sleep(during)
	return take().hitRatio(before)
}

// A window is the hit ratio of a part of a recovery.
type window struct {
	end      time.Duration // since the last start
	requests int64
	ratio    float64
}

// recovery records the hit ratio in windows, of about a given length, from now until a
// time since the last start. take may be of any environment: it sums up what its nodes count.
func recovery(t *testing.T, take func() sample, lastStart time.Time, until, each time.Duration) (all []window) {
	t.Helper()
	before := take()
	for time.Since(lastStart) < until {
		time.Sleep(each)
		now := take()
		w := window{time.Since(lastStart), now.requests - before.requests, now.hitRatio(before)}
		t.Logf("%5v after the last start: %5d requests, hit ratio %5.1f%%", w.end.Round(10*time.Millisecond), w.requests, 100*w.ratio)
		all, before = append(all, w), now
	}
	return all
}

// backAt returns since when the hit ratio has been at least least and has stayed there;
// ok is false if it is not there at the end, or nobody has asked for anything.
func backAt(all []window, least float64) (at time.Duration, ok bool) {
	for _, w := range all {
		switch {
		case w.ratio < least || w.requests == 0:
			ok = false
		case !ok:
			at, ok = w.end, true
		}
	}
	return at, ok
}
