package geecache

import "time"

const (
	// chainLeast is how many callers are worth a chain.
	chainLeast = 4

	// chainLen is how many callers one chain has at most: while the peer answers what
	// those of one chain have asked, the next one runs. With chains of 64, client
	// and server took turns, and nothing was gained.
	chainLen = 16

	// chainMost is how many requests may be in flight. With more, all processors
	// have enough to do, and chains cost 5% to 17%.
	chainMost = 96

	// crowdFades is how slowly the number of callers is forgotten: those of the last
	// batches are not in flight as long as they have not asked again.
	crowdFades = 16

	// chainSlack is how long a caller may take to wake the next one: as a rule it is
	// one microsecond.
	chainSlack = 20 * time.Microsecond

	// chainSkips bounds how many batches get no chain after one that was late.
	chainSkips = 1024
)

// A wakeChain is how the callers of a batch of replies are woken when there are
// many, but not very many. Each one wakes the next as soon as it has its reply, and
// the last one hands back to read, which then writes what they have asked meanwhile.
// So there is never more than one of them for another thread to take: waking that
// thread, and having two of them add frames at once, costs more than it brings. Two
// processes on 2 cores, 100,000 keys, 100-byte values: 64 callers got 520,000/s by it
// instead of 382,000 (docs/adr/0068).
//
// A caller wakes the next one before its own code goes on, so only the scheduler
// can make it late. Then, or when the one before it keeps the processor, all that
// are left are woken at once, and the next batches get no chain: one at first, and
// twice as many each time that this happens again.
//
// The chain is read's, and then of the caller that has been woken last.
type wakeChain struct {
	calls []*singleCall // of the batch
	next  int           // in calls: the first one that has not been woken
	end   int           // in calls: of this chain
	woken int64         // when the last one was woken, of clientConn.now
	late  bool          // so the others of the batch are woken at once
	turn  chan struct{} // gets a value when all of the chain have been woken

	crowd   int // how many have lately been in flight at most; it fades
	skip    int // batches that get no chain
	penalty int // what skip becomes when a chain is late
}

func newWakeChain() wakeChain { return wakeChain{turn: make(chan struct{}, 1), penalty: 1} }

// pass wakes the next caller, or all that are left if it is too late for a chain,
// or read if nobody is left.
func (c *wakeChain) pass(now int64) {
	rest := c.calls[c.next:c.end]
	if now-c.woken > int64(chainSlack) {
		c.late = true
	}
	if len(rest) > 0 && !c.late {
		c.next, c.woken = c.next+1, now
		rest[0].callWaiter.end() // from here on the chain is that caller's
		return
	}
	for _, s := range rest {
		s.linked = false
		s.callWaiter.end()
	}
	c.next = c.end
	c.turn <- struct{}{}
}

// judge finds out how many batches are to get no chain after this one.
func (c *wakeChain) judge() {
	if !c.late {
		c.penalty = max(c.penalty/2, 1)
		return
	}
	c.skip, c.penalty = c.penalty, min(2*c.penalty, chainSkips)
}

// wanted reports whether the callers of a batch are to wake each other. used is how
// many requests are in flight besides.
func (c *wakeChain) wanted(ended, used int) bool {
	c.crowd = max(ended+used, c.crowd-c.crowd/crowdFades)
	if ended < chainLeast || c.crowd > chainMost {
		return false
	}
	if c.skip > 0 {
		c.skip--
		return false
	}
	return true
}

// wakeInTurn ends the calls whose replies have been gathered, as handOut does, but
// has the callers of fetches wake each other.
func (cc *clientConn) wakeInTurn() {
	c := &cc.chain
	c.calls, c.next, c.late = c.calls[:0], 0, false
	for i, k := range cc.ended {
		if k == nil {
			continue
		}
		k.reply = cc.replies[i].PeerReply
		if k.shared == nil {
			k.end()
			continue
		}
		c.calls = k.shared.linkAll(c.calls)
	}
	for parts := (len(c.calls) + chainLen - 1) / chainLen; parts > 0; parts-- {
		c.end = c.next + (len(c.calls)-c.next)/parts
		writer := !c.late && cc.w.claim()
		c.woken = cc.now()
		c.pass(c.woken)
		<-c.turn
		c.late = c.late || cc.now()-c.woken > int64(chainSlack)
		if writer {
			cc.w.writeClaimed()
		}
	}
	c.judge()
	clear(c.calls)
}

// linkAll gives all callers of a flight its reply, and adds them to a chain. The
// flight cannot be found any more.
func (s *singleCall) linkAll(calls []*singleCall) []*singleCall {
	for o := s.next; o != s; o = o.next {
		o.reply, o.err, o.linked = s.reply, s.err, true
		calls = append(calls, o)
	}
	s.lead, s.linked = true, true
	return append(calls, s)
}

// passOn is called by a caller of fetch as soon as it has been woken.
func (cc *clientConn) passOn(s *singleCall) {
	if s.linked {
		cc.chain.pass(cc.now())
	}
}
