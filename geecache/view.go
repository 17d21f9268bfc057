package geecache

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/geecache/geecache/consistenthash"
)

func hashOf(key string) uint64 { return consistenthash.Hash(key) }

// setViewLocked puts a view in force.
func (n *Node) setViewLocked(peers []Peer) (err error) {
	if n.state.Load() == stateStopped {
		return ErrClosed
	}
	draining := n.state.Load() == stateDraining
	peers = n.withSelf(peers)
	if n.members != nil && !draining && slices.Equal(peers, n.peers) {
		return nil // as those who watch a registry often say
	}
	var returned, fresh []*member
	defer func() {
		if err != nil {
			n.retired = append(n.retired, returned...)
			for _, m := range fresh {
				n.retire(m)
			}
		}
	}()
	next := make(map[string]*member, len(peers))
	var owners, clients []*member
	for _, p := range peers {
		if p.ID == n.cfg.ID && draining {
			continue
		}
		key := fmt.Sprint(p) // another weight or role makes another member
		m := n.members[key]
		if m == nil {
			if m = n.unretire(p); m != nil {
				returned = append(returned, m)
			}
		}
		if m == nil {
			if m, err = n.newMember(p); err != nil {
				return err
			}
			if m.client != nil {
				fresh = append(fresh, m)
			}
		}
		next[key] = m
		if m.peer.Role == RoleClient {
			clients = append(clients, m)
		} else {
			owners = append(owners, m)
		}
	}
	ring, ordered, err := buildRing(owners)
	if err != nil {
		return err
	}
	old := n.place()
	now := n.clock.exact()
	p := &placement{
		gen: n.generationAfter(old), ring: ring, members: ordered, clients: clients, self: -1,
		epoch: epochOf(ring.Nodes()),
	}
	p.epochHeader = []string{epochText(p.epoch)}
	for i, m := range ordered {
		if m.self {
			p.self = i
		}
	}
	if err := n.remember(p, old, now); err != nil {
		return err
	}
	n.current.Store(p)
	for key, m := range n.members {
		if next[key] == nil && m.client != nil {
			n.retire(m)
		}
	}
	if old.epoch != p.epoch {
		n.viewChanges++
		n.apart = nil
		n.log.Info("view changed", "epoch", epochText(p.epoch), "nodes", len(ordered), "clients", len(clients))
	}
	n.members, n.peers = next, peers
	for _, m := range returned {
		m.closing.Stop()
	}
	return nil
}

// remember keeps the ring that p replaces, so that p's new owners can ask the
// previous ones. A newcomer, which had no view, takes the ring without itself, and
// again with each change while it is one: it may learn of the others one by one.
func (n *Node) remember(p, old *placement, now int64) error {
	if n.cfg.Handover < 0 {
		return nil
	}
	until := now + int64(n.cfg.Handover)
	if len(p.members) > 1 && (old.ring == nil || len(old.members) <= 1) && n.newUntil == 0 {
		n.newUntil = until
	}
	if old.ring != nil && len(old.members) > 1 && old.epoch != p.epoch {
		p.formers = append(p.formers, former{old.ring, old.members, until, false})
	}
	if now < n.newUntil {
		var others []*member
		for _, m := range p.members {
			if !m.self {
				others = append(others, m)
			}
		}
		ring, by, err := buildRing(others)
		if err != nil {
			return err
		}
		p.formers = append(p.formers, former{ring, by, n.newUntil, true})
	}
	for _, f := range old.formers {
		if now < f.until && !f.made && len(p.formers) < formersMost {
			p.formers = append(p.formers, f)
		}
	}
	return nil
}

// configured returns this node as it is configured.
func (n *Node) configured() Peer {
	return Peer{ID: n.cfg.ID, Addr: n.cfg.Addr, Role: n.cfg.Role, Zone: n.cfg.Zone, Weight: cmp.Or(n.cfg.Weight, 1)}
}

// self returns this node as it is in p.
func (n *Node) self(p *placement) Peer {
	if p.self >= 0 && p.self < len(p.members) {
		return p.members[p.self].peer
	}
	return n.configured()
}

// withSelf returns the view with this node in it, as it is configured. Without a
// weight of its own it has the one that a fixed view says: the others go by that.
func (n *Node) withSelf(peers []Peer) []Peer {
	self := n.configured()
	out := make([]Peer, 0, len(peers)+1)
	for _, p := range peers {
		if p.ID == self.ID {
			if n.cfg.Weight == 0 && !n.cfg.Dynamic {
				self.Weight = p.Weight
			}
			continue
		}
		if p.Addr == self.Addr && self.Addr != "" {
			n.log.Warn("the view has this node's address under another ID, which nobody will answer for: "+
				"give this node that ID, or leave it out of the list", "id", p.ID, "addr", p.Addr)
		}
		out = append(out, p)
	}
	return append(out, self)
}

// checkListed tells of a fixed view that has this node as what it is not: the others
// go by the view. It tells once, as long as the view says the same.
func (n *Node) checkListed(before, now []Peer) {
	if n.cfg.Dynamic {
		return
	}
	listed := func(peers []Peer) Peer {
		if i := slices.IndexFunc(peers, func(p Peer) bool { return p.ID == n.cfg.ID }); i >= 0 {
			return peers[i]
		}
		return Peer{}
	}
	self, p := n.configured(), listed(now)
	if p == (Peer{}) || p == listed(before) {
		return
	}
	if p.Role != self.Role {
		n.log.Error("the list of members has this node with another role: others that have that list have another ring, "+
			"and keys are loaded twice; make both the same", "role", self.Role, "listed", p.Role)
	} else if self.Role == RoleNode && n.cfg.Weight != 0 && p.Weight != n.cfg.Weight {
		n.log.Error("the list of members has this node with another weight: others that have that list have another ring, "+
			"and keys are loaded twice; leave this node's own weight out, or make both the same", "weight", n.cfg.Weight, "listed", p.Weight)
	}
}

// newMember makes the member for a peer, and begins to connect to it.
func (n *Node) newMember(p Peer) (*member, error) {
	m := &member{peer: p, self: p.ID == n.cfg.ID}
	if m.self || p.Role == RoleClient {
		return m, nil
	}
	name, addr := scheme(p.Addr)
	if addr == "" {
		return nil, peerErrorf(p, "peer %s has no Addr: give it the address that it listens on", p.ID)
	}
	made := make(chan struct{}) // what is told of the member waits until it is there
	defer close(made)
	switch name {
	case "":
		m.protocol, m.marked = "stream", true
		cfg := n.streamClientConfig(p, addr)
		cfg.onState = func(st peerState, _ hello, err error) {
			<-made
			m.connection(st, err)
			n.peerState(p, st, err)
		}
		cfg.onPong = func() {
			<-made
			if !m.fast.Load() {
				m.breaker.alive()
			}
		}
		cfg.onMember, cfg.announce = n.hearOf, n.announcement
		c := newStreamClient(cfg)
		m.client, m.stream = c, c
		n.guard(m)
	case "http", "https":
		m.protocol, m.client = name, newHTTPClient(n, p, p.Addr)
		n.guard(m)
	default:
		t := n.cfg.Transports[name]
		if t == nil {
			return nil, peerErrorf(p, "peer %s: nothing speaks %q: add it to Config.Transports, or leave the scheme out", p.ID, name)
		}
		c, err := t.New(Peer{ID: n.cfg.ID, Addr: n.cfg.Addr, Role: n.cfg.Role}, p, addr)
		if err != nil {
			return nil, peerErrorf(p, "peer %s: %w", p.ID, err)
		}
		m.protocol, m.marked, m.client = name, true, c
		n.guard(m)
	}
	return m, nil
}

// guard puts a breaker before a member's client.
func (n *Node) guard(m *member) {
	m.guard(n.clock.exact, n.cfg.Rand, n.cfg.Timings.RedialMax, func(to breakerState, err error) { n.breakerChanged(m, to, err) })
}

func (n *Node) streamClientConfig(p Peer, addr string) streamClientConfig {
	return streamClientConfig{
		self: n.hello, secrets: n.cfg.Secrets, refusals: &n.refusals, peer: p, addr: addr, dial: n.cfg.Dial, tls: n.cfg.GetClientTLS,
		timings: n.streamTimings(), maxValue: n.cfg.MaxValueBytes, rand: n.cfg.Rand, log: n.log,
	}
}

// peerState is told of each change of a connection.
func (n *Node) peerState(p Peer, st peerState, err error) {
	defer n.settle()
	switch st {
	case peerUp:
		n.log.Info("peer is up", "peer", p.ID, "addr", p.Addr)
		n.returned(p.ID)
		n.nextGeneration()
	case peerDown, peerDraining:
		if st == peerDraining {
			n.leaves(p.ID)
		}
		if n.state.Load() < stateServing { // a cluster that starts: it will come
			n.log.Info("peer is not there yet", "peer", p.ID, "addr", p.Addr, "err", err)
			return
		}
		n.log.Warn("peer is "+st.String(), "peer", p.ID, "addr", p.Addr, "err", err)
	}
}

// nextGeneration makes each entry be checked against the ring again: a peer
// answers, for whose keys this node may have stood in.
func (n *Node) nextGeneration() {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := *n.place()
	p.gen = n.generationAfter(&p)
	n.current.Store(&p)
}

// generationAfter returns the generation of the placement that follows. A node that
// drains begins none: what it has stays where it is until it is asked for or pushed.
func (n *Node) generationAfter(old *placement) uint32 {
	if n.state.Load() == stateDraining {
		return old.gen
	}
	return old.gen + 1
}

// retire keeps a member that has left the view for as long as its memory may be
// asked, and then closes it.
func (n *Node) retire(m *member) {
	n.retired = append(n.retired, m)
	pause := max(n.cfg.Handover, time.Second)
	m.closing = time.AfterFunc(pause, func() {
		n.mu.Lock()
		i := slices.Index(n.retired, m)
		// Requests end in the view that they began in; and who left and is still in
		// the registry may return without announcing itself.
		if i >= 0 && (m.busy() || n.awaitedLocked(m.peer.ID)) {
			m.closing.Reset(pause)
			i = -1
		}
		if i >= 0 {
			n.retired = slices.Delete(n.retired, i, i+1)
			n.forgetLocked(m)
		}
		n.mu.Unlock()
		if i >= 0 {
			_ = m.client.Close()
		}
	})
}

// unretire takes back a member that has left the view and returns to it.
func (n *Node) unretire(p Peer) *member {
	for i, m := range n.retired {
		if m.peer == p {
			n.retired = slices.Delete(n.retired, i, i+1)
			return m
		}
	}
	return nil
}

// hello is what this node says of itself in a handshake.
func (n *Node) hello() hello {
	return hello{Cluster: n.cfg.Cluster, ID: n.cfg.ID, Version: n.cfg.ProtocolVersion, Role: n.cfg.Role, Epoch: n.place().epoch, Zone: n.cfg.Zone}
}

func (n *Node) streamTimings() streamTimings {
	t := n.cfg.Timings
	return streamTimings{
		dialTimeout: t.DialTimeout, deadAfter: t.DeadAfter, deadMost: t.DeadMost,
		pingBusy: t.PingBusy, pingIdle: t.PingIdle, redialMax: t.RedialMax,
	}
}
