package geecache

import (
	"sync/atomic"
	"time"
)

// A latency follows how long a peer takes for what takes no waiting: to answer a
// ping, which its reading goroutine does in turn with hits. So a slow source, or
// a large value, does not show in it. It smooths as TCP does (RFC 6298). One
// goroutine adds, any number may read.
type latency struct {
	mean, spread atomic.Int64 // ns; mean 0: nothing is known
	last         atomic.Int64 // the latest round trip as it was, ns; 0: there was none
}

// add takes a round trip into account.
func (l *latency) add(d time.Duration) {
	rtt, mean := max(int64(d), 1), l.mean.Load()
	l.last.Store(rtt)
	if mean == 0 {
		l.spread.Store(rtt / 2)
		l.mean.Store(rtt)
		return
	}
	off := rtt - mean
	if off < 0 {
		off = -off
	}
	spread := l.spread.Load()
	l.spread.Store(spread + (off-spread)/4)
	l.mean.Store(max(mean+(rtt-mean)/8, 1))
}

// forget makes the next round trip the first.
func (l *latency) forget() {
	l.mean.Store(0)
	l.last.Store(0)
}

// latest returns the last round trip, not smoothed; 0 if nothing is known.
func (l *latency) latest() time.Duration { return time.Duration(l.last.Load()) }

// typical returns the mean round trip; 0 if nothing is known.
func (l *latency) typical() time.Duration { return time.Duration(l.mean.Load()) }

// most returns the time that hardly any round trip exceeds; 0 if nothing is known.
func (l *latency) most() time.Duration {
	mean := l.mean.Load()
	if mean == 0 {
		return 0
	}
	return time.Duration(mean + 4*l.spread.Load())
}
