package geecache

import (
	"context"
	"sync"
	"time"
)

// Reads around a slow peer. A peer is slow when it answers pings much later than
// others do. Then its keys are first looked for in the memory of the node that
// would stand in for it, and only then asked of the peer itself. That node copies
// what it lacks from the slow peer's memory. Both look into memory alone, so a slow
// peer never causes a load anywhere: slowness is no trouble.

const (
	// hedgeWait bounds how long an answer from memory is waited for.
	hedgeWait = 250 * time.Millisecond

	// copyWait bounds how long a slow peer's memory is waited for.
	copyWait = 5 * time.Second

	// hedgeBurst is how many extra requests may come at once.
	hedgeBurst = 100

	// copiesMost bounds the keys of a group that are being copied.
	copiesMost = 1024

	// hedgeCandidates is how far on the ring a helper is looked for.
	hedgeCandidates = 4
)

// A hedger bounds the requests that are extra because peers are slow, to a share
// of the group's traffic, and tells what is being copied.
type hedger struct {
	share float64 // of the traffic; 0: no hedging

	asks askCounters // of helpers' memory

	mu      sync.Mutex // guards what follows
	traffic int64      // when tokens was last raised
	tokens  float64
	copying map[uint64]struct{} // hashes of keys
}

func newHedger(percent float64) *hedger {
	return &hedger{share: max(percent, 0) / 100, tokens: hedgeBurst, copying: make(map[uint64]struct{})}
}

// take takes leave for an extra request.
func (h *hedger) take(traffic int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens = min(h.tokens+h.share*float64(traffic-h.traffic), hedgeBurst)
	h.traffic = traffic
	if h.tokens < 1 {
		return false
	}
	h.tokens--
	return true
}

// giveBack takes it back: the request was none too many.
func (h *hedger) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens = min(h.tokens+1, hedgeBurst)
}

// begin reports whether a key is to be copied, and is not being copied yet.
func (h *hedger) begin(hash uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.copying[hash]; ok || len(h.copying) == copiesMost {
		return false
	}
	h.copying[hash] = struct{}{}
	return true
}

func (h *hedger) end(hash uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.copying, hash)
}

// traffic returns how many keys this node has asked of others, and been asked by
// others. It is what the share of extra requests is of.
func (g *Group) traffic() int64 {
	n := g.servedOther.Load() + g.hedger.asks.peerRequests.Load()
	for i := range g.asks {
		n += g.asks[i].peerRequests.Load() + g.hits[i].served.Load()
	}
	return n
}

// extra takes leave for an extra request, and counts a refusal.
func (g *Group) extra() bool {
	if g.hedger.take(g.traffic()) {
		return true
	}
	g.hedgesRefused.Add(1)
	return false
}

// helper returns who may have the keys of a slow owner in memory: the next node on
// the ring that is well, which may be this one. nil if there is none.
func (p *placement) helper(hash uint64) *member {
	nodes := p.ring.Successors(hash, hedgeCandidates)
	for _, i := range nodes[min(1, len(nodes)):] {
		if m := p.members[i]; m.self || m.stream != nil && m.fast.Load() {
			return m
		}
	}
	return nil
}

// fetchAround answers for a key whose owner is slow.
func (g *Group) fetchAround(ctx context.Context, p *placement, owner *member, hash uint64, key string, a *answer) error {
	helper := p.helper(hash)
	if helper != nil && !helper.self && g.extra() {
		if ok, err := g.hedge(ctx, p, helper, hash, key, a); ok {
			return err
		}
	}
	err := g.fetch(ctx, p, owner, hash, key, a)
	if err != nil || !a.keep {
		return err
	}
	switch {
	case helper != nil && helper.self:
		g.storeCopy(hash, key, a)
	case g.cfg.HotTTL > 0 && g.hot.Get(hash, key) == nil:
		g.keepHot(hash, key, a)
	}
	return nil
}

// hedge looks for a key in a helper's memory. If it is not there, or the helper
// does not tell soon, the owner is to be asked.
func (g *Group) hedge(ctx context.Context, p *placement, helper *member, hash uint64, key string, a *answer) (ok bool, err error) {
	f := fetch{
		PeerRequest: PeerRequest{Group: g.name, Key: key, Mode: ModeMemory, Epoch: p.epoch},
		hash:        ^hash, // these flights are not those of the helper's own keys
		limit:       hedgeWait, count: &g.hedger.asks,
	}
	call, err := helper.stream.fetch(ctx, &f)
	if err != nil {
		return ctx.Err() != nil, err
	}
	reply, lead := call.reply, call.lead
	err = call.err
	helper.stream.putCall(call)
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case err == nil && (reply.Code == CodeOK || reply.Code == CodeNotFound):
		g.hedger.giveBack()
		g.hedgeHits.Add(1)
		g.answerOfReply(&reply, helper.peer.ID, a)
		if lead && a.keep && g.cfg.HotTTL > 0 {
			g.keepHot(hash, key, a)
		}
		return true, a.err()
	case !lead: // it was another caller's request
		g.hedger.giveBack()
	default:
		g.hedgeMisses.Add(1)
	}
	return false, nil
}

// copyOwners copies a key into this node's memory, in the background, if its owner
// is slow: another node has just looked for it here.
func (g *Group) copyOwners(p *placement, hash uint64, key string) {
	owner := p.owner(hash)
	if owner == nil || !owner.slow.Load() || !g.hedger.begin(hash) {
		return
	}
	key = string(append([]byte(nil), key...)) // it may be in a buffer that is used again
	if !g.extra() || !g.node.copies.start(func() { g.copyOnce(p, owner, hash, key) }) {
		g.hedger.end(hash)
	}
}

// copyOnce asks a slow owner's memory. The owner does not load for it: a request of
// its own will come, if it must.
func (g *Group) copyOnce(p *placement, owner *member, hash uint64, key string) {
	defer g.hedger.end(hash)
	g.copyAsks.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), copyWait)
	defer cancel()
	reply, err := owner.ask(ctx, &PeerRequest{Group: g.name, Key: key, Mode: ModeMemory, Epoch: p.epoch, Timeout: copyWait})
	if err != nil || reply.Code != CodeOK && reply.Code != CodeNotFound {
		return
	}
	var a answer
	g.answerOfReply(&reply, owner.peer.ID, &a)
	g.copyHits.Add(1)
	g.storeCopy(hash, key, &a)
}

// storeCopy keeps a slow owner's value as a stand-in does, until the owner is as
// fast as others again, unless there is one already.
func (g *Group) storeCopy(hash uint64, key string, a *answer) {
	if e, _ := g.peek(hash, key); e == nil {
		g.store(hash, key, a, ModeStandIn)
	}
}

// tasks are goroutines that end with their owner.
type tasks struct {
	mu     sync.Mutex // guards closed
	closed bool
	wg     sync.WaitGroup
}

// start runs f in a goroutine of its own, unless it is too late.
func (t *tasks) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// close waits for all that has been started.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
