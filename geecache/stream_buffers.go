package geecache

import (
	"crypto/tls"
	"net"
	"time"
)

const (
	// sendBuffer is what the operating system may hold of what is sent to a node
	// nearby (Linux doubles it). What it holds cannot be overtaken, and by itself it
	// takes several MiB: behind a large value a small one then waits for
	// milliseconds. And who sends a large value through little room waits often,
	// so that others get the processor.
	sendBuffer = 32 << 10

	// A connection carries what its buffers hold in a round trip of the network,
	// so farther away they are larger: as much as bufferRate brings meanwhile.
	bufferRate     = 128 << 20 // bytes a second
	sendBufferMost = 4 << 20

	// pathProbes is how many pings find out how long a round trip takes.
	pathProbes = 8
)

// A sendPath fits the buffer of a connection to the distance of its other end: it
// starts small, and grows once if the fastest of several pings was slow.
type sendPath struct {
	buffer interface{ SetWriteBuffer(bytes int) error } // nil: not the operating system's
	probes int                                          // answered so far
	best   time.Duration                                // of a round trip
}

// newSendPath bounds what is held of what conn sends. If it cannot, large values
// hold small ones up a little more.
func newSendPath(conn net.Conn) sendPath {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	p := sendPath{}
	p.buffer, _ = conn.(interface{ SetWriteBuffer(bytes int) error })
	if p.buffer != nil {
		_ = p.buffer.SetWriteBuffer(sendBuffer)
	}
	return p
}

// probing reports whether a ping is to tell more about the path.
func (p *sendPath) probing() bool { return p.buffer != nil && p.probes < pathProbes }

// answered notes how long a ping took.
func (p *sendPath) answered(took time.Duration) {
	if !p.probing() || took <= 0 {
		return
	}
	if p.probes++; p.best == 0 || took < p.best {
		p.best = took
	}
	if p.probes < pathProbes {
		return
	}
	if size := sendBufferFor(p.best); size > sendBuffer {
		_ = p.buffer.SetWriteBuffer(size)
	}
}

// sendBufferFor returns the size for a round trip of the given length.
func sendBufferFor(trip time.Duration) int {
	most := time.Duration(sendBufferMost) * time.Second / bufferRate
	return max(sendBuffer, int(int64(min(trip, most))*bufferRate/int64(time.Second)))
}
