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

// A silence is what watch judges by. Times are counted from the connection's
// beginning.
type silence struct {
	now      int64
	lastRecv int64
	askedAt  int64 // the first request after lastRecv; 0: none
	lastPing int64
	looks    int  // how often watch has woken up since, this time included
	waiting  bool // requests wait
}

// looksBeforeDeath is how often watch must wake up after a ping before it takes
// silence for death. A process that is stopped does not wake up, so however long
// it is stopped, and whenever, what the peer has sent meanwhile can be read first.
const looksBeforeDeath = 3

// judge decides whether to ping the peer, and whether it is dead. While requests
// wait, silence for pingBusy makes the client ping, and silence for deadAfter is
// death: the peer's reading goroutine answers pings at once, however long its
// loads take. A request whose caller has left counts as well, else callers of
// short patience would never find out. Otherwise it is pingIdle and idleDead.
func (s silence) judge(t streamTimings) (ping, dead bool) {
	since, pingAfter, deadAfter := s.lastRecv, t.pingIdle, t.idleDead
	switch {
	case s.askedAt != 0:
		since, pingAfter, deadAfter = max(s.lastRecv, s.askedAt), t.pingBusy, t.deadAfter
	case s.waiting:
		pingAfter, deadAfter = t.pingBusy, t.deadAfter
	}
	silent := time.Duration(s.now - since)
	if s.lastPing <= since {
		return silent >= pingAfter, false
	}
	// Only a ping that had time to be answered is a proof.
	answerable := time.Duration(s.now-s.lastPing) >= (deadAfter-pingAfter)/2 && s.looks >= looksBeforeDeath
	return false, silent >= deadAfter && answerable
}

// probeEvery is how often a peer with traffic is pinged to see how long it takes.
const probeEvery = 100 * time.Millisecond

// probe decides whether to ping the peer though it is not silent: there is
// traffic, or it is looked at closely, and the last ping has been answered.
func (cc *clientConn) probe(s silence) bool {
	return (s.askedAt != 0 || s.waiting || cc.client.closely.Load()) &&
		cc.pingedAt.Load() == 0 && s.now-s.lastPing >= int64(probeEvery)
}

// pong takes note of the answer to the ping that was sent at a time.
func (cc *clientConn) pong(sent int64) {
	now := cc.now()
	if sent <= 0 || sent > now {
		return // not a ping of ours
	}
	cc.client.latency.add(time.Duration(now - sent))
	cc.pingedAt.CompareAndSwap(sent, 0)
	if cc.client.cfg.onPong != nil {
		cc.client.cfg.onPong()
	}
}

// overdue returns how long the peer has not answered a ping; 0 if it has.
func (cc *clientConn) overdue() time.Duration {
	sent := cc.pingedAt.Load()
	if sent == 0 {
		return 0
	}
	return time.Duration(cc.now() - sent)
}

// patient returns the timings with more time before a peer counts as dead that
// has been seen to take long.
func (t streamTimings) patient(l *latency) streamTimings {
	t.deadAfter = max(t.deadAfter, min(3*l.most(), t.deadMost))
	return t
}

// watch pings the peer, and ends the connection when it is dead.
func (cc *clientConn) watch() {
	timer := time.NewTimer(cc.client.cfg.timings.pingBusy)
	defer timer.Stop()
	lastPing, looks, swept := int64(0), 0, int64(0)
	for {
		cc.rest(timer)
		looks++
		select {
		case <-cc.done:
			return
		default:
		}
		s := silence{
			lastRecv: cc.lastRecv.Load(), askedAt: cc.askedAt.Load(),
			lastPing: lastPing, looks: looks, waiting: cc.inFlight() > 0,
		}
		s.now = cc.now()
		t := cc.client.cfg.timings.patient(&cc.client.latency)
		if s.waiting && s.now-swept >= int64(sweepEvery) {
			cc.sweep(s.now)
			swept = s.now
		}
		ping, dead := s.judge(t)
		if dead {
			cc.fail(fmt.Errorf("no sign of life for %v", time.Duration(s.now-s.lastRecv).Round(time.Millisecond)))
			return
		}
		if ping || cc.probe(s) {
			cc.pingedAt.Store(s.now)
			cc.w.post(kindPing, uint64(s.now))
			lastPing, looks = s.now, 0
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
			if cc.client.closely.Load() {
				pause = min(pause, probeEvery)
			}
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
