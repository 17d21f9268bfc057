package listen

import "net/http"

// net/http reads and writes through buffers of this size. A response that is larger goes
// out in two pieces, the buffer and the rest, if that is as large as the buffer.
const bufferSize = 4096

// HoldFrom is the size of a body from which on [Hold] is worth while.
const HoldFrom = 2 * bufferSize

// Hold makes the first two writes to a request's connection one call of the
// system, until release is called. Call it around one Write of a large body.
func Hold(r *http.Request) (release func()) {
	if r.ProtoMajor != 1 { // others write to the connection, too
		return func() {}
	}
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.held = c.l.buffers.Get().(*[bufferSize]byte)
	return c.release
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.held == nil:
		return c.Conn.Write(p)
	case c.holds == 0 && len(p) <= bufferSize:
		c.holds = copy(c.held[:], p)
		return len(p), nil
	}
	return c.writeBoth(p)
}

// writeBoth writes what is held, and p.
func (c *conn) writeBoth(p []byte) (int, error) {
	first := c.holds
	c.pieces = append(c.pieces[:0], c.held[:first], p)
	both := c.pieces
	c.holds = 0
	n, err := both.WriteTo(c.below) // one call only if it is the net package's own
	clear(c.pieces)
	if err != nil && n < int64(first) {
		// Its writer believes that it has been written: nothing may follow it.
		_ = c.Close()
	}
	return max(int(n)-first, 0), err
}

func (c *conn) release() {
	if c.holds > 0 {
		_, _ = c.writeBoth(nil)
	}
	c.l.buffers.Put(c.held)
	c.held = nil
}
