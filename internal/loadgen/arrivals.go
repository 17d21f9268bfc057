package loadgen

import (
	"math/rand/v2"
	"time"
)

// Streams of random numbers that are drawn from one seed, so that, say, another
// arrival pattern does not change the keys.
const (
	streamArrivals = iota + 1
	streamTargets
	streamKeys // the first of as many as there are callers
)

func newRand(seed uint64, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream))
}

// arrivals is an open loop's schedule: the offsets, from the start of the run,
// at which requests are meant to be sent. It depends on nothing but its Config.
type arrivals struct {
	rate    float64 // per second
	rand    *rand.Rand
	poisson bool
	warmup  time.Duration
	end     time.Duration // 0 for none
	count   int64         // counted requests left; negative for no limit

	n    int64   // offsets returned so far
	last float64 // seconds; Poisson only
}

func newArrivals(c *Config) *arrivals {
	a := &arrivals{
		rate:    c.Rate,
		rand:    newRand(c.Seed, streamArrivals),
		poisson: c.Arrivals == Poisson,
		warmup:  c.Warmup,
		count:   -1,
	}
	if c.Duration > 0 {
		a.end = c.Warmup + c.Duration
	}
	if c.Count > 0 {
		a.count = c.Count
	}
	return a
}

// next returns the next offset, or false after the last one.
func (a *arrivals) next() (time.Duration, bool) {
	var at time.Duration
	if a.poisson {
		a.last += a.rand.ExpFloat64() / a.rate
		at = time.Duration(a.last * float64(time.Second))
	} else {
		// From the number and not from the previous offset: no drift.
		at = time.Duration(float64(a.n) / a.rate * float64(time.Second))
	}
	a.n++
	if a.end > 0 && at >= a.end {
		return 0, false
	}
	if at >= a.warmup && a.count >= 0 {
		if a.count == 0 {
			return 0, false
		}
		a.count--
	}
	return at, true
}
