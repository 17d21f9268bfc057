package geecache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// The frames of the stream; docs/STREAM.md shows the layout. A frame is a header
// of frameHeader bytes, a fixed part whose length the header tells (so that a
// later minor version can append fields to it), and a part of any length.
// All numbers are little-endian.
const (
	frameHeader  = 8 // length uint32 (of what follows the header), version uint8, kind uint8, fixed uint16
	frameVersion = 1

	requestFixed = 28
	replyFixed   = 60
	pieceFixed   = 16
	cancelFixed  = 8
	pingFixed    = 8
	goawayFixed  = 4

	// pieceSize is the most that a frame carries of a value. What is longer
	// follows in pieces, so a small reply waits for this much at most.
	pieceSize = 64 << 10

	// pieceStep is how much of it a server sends at once: half of what the socket
	// holds. With pieces of 64 KiB, 8 MiB took twice as long.
	pieceStep = sendBuffer / 2

	// maxMessage is the most that a frame carries of an error's text.
	maxMessage = 4 << 10

	// maxFixed bounds the fixed part of a frame, whatever its version.
	maxFixed = 1 << 10

	// maxSkip bounds the key that a server passes over to answer "too large".
	// A longer one ends the connection.
	maxSkip = 64 << 20
)

// frameKind says what a frame is. Kinds that are not known are passed over.
type frameKind uint8

const (
	kindRequest  frameKind = 1
	kindReply    frameKind = 2
	kindPiece    frameKind = 3 // of a value that did not fit into its reply
	kindCancel   frameKind = 4 // nobody waits for this reply any more
	kindPing     frameKind = 5
	kindPong     frameKind = 6
	kindDraining frameKind = 7 // send no new requests
	kindGoaway   frameKind = 8 // the reason why the connection is closed
	// The others are in frame_life.go.
)

// The bits of replyFrame.flags and pieceFrame.flags.
const (
	flagMore  = 1 << 0 // of a reply: the value comes in pieces
	flagAbort = 1 << 0 // of a piece: no more will come
)

// errFrame is what all errors of a malformed frame wrap.
var errFrame = errors.New("malformed frame")

// A frame is one that has been received. Its slices alias the read buffer.
type frame struct {
	kind  frameKind
	fixed []byte
	rest  []byte

	// skipped is how many bytes of rest are missing because the frame was
	// longer than the reader's limit; they will be passed over.
	skipped int
}

func appendHeader(b []byte, kind frameKind, fixed, rest int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(fixed+rest))
	return append(b, frameVersion, byte(kind), byte(fixed), byte(fixed>>8))
}

// A requestFrame is a PeerRequest with the number that its reply will bear.
type requestFrame struct {
	id uint64
	PeerRequest
}

// requestSize returns how many bytes appendRequest appends.
func requestSize(r *PeerRequest) int {
	return frameHeader + requestFixed + len(r.Group) + len(r.Key)
}

// appendRequest appends the frame of a request. The group's name must not be
// longer than 65535 bytes, and the key not longer than maxSkip.
func appendRequest(b []byte, id uint64, r *PeerRequest, timeout time.Duration) []byte {
	b = appendHeader(b, kindRequest, requestFixed, len(r.Group)+len(r.Key))
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint64(b, r.Epoch)
	b = binary.LittleEndian.AppendUint64(b, uint64(timeout))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Group)))
	b = append(b, byte(r.Mode), 0)
	b = append(b, r.Group...)
	return append(b, r.Key...)
}

// parseRequest decodes a request. The group and the key are returned as bytes
// that alias the frame.
func parseRequest(f *frame, r *requestFrame) (group, key []byte, err error) {
	if len(f.fixed) < requestFixed {
		return nil, nil, fmt.Errorf("%w: request of %d bytes", errFrame, len(f.fixed))
	}
	le, p := binary.LittleEndian, f.fixed
	r.id = le.Uint64(p)
	r.Epoch = le.Uint64(p[8:])
	r.Timeout = time.Duration(le.Uint64(p[16:]))
	r.Mode = Mode(p[26])
	n := int(le.Uint16(p[24:]))
	if r.Timeout < 0 {
		return nil, nil, fmt.Errorf("%w: negative timeout", errFrame)
	}
	if n > len(f.rest)+f.skipped {
		return nil, nil, fmt.Errorf("%w: group of %d bytes in a request of %d", errFrame, n, len(f.rest))
	}
	if f.skipped > 0 {
		return nil, nil, nil
	}
	return f.rest[:n], f.rest[n:], nil
}

// A replyFrame is a PeerReply with the number of its request. Its Value is the
// whole value, or, with flagMore, nothing: then total bytes follow in pieces.
type replyFrame struct {
	id    uint64
	flags uint16
	total uint32
	PeerReply
}

// appendReply appends the frame of a reply. A value of more than pieceSize
// bytes is left out: the caller sends it in pieces.
func appendReply(b []byte, id uint64, r *PeerReply) []byte {
	var flags uint16
	value, message := r.Value, r.Message
	if len(value) > pieceSize {
		flags, value = flagMore, nil
	}
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	le := binary.LittleEndian
	b = appendHeader(b, kindReply, replyFixed, len(message)+len(value))
	b = le.AppendUint64(b, id)
	b = le.AppendUint64(b, uint64(r.TTL))
	b = le.AppendUint64(b, r.Version)
	b = le.AppendUint64(b, uint64(r.Took))
	b = le.AppendUint64(b, r.Epoch)
	b = le.AppendUint64(b, uint64(r.RetryAfter))
	b = le.AppendUint32(b, uint32(len(r.Value)))
	b = le.AppendUint16(b, uint16(len(message)))
	b = le.AppendUint16(b, flags)
	b = append(b, byte(r.Code), byte(r.From), 0, 0)
	b = append(b, message...)
	return append(b, value...)
}

// parseReply decodes a reply. Its Value aliases the frame.
func parseReply(f *frame, r *replyFrame) error {
	if len(f.fixed) < replyFixed {
		return fmt.Errorf("%w: reply of %d bytes", errFrame, len(f.fixed))
	}
	le, p := binary.LittleEndian, f.fixed
	r.id = le.Uint64(p)
	r.TTL = time.Duration(le.Uint64(p[8:]))
	r.Version = le.Uint64(p[16:])
	r.Took = time.Duration(le.Uint64(p[24:]))
	r.Epoch = le.Uint64(p[32:])
	r.RetryAfter = time.Duration(le.Uint64(p[40:]))
	r.total = le.Uint32(p[48:])
	r.flags = le.Uint16(p[54:])
	r.Code, r.From = Code(p[56]), Origin(p[57])
	n := int(le.Uint16(p[52:]))
	if n > maxMessage || n > len(f.rest) {
		return fmt.Errorf("%w: message of %d bytes in a reply of %d", errFrame, n, len(f.rest))
	}
	r.Message, r.Value = string(f.rest[:n]), f.rest[n:]
	want := int(r.total)
	if r.flags&flagMore != 0 {
		want = 0
	}
	if len(r.Value) != want {
		return fmt.Errorf("%w: %d bytes of a value of %d", errFrame, len(r.Value), want)
	}
	return nil
}

// A pieceFrame is a part of a value.
type pieceFrame struct {
	id     uint64
	offset uint32
	flags  uint16
	value  []byte // aliases the frame
}

func appendPiece(b []byte, p *pieceFrame) []byte {
	b = appendHeader(b, kindPiece, pieceFixed, len(p.value))
	b = binary.LittleEndian.AppendUint64(b, p.id)
	b = binary.LittleEndian.AppendUint32(b, p.offset)
	b = binary.LittleEndian.AppendUint16(b, p.flags)
	b = append(b, 0, 0)
	return append(b, p.value...)
}

func parsePiece(f *frame, p *pieceFrame) error {
	if len(f.fixed) < pieceFixed {
		return fmt.Errorf("%w: piece of %d bytes", errFrame, len(f.fixed))
	}
	p.id = binary.LittleEndian.Uint64(f.fixed)
	p.offset = binary.LittleEndian.Uint32(f.fixed[8:])
	p.flags = binary.LittleEndian.Uint16(f.fixed[12:])
	p.value = f.rest
	return nil
}

// appendNumber appends a cancel frame (the number is the request's), a ping, a
// pong (the number is the ping's) or a draining frame (it is a duration).
func appendNumber(b []byte, kind frameKind, n uint64) []byte {
	b = appendHeader(b, kind, 8, 0)
	return binary.LittleEndian.AppendUint64(b, n)
}

func parseNumber(f *frame) (uint64, error) {
	if len(f.fixed) < 8 {
		return 0, fmt.Errorf("%w: kind %d of %d bytes", errFrame, f.kind, len(f.fixed))
	}
	return binary.LittleEndian.Uint64(f.fixed), nil
}

func appendGoaway(b []byte, code Code, message string) []byte {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	b = appendHeader(b, kindGoaway, goawayFixed, len(message))
	b = append(b, byte(code), 0, 0, 0)
	return append(b, message...)
}

func parseGoaway(f *frame) (Code, string, error) {
	if len(f.fixed) < goawayFixed || len(f.rest) > maxMessage {
		return 0, "", fmt.Errorf("%w: goaway of %d+%d bytes", errFrame, len(f.fixed), len(f.rest))
	}
	return Code(f.fixed[0]), string(f.rest), nil
}

// A frameReader cuts what a connection sends into frames. It reads as much as
// there is, so that one read yields a batch.
type frameReader struct {
	src  io.Reader
	most int // bytes of a frame after its header; more is refused
	buf  []byte
	r, w int // buf[r:w] has been read and not been cut yet
	skip int // bytes to pass over
}

// readBuffer is the size of a read: a batch of a few hundred requests.
const readBuffer = 64 << 10

// newFrameReader returns a reader of src, before which comes what of it has
// been read already.
func newFrameReader(src io.Reader, ahead []byte, most int) *frameReader {
	fr := &frameReader{src: src, most: most, buf: make([]byte, max(readBuffer, len(ahead)))}
	fr.w = copy(fr.buf, ahead)
	return fr
}

// next cuts the next frame off what has been read. It returns false if it is not
// there as a whole; then fill reads on. The frame is valid until then.
func (fr *frameReader) next(f *frame) (bool, error) {
	if fr.skip > 0 {
		n := min(fr.skip, fr.w-fr.r)
		fr.skip -= n
		fr.r += n
	}
	b := fr.buf[fr.r:fr.w]
	if len(b) < frameHeader {
		return false, nil
	}
	length := binary.LittleEndian.Uint32(b)
	fixed := int(binary.LittleEndian.Uint16(b[6:]))
	f.kind, f.skipped = frameKind(b[5]), 0
	switch {
	case b[4] != frameVersion:
		return false, fmt.Errorf("%w: version %d, not %d", errFrame, b[4], frameVersion)
	case fixed > maxFixed || int64(fixed) > int64(length):
		return false, fmt.Errorf("%w: fixed part of %d bytes in a frame of %d", errFrame, fixed, length)
	}
	if int64(length) > int64(fr.most) {
		return fr.nextOversize(f, b, length, fixed)
	}
	end := frameHeader + int(length)
	if len(b) < end {
		return false, nil
	}
	f.fixed = b[frameHeader : frameHeader+fixed]
	f.rest = b[frameHeader+fixed : end]
	fr.r += end
	return true, nil
}

// nextOversize cuts the fixed part off a request that is longer than the limit,
// so that it can be answered. Other frames of such a length are refused, and so
// is a request that is not long by its key.
func (fr *frameReader) nextOversize(f *frame, b []byte, length uint32, fixed int) (bool, error) {
	if f.kind != kindRequest || int(length) == fixed || length > maxSkip+math.MaxUint16+maxFixed {
		return false, fmt.Errorf("%w: kind %d of %d bytes", errFrame, f.kind, length)
	}
	if len(b) < frameHeader+fixed {
		return false, nil
	}
	f.fixed, f.rest = b[frameHeader:frameHeader+fixed], nil
	f.skipped = int(length) - fixed
	fr.skip = f.skipped
	fr.r += frameHeader + fixed
	return true, nil
}

// fill reads on, at least one byte. It returns how many.
func (fr *frameReader) fill() (int, error) {
	if fr.r == fr.w {
		fr.r, fr.w = 0, 0
		if len(fr.buf) > 4*readBuffer {
			fr.buf = make([]byte, readBuffer) // a long frame has passed
		}
	}
	if fr.r > 0 && len(fr.buf)-fr.w < len(fr.buf)/2 {
		fr.w = copy(fr.buf, fr.buf[fr.r:fr.w])
		fr.r = 0
	}
	if fr.w == len(fr.buf) {
		// One frame fills the buffer. It grows as its bytes arrive: who only
		// claims a long frame costs nothing.
		longest := max(readBuffer, frameHeader+fr.most)
		grown := make([]byte, min(2*len(fr.buf), max(longest, len(fr.buf)+1)))
		fr.w = copy(grown, fr.buf[:fr.w])
		fr.buf = grown
	}
	for range 100 {
		n, err := fr.src.Read(fr.buf[fr.w:])
		fr.w += n
		if n > 0 {
			return n, nil // an error will come back
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}
