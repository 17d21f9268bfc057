package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/geecache/geecache/geecache"
)

// Format is the version of the format that this package writes and reads.
const Format = 1

// A part begins with the magic bytes and the version of the format; blocks follow:
// a header, entries, a trailer.
const (
	magic       = "geesnap\n"
	preamble    = len(magic) + 2
	blockHeader = 1 + 1 + 4 + 4 + 4 // kind, encoding, stored length, length, checksum
)

// The kinds of block, and how its content is stored.
const (
	kindHeader  = 'H'
	kindEntries = 'E'
	kindTrailer = 'T'

	asItIs    = 0
	zstandard = 1
)

// Bounds. A reader refuses blocks that are larger.
const (
	blockBytes = 256 << 10 // a block is closed when its entries take as much
	mostEntry  = 4 << 20   // larger ones are left out
	mostBlock  = blockBytes + mostEntry + 1<<10
	mostWords  = 64 << 10 // header and trailer
)

// flagNotFound marks an entry that says "not found".
const flagNotFound = 1

// ErrTorn is what a part ends with that is cut off, or whose bytes have changed.
var ErrTorn = errors.New("snapshot is torn")

// A FormatError says that a part is of a format which this package cannot read.
type FormatError struct{ Got int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the snapshot has format %d, and this program reads format %d", e.Got, Format)
}

// A ClusterError says that a part is another cluster's.
type ClusterError struct{ Got, Want string }

func (e *ClusterError) Error() string {
	return fmt.Sprintf("the snapshot is of cluster %q, and this node's cluster is %q", e.Got, e.Want)
}

// A Header says what a part is of.
type Header struct {
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Written time.Time `json:"written"` // by the writer's clock: TTLs are what was left of them then
}

// A trailer says that a part is whole.
type trailer struct {
	Entries int `json:"entries"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A writer makes a part in memory.
type writer struct {
	encoder *zstd.Encoder
	out     []byte
	content []byte // of the block that is not closed yet
	group   string // of its entries
	entries int
}

// newEncoder returns an encoder for writers, one after another.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithAllLitEntropyCompression(true)) // else digits in which nothing repeats stay as they are
}

func newWriter(encoder *zstd.Encoder, h Header) (*writer, error) {
	w := &writer{encoder: encoder, out: make([]byte, 0, partBytes+2*blockBytes), content: make([]byte, 0, 2*blockBytes)}
	w.out = binary.LittleEndian.AppendUint16(append(w.out, magic...), Format)
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("snapshot: header: %w", err)
	}
	w.block(kindHeader, text)
	return w, nil
}

// add appends an entry, and reports whether that closed a block. An entry that is too
// large is left out.
func (w *writer) add(group string, e *geecache.Entry) (closed bool) {
	if len(e.Key)+len(e.Value) > mostEntry {
		return false
	}
	if group != w.group || len(w.content) == 0 {
		w.flush()
		w.group = group
		w.content = appendBytes(w.content, group)
	}
	flags := byte(0)
	if e.NotFound {
		flags = flagNotFound
	}
	w.content = append(w.content, flags)
	w.content = binary.LittleEndian.AppendUint64(w.content, e.Version)
	w.content = binary.AppendUvarint(w.content, uint64(max(e.TTL, 0)))
	w.content = appendBytes(w.content, e.Key)
	w.content = appendBytes(w.content, e.Value)
	w.entries++
	if len(w.content) < blockBytes {
		return false
	}
	w.flush()
	return true
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// flush closes the block of entries.
func (w *writer) flush() {
	if len(w.content) > 0 {
		w.block(kindEntries, w.content)
		w.content = w.content[:0]
	}
}

// finish returns the part.
func (w *writer) finish() ([]byte, error) {
	w.flush()
	text, err := json.Marshal(trailer{Entries: w.entries})
	if err != nil {
		return nil, fmt.Errorf("snapshot: trailer: %w", err)
	}
	w.block(kindTrailer, text)
	return w.out, nil
}

// block appends a block. What compression does not make smaller is stored as it is.
func (w *writer) block(kind byte, content []byte) {
	begin := len(w.out)
	w.out = append(w.out, make([]byte, blockHeader)...)
	encoding := byte(zstandard)
	w.out = w.encoder.EncodeAll(content, w.out)
	if len(w.out)-begin-blockHeader >= len(content) {
		encoding = asItIs
		w.out = append(w.out[:begin+blockHeader], content...)
	}
	head, stored := w.out[begin:begin+blockHeader], w.out[begin+blockHeader:]
	head[0], head[1] = kind, encoding
	binary.LittleEndian.PutUint32(head[2:], uint32(len(stored)))
	binary.LittleEndian.PutUint32(head[6:], uint32(len(content)))
	binary.LittleEndian.PutUint32(head[10:], checksum(head, stored))
}

// checksum is that of a block: of its header, without the checksum's own place, and of
// what is stored.
func checksum(head, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:10], castagnoli), castagnoli, stored)
}
