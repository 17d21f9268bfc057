package geecache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/geecache/geecache/consistenthash"
)

// Answer answers another node's request: from memory, or by loading. It never
// forwards. The reply's Value must not be changed.
//
// It is for transports: peergrpc calls it, and a protocol of your own can.
func (n *Node) Answer(ctx context.Context, req *PeerRequest) PeerReply {
	var reply PeerReply
	if n.answerNow(req, &reply) {
		return reply
	}
	return n.answer(ctx, req)
}

// AnswerClient answers a request that is not known to come from a node of this
// cluster. It is answered like a local Get, but takes one hop at most, and only
// to nodes that have shaken hands, which never forward it: so nodes that do not
// mark their requests cannot send one round in a circle.
func (n *Node) AnswerClient(ctx context.Context, group, key string) PeerReply {
	start := time.Now()
	req := &PeerRequest{Group: group, Key: key, Mode: ModeMemory}
	var reply PeerReply
	if n.answerNow(req, &reply) && reply.Code != CodeMiss {
		return reply
	}
	g := n.Group(group)
	var a answer
	err := g.resolve(ctx, hashOf(key), key, true, &a)
	return n.replyOf(g, &a, err, start)
}

// answerNow answers a request if that takes no waiting: from memory, or with a
// refusal. It does not keep req.Key. The reply's Value is the cache's own.
func (n *Node) answerNow(req *PeerRequest, reply *PeerReply) bool {
	p := n.place()
	reply.Epoch = p.epoch
	g := n.Group(req.Group)
	if g == nil {
		reply.Code, reply.Message = CodeNoGroup, fmt.Sprintf("no such group: %q", abbreviate(req.Group))
		return true
	}
	if req.Epoch != 0 && req.Epoch != p.epoch {
		g.epochMismatch.Add(1)
	}
	hash := consistenthash.Hash(req.Key)
	if e, from := g.peek(hash, req.Key); e != nil {
		c := g.hitCounters()
		c.count(&c.served, hash, req.Key)
		reply.From, reply.Version, reply.TTL = from, e.Version(), left(e.Expires(), n.clock.now())
		if e.Flags()&flagNotFound != 0 {
			reply.Code = CodeNotFound
			return true
		}
		reply.Value = e.Value()
		return true
	}
	g.servedOther.Add(1)
	if err := g.checkKey(req.Key); err != nil {
		reply.Code, reply.Message = CodeTooLarge, err.Error()
		return true
	}
	switch st := n.state.Load(); {
	case req.Mode == ModeMemory:
		reply.Code = CodeMiss
		g.copyOwners(p, hash, req.Key)
		return true
	case st >= stateDraining:
		reply.Code, reply.Message = CodeDraining, ErrDraining.Error()
		return true
	case n.welcome.refused.Load() != nil:
		// Who asks has taken this node for a member: its stand-in answers.
		reply.Code, reply.Message = CodeDraining, "the node is not taken into the cluster yet"
		return true
	}
	return false
}

// answer loads what answerNow did not find.
func (n *Node) answer(ctx context.Context, req *PeerRequest) PeerReply {
	start := time.Now()
	g := n.Group(req.Group)
	if g == nil {
		return PeerReply{Code: CodeNoGroup, Epoch: n.place().epoch}
	}
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, req.Timeout)
		defer cancel()
	}
	a, err := g.load(ctx, hashOf(req.Key), req.Key, req.Mode)
	return n.replyOf(g, &a, err, start)
}

// retryAfter is what an overloaded node suggests.
const retryAfter = time.Second

// replyOf returns the reply that tells of an answer or of an error.
func (n *Node) replyOf(g *Group, a *answer, err error, start time.Time) PeerReply {
	reply := PeerReply{Code: CodeOf(err), Took: time.Since(start), Epoch: n.place().epoch}
	switch reply.Code {
	case CodeOK, CodeNotFound:
		reply.Value, reply.Version, reply.From = a.value, a.version, a.from
		reply.TTL = left(a.expires, n.clock.exact())
		if !a.keep {
			reply.TTL = -1
		}
		return reply
	case CodeOverloaded:
		reply.RetryAfter = retryAfter
		var remote *RemoteError
		if errors.As(err, &remote) && remote.RetryAfter > 0 {
			reply.RetryAfter = remote.RetryAfter
		}
	}
	reply.Message = err.Error()
	return reply
}

// ReportServed tells the node's observer that a request over a peer protocol
// took d. It is for transports; hits are not reported.
func (n *Node) ReportServed(group, protocol string, d time.Duration, code Code) {
	if o := n.cfg.Observer; o != nil && n.Group(group) != nil {
		o.ObserveServed(group, protocol, d, code)
	}
}

// streamHandlerOf is the node as its stream server sees it.
type streamHandlerOf struct{ n *Node }

func (h streamHandlerOf) answerNow(req *PeerRequest, reply *PeerReply) bool {
	return h.n.answerNow(req, reply)
}

func (h streamHandlerOf) keysOf(group string) keyToucher {
	if g := h.n.Group(group); g != nil {
		return g
	}
	return nil
}

func (h streamHandlerOf) answer(ctx context.Context, req *PeerRequest) PeerReply {
	reply := h.n.answer(ctx, req)
	h.n.ReportServed(req.Group, "stream", reply.Took, reply.Code)
	return reply
}

func (n *Node) streamConfig() streamServerConfig {
	return streamServerConfig{
		self: n.hello, check: n.checkHello, handler: streamHandlerOf{n}, life: lifeHandlerOf{n},
		secrets: n.cfg.Secrets, refusals: &n.refusals, authorize: n.door.certified,
		maxValue: n.cfg.MaxValueBytes, maxKey: n.cfg.MaxKeyBytes,
		maxInFlight: n.cfg.MaxStreamRequests, maxConns: n.cfg.MaxConns,
		timings: n.streamTimings(), log: n.log,
	}
}

// CheckPeer decides whether a node with the given cluster ID, node ID and
// protocol version may speak to this one. It is for transports; the error wraps
// ErrRefused.
func (n *Node) CheckPeer(cluster, id, version string) error {
	if err := checkCluster(n.cfg.Cluster, cluster); err != nil {
		return err
	}
	if err := checkVersion(n.cfg.ProtocolVersion, version); err != nil {
		return err
	}
	return n.checkHello(hello{ID: id})
}

// checkHello decides whether another node may speak to this one. Cluster and
// version have been compared before.
func (n *Node) checkHello(remote hello) error {
	if remote.ID == n.cfg.ID && n.cfg.Role == RoleNode {
		return refusedf(RefusedNode, "node ID %q is this node's own: give each node its own ID", remote.ID)
	}
	// It is alive: do not wait for the next attempt to reach it.
	for _, m := range n.place().members {
		if c, ok := m.client.(*streamClient); ok && m.peer.ID == remote.ID && m.state() == peerDown {
			c.retryNow()
		}
	}
	return nil
}
