package geecache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/geecache/geecache/lru"
)

const (
	// pushBatch is how many bytes, and pushEntries how many entries, are on their way
	// to a new owner at a time: it answers for all of them before there are more.
	pushBatch   = 64 << 10
	pushEntries = 256

	// pushTimeout is how long a new owner may take to answer; then it gets no more.
	pushTimeout = time.Second

	// pushPause bounds the pause after each batch, which is as long as the batch took:
	// requests come first.
	pushPause = 10 * time.Millisecond

	// pushShare is the part of a group's budget that one connection may fill.
	pushShare = 2
)

// A handoff is the pushing of this node's hottest entries to the new owners of their
// keys.
type handoff struct {
	n       *Node
	ctx     context.Context
	after   *placement // without this node
	targets map[*member]*pushTarget
	wg      sync.WaitGroup
}

// A pushTarget is a node that gets entries.
type pushTarget struct {
	batch   []pushFrame // for the next push
	bytes   int
	batches chan []pushFrame
	gone    chan struct{} // closed when it gets no more
}

// handOff pushes what is used most to its new owners, within the limits of the
// configuration.
func (n *Node) handOff(ctx context.Context) {
	if n.cfg.HandoffBytes < 0 || n.cfg.HandoffTime < 0 || n.cfg.Role != RoleNode {
		return
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.HandoffTime)
	defer cancel()
	h := &handoff{n: n, ctx: ctx, after: n.place(), targets: make(map[*member]*pushTarget)}
	groups := n.Groups()
	total := int64(0)
	for _, g := range groups {
		total += g.main.Stats().Bytes
	}
	for _, g := range groups {
		share := float64(n.cfg.HandoffBytes) * (float64(g.main.Stats().Bytes) / float64(max(total, 1)))
		g.main.Hottest(int64(share), func(e *lru.Entry) bool { return h.offer(g, e) })
	}
	for _, t := range h.targets {
		h.send(t)
		close(t.batches)
	}
	h.wg.Wait()
	var accepted, refused, bytes int64
	for _, g := range groups {
		accepted += g.handoffAccepted.Load()
		refused += g.handoffRefused.Load()
		bytes += g.handoffBytes.Load()
	}
	n.log.Info("entries handed over", "accepted", accepted, "refused", refused, "bytes", bytes, "took", time.Since(begin).Round(time.Millisecond))
}

// offer puts an entry into the batch of its new owner. It reports whether there is
// time for more.
func (h *handoff) offer(g *Group, e *lru.Entry) bool {
	// Also what this node has kept from when it owned the key, or stood in for a node
	// that has come back since: its owner may not have asked for it yet, and when
	// nodes are replaced one after another, it would be lost here.
	m := h.after.heir(hashOf(e.Key()), "")
	if m == nil || m.stream == nil || !pushable(g.name, e.Key(), e.Value()) {
		return h.ctx.Err() == nil
	}
	t := h.targets[m]
	if t == nil {
		t = &pushTarget{batches: make(chan []pushFrame), gone: make(chan struct{})}
		h.targets[m] = t
		h.wg.Go(func() { h.push(m, t) })
	}
	f := pushFrame{
		ttl: left(e.Expires(), h.n.clock.now()), version: e.Version(), epoch: h.after.epoch,
		flags: e.Flags() & flagNotFound, group: g.name, key: e.Key(), value: e.Value(),
	}
	t.batch = append(t.batch, f)
	if t.bytes += pushSize(&f); t.bytes >= pushBatch || len(t.batch) == pushEntries {
		h.send(t)
	}
	return h.ctx.Err() == nil
}

// send hands a batch to the goroutine that pushes it.
func (h *handoff) send(t *pushTarget) {
	select {
	case t.batches <- t.batch:
	case <-t.gone:
	case <-h.ctx.Done():
	}
	t.batch, t.bytes = make([]pushFrame, 0, cap(t.batch)), 0
}

// push sends the batches of a target over a connection of their own, so that no
// request waits behind one.
func (h *handoff) push(m *member, t *pushTarget) {
	defer close(t.gone)
	if m.stream.minor() < minorLife {
		return
	}
	_, addr := scheme(m.peer.Addr)
	c := newStreamClient(h.n.streamClientConfig(m.peer, addr))
	defer c.Close()
	if _, err := c.conn(h.ctx); err != nil {
		h.n.log.Warn("a new owner takes nothing over", "peer", m.peer.ID, "err", err)
		return
	}
	for batch := range t.batches {
		if len(batch) == 0 {
			continue
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(h.ctx, pushTimeout)
		codes, err := c.push(ctx, batch)
		cancel()
		if err != nil {
			if h.ctx.Err() == nil || !errors.Is(err, h.ctx.Err()) {
				h.n.log.Warn("a new owner takes no more over", "peer", m.peer.ID, "err", err)
			}
			return
		}
		for i, code := range codes {
			h.count(&batch[i], code)
		}
		h.pause(min(time.Since(begin), pushPause))
	}
}

func (h *handoff) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.ctx.Done():
	}
}

func (h *handoff) count(f *pushFrame, code Code) {
	g := h.n.Group(f.group)
	if code != CodeOK {
		g.handoffRefused.Add(1)
		return
	}
	g.handoffAccepted.Add(1)
	g.handoffBytes.Add(int64(len(f.key) + len(f.value)))
}

// heir returns the member that answers for a key when its owner is the node with the
// given ID, and leaves: the next one that can be asked. Of others' keys it is the
// owner.
func (p *placement) heir(hash uint64, leaver string) *member {
	owner := p.owner(hash)
	if owner == nil || owner.peer.ID != leaver && owner.usable() {
		return owner
	}
	for _, i := range p.ring.Successors(hash, p.ring.Len())[1:] {
		if m := p.members[i]; m.peer.ID != leaver && m.usable() {
			return m
		}
	}
	return nil
}

// lifeHandlerOf is the node as its stream server sees it.
type lifeHandlerOf struct{ n *Node }

func (h lifeHandlerOf) announced(from hello, a announcement, first bool) error {
	return h.n.hear(from, a, first)
}

func (h lifeHandlerOf) pushed(from hello, p *pushFrame, group, key []byte, accepted int64) Code {
	n := h.n
	g := (*n.groups.Load())[string(group)]
	if g == nil {
		return CodeNoGroup
	}
	code := n.takeOver(g, from, p, key, accepted)
	if code == CodeOK {
		g.takeoverAccepted.Add(1)
		g.takeoverBytes.Add(int64(len(key) + len(p.value)))
	} else {
		g.takeoverRefused.Add(1)
	}
	return code
}

// takeOver keeps an entry that another member gives away because it leaves: for what
// is left of its time, only where there is none, and only if this node is to answer
// for the key from now on. CodeOK says that it has been stored.
func (n *Node) takeOver(g *Group, from hello, p *pushFrame, key []byte, accepted int64) Code {
	switch {
	case n.state.Load() >= stateDraining:
		return CodeDraining
	case n.cfg.MemoryShort(), accepted >= g.cfg.CacheBytes/pushShare:
		return CodeOverloaded
	case len(key) > n.cfg.MaxKeyBytes || len(p.value) > n.cfg.MaxValueBytes:
		return CodeTooLarge
	case accepted == 0 && !n.knows(from.ID):
		return CodeRefused
	}
	n.leaves(from.ID) // it would push nothing if it did not
	place, hash := n.place(), hashOf(string(key))
	if m := place.heir(hash, from.ID); m == nil || !m.self {
		return CodeMiss
	}
	a := answer{value: p.value, version: p.version, notFound: p.flags&flagNotFound != 0}
	a.setTTL(p.ttl, n.clock.exact())
	n.versions.see(p.version)
	added, err := g.main.AddNew(hash, string(key), a.item(a.expires, place.gen))
	switch {
	case err != nil:
		return CodeTooLarge
	case !added:
		return CodeMiss
	}
	return CodeOK
}

// knows reports whether another node is a member, or was one until lately.
func (n *Node) knows(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if id == n.cfg.ID {
		return false
	}
	for _, m := range n.members {
		if m.peer.ID == id {
			return true
		}
	}
	return n.left[id] != nil || slices.ContainsFunc(n.retired, func(m *member) bool { return m.peer.ID == id })
}
