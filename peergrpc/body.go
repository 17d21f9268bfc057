package peergrpc

import (
	"errors"
	"io"
	"sync/atomic"
)

// heldBytes is the most that requests which came through net/http hold together, in
// bytes, what each of them begins with aside.
const heldBytes = 64 << 20

var (
	errBodyTooLarge = errors.New("the request goes on after its message: it is read no further")
	errHeld         = errors.New("the node holds as much of other requests as it may: ask again, or another node")
)

// A heldBody bounds how much of a request is held. Behind net/http, gRPC reads a body as
// fast as it comes, whatever its limits on messages are, until the request has been
// answered: flow control holds nobody back. A Read is one buffer of gRPC's, which is kept
// whole even if there is a single byte in it, so it counts whole. The first one
// is not counted: most requests have no other, and they are not to be refused for
// being many.
type heldBody struct {
	io.ReadCloser
	held *atomic.Int64 // by all requests
	left int           // bytes that may still be read
	own  int64         // of held
	more bool          // there was a Read
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBodyTooLarge
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	if n > 0 && b.more {
		b.own += int64(len(p))
		if b.held.Add(int64(len(p))) > heldBytes {
			return n, errHeld
		}
	}
	b.more = true
	return n, err
}

// release is called once nothing reads any more.
func (b *heldBody) release() { b.held.Add(-b.own) }
