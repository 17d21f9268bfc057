package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy stands before a server on one TCP and one UDP port of the same number, and
// hands on what the server answers, later or not at all if it is told to.
type Proxy struct {
	Addr string // where clients reach it: "127.0.0.1:port"

	upstream string
	ctx      context.Context
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	delay   time.Duration
	changed chan struct{} // closed when delay changes
	down    bool
	conns   map[net.Conn]bool // of clients
}

// NewProxy starts a proxy before a server's "host:port", which need not answer yet.
// It ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	tcp, udp := listenBoth(t)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{Addr: tcp.Addr().String(), upstream: upstream, ctx: ctx, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.running.Go(func() { p.serveTCP(tcp) })
	p.running.Go(func() { p.serveUDP(udp) })
	t.Cleanup(func() {
		cancel()
		_ = tcp.Close()
		_ = udp.Close()
		p.running.Wait()
	})
	return p
}

// listenBoth takes a port of 127.0.0.1 that is free for TCP and UDP.
func listenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp
		}
		_ = tcp.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// FreeAddr returns a "127.0.0.1:port" where nobody listens, by TCP or UDP. The port lies
// below the range from which systems take the ports of outgoing connections, so that none of
// those takes it before a server does, nor while one that was stopped starts again.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var last error
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(10_000))
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			last = err
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return addr
		}
		last = err
	}
	t.Fatalf("no port between 10000 and 20000 is free for both TCP and UDP: %v", last)
	return ""
}

// SetDelay makes all answers from now on arrive d later than they would, and those that
// wait already no later than that.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
	close(p.changed)
	p.changed = make(chan struct{})
}

// An answer is a piece of one, and when it came.
type answer struct {
	data []byte
	came time.Time
}

// due waits until the answer may go on, and reports whether it still can.
func (p *Proxy) due(ctx context.Context, a answer) bool {
	for {
		p.mu.Lock()
		delay, changed := p.delay, p.changed
		p.mu.Unlock()
		timer := time.NewTimer(time.Until(a.came.Add(delay)))
		select {
		case <-timer.C:
			return ctx.Err() == nil
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// SetDown makes the server look as if it were down: what is open is cut off, and
// nothing is answered until that ends.
func (p *Proxy) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down = down; down {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// isDown reports whether it is, and if not, takes note of a client.
func (p *Proxy) isDown(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down && c != nil {
		p.conns[c] = true
	}
	return p.down
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) serveTCP(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.pipe(client) })
	}
}

// pipe connects a client with the server until one of them ends it.
func (p *Proxy) pipe(client net.Conn) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer client.Close()
	if p.isDown(client) {
		return
	}
	defer p.forget(client)
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
	answers := make(chan answer, 1024)
	wg.Go(func() {
		defer cancel()
		for a := range answers {
			if !p.due(ctx, a) {
				continue
			}
			if _, err := client.Write(a.data); err != nil {
				cancel()
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := server.Read(buf)
		if n > 0 {
			answers <- answer{buf[:n], time.Now()}
		}
		if err != nil {
			break
		}
	}
	close(answers)
	wg.Wait()
}

// serveUDP asks the server each question from a socket of its own.
func (p *Proxy) serveUDP(l net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := l.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		question := append([]byte(nil), buf[:n]...)
		p.running.Go(func() {
			if a, ok := p.ask(question); ok && !p.isDown(nil) && p.due(p.ctx, a) {
				_, _ = l.WriteTo(a.data, client)
			}
		})
	}
}

func (p *Proxy) ask(question []byte) (a answer, ok bool) {
	server, err := net.Dial("udp", p.upstream)
	if err != nil {
		return answer{}, false
	}
	defer server.Close()
	unblock := context.AfterFunc(p.ctx, func() { _ = server.Close() })
	defer unblock()
	_ = server.SetDeadline(time.Now().Add(promptly))
	if _, err := server.Write(question); err != nil {
		return answer{}, false
	}
	buf := make([]byte, 64<<10)
	n, err := server.Read(buf)
	return answer{buf[:n], time.Now()}, err == nil
}
