package geecache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A sourceError is a source's failure. It unwraps to ErrSource and to what the
// source returned, so a caller on the same node can test for either.
type sourceError struct{ err error }

func (e *sourceError) Error() string   { return "source failed: " + e.err.Error() }
func (e *sourceError) Unwrap() []error { return []error{ErrSource, e.err} }

// abandonGrace is what a source gets to obey its context before its call counts
// as left behind: a query is cancelled by a round trip to the database.
const abandonGrace = time.Second

// load joins or starts this node's load flight for key. mode says in which
// role the node was asked: as owner, or as a stand-in for one in trouble.
func (g *Group) load(ctx context.Context, hash uint64, key string, mode Mode) (answer, error) {
	if err := g.node.closedErr(); err != nil {
		return answer{}, err
	}
	if err := g.node.Refused(); err != nil {
		return answer{}, err
	}
	if g.node.cfg.Role == RoleClient {
		return answer{}, fmt.Errorf("%w: a client never loads, and no node can be asked", ErrUnavailable)
	}
	a, _, err := g.loads.Do(ctx, hash, key, func(ctx context.Context) (answer, error) {
		return g.loadOnce(ctx, hash, key, mode)
	})
	if err != nil {
		return a, g.flightErr(err)
	}
	return a, a.err()
}

// loadOnce is a load flight's body.
func (g *Group) loadOnce(ctx context.Context, hash uint64, key string, mode Mode) (answer, error) {
	// Look again. Between a caller's miss and the start of its flight another
	// flight may have ended:
	//	1: looks, misses			2: looks, misses
	//	1: flight starts, loads, stores, ends
	//						2: flight starts
	// A flight stores before it ends, so one look here is enough for 2.
	if e, from := g.peek(hash, key); e != nil {
		return answerOf(e, from, g.node.cfg.ID), nil
	}
	if a, ok := g.askMemory(ctx, hash, key, mode); ok {
		g.store(hash, key, &a, mode)
		return a, nil
	}
	leave, err := g.enter(ctx)
	if err != nil {
		return answer{}, err
	}
	defer leave()
	a, err := g.callSource(ctx, hash, key, mode)
	if err != nil {
		return answer{}, err
	}
	if ctx.Err() != nil { // nobody waits any more, or it took too long
		return answer{}, context.Cause(ctx)
	}
	g.store(hash, key, &a, mode)
	return a, nil
}

// enter waits for a turn to call the source. leave gives the turn back.
func (g *Group) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-g.turn }
	select {
	case g.turn <- struct{}{}:
		return leave, nil
	default:
	}
	if g.wait.Add(1) > int64(g.cfg.MaxQueuedLoads) {
		g.wait.Add(-1)
		g.loadsRefused.Add(1)
		return nil, fmt.Errorf("%w: %d loads run and %d wait (GroupConfig.MaxLoads, MaxQueuedLoads)",
			ErrOverloaded, g.cfg.MaxLoads, g.cfg.MaxQueuedLoads)
	}
	defer g.wait.Add(-1)
	select {
	case g.turn <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// callSource calls the source and counts in which role this node does. Not
// found is an answer.
func (g *Group) callSource(ctx context.Context, hash uint64, key string, mode Mode) (a answer, err error) {
	switch {
	case g.node.place().owns(hash):
		g.loadsOwner.Add(1)
	case mode == ModeStandIn:
		g.loadsStandIn.Add(1)
	default:
		g.loadsOther.Add(1)
	}
	g.loadsRunning.Add(1)
	start := time.Now()
	returned := false
	defer func() { // also when the source panics or calls Goexit
		g.loadsRunning.Add(-1)
		failed := err
		if !returned {
			failed = ErrSource
		}
		if failed != nil {
			g.loadErrors.Add(1)
		}
		if o := g.node.cfg.Observer; o != nil {
			o.ObserveLoad(g.name, time.Since(start), failed)
		}
	}()
	v, err := g.getter.Get(ctx, key)
	returned = true
	a = answer{version: g.node.versions.next(), from: FromLoad, node: g.node.cfg.ID}
	switch {
	case errors.Is(err, ErrNotFound):
		a.notFound = true
		a.setTTL(g.cfg.NotFoundTTL, g.node.clock.exact())
		return a, nil
	case err != nil:
		return answer{}, &sourceError{err}
	case len(v.Bytes) > g.node.cfg.MaxValueBytes:
		return answer{}, fmt.Errorf("%w: value of %d bytes for key %q, the limit is %d (Config.MaxValueBytes)",
			ErrTooLarge, len(v.Bytes), abbreviate(key), g.node.cfg.MaxValueBytes)
	}
	a.value = v.Bytes
	ttl := v.TTL
	if ttl == 0 {
		ttl = g.cfg.TTL
	}
	if g.cfg.TTLJitter > 0 && ttl > 0 {
		ttl = max(ttl-time.Duration(float64(ttl)*g.cfg.TTLJitter*g.node.cfg.Rand()), 1)
	}
	a.setTTL(ttl, g.node.clock.exact())
	return a, nil
}

// setTTL sets when the answer expires: ttl from now; 0 never, negative means
// that it is not kept.
func (a *answer) setTTL(ttl time.Duration, now int64) {
	a.keep = ttl >= 0
	a.expires = 0
	if ttl > 0 {
		a.expires = after(now, ttl)
	}
}

// store keeps a loaded answer: in the main cache if this node still owns the
// key, or stands in for an owner in trouble; otherwise, because the view has
// changed meanwhile or the asking node's differs, as a hot copy.
func (g *Group) store(hash uint64, key string, a *answer, mode Mode) {
	if !a.keep {
		return
	}
	p := g.node.place()
	owner := p.owner(hash)
	tag := p.gen
	switch {
	case owner == nil, !owner.self && mode != ModeStandIn && !owner.inTrouble():
		g.keepHot(hash, key, a)
		return
	case !owner.self && !owner.inTrouble():
		// The asking node knows of the trouble first; confirm looks again.
		tag = unsettled
	}
	// An item too large for the cache is refused, and evicts nothing: it is an
	// answer all the same.
	_ = g.main.Add(hash, key, a.item(a.expires, tag))
}

// handoverAsk bounds how long a load waits for the previous owner's memory.
const handoverAsk = 250 * time.Millisecond

// askMemory asks the memory of nodes that may have the key, before the source is:
// of who owned it before, and of who owns it and leaves. They only look, they wait
// for nothing: so a load flight still waits on no flight of another node.
func (g *Group) askMemory(ctx context.Context, hash uint64, key string, mode Mode) (answer, bool) {
	if g.node.cfg.Handover < 0 {
		return answer{}, false
	}
	p := g.node.place()
	var room [formerAsks]*member
	members := p.whoMayHave(room[:0], hash, g.node.clock.now(), mode)
	if len(members) == 0 {
		return answer{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, handoverAsk)
	defer cancel()
	for _, m := range members {
		if !m.remembers() {
			continue
		}
		g.handoverAsks.Add(1)
		reply, err := m.ask(ctx, &PeerRequest{Group: g.name, Key: key, Mode: ModeMemory, Epoch: p.epoch, Timeout: handoverAsk})
		if err != nil || reply.Code != CodeOK && reply.Code != CodeNotFound {
			continue
		}
		g.handoverHits.Add(1)
		var a answer
		g.answerOfReply(&reply, m.peer.ID, &a)
		return a, true
	}
	return answer{}, false
}

// whoMayHave appends the members that may have the key in memory.
//
// Who is not the owner is asked to load as a stand-in, or by a node with another
// view: of a join or a leave that this one has not heard of yet, or the other way
// round. Then, for a while after a change, the owner may have it. It is not asked if
// the asking node, whose request this is as a stand-in, has found it in trouble:
// unless it leaves.
func (p *placement) whoMayHave(to []*member, hash uint64, now int64, mode Mode) []*member {
	owner := p.owner(hash)
	switch {
	case owner == nil:
		return to
	case owner.self:
		return p.previousOwners(to, hash, now)
	case mode == ModeOwner && p.handingOver(now) || owner.stream != nil && owner.stream.State() == peerDraining:
		return append(to, owner)
	case mode == ModeStandIn && !owner.inTrouble() && owner.doubt.lasts(now):
		return append(to, owner)
	}
	return to
}
