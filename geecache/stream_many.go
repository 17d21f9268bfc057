package geecache

import "context"

// A manyCall is several requests to one peer. One goroutine may send several of
// them, to several peers, and wait for all replies at once: with a goroutine for
// each peer, 100 keys of three peers took 1.4 times as long.
type manyCall struct {
	conn    *clientConn // nil: nothing was sent
	calls   []call
	replies []PeerReply
	errs    []error
}

// newCallWaiter returns a waiter of its own goroutine, which counts as a call
// until await.
func newCallWaiter() *callWaiter {
	w := &callWaiter{done: make(chan struct{}, 1)}
	w.left.Store(1)
	return w
}

// sendMany sends requests, for whose replies wait is to wait.
func (c *streamClient) sendMany(ctx context.Context, reqs []PeerRequest, wait *callWaiter) *manyCall {
	m := &manyCall{replies: make([]PeerReply, len(reqs)), errs: make([]error, len(reqs))}
	if len(reqs) == 0 {
		return m
	}
	conn, err := c.conn(ctx)
	if err != nil {
		for i := range m.errs {
			m.errs[i] = err
		}
		return m
	}
	m.conn, m.calls = conn, make([]call, len(reqs))
	for i := range reqs {
		if reply, bad := unsendable(&reqs[i]); bad {
			m.replies[i], m.errs[i] = reply, errUnsent
		}
	}
	conn.sendMany(ctx, reqs, m.calls, m.errs, wait)
	return m
}

// await waits until all calls have ended, or takes them back when ctx ends.
func (w *callWaiter) await(ctx context.Context, sent []*manyCall) {
	if w.left.Add(-1) == 0 {
		return
	}
	select {
	case <-w.done:
		return
	case <-ctx.Done():
	}
	removed := int32(0)
	for _, m := range sent {
		if m.conn != nil {
			removed += m.conn.removeMany(ctx, m.calls)
		}
	}
	w.leave(removed)
}

// results returns the replies, each with an error of its own, once all calls have
// ended.
func (m *manyCall) results() ([]PeerReply, []error) {
	for i := range m.calls {
		switch m.errs[i] {
		case nil:
			m.replies[i], m.errs[i] = m.calls[i].reply, m.calls[i].err
		case errUnsent:
			m.errs[i] = nil
		}
	}
	return m.replies, m.errs
}
