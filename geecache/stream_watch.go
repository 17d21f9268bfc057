package geecache

import (
	"fmt"
	"time"
)

// asked notes that a request has been sent since something was received. Only
// the first such request asks for the time.
func (cc *clientConn) asked() {
	if cc.askedAt.Load() != 0 {
		return
	}
	cc.askedAt.Store(cc.now())
	if cc.resting.Load() && cc.resting.CompareAndSwap(true, false) {
		select {
		case cc.wake <- struct{}{}:
		default:
		}
	}
}

// watch pings the peer and ends the connection when it is dead. While requests
// wait, silence for pingBusy makes it ping, and silence for deadAfter is death:
// the peer's reading goroutine answers pings at once, however long its loads
// take. Otherwise it pings each pingIdle, and idleDead is death.
func (cc *clientConn) watch() {
	t := cc.client.cfg.timings
	timer := time.NewTimer(t.pingBusy)
	defer timer.Stop()
	lastPing := int64(0)
	for {
		cc.rest(timer)
		now := cc.now()
		last := cc.lastRecv.Load()
		since, ping, dead := last, t.pingIdle, t.idleDead
		if asked := cc.askedAt.Load(); asked != 0 {
			since, ping, dead = max(last, asked), t.pingBusy, t.deadAfter
		} else if cc.inFlight() > 0 {
			ping, dead = t.pingBusy, t.deadAfter
		}
		silent := time.Duration(now - since)
		// Only an unanswered ping is a proof: if this process has been stopped
		// for a while, what the peer sent may wait to be read.
		if silent >= dead && lastPing > since && time.Duration(now-lastPing) >= (dead-ping)/2 {
			cc.fail(fmt.Errorf("no sign of life for %v", silent.Round(time.Millisecond)))
			return
		}
		if silent >= ping && lastPing <= since {
			cc.w.post(kindPing, uint64(now))
			lastPing = now
		}
		select {
		case <-cc.done:
			return
		default:
		}
	}
}

// rest sleeps until watch is to look again.
func (cc *clientConn) rest(timer *time.Timer) {
	t := cc.client.cfg.timings
	pause := min(t.pingBusy, t.deadAfter) / 3
	idle := cc.askedAt.Load() == 0 && cc.inFlight() == 0
	if idle {
		cc.resting.Store(true)
		// A request may have come in between, and not have seen resting.
		if cc.askedAt.Load() != 0 {
			cc.resting.Store(false)
		} else {
			pause = min(t.pingIdle, t.idleDead) / 2
		}
	}
	timer.Reset(pause)
	select {
	case <-timer.C:
	case <-cc.wake:
	case <-cc.done:
	}
	cc.resting.Store(false)
}
