package geecache

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// A membership is what a node has heard of who is in the cluster: the two sources
// that its view is made of. Node.mu guards it.
type membership struct {
	base      []Peer                   // what SetView said last
	announced map[string]*announcer    // what members said of themselves, by ID
	left      map[string]*departed     // who said that it leaves, by ID
	apart     map[string]*disagreement // members with another ring, in this view, by ID

	changed int64       // of the clock: when announcements last changed the view
	pending *time.Timer // puts those in force that came soon after; nil: there are none
}

// An announcer is a member that has announced itself, or that another one told of.
type announcer struct {
	announcement
	spoke   int64 // of the clock: when it announced itself; 0: others told of it
	seen    int64 // when it could last be reached; 0: it has been dropped
	dropped int64 // when it was
}

// A departed is a member that said that it leaves.
type departed struct {
	addr    string // where it said that it listens; empty: it did not
	run     uint64 // which run of it; 0: not known
	at      int64  // of the clock
	omitted bool   // SetView has left it out since
}

// A disagreement is a member that has another ring than this node.
type disagreement struct {
	epoch uint64 // its
	since int64  // of the clock
	told  bool   // the log has it
}

const (
	// announceEvery is how often a node tells its peers who it is, and what its view
	// is: so who has dropped it by mistake takes it back, and whose view differs
	// tells it who else is there.
	announceEvery = 2 * time.Second

	// unreachableFor is how long an announced member may be unreachable before it is
	// dropped.
	unreachableFor = 10 * time.Second

	// droppedFor is for how long an announcement on the same connection does not bring
	// it back: it listens where this node cannot reach it.
	droppedFor = time.Minute

	// leftFor is for how long a member's word that it leaves outweighs a SetView that
	// has it all the while.
	leftFor = 5 * time.Minute

	// announceSettle is the least time between two changes of the view that
	// announcements bring about: of nodes that start together, the first one is a
	// member at once, and the others are together.
	announceSettle = 100 * time.Millisecond

	// apartFor is how long two members may have different rings before the log tells.
	apartFor = 30 * time.Second

	// memberLook is how often it is looked who can be reached.
	memberLook = time.Second
)

// SetView tells the node who is in the cluster: its peers, and itself or not
// (a node that is not draining is always in its own view). It returns at once;
// connections are made in the background. Requests in flight end in the view
// that they began in. Views come from outside: from a fixed list, or from
// whatever watches a registry. An error leaves the last view in force; if it is one
// peer's fault it is a [PeerError].
//
// With [Config.Dynamic] members also speak for themselves, and the view is always:
//
//   - who SetView named last,
//   - and who has announced itself to this node and can be reached, or could less
//     than 10 s ago,
//   - but nobody who has said that it leaves. That holds until it announces itself
//     anew, or is reached anew, or SetView has left it out and then names it, or
//     5 minutes have passed.
//
// The order of the two sources does not matter. Of a member that both name, the
// address is SetView's, and the weight, the role and the zone are the member's own
// (the zone only if it says one). A member whose ID SetView does not know, and that
// it names by its address, has the ID that the member says.
func (n *Node) SetView(peers []Peer) error {
	peers, err := normaliseView(peers)
	if err != nil {
		return err
	}
	defer n.settle()
	n.mu.Lock()
	defer n.mu.Unlock()
	base := n.base
	n.base = peers
	for id, d := range n.left {
		switch named := d.namedIn(peers, id); {
		case !named:
			d.omitted = true
		case d.omitted:
			delete(n.left, id)
		}
	}
	if err := n.useLocked(); err != nil {
		n.base = base
		return err
	}
	n.checkListed(base, peers)
	return nil
}

// useLocked puts what is known in force. A member whose word about itself cannot be
// used is dropped: it must not be able to stop all changes.
func (n *Node) useLocked() error {
	for {
		err := n.setViewLocked(n.combineLocked())
		var wrong *PeerError
		if !n.cfg.Dynamic || !errors.As(err, &wrong) {
			return err
		}
		a := n.announced[wrong.ID]
		if a == nil || a.seen == 0 {
			return err
		}
		a.seen, a.dropped = 0, n.clock.exact()
		n.log.Warn("a member that announced itself cannot be used: it is left out", "err", err)
	}
}

// combineLocked returns the view that the two sources make, sorted by ID.
func (n *Node) combineLocked() []Peer {
	if !n.cfg.Dynamic {
		return n.base
	}
	view := make([]Peer, 0, len(n.base)+len(n.announced))
	named := make(map[string]bool, len(n.base))
	byAddr := make(map[string]bool, len(n.announced))
	for _, a := range n.announced {
		byAddr[a.Addr] = byAddr[a.Addr] || a.seen != 0 // its ID may be a new one
	}
	for _, d := range n.left {
		if d.addr != "" {
			byAddr[d.addr] = true
		}
	}
	for _, p := range n.base {
		a := n.announced[p.ID]
		switch {
		case n.left[p.ID] != nil:
			continue
		case a != nil:
			p.Weight, p.Role, p.Zone = a.Weight, a.Role, cmp.Or(a.Zone, p.Zone)
		case p.ID == p.Addr && byAddr[p.Addr]:
			continue // it has told its ID, or that it leaves
		}
		named[p.ID] = true
		view = append(view, p)
	}
	for id, a := range n.announced {
		if a.seen != 0 && !named[id] && n.left[id] == nil {
			view = append(view, a.Peer)
		}
	}
	slices.SortFunc(view, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	return view
}

// announcement is what this node says of itself: nothing as long as it does not
// listen, nor when it leaves, nor if it owns nothing.
func (n *Node) announcement() (announcement, bool) {
	st := n.state.Load()
	ok := (st == stateJoining || st == stateServing) && n.cfg.Role == RoleNode && n.cfg.Addr != ""
	p := n.place()
	return announcement{
		Peer: n.self(p), run: n.run, epoch: p.epoch,
	}, ok
}

// announce tells all peers of this node.
func (n *Node) announce() {
	for _, m := range n.place().members {
		if m.stream != nil {
			m.stream.announce()
		}
	}
}

// hear takes note of what the node from says of itself, and tells others who would
// not hear of it, or of whom it has not heard.
func (n *Node) hear(from hello, a announcement, first bool) error {
	if a.ID != from.ID {
		return fmt.Errorf("%w: node %q says that it is %q", ErrBadRequest, from.ID, a.ID)
	}
	n.compare(a)
	changed, err := n.note(a, first, true)
	if err != nil || !n.cfg.Dynamic {
		return err
	}
	if changed {
		n.streams.tellMembers([]announcement{a}, func(to hello) bool { return to.Role == RoleClient })
	}
	if a.epoch != n.place().epoch {
		n.tellOfOthers(a.ID)
	}
	return nil
}

// compare looks whether a member has the ring that this node has. One that has had
// another one for long, while neither changed, is told of once.
func (n *Node) compare(a announcement) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.place()
	if a.epoch == p.epoch || !slices.ContainsFunc(p.members, func(m *member) bool { return m.peer.ID == a.ID }) {
		delete(n.apart, a.ID)
		return
	}
	now := n.clock.exact()
	d := n.apart[a.ID]
	switch {
	case d == nil || d.epoch != a.epoch:
		if n.apart == nil {
			n.apart = make(map[string]*disagreement)
		}
		n.apart[a.ID] = &disagreement{epoch: a.epoch, since: now}
	case !d.told && now-d.since > int64(apartFor):
		d.told = true
		n.log.Error("a member has another ring than this node, and has had it for long: keys are loaded twice; "+
			"see that both find the same members, with the same weights", "peer", a.ID, "its_epoch", epochText(a.epoch), "epoch", epochText(p.epoch))
	}
}

// hearOf takes note of a member that a peer tells of.
func (n *Node) hearOf(a announcement) {
	if _, err := n.note(a, false, false); err != nil {
		n.log.Warn("a peer tells of a member that cannot be one", "err", err)
	}
}

// tellOfOthers tells a node with another view who is there: it may have known one
// address alone. It tells of those that it reaches, or has just heard.
func (n *Node) tellOfOthers(to string) {
	var others []announcement
	n.mu.Lock()
	now := n.clock.exact()
	for _, p := range n.combineLocked() {
		if name, _ := scheme(p.Addr); name != "" || p.ID == to || p.ID == n.cfg.ID || p.Role != RoleNode {
			continue
		}
		m, a := n.members[fmt.Sprint(p)], announcement{Peer: p}
		heard := false
		if known := n.announced[p.ID]; known != nil {
			a.run, heard = known.run, now-known.spoke < int64(announceEvery)
		}
		if heard || m != nil && m.state() == peerUp {
			others = append(others, a)
		}
	}
	n.mu.Unlock()
	n.streams.tellMembers(others, func(remote hello) bool { return remote.ID == to })
}

// note takes an announcement in, and reports whether the view changes. direct says
// that it is the member itself that speaks, and first that it has just connected.
func (n *Node) note(a announcement, first, direct bool) (changed bool, err error) {
	if !n.cfg.Dynamic || a.ID == n.cfg.ID {
		return false, nil
	}
	if a.Peer, err = a.normalise(); err != nil {
		return false, err
	}
	if _, _, err := net.SplitHostPort(a.Addr); err != nil || a.Role != RoleNode {
		return false, fmt.Errorf("%w: member %q at %q with role %q", ErrBadRequest, a.ID, a.Addr, a.Role)
	}
	now := n.clock.exact()
	a.epoch = 0 // it changes all the time
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.left[a.ID]; d != nil {
		if d.run == a.run || !direct {
			return false, nil // it was said before it was said that it leaves
		}
		delete(n.left, a.ID)
	}
	switch known := n.announced[a.ID]; {
	case known == nil:
	case !direct && known.seen != 0:
		return false, nil // who is told of is not more than who has spoken
	case known.announcement == a && known.seen != 0:
		known.spoke = now
		return false, nil
	case known.seen == 0 && known.run == a.run && !first && now-known.dropped < int64(droppedFor):
		return false, nil
	}
	if n.announced == nil {
		n.announced = make(map[string]*announcer)
	}
	told := &announcer{announcement: a, seen: max(now, 1)}
	if direct {
		told.spoke = told.seen
	}
	n.announced[a.ID] = told
	if slices.Equal(n.withSelf(n.combineLocked()), n.peers) {
		return false, nil
	}
	n.applySoonLocked(now)
	return true, nil
}

// applySoonLocked puts announcements in force: at once, or with others if there has
// just been a change.
func (n *Node) applySoonLocked(now int64) {
	if n.pending != nil {
		return
	}
	wait := announceSettle - time.Duration(now-n.changed)
	if n.changed == 0 || wait <= 0 {
		n.applyLocked(now)
		return
	}
	n.pending = time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.pending = nil
		n.applyLocked(n.clock.exact())
	})
}

// applyLocked puts what is known in force.
func (n *Node) applyLocked(now int64) {
	if n.state.Load() == stateStopped {
		return
	}
	n.changed = max(now, 1)
	if err := n.useLocked(); err != nil {
		n.log.Error("what members say of themselves cannot be used: the last view stays", "err", err)
	}
}

// leaves takes note that a member says that it leaves: it owns nothing any more, and
// its memory may be asked until it is gone.
func (n *Node) leaves(id string) {
	if !n.cfg.Dynamic || id == n.cfg.ID {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left[id] != nil {
		return
	}
	now := n.clock.exact()
	d := &departed{at: now}
	if a := n.announced[id]; a != nil {
		d.run, d.addr = a.run, a.Addr
		delete(n.announced, id)
	}
	if n.left == nil {
		n.left = make(map[string]*departed)
	}
	n.left[id] = d
	n.log.Info("peer leaves", "peer", id)
	n.applyLocked(now)
}

// returned takes note that a member has been reached that may have left before.
func (n *Node) returned(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left[id] != nil {
		delete(n.left, id)
		n.applyLocked(n.clock.exact())
	}
}

// awaitedLocked reports whether a member has left that SetView still names.
func (n *Node) awaitedLocked(id string) bool {
	d := n.left[id]
	return d != nil && d.namedIn(n.base, id)
}

// namedIn reports whether SetView's peers have the member that left, by its ID or by
// its address.
func (d *departed) namedIn(peers []Peer, id string) bool {
	return slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == id || p.ID == p.Addr && p.Addr == d.addr })
}

// keepMembers looks from time to time who of those who announced themselves can
// still be reached, and tells the others that this node is there.
func (n *Node) keepMembers() {
	look := time.NewTicker(memberLook)
	defer look.Stop()
	for i := 1; ; i++ {
		select {
		case <-look.C:
		case <-n.stop:
			return
		}
		if n.cfg.Dynamic {
			n.dropUnreachable()
		}
		if i%int(announceEvery/memberLook) == 0 {
			n.announce()
		}
	}
}

func (n *Node) dropUnreachable() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.exact()
	changed := false
	for m := range maps.Values(n.members) {
		a := n.announced[m.peer.ID]
		if a == nil || a.seen == 0 || m.client == nil {
			continue
		}
		if m.state() == peerUp {
			a.seen = now
			continue
		}
		if now-a.seen > int64(unreachableFor) {
			a.seen, a.dropped, changed = 0, now, true
			n.log.Warn("a member that announced itself cannot be reached", "peer", a.ID, "addr", a.Addr)
		}
	}
	for id, d := range n.left {
		if now-d.at > int64(leftFor) {
			delete(n.left, id)
			changed = true
		}
	}
	for id, a := range n.announced { // those dropped are remembered for a while
		if a.seen == 0 && now-a.dropped > int64(leftFor) {
			delete(n.announced, id)
		}
	}
	if changed {
		n.applyLocked(now)
	}
}
