package gossip

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// The library reads up to 20 MiB from anybody before it knows whether he has the
// secret: 40 connections took half a gigabyte. A member takes half a kilobyte, and 1 MiB
// is more than a thousand of them.
const (
	maxStreams = 32
	maxStream  = 1 << 20
)

// A transport is the library's, with bounds on what others may send by TCP, and a
// memory of who answered.
type transport struct {
	*memberlist.NetTransport
	streams chan net.Conn
	slots   chan struct{} // a value for each open connection
	done    chan struct{} // closed by Shutdown
	pump    sync.WaitGroup

	mu    sync.Mutex // guards spoke
	spoke map[string]bool
}

// newTransport listens. Port 0 is a free one, for TCP and UDP.
func newTransport(c *memberlist.Config) (*transport, error) {
	tries := 1
	if c.BindPort == 0 {
		tries = 10 // what is free for TCP may not be for UDP
	}
	var nt *memberlist.NetTransport
	var err error
	for range tries {
		nt, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{c.BindAddr}, BindPort: c.BindPort, Logger: c.Logger})
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	t := &transport{
		NetTransport: nt, streams: make(chan net.Conn), slots: make(chan struct{}, maxStreams),
		done: make(chan struct{}), spoke: make(map[string]bool),
	}
	t.pump.Go(t.admit)
	return t, nil
}

// admit hands on the connections that others open, and closes those that are too
// many.
func (t *transport) admit() {
	for {
		select {
		case <-t.done:
			return
		case raw := <-t.NetTransport.StreamCh():
			select {
			case t.slots <- struct{}{}:
			default:
				_ = raw.Close()
				continue
			}
			conn := &stream{Conn: raw, left: maxStream, closed: sync.OnceFunc(func() { <-t.slots })}
			select {
			case t.streams <- conn:
			case <-t.done:
				_ = conn.Close()
				return
			}
		}
	}
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	err := t.NetTransport.Shutdown() // it waits for admit to take what it has accepted
	close(t.done)
	t.pump.Wait()
	return err
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	raw, err := t.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: raw, left: maxStream, closed: func() {}, heard: func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.spoke[a.Addr] = true
	}}, nil
}

// forget forgets who answered.
func (t *transport) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.spoke)
}

// answered returns one of the addresses at which somebody said something, or ended the
// connection, since forget; empty if there is none. One who hangs has done neither.
func (t *transport) answered(addrs []string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, addr := range addrs {
		if t.spoke[addr] {
			return addr
		}
	}
	return ""
}

// A stream is a connection of which only so much is read.
type stream struct {
	net.Conn
	left   int    // bytes that may still be read
	closed func() // is called at each Close
	heard  func() // is called when the other side has answered, or hung up; may be nil
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("gossip: more than %d bytes from one connection", maxStream)
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	if s.heard != nil && (n > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		s.heard()
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.closed()
	return err
}
