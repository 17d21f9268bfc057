package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

	takesLong = 500 * time.Millisecond // a member is done within milliseconds
)

// A transport is the library's, with bounds on what others may send by TCP, and a
// memory of who answered.
type transport struct {
	*memberlist.NetTransport
	streams chan net.Conn
	done    chan struct{} // closed by Shutdown
	pump    sync.WaitGroup

	mu    sync.Mutex // guards what follows
	open  []*stream  // that others have opened, the oldest first
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
		NetTransport: nt, streams: make(chan net.Conn), done: make(chan struct{}), spoke: make(map[string]bool),
	}
	t.pump.Go(t.admit)
	return t, nil
}

// admit hands on the connections that others open.
func (t *transport) admit() {
	for {
		select {
		case <-t.done:
			return
		case raw := <-t.NetTransport.StreamCh():
			conn := t.enter(raw)
			select {
			case t.streams <- conn:
			case <-t.done:
				_ = conn.Close()
				return
			}
		}
	}
}

// enter takes a connection in. If there are too many, one is closed: of those that come
// from where most come from, the oldest that says nothing or takes long. So who opens
// connections and says nothing is in nobody's way but his own, and members that come in a crowd
// do not drive each other out.
func (t *transport) enter(raw net.Conn) *stream {
	s := &stream{Conn: raw, left: maxStream, from: networkOf(raw.RemoteAddr()), since: time.Now()}
	s.closed = func() { t.forgetStream(s) }
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = append(t.open, s)
	if len(t.open) <= maxStreams {
		return s
	}
	count, most := make(map[netip.Prefix]int), netip.Prefix{}
	for _, o := range t.open {
		if count[o.from]++; count[o.from] > count[most] {
			most = o.from
		}
	}
	i := slices.IndexFunc(t.open, func(o *stream) bool {
		return o.from == most && (!o.spoke.Load() || s.since.Sub(o.since) > takesLong)
	})
	if i < 0 {
		i = slices.IndexFunc(t.open, func(o *stream) bool { return o.from == most })
	}
	_ = t.open[i].Conn.Close() // whoever reads from it learns of it
	t.open = slices.Delete(t.open, i, i+1)
	return s
}

// forgetStream is called when a connection that another one opened has been closed.
func (t *transport) forgetStream(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = slices.DeleteFunc(t.open, func(o *stream) bool { return o == s })
}

// networkOf returns what one machine may have at its disposal: an address of IPv4, a
// network of 2^64 addresses of IPv6.
func networkOf(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := ap.Addr().Unmap()
	p, err := ip.Prefix(min(ip.BitLen(), 64))
	if err != nil {
		return netip.Prefix{}
	}
	return p
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
	return &stream{Conn: raw, left: maxStream, closed: func() {}, heard: func(whole bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.spoke[a.Addr] = whole
	}}, nil
}

// forget forgets who answered.
func (t *transport) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.spoke)
}

// answered returns one of the addresses at which somebody said something since forget,
// and was not cut off; empty if there is none. Who understands nothing of what a node says tells
// it so; who hangs, or hangs up, may have too much to do.
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
	left   int          // bytes that may still be read
	from   netip.Prefix // who opened it; this and what follows is for those that others opened
	since  time.Time
	spoke  atomic.Bool // something was read
	closed func()      // is called at each Close

	// heard is called after each Read, with whether the other side has answered and its
	// answer was not cut off; may be nil.
	heard func(whole bool)
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("gossip: more than %d bytes from one connection", maxStream)
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	if n > 0 {
		s.spoke.Store(true)
	}
	if s.heard != nil {
		s.heard(n > 0 && err == nil)
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.closed()
	return err
}
