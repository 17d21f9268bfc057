package geecache

import (
	"sync/atomic"
	"time"
)

// tick is the coarse clock's step. Expiry is exact to about one tick; reading
// the clock costs one atomic load instead of a call of the system's.
const tick = 5 * time.Millisecond

// A coarseClock tells the time since the node was made, in nanoseconds.
type coarseClock struct {
	start time.Time
	ns    atomic.Int64
}

func newCoarseClock() *coarseClock {
	return &coarseClock{start: time.Now()}
}

// run advances the clock until stop is closed.
func (c *coarseClock) run(stop <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.ns.Store(int64(time.Since(c.start)))
		case <-stop:
			return
		}
	}
}

// now returns the coarse time.
func (c *coarseClock) now() int64 { return c.ns.Load() }

// exact returns the time without the coarseness.
func (c *coarseClock) exact() int64 { return int64(time.Since(c.start)) }

// A hybridClock hands out versions: 48 bits of milliseconds since the Unix
// epoch and 16 bits of a counter. Versions of one node always grow, and a node
// that has seen another's version hands out larger ones.
type hybridClock struct {
	last atomic.Uint64
}

// next returns a new version.
func (h *hybridClock) next() uint64 {
	wall := uint64(time.Now().UnixMilli()) << 16
	for {
		last := h.last.Load()
		v := max(wall, last+1)
		if h.last.CompareAndSwap(last, v) {
			return v
		}
	}
}

// believable bounds how far ahead of this node's a peer's clock is believed to be.
const believable = time.Hour

// see makes later versions larger than v, unless v is from too far ahead.
func (h *hybridClock) see(v uint64) {
	if v <= h.last.Load() {
		return // as a rule: the clock need not be asked
	}
	if ageOf(v) < -believable {
		return
	}
	for {
		last := h.last.Load()
		if v <= last || h.last.CompareAndSwap(last, v) {
			return
		}
	}
}

// ageOf returns how long ago a version was made, by this node's clock.
func ageOf(version uint64) time.Duration {
	return time.Since(time.UnixMilli(int64(version >> 16)))
}
