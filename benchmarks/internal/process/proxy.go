package process

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// A Proxy hands on the TCP connections that it accepts to a server, whose answers
// it can hold back.
type Proxy struct {
	Addr string // where clients reach it

	upstream string
	ctx      context.Context
	end      func()
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	delay   time.Duration
	changed chan struct{} // closed when delay changes
}

// NewProxy starts a proxy on a free port of 127.0.0.1. Whoever connects while the
// server does not run is cut off.
func NewProxy(upstream string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{Addr: l.Addr().String(), upstream: upstream, ctx: ctx, changed: make(chan struct{})}
	p.end = func() { cancel(); _ = l.Close() }
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.pipe(client) })
		}
	})
	return p, nil
}

// Close ends the proxy and what it has open.
func (p *Proxy) Close() {
	p.end()
	p.running.Wait()
}

// SetDelay makes what the server says from now on arrive that much later, and what
// is on its way already no later than that.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
	close(p.changed)
	p.changed = make(chan struct{})
}

// A piece is a part of an answer, and when it came.
type piece struct {
	data []byte
	came time.Time
}

// hold waits until a piece may go on, and says whether it may: what is held back
// when the connection ends is thrown away.
func (p *Proxy) hold(ctx context.Context, came time.Time) bool {
	for {
		p.mu.Lock()
		delay, changed := p.delay, p.changed
		p.mu.Unlock()
		timer := time.NewTimer(time.Until(came.Add(delay)))
		select {
		case <-timer.C:
			return true
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// pipe connects a client with the server until one of them ends it.
func (p *Proxy) pipe(client net.Conn) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	unblock := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer unblock()

	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		_, _ = io.Copy(server, client)
	})
	pieces := make(chan piece, 1024)
	wg.Go(func() {
		defer cancel()
		for piece := range pieces {
			if !p.hold(ctx, piece.came) {
				continue
			}
			if _, err := client.Write(piece.data); err != nil {
				cancel() // the pieces that are left are thrown away
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := server.Read(buf)
		if n > 0 {
			pieces <- piece{buf[:n], time.Now()}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	wg.Wait()
}
