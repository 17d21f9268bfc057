package geecache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fetch is a fetch flight's body: it asks the key's owner or, if that one is in
// trouble, its stand-in: the next live node on the ring. It ends with
// errLoadHere if this node is the stand-in, or has become the owner.
func (g *Group) fetch(ctx context.Context, p *placement, hash uint64, key string) (answer, error) {
	owner := p.owner(hash)
	if owner == nil || owner.self {
		return answer{}, errLoadHere
	}
	a, err := g.try(ctx, p, owner, hash, key, ModeOwner)
	if !errors.Is(err, ErrPeerTrouble) || ctx.Err() != nil {
		return a, err
	}
	steps := []Step{{Node: owner.peer.ID, What: err.Error()}}
	for _, i := range p.ring.Successors(hash, p.ring.Len())[1:] {
		m := p.members[i]
		if m.self {
			break
		}
		if !m.marked || !m.usable() {
			continue
		}
		g.standIns.Add(1)
		a, err = g.try(ctx, p, m, hash, key, ModeStandIn)
		if !errors.Is(err, ErrPeerTrouble) || ctx.Err() != nil {
			a.steps = steps
			return a, err
		}
		steps = append(steps, Step{Node: m.peer.ID, What: err.Error()})
	}
	if g.node.cfg.Role == RoleClient {
		return answer{steps: steps}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return answer{steps: steps}, errLoadHere
}

// try asks one member, and keeps some of the answers as hot copies. The error
// wraps ErrPeerTrouble if another one should be asked.
func (g *Group) try(ctx context.Context, p *placement, m *member, hash uint64, key string, mode Mode) (answer, error) {
	if !m.usable() {
		return answer{}, fmt.Errorf("%w: %s is %s", ErrPeerTrouble, m.peer.ID, m.stateText())
	}
	req := &PeerRequest{Group: g.name, Key: key, Mode: mode, Epoch: p.epoch, Timeout: timeLeft(ctx)}
	g.peerRequests.Add(1)
	reply, err := m.ask(ctx, req)
	if err != nil {
		if ctx.Err() == nil {
			g.peerErrors.Add(1)
		}
		return answer{}, err
	}
	return g.received(hash, key, &reply, m)
}

// received turns a peer's reply into an answer or an error.
func (g *Group) received(hash uint64, key string, reply *PeerReply, m *member) (answer, error) {
	switch reply.Code {
	case CodeDeadline, CodeCanceled: // the flight's there, not the caller's
		reply.Code = CodeLoadTimeout
	case CodeOK, CodeNotFound:
		a := g.answerOfReply(reply, m.peer.ID)
		if a.keep && g.cfg.HotTTL > 0 && g.node.cfg.Rand() < g.cfg.HotShare {
			g.keepHot(hash, key, &a)
		}
		return a, nil
	}
	return answer{}, &RemoteError{Node: m.peer.ID, Code: reply.Code, Message: reply.Message, RetryAfter: reply.RetryAfter}
}

// answerOfReply returns the answer that a reply with CodeOK or CodeNotFound is.
func (g *Group) answerOfReply(reply *PeerReply, node string) answer {
	a := answer{
		value: reply.Value, notFound: reply.Code == CodeNotFound, version: reply.Version,
		from: FromPeer, node: node, peer: reply.From, took: reply.Took,
	}
	a.setTTL(reply.TTL, g.node.clock.exact())
	g.node.versions.see(reply.Version)
	return a
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
