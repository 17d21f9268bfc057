package geecache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fetchMost is how much longer than two loads a fetch may take: it may meet a
// dead owner before the stand-in loads. The peer's own load timeout ends it as a
// rule.
const fetchMost = 5 * time.Second

// fetchTimeout ends a fetch flight.
func (g *Group) fetchTimeout() time.Duration { return 2*g.cfg.LoadTimeout + fetchMost }

// fetch asks a key's owner over its stream, together with whoever asks for the
// key at the same time. An error that wraps ErrPeerTrouble says that a stand-in
// is to be asked.
func (g *Group) fetch(ctx context.Context, p *placement, owner *member, hash uint64, key string, a *answer) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f := fetch{
		PeerRequest: PeerRequest{Group: g.name, Key: key, Mode: ModeOwner, Epoch: p.epoch},
		hash:        hash, limit: g.fetchTimeout(), count: &g.asks[hash%hitShards],
	}
	call, err := owner.stream.fetch(ctx, &f)
	if err != nil {
		return g.fetchFailed(ctx, owner, nil, err, true)
	}
	if call.err != nil || call.reply.Code != CodeOK {
		err = g.fetchFailed(ctx, owner, &call.reply, call.err, call.lead)
	}
	if err == nil {
		err = g.received(hash, key, &call.reply, owner, call.lead, a)
	}
	owner.stream.putCall(call)
	if err != nil {
		return err
	}
	return a.err()
}

// fetchFailed returns the error of a fetch that did not get a value, or nil if it
// was answered. reply may be nil with an err.
func (g *Group) fetchFailed(ctx context.Context, owner *member, reply *PeerReply, err error, lead bool) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if lead {
		if o := outcomeOf(ctx, reply, err); o != answered {
			owner.breaker.note(o, err)
		}
	}
	if errors.Is(err, errNoReply) {
		return g.flightErr(err)
	}
	if err = owner.judge(reply, err, lead); err != nil && lead {
		g.peerErrors.Add(1)
	}
	return err
}

// fetchSlowly is a fetch flight for what is not the rule: the owner has been found
// in trouble, or speaks another protocol than the stream.
func (g *Group) fetchSlowly(ctx context.Context, p *placement, owner *member, hash uint64, key string, trouble error, to *answer) error {
	flights := g.fetches
	if !owner.marked {
		flights = g.plain
	}
	a, _, err := flights.Do(ctx, hash, key, func(ctx context.Context) (answer, error) {
		return g.fetchOnce(ctx, p, owner, hash, key, trouble)
	})
	*to = a
	switch {
	case err == nil:
		return a.err()
	case errors.Is(err, errLoadHere):
		b, err := g.load(ctx, hash, key, ModeStandIn)
		b.steps = append(a.steps[:len(a.steps):len(a.steps)], b.steps...)
		*to = b
		return err
	}
	return g.flightErr(err)
}

// fetchOnce is the body of that flight: it asks the key's owner, unless trouble
// says that this has failed, or then its stand-in: the next live node on the ring.
// It ends with errLoadHere if this node is the stand-in. A client, which cannot be, waits
// a moment for a node that can be asked.
func (g *Group) fetchOnce(ctx context.Context, p *placement, owner *member, hash uint64, key string, trouble error) (answer, error) {
	err := trouble
	if err == nil {
		var a answer
		a, err = g.try(ctx, p, owner, hash, key, ModeOwner)
		if !errors.Is(err, ErrPeerTrouble) || ctx.Err() != nil {
			return a, err
		}
	}
	steps := []Step{{Node: owner.peer.ID, What: err.Error()}}
	a, err := g.tryOthers(ctx, p, hash, key, p.ring.Successors(hash, p.ring.Len())[1:], ModeStandIn, steps, err)
	if g.node.cfg.Role != RoleClient {
		if errors.Is(err, ErrPeerTrouble) && ctx.Err() == nil {
			err = errLoadHere
		}
		return a, err
	}
	for errors.Is(err, ErrPeerTrouble) && ctx.Err() == nil {
		if !g.node.awaitPeer(ctx) {
			return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		p = g.node.place() // others may have taken their place
		a, err = g.tryOthers(ctx, p, hash, key, p.ring.Successors(hash, p.ring.Len()), ModeOwner, nil, err)
	}
	return a, err
}

// tryOthers asks members one after the other, the first in a mode and the others as
// stand-ins, until one is not in trouble or it is this node's turn. The answer has the
// steps so far and its own, also with an error, which is err if nobody was asked.
func (g *Group) tryOthers(ctx context.Context, p *placement, hash uint64, key string, order []int, mode Mode, steps []Step, err error) (answer, error) {
	for _, i := range order {
		m, as := p.members[i], mode
		mode = ModeStandIn
		if m.self {
			break
		}
		if !m.marked && as == ModeStandIn || !m.usable() {
			continue
		}
		if as == ModeStandIn {
			g.standIns.Add(1)
		}
		var a answer
		a, err = g.try(ctx, p, m, hash, key, as)
		if !errors.Is(err, ErrPeerTrouble) || ctx.Err() != nil {
			a.steps = steps
			return a, err
		}
		steps = append(steps, Step{Node: m.peer.ID, What: err.Error()})
	}
	return answer{steps: steps}, err
}

// try asks one member, and keeps some of the answers as hot copies. The error
// wraps ErrPeerTrouble if another one should be asked.
func (g *Group) try(ctx context.Context, p *placement, m *member, hash uint64, key string, mode Mode) (answer, error) {
	if !m.usable() {
		return answer{}, fmt.Errorf("%w: %s is %s", ErrPeerTrouble, m.peer.ID, m.stateText())
	}
	req := &PeerRequest{Group: g.name, Key: key, Mode: mode, Epoch: p.epoch, Timeout: timeLeft(ctx)}
	g.asks[hash%hitShards].peerRequests.Add(1)
	reply, err := m.ask(ctx, req)
	if err != nil {
		if ctx.Err() == nil {
			g.peerErrors.Add(1)
		}
		return answer{}, err
	}
	var a answer
	err = g.received(hash, key, &reply, m, true, &a)
	return a, err
}

// received turns a peer's reply into an answer or an error. lead says that it is
// this caller that may keep a hot copy.
func (g *Group) received(hash uint64, key string, reply *PeerReply, m *member, lead bool, a *answer) error {
	switch reply.Code {
	case CodeDeadline, CodeCanceled: // the flight's there, not the caller's
		reply.Code = CodeLoadTimeout
	case CodeOK, CodeNotFound:
		g.answerOfReply(reply, m.peer.ID, a)
		if lead && a.keep && g.cfg.HotTTL > 0 && g.node.cfg.Rand() < g.cfg.HotShare {
			g.keepHot(hash, key, a)
		}
		return nil
	}
	return &RemoteError{Node: m.peer.ID, Code: reply.Code, Message: reply.Message, RetryAfter: reply.RetryAfter}
}

// answerOfReply makes a the answer that a reply with CodeOK or CodeNotFound is.
func (g *Group) answerOfReply(reply *PeerReply, node string, a *answer) {
	*a = answer{
		value: reply.Value, notFound: reply.Code == CodeNotFound, version: reply.Version,
		from: FromPeer, node: node, peer: reply.From, took: reply.Took,
		keep: reply.TTL >= 0,
	}
	if reply.TTL > 0 {
		a.setTTL(reply.TTL, g.node.clock.exact())
	}
	g.node.versions.see(reply.Version)
}

// timeLeft returns how long it is until ctx's deadline, as it travels to a
// peer; 0 if it has none.
func timeLeft(ctx context.Context) time.Duration {
	d, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(d), 1)
}
