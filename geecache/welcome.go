package geecache

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// A welcome decides whether a joining node may serve. A node that was given
// another cluster's ID or secret finds that its peers refuse it as a stranger; it
// must not load what is theirs beside them, nor answer with what its own source
// has. So it serves only once no peer says so, or one has taken it in. From then
// on a refusal is the other side's trouble: otherwise a stranger in the view could
// end the service of a node that stands alone.
type welcome struct {
	refused atomic.Pointer[refusedError] // nil: the node may serve
	said    refusalLog                   // of what the log says

	mu       sync.Mutex    // guards what follows, and that one settle runs at a time
	tried    bool          // each peer of the first view has been tried
	registry *refusedError // why the registry refuses the node; nil: it does not
}

// Refused returns why the node's peers do not take it into the cluster, nil if
// they do or nobody has said otherwise. A refused node serves nothing; it goes
// on trying. [RefusalOf] tells which of its settings is the wrong one.
func (n *Node) Refused() error {
	if e := n.welcome.refused.Load(); e != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, e)
	}
	return nil
}

// Refuse tells a node that what tells it of its peers does not take it into the
// cluster, with an error of [NewRefusal], or that it does, with nil. A node that
// has begun to serve goes on. Saying the same again changes nothing, and is
// counted once in [NodeStats.HandshakesRefused].
func (n *Node) Refuse(err error) {
	var e *refusedError
	if errors.As(err, &e) && !e.reason.stranger() {
		e = nil
	}
	n.welcome.mu.Lock()
	if before := n.welcome.registry; e != nil && (before == nil || before.reason != e.reason) {
		n.refusals.add(e.reason)
	}
	n.welcome.registry = e
	if e != nil && n.state.Load() < stateServing {
		n.welcome.refused.Store(e) // at once: an API may be served before Start
	}
	n.welcome.mu.Unlock()
	n.settle()
}

// settle makes a node that has tried its peers serve, unless they refuse it.
func (n *Node) settle() {
	w := &n.welcome
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.tried || n.state.Load() != stateJoining {
		return
	}
	refused := n.refusedByPeers()
	if refused == nil {
		refused = w.registry
	}
	w.refused.Store(refused)
	if refused != nil {
		if !w.said.due(refused.reason) {
			return // peers and the registry say it again and again
		}
		n.log.Error("the cluster refuses this node, which serves nothing until it is taken in", "reason", refused.reason, "err", refused)
		return
	}
	if n.state.CompareAndSwap(stateJoining, stateServing) {
		n.log.Info("serving", "addr", n.cfg.Addr, "role", n.cfg.Role, "epoch", epochText(n.place().epoch), "peers", len(n.Stats().Peers))
	}
}

// refusedByPeers returns why the peers refuse this node as a stranger, nil if
// none does, or one has taken it in.
func (n *Node) refusedByPeers() (refused *refusedError) {
	for _, m := range n.place().members {
		if m.stream == nil {
			continue // this node, or a protocol that does not shake hands
		}
		st := m.stream.current.Load()
		var e *refusedError
		switch {
		case st.state != peerDown:
			return nil
		case errors.As(st.err, &e) && e.reason.stranger():
			refused = e
		}
	}
	return refused
}
