package geecache

import (
	"slices"
	"time"
)

const (
	// healthEvery is how often a node looks at how its peers do.
	healthEvery = 50 * time.Millisecond

	// slowFactor is how many times as long as the median of the others a slow
	// peer takes.
	slowFactor = 4

	// overdueFactor: a ping that has not been answered counts for a part of its
	// age, so that one hiccup of a scheduler makes no peer slow.
	overdueFactor = 3
)

// watchPeers looks at the peers until the node is closed.
func (n *Node) watchPeers() {
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	rolled := n.clock.exact()
	for {
		select {
		case <-t.C:
		case <-n.stop:
			return
		}
		members := n.place().members
		if now := n.clock.exact(); now-rolled >= int64(breakerStep) {
			rolled = now
			for _, m := range members {
				if m.breaker != nil {
					m.breaker.roll()
				}
			}
		}
		n.cutOff.look(members)
		if n.cfg.HedgePercent > 0 {
			n.judgeLatencies(members)
		}
	}
}

// judgeLatencies finds the peers that are slow: those that take longer to answer
// a ping than Timings.SlowAfter, and several times as long as the others. Of two
// nodes, neither can tell.
func (n *Node) judgeLatencies(members []*member) {
	for _, m := range members {
		if m.stream == nil {
			continue
		}
		typical, overdue := m.stream.latency.typical(), m.stream.overdue()
		others := medianLatency(members, m)
		limit := max(n.cfg.Timings.SlowAfter, slowFactor*others)
		switch slow := m.slow.Load(); {
		case others == 0 || m.stream.State() != peerUp:
			if slow {
				n.setSlow(m, false)
			}
		case !slow && max(typical, overdue/overdueFactor) > limit:
			n.log.Warn("peer is slow: its stand-ins are asked first for what they have in memory",
				"peer", m.peer.ID, "rtt", max(typical, overdue), "others", others)
			n.setSlow(m, true)
		case slow && max(typical, overdue) < limit/2:
			n.log.Info("peer is as fast as others again", "peer", m.peer.ID, "rtt", typical)
			n.setSlow(m, false)
		}
	}
}

func (n *Node) setSlow(m *member, slow bool) {
	m.set(func() { m.slow.Store(slow) })
	m.look()
	if !slow {
		n.nextGeneration()
	}
}

// medianLatency returns the median of the round trips to all peers but one; 0 if
// none is known.
func medianLatency(members []*member, but *member) time.Duration {
	var all []time.Duration
	for _, m := range members {
		if m == but || m.stream == nil || m.stream.State() != peerUp {
			continue
		}
		if d := m.stream.latency.typical(); d > 0 {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// breakerChanged is told of each change of a peer's breaker.
func (n *Node) breakerChanged(m *member, to breakerState, err error) {
	m.look()
	if to == breakerClosed {
		n.nextGeneration()
	}
	if m.stream == nil {
		switch to {
		case breakerClosed:
			n.log.Info("peer is up", "peer", m.peer.ID, "addr", m.peer.Addr)
		case breakerOpen:
			n.log.Debug("peer is kept away from", "peer", m.peer.ID, "addr", m.peer.Addr, "err", err)
		}
		return
	}
	if to == breakerOpen && m.stream.State() == peerUp { // else the connection's end has been told
		n.log.Warn("peer fails too often", "peer", m.peer.ID, "addr", m.peer.Addr, "err", err)
	}
}
