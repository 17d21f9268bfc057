package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/geecache/geecache/geecache"
)

// A Reader reads a part, block by block: it holds one at a time. It is not safe for
// concurrent use.
type Reader struct {
	from    io.Reader
	decoder *zstd.Decoder
	header  Header
	stored  []byte
	content []byte
	entries int
}

// newDecoder returns a decoder for readers, which may use it at the same time.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(mostBlock), zstd.IgnoreChecksum(true))
}

// NewReader reads the beginning of a part. The error is a *FormatError if it is of
// another format, wraps ErrTorn if it is no whole beginning, and is otherwise from's.
func NewReader(from io.Reader) (*Reader, error) {
	decoder, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return newReader(from, decoder)
}

func newReader(from io.Reader, decoder *zstd.Decoder) (*Reader, error) {
	r := &Reader{from: from, decoder: decoder}
	var begin [preamble]byte
	if err := r.fill(begin[:]); err != nil {
		return nil, err
	}
	if string(begin[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as a snapshot does", ErrTorn)
	}
	if got := int(binary.LittleEndian.Uint16(begin[len(magic):])); got != Format {
		return nil, &FormatError{Got: got}
	}
	kind, err := r.next()
	if err != nil {
		return nil, err
	}
	if kind != kindHeader {
		return nil, fmt.Errorf("%w: it has no header", ErrTorn)
	}
	if err := json.Unmarshal(r.content, &r.header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrTorn, err)
	}
	return r, nil
}

// Header says what the part is of.
func (r *Reader) Header() Header { return r.header }

// Next calls fn for each entry of the next block, until fn returns false, and returns
// io.EOF at the end of a part that is whole. The key is a string of its own; the value
// is fn's only until it returns. An error that wraps ErrTorn says that the part is cut
// off or has changed from here on: all entries before are as they were written.
func (r *Reader) Next(fn func(group string, e *geecache.Entry) bool) error {
	kind, err := r.next()
	if err != nil {
		return err
	}
	switch kind {
	case kindEntries:
		return r.block(fn)
	case kindTrailer:
		var t trailer
		if err := json.Unmarshal(r.content, &t); err != nil || t.Entries != r.entries {
			return fmt.Errorf("%w: it has %d entries, and its trailer says %q", ErrTorn, r.entries, r.content)
		}
		return io.EOF
	}
	return fmt.Errorf("%w: a block of kind %q", ErrTorn, kind)
}

// next reads a block into r.content.
func (r *Reader) next() (kind byte, err error) {
	var head [blockHeader]byte
	if err := r.fill(head[:]); err != nil {
		return 0, err
	}
	kind = head[0]
	stored, size := binary.LittleEndian.Uint32(head[2:]), binary.LittleEndian.Uint32(head[6:])
	most := uint32(mostWords)
	if kind == kindEntries {
		most = mostBlock
	}
	if stored > most || size > most {
		return 0, fmt.Errorf("%w: a block of %d bytes", ErrTorn, max(stored, size))
	}
	r.stored = resize(r.stored, int(stored))
	if err := r.fill(r.stored); err != nil {
		return 0, err
	}
	if checksum(head[:], r.stored) != binary.LittleEndian.Uint32(head[10:]) {
		return 0, fmt.Errorf("%w: a checksum is wrong", ErrTorn)
	}
	switch head[1] {
	case asItIs:
		r.content = append(r.content[:0], r.stored...)
	case zstandard:
		if r.content, err = r.decoder.DecodeAll(r.stored, resize(r.content, int(size))[:0]); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrTorn, err)
		}
	default:
		return 0, fmt.Errorf("%w: a block stored as %d", ErrTorn, head[1])
	}
	if len(r.content) != int(size) {
		return 0, fmt.Errorf("%w: a block of %d bytes is to have %d", ErrTorn, len(r.content), size)
	}
	return kind, nil
}

func resize(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, size)
	}
	return b[:size]
}

// fill reads as much as b takes.
func (r *Reader) fill(b []byte) error {
	_, err := io.ReadFull(r.from, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrTorn)
	}
	return err
}

// block takes r.content apart. Its keys share one string.
func (r *Reader) block(fn func(group string, e *geecache.Entry) bool) error {
	c := cursor{text: string(r.content), rest: r.content}
	group := c.string()
	for len(c.rest) > 0 {
		var e geecache.Entry
		flags := c.take(1)
		version := c.take(8)
		ttl := c.uvarint()
		e.Key = c.string()
		e.Value = c.take(c.uvarint())
		if c.bad || ttl > uint64(maxTTL) || flags[0]&^flagNotFound != 0 {
			return fmt.Errorf("%w: an entry makes no sense", ErrTorn)
		}
		e.NotFound = flags[0]&flagNotFound != 0
		e.Version, e.TTL = binary.LittleEndian.Uint64(version), time.Duration(ttl)
		r.entries++
		if !fn(group, &e) {
			return nil
		}
	}
	if c.bad {
		return fmt.Errorf("%w: a block has no group", ErrTorn)
	}
	return nil
}

const maxTTL = time.Duration(1<<63 - 1)

// A cursor takes a block apart. Once something is missing it is bad for good.
type cursor struct {
	text string // the block, for keys
	rest []byte // what is left of it
	bad  bool
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.rest)) {
		c.bad = true
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) string() string {
	n := c.uvarint()
	at := len(c.text) - len(c.rest)
	if c.take(n); c.bad {
		return ""
	}
	return c.text[at : at+int(n)]
}
