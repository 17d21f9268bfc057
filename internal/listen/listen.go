// Package listen accepts connections up to a number, keeps their deadlines at
// the cost of a store, and has requests answered before an http.Server sees them.
// It knows nothing of what is spoken on them.
//
// An http.Server with timeouts sets half a dozen deadlines for each request, and each
// resets a timer of the runtime. Here a deadline is a number that a sweep looks
// at four times a second: so it passes up to Tick late.
package listen

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/internal/socket"
)

// Tick is how late a deadline may pass.
const Tick = 250 * time.Millisecond

// A Listener closes connections beyond a number at once, so that those that
// others hold open cost a bounded number of descriptors.
type Listener struct {
	net.Listener
	most  int64
	open  atomic.Int64
	start time.Time
	now   atomic.Int64 // nanoseconds since start, at the last sweep

	early   Early
	buffers sync.Pool // of *[bufferSize]byte
	answers sync.Pool // of *[]byte

	mu    sync.Mutex // guards conns, sweep
	conns map[*conn]struct{}
	sweep *time.Timer // armed while there are conns
}

// New returns a listener that takes its connections from l, at most that many
// at a time.
func New(l net.Listener, most int) *Listener {
	return &Listener{
		Listener: l, most: int64(most), start: time.Now(), conns: make(map[*conn]struct{}),
		buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }},
		answers: sync.Pool{New: func() any { return new(make([]byte, 0, bufferSize)) }},
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return l.add(c), nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

func (l *Listener) add(below net.Conn) *conn {
	c := &conn{Conn: socket.New(below), below: below, l: l}
	c.read.tell, c.write.tell = below.SetReadDeadline, below.SetWriteDeadline
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
	if len(l.conns) == 1 {
		l.now.Store(int64(time.Since(l.start)))
		l.sweep = time.AfterFunc(Tick, l.expire)
	}
	return c
}

// forget leaves a connection out of the sweeps.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if len(l.conns) == 0 && l.sweep != nil {
		l.sweep.Stop()
		l.sweep = nil
	}
}

// expire is a sweep: it tells the connections whose deadlines have passed.
func (l *Listener) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := int64(time.Since(l.start))
	l.now.Store(now)
	for c := range l.conns {
		c.read.expire(now)
		c.write.expire(now)
	}
	if l.sweep != nil { // otherwise the last connection went while this waited
		l.sweep.Reset(Tick)
	}
}

// at returns a time as a deadline has it.
func (l *Listener) at(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	if at := int64(t.Sub(l.start)); at > l.now.Load() {
		return at
	}
	return passed
}

// A conn is a connection with deadlines that the sweeps look at.
type conn struct {
	net.Conn
	below       net.Conn // what Conn reads and writes
	l           *Listener
	read, write deadline
	exact       atomic.Bool
	closed      atomic.Bool

	// Of the goroutine that serves: see Early.
	between atomic.Bool  // nothing of a request was read
	phase   atomic.Int32 // also of who closes
	open    []byte       // what the server has read and not answered
	foreign bool         // it has read something else than whole requests

	// Of the goroutine that writes: see Hold.
	held   *[bufferSize]byte
	holds  int
	pieces net.Buffers
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.exact.Load() {
		return c.Conn.SetReadDeadline(t)
	}
	return c.read.set(c.l.at(t), t)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.exact.Load() {
		return c.Conn.SetWriteDeadline(t)
	}
	return c.write.set(c.l.at(t), t)
}

func (c *conn) close() error {
	if !c.closed.Swap(true) {
		c.l.forget(c)
		c.l.open.Add(-1)
	}
	return c.Conn.Close()
}

// SetWriteBuffer bounds what the operating system holds of what is written.
func (c *conn) SetWriteBuffer(bytes int) error {
	if below, ok := c.below.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return below.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

// Exact makes the deadlines of a connection of a Listener exact from now on, also
// below TLS: those that have been set are forgotten. It is for protocols that
// take a connection over from HTTP. Other connections are left alone.
func Exact(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok || c.exact.Swap(true) {
		return
	}
	c.l.forget(c)
	c.read.forget()
	c.write.forget()
}

// What a deadline may be, besides a time: nanoseconds since the listener's start.
const (
	never  = 0
	passed = -1 // and the connection below has been told
)

// A deadline is one of a connection's two.
type deadline struct {
	at   atomic.Int64
	mu   sync.Mutex            // orders what the connection below is told
	tell func(time.Time) error // sets the deadline of the connection below
}

// set sets the deadline to at, which is t.
func (d *deadline) set(at int64, t time.Time) error {
	if at != passed && d.at.Swap(at) != passed {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at == passed {
		d.at.Store(passed)
		return d.tell(t)
	}
	if d.at.Load() == passed { // set anew, by another caller
		return nil
	}
	return d.tell(time.Time{})
}

// expire tells the connection below if the deadline has passed.
func (d *deadline) expire(now int64) {
	at := d.at.Load()
	if at <= 0 || at > now {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// A later one may have been set meanwhile. One that is set from now on finds
	// that this one has passed, and waits for mu to take it back.
	if d.at.CompareAndSwap(at, passed) {
		_ = d.tell(time.Unix(1, 0)) // fails if the connection is closed
	}
}

// forget ends the deadline's part in this.
func (d *deadline) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at.Store(never)
	_ = d.tell(time.Time{})
}
