package geecache

import (
	"context"
	"fmt"
)

// A lifeHandler hears how other nodes come and go. A nil one hears nothing.
type lifeHandler interface {
	// announced tells that the node from says who it is. first is true for the
	// first time on its connection.
	announced(from hello, a announcement, first bool) error

	// pushed offers an entry of the node from, which leaves. group, key and
	// p.value are valid only until it returns, and it must return at once.
	// accepted is how many bytes the connection has brought already. It returns
	// the code of the reply.
	pushed(from hello, p *pushFrame, group, key []byte, accepted int64) Code
}

// postFrame sends a frame without ever waiting for the connection.
func (w *frameWriter) postFrame(f []byte) {
	w.mu.Lock()
	if w.err == nil {
		w.buf = append(w.buf, f...)
		w.postLocked()
	}
	w.mu.Unlock()
}

// minor returns the minor version that is spoken on the connection.
func (c *serverConn) minor() int { return spoken(c.s.cfg.self(), c.remote) }

// drain tells the other node that this one leaves.
func (c *serverConn) drain() {
	grace := c.s.cfg.timings.drainGrace
	if c.minor() < minorLife {
		c.w.post(kindDraining, uint64(grace))
		return
	}
	c.w.postFrame(appendDraining(nil, grace))
}

// handleLife handles a frame of version 1.1. From a node of an older one, there is
// none.
func (c *serverConn) handleLife(f *frame) error {
	h := c.s.cfg.life
	if h == nil || c.minor() < minorLife {
		return nil
	}
	switch f.kind {
	case kindAnnounce:
		var a announcement
		if err := parseAnnounce(f, &a); err != nil {
			return err
		}
		first := !c.introduced
		c.introduced = true
		if err := h.announced(c.remote, a, first); err != nil {
			c.s.cfg.log.Warn("a node announces itself in vain", "peer", c.remote.ID, "err", err)
		}
	case kindPush:
		var p pushFrame
		group, key, err := parsePush(f, &p)
		if err != nil {
			return err
		}
		c.reply = PeerReply{Code: c.pushed(h, &p, group, key)}
		return c.send(p.id, &c.reply)
	}
	return nil
}

func (c *serverConn) pushed(h lifeHandler, p *pushFrame, group, key []byte) (code Code) {
	defer func() {
		if v := recover(); v != nil {
			code = c.panicked(v).Code
		}
	}()
	if code = h.pushed(c.remote, p, group, key, c.pushedBytes); code == CodeOK {
		c.pushedBytes += int64(pushSize(p) + len(group) + len(key))
	}
	return code
}

// tellMembers tells the nodes that keep tells of each member in the list.
func (s *streamServer) tellMembers(members []announcement, keep func(remote hello) bool) {
	var frames []byte
	if len(members) == 0 {
		return
	}
	for i := range members {
		frames = appendAnnounce(frames, &members[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.minor() >= minorLife && keep(c.remote) {
			c.w.postFrame(frames)
		}
	}
}

// minor returns the minor version that is spoken with the peer; -1 if it is not up.
func (c *streamClient) minor() int {
	st := c.current.Load()
	if st.conn == nil || st.state != peerUp {
		return -1
	}
	return spoken(c.cfg.self(), st.remote)
}

// announce tells the peer of this node, if there is something to tell and the peer
// understands it.
func (c *streamClient) announce() {
	st := c.current.Load()
	if c.cfg.announce == nil || c.minor() < minorLife || st.conn == nil {
		return
	}
	if a, ok := c.cfg.announce(); ok {
		st.conn.w.postFrame(appendAnnounce(nil, &a))
	}
}

// remembering returns the connection to a peer that drains and whose memory may
// still be asked; nil if there is none.
func (c *streamClient) remembering() *clientConn {
	st := c.current.Load()
	if st.state != peerDraining || st.conn == nil || !st.conn.remembers.Load() {
		return nil
	}
	return st.conn
}

// handleAnnounce: the peer tells of another member.
func (cc *clientConn) handleAnnounce(f *frame) error {
	var a announcement
	if err := parseAnnounce(f, &a); err != nil {
		return err
	}
	if tell := cc.client.cfg.onMember; tell != nil && spoken(cc.client.cfg.self(), cc.remote) >= minorLife {
		tell(a)
	}
	return nil
}

// push sends entries, in one write unless they exceed what is gathered, and returns
// the codes of their replies once all are there.
func (c *streamClient) push(ctx context.Context, entries []pushFrame) ([]Code, error) {
	if c.minor() < minorLife {
		return nil, c.trouble(fmt.Errorf("it is %s, or does not take entries over", c.State()))
	}
	conn := c.current.Load().conn
	if conn == nil {
		return nil, c.trouble(ErrClosed)
	}
	m := &manyCall{conn: conn, calls: make([]call, len(entries))}
	m.wait.done = make(chan struct{}, 1)
	m.wait.begin(nil)
	err := conn.lock(ctx)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		k := &m.calls[i]
		k.waiter = &m.wait
		m.wait.left.Add(1)
		conn.addLocked(k)
		entries[i].id = k.id
		conn.w.buf = appendPush(conn.w.buf, &entries[i])
	}
	conn.asked()
	conn.w.flushLocked(false)
	m.wait.end()
	m.await(ctx)
	codes := make([]Code, len(entries))
	for i := range m.calls {
		if m.calls[i].err != nil {
			return nil, m.calls[i].err
		}
		codes[i] = m.calls[i].reply.Code
	}
	return codes, nil
}
