package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
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
	limit chan struct{} // holds one for each connection in use; nil for no limit
	get   *http.Request // tells http.ReadResponse what is answered

	mu     sync.Mutex // guards all below
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
	d := &dialer{addr: u.Host, active: make(map[*conn]struct{}), get: &http.Request{Method: http.MethodGet}}
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
	if o.Connections > 0 {
		d.limit = make(chan struct{}, o.Connections)
	}
	return d
}

// take returns an idle connection, or a new one if there is none or fresh is
// asked for.
func (d *dialer) take(ctx context.Context, fresh bool) (*conn, error) {
	if d.limit != nil {
		select {
		case d.limit <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	d.mu.Lock()
	if n := len(d.idle); n > 0 && !fresh {
		c := d.idle[n-1]
		d.idle = d.idle[:n-1]
		d.active[c] = struct{}{}
		d.mu.Unlock()
		c.reused = true
		return c, nil
	}
	d.mu.Unlock()
	c, err := d.dial(ctx)
	if err != nil {
		d.release()
		return nil, err
	}
	return c, nil
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
	d.mu.Lock()
	delete(d.active, c)
	again = again && !d.closed
	if again {
		d.idle = append(d.idle, c)
	}
	d.mu.Unlock()
	if !again {
		_ = c.Close() // nothing is lost with it
	}
	d.release()
}

func (d *dialer) release() {
	if d.limit != nil {
		<-d.limit
	}
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
