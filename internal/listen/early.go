package listen

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"time"
)

// Early answers requests before the connection's http.Server sees them.
type Early struct {
	// Answer appends the answer to a request, which is all that has come, to buf.
	// It returns false for what the server is to answer. It must not wait.
	Answer func(request, buf []byte) (answer []byte, ok bool)

	// Whole reports whether something is one request without a body, from its begin
	// to its end. A connection that the server has read anything else from is not
	// answered early any more.
	Whole func(request []byte) bool

	Idle  time.Duration // how long a connection may wait for the next request
	Write time.Duration // how long an answer may take to be sent
}

// SetEarly has requests answered early from now on, except for the first one of a
// connection, if the server has ConnState. Call it before the server serves.
func (l *Listener) SetEarly(e Early) { l.early = e }

type connKey struct{}

// ConnContext is an http.Server's, and makes [Hold] work.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	c, ok := nc.(*conn)
	if !ok { // under TLS there are records to be filled, and it is not
		return ctx
	}
	return context.WithValue(ctx, connKey{}, c)
}

// ConnState is an http.Server's. It lets [Early] know where requests begin, and
// makes the deadlines of a connection that is taken over exact.
func ConnState(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		if c, ok := nc.(*conn); ok {
			c.answered()
		}
	case http.StateHijacked:
		Exact(nc)
	}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.between.Load() {
		return c.readEarly(p)
	}
	n, err := c.Conn.Read(p)
	c.note(p[:n])
	return n, err
}

// note keeps what the server reads until it has answered it. (It reads ahead: what
// it has in its buffer, of a request or of a request's body, nobody here may take
// for the begin of the next one.)
func (c *conn) note(b []byte) {
	switch {
	case c.foreign || len(b) == 0:
	case c.l.early.Whole == nil || len(c.open)+len(b) > bufferSize:
		c.foreign, c.open = true, nil
	default:
		c.open = append(c.open, b...)
	}
}

// answered is called when the server has answered a request and waits for the
// next. A request begins with the next byte that is read if the server has
// nothing but that one, which had no body.
func (c *conn) answered() {
	if c.foreign {
		return
	}
	end := bytes.Index(c.open, []byte("\r\n\r\n")) + 4
	if end < 4 || !c.l.early.Whole(c.open[:end]) {
		c.foreign, c.open = true, nil
		return
	}
	c.open = append(c.open[:0], c.open[end:]...)
	c.between.Store(len(c.open) == 0)
}

// readEarly is Read between requests: it comes back with what is not answered
// early. To the server the connection waits meanwhile, and may be closed: see Close.
func (c *conn) readEarly(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		// If the server had bytes of a request, there would be less room than its
		// buffer has.
		if err == nil && n > 0 && len(p) == bufferSize {
			answered, err := c.answerEarly(p[:n])
			switch {
			case err != nil:
				return 0, err
			case answered:
				continue
			}
		}
		c.note(p[:n])
		c.between.Store(n == 0)
		return n, err
	}
}

// answerEarly answers a request, if it is one to be answered early.
func (c *conn) answerEarly(request []byte) (answered bool, err error) {
	buf := c.l.answers.Get().(*[]byte)
	defer c.l.answers.Put(buf)
	b, ok := c.l.early.Answer(request, (*buf)[:0])
	if !ok {
		return false, nil
	}
	*buf = b[:0]
	if !c.phase.CompareAndSwap(waits, answers) {
		return false, net.ErrClosed
	}
	now := c.l.now.Load()
	_ = c.write.set(now+int64(c.l.early.Write), time.Time{})
	_, err = c.Conn.Write(b)
	_ = c.write.set(never, time.Time{})
	_ = c.read.set(now+int64(c.l.early.Idle), time.Time{})
	if !c.phase.CompareAndSwap(answers, waits) {
		_ = c.close()
		return false, net.ErrClosed
	}
	return true, err
}

// The phases of a connection that is answered early.
const (
	waits   int32 = iota
	answers       // its server believes that it waits
	closes        // the same, and the server has closed it
)

// closeWithin is how long an answer may still take once the server closes.
const closeWithin = time.Second

// Close implements net.Conn. A server that shuts down closes connections that
// wait: an answer that is on its way is sent first.
func (c *conn) Close() error {
	if c.phase.CompareAndSwap(answers, closes) {
		return c.Conn.SetWriteDeadline(time.Now().Add(closeWithin))
	}
	return c.close()
}
