package loadgen

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A dialer opens and keeps the connections to one HTTP/1.1 server. It is safe
// for concurrent use.
//
// It is there because the generator shares its processors with what it
// measures: net/http's client passes every request through two goroutines of
// the connection, which costs more than the rest of the generator together.
// Here the worker writes its request and reads its answer itself; the parsing
// of answers is net/http's.
type dialer struct {
	addr  string
	tls   *tls.Config   // nil for plain HTTP
	limit chan struct{} // holds one for each connection in use
	dials chan struct{} // holds one for each connection that is being opened
	get   *http.Request // tells http.ReadResponse what is answered
	waits atomic.Int64  // how often limit had to be waited for

	mu     sync.Mutex // guards all below
	queue  *list.List // of chan *conn: who waits for a connection, the longest first; empty while one is idle
	idle   []*conn    // the one used last is at the end, and is used next
	active map[*conn]struct{}
	closed bool
}

// conn is a connection. It belongs to the worker that has taken it.
type conn struct {
	net.Conn
	r      *bufio.Reader
	reused bool
}

func newDialer(u *url.URL, o *HTTPOptions) *dialer {
	d := &dialer{
		addr:   u.Host,
		limit:  make(chan struct{}, o.Connections),
		dials:  make(chan struct{}, maxDials),
		get:    &http.Request{Method: http.MethodGet},
		queue:  list.New(),
		active: make(map[*conn]struct{}),
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		d.tls = o.TLS.Clone()
		if d.tls == nil {
			d.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if d.tls.ServerName == "" {
			d.tls.ServerName = u.Hostname()
		}
		d.tls.NextProtos = []string{"http/1.1"}
	}
	if u.Port() == "" {
		d.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return d
}

// maxDials bounds how many connections are opened to a target at once. Without
// a bound, a moment in which the machine is busy makes a request open a
// connection that it would not have needed a moment later; opening it keeps the
// machine busy, and so on until there is a connection for each request.
const maxDials = 32

// take returns an idle connection or, if there is none or fresh is asked for, a
// new one. Who has to wait until a new one may be opened takes one that becomes
// idle in the meantime.
func (d *dialer) take(ctx context.Context, fresh bool) (*conn, error) {
	select {
	case d.limit <- struct{}{}:
	default:
		d.waits.Add(1)
		select {
		case d.limit <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c, err := d.takeWithin(ctx, fresh)
	if err != nil {
		<-d.limit
	}
	return c, err
}

func (d *dialer) takeWithin(ctx context.Context, fresh bool) (*conn, error) {
	var handed chan *conn // nil, so never ready, for who wants a fresh one
	var place *list.Element
	if !fresh {
		d.mu.Lock()
		if n := len(d.idle); n > 0 {
			c := d.idle[n-1]
			d.idle = d.idle[:n-1]
			d.active[c] = struct{}{}
			d.mu.Unlock()
			c.reused = true
			return c, nil
		}
		handed = make(chan *conn, 1)
		place = d.queue.PushBack(handed)
		d.mu.Unlock()
	}
	select {
	case c := <-handed:
		return c, nil
	case <-ctx.Done():
		if c := d.leave(place, handed); c != nil {
			return c, nil // it will find out about ctx by itself
		}
		return nil, ctx.Err()
	case d.dials <- struct{}{}:
		defer func() { <-d.dials }()
		if c := d.leave(place, handed); c != nil {
			return c, nil
		}
		return d.dial(ctx)
	}
}

// leave takes a place out of the queue. If a connection has been handed to it
// already, that is returned.
func (d *dialer) leave(place *list.Element, handed chan *conn) *conn {
	if place == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case c := <-handed:
		return c
	default:
		d.queue.Remove(place)
		return nil
	}
}

func (d *dialer) dial(ctx context.Context) (*conn, error) {
	var nd net.Dialer
	nc, err := nd.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	if d.tls != nil {
		tc := tls.Client(nc, d.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // the handshake's error says more
			return nil, err
		}
		nc = tc
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 4<<10)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = nc.Close()
		return nil, context.Canceled
	}
	d.active[c] = struct{}{}
	return c, nil
}

// give takes a connection back: to be used again, or closed.
func (d *dialer) give(c *conn, again bool) {
	if !d.keep(c, again) {
		_ = c.Close() // nothing is lost with it
	}
	<-d.limit
}

// keep hands a connection to the one who waits the longest, or else lays it
// aside. It reports whether the connection stays open.
func (d *dialer) keep(c *conn, again bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !again || d.closed {
		delete(d.active, c)
		return false
	}
	if first := d.queue.Front(); first != nil {
		c.reused = true
		// It has room: a place gets one connection and is then gone.
		d.queue.Remove(first).(chan *conn) <- c
		return true
	}
	delete(d.active, c)
	d.idle = append(d.idle, c)
	return true
}

// close closes all connections, and cuts off what is on its way on them.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.active {
		_ = c.Close()
	}
	for _, c := range d.idle {
		_ = c.Close()
	}
	d.idle = nil
}

// errStale: a connection that had been idle was closed by the server before it
// answered, so that the request may be sent again on another one.
var errStale = errors.New("idle connection was closed")

// roundTrip sends a request and reads the answer's body into buf. deadline may
// be zero. The request is sent a second time only if an idle connection turns
// out to have been closed, which is what every HTTP client does.
func (d *dialer) roundTrip(ctx context.Context, deadline time.Time, request []byte, buf *bytes.Buffer) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		c, err := d.take(ctx, attempt > 0)
		if err != nil {
			return nil, err
		}
		resp, again, err := c.roundTrip(d.get, deadline, request, buf)
		d.give(c, again && err == nil)
		if attempt == 0 && errors.Is(err, errStale) {
			continue
		}
		return resp, err
	}
}

func (c *conn) roundTrip(get *http.Request, deadline time.Time, request []byte, buf *bytes.Buffer) (resp *http.Response, again bool, err error) {
	if err := c.SetDeadline(deadline); err != nil {
		return nil, false, c.stale(err)
	}
	if _, err := c.Write(request); err != nil {
		return nil, false, c.stale(err)
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, false, c.stale(err)
	}
	resp, err = http.ReadResponse(c.r, get)
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(c.r, get) // 1xx only announces the answer
	}
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	defer resp.Body.Close()
	buf.Reset()
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return nil, false, err
	}
	if buf.Len() > maxBody {
		return nil, false, fmt.Errorf("body of more than %d bytes", maxBody)
	}
	// What is left over was sent without a request: the next answer would be
	// taken for another key's.
	return resp, resp.StatusCode >= 200 && !resp.Close && c.r.Buffered() == 0, nil
}

// stale marks an error that came before the first byte of the answer on a
// connection that had been idle.
func (c *conn) stale(err error) error {
	var nerr net.Error
	if !c.reused || (errors.As(err, &nerr) && nerr.Timeout()) {
		return err
	}
	return fmt.Errorf("%w: %w", errStale, err)
}
