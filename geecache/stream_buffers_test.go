package geecache

import (
	"net"
	"testing"
	"time"
)

func TestSendBufferFor(t *testing.T) {
	for trip, want := range map[time.Duration]int{
		0:                     sendBuffer,
		50 * time.Microsecond: sendBuffer,
		time.Millisecond:      bufferRate / 1000,
		time.Minute:           sendBufferMost,
		1<<63 - 1:             sendBufferMost,
	} {
		if got := sendBufferFor(trip); got != want {
			t.Errorf("round trip of %v: %d bytes, want %d", trip, got, want)
		}
	}
}

// bufferedConn is a connection that is told how much it may hold.
type bufferedConn struct {
	net.Conn
	sizes []int
}

func (c *bufferedConn) SetWriteBuffer(bytes int) error {
	c.sizes = append(c.sizes, bytes)
	return nil
}

func TestSendPath(t *testing.T) {
	for name, test := range map[string]struct {
		trips []time.Duration
		want  int // the buffer in the end
	}{
		"near":             {[]time.Duration{50, 50, 50, 50, 50, 50, 50, 50}, sendBuffer},
		"near, slow once":  {[]time.Duration{90_000, 90_000, 50, 90_000, 90_000, 90_000, 90_000, 90_000}, sendBuffer},
		"far":              {[]time.Duration{10_000, 9000, 8000, 9000, 9000, 9000, 9000, 9000}, bufferRate * 8 / 1000},
		"far, few answers": {[]time.Duration{9000, 9000, 9000}, sendBuffer},
		"no time at all":   {[]time.Duration{-9000, 0, 0, 0, 0, 0, 0, 0, 0}, sendBuffer},
	} {
		conn := &bufferedConn{}
		p := newSendPath(conn)
		for _, trip := range test.trips {
			p.answered(trip * time.Microsecond)
		}
		if got := conn.sizes[len(conn.sizes)-1]; got != test.want {
			t.Errorf("%s: %d bytes, want %d", name, got, test.want)
		}
	}
}

// A connection pings until it knows its path, and no longer.
func TestPathProbes(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	conn := &bufferedConn{Conn: there}
	s := newStreamServer(streamServerConfig{self: helloOf("server"), handler: testHandler{now: echo}})
	c := newServerConn(s, conn, hello{ID: "raw"}, nil)
	served := make(chan struct{})
	go func() { defer close(served); c.serve() }()
	p := &rawPeer{t: t, conn: here, fr: newFrameReader(here, nil, 1<<20)}
	for range pathProbes {
		f := p.next()
		n, _ := parseNumber(&f)
		if f.kind != kindPing {
			t.Fatalf("frame of kind %d, want a ping", f.kind)
		}
		p.write(appendNumber(nil, kindPong, n))
	}
	p.write(appendNumber(nil, kindPing, 1))
	if f := p.next(); f.kind != kindPong {
		t.Errorf("after %d pongs, a frame of kind %d", pathProbes, f.kind)
	}
	here.Close()
	<-served
}
