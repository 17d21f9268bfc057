// Package tracefile reads recorded sequences of keys, in the formats in which
// such recordings are passed around.
package tracefile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// Format says what a file holds.
type Format string

// The formats.
const (
	ARC    Format = "arc"      // lines of "start count ...": count blocks from start on
	Blocks Format = "blocks"   // a block's number a line; what is no number is a key too
	Words  Format = "uint64be" // numbers of 8 bytes, big-endian
	Keys   Format = "keys"     // a key a line, as it is; an empty line is the empty key
)

// Formats returns all formats.
func Formats() []Format { return []Format{ARC, Blocks, Words, Keys} }

// MaxRequests is how many requests a trace may have. They are kept in memory, 4
// bytes each.
const MaxRequests = 1 << 28

var errTooLong = fmt.Errorf("more than %d requests: cut the trace into parts", MaxRequests)

// A Trace is a sequence of requests. Keys are numbered from 0 in the order in
// which they come first. Blocks' keys are their decimal numbers.
type Trace struct {
	Keys     []string // by their number
	Requests []uint32 // the keys' numbers
}

// Open reads the trace in a file, which may be compressed with gzip, whatever
// its name. The error names the file.
func Open(path string, f Format) (*Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	t, err := readCompressed(bufio.NewReaderSize(file, 1<<16), f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func readCompressed(r *bufio.Reader, f Format) (*Trace, error) {
	// A shorter file is not compressed, and an error comes again.
	if head, _ := r.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return Read(z, f)
	}
	return Read(r, f)
}

// Read reads a trace. One without requests is an error.
func Read(r io.Reader, f Format) (*Trace, error) {
	n := numberer{blocks: make(map[uint64]uint32), keys: make(map[string]uint32)}
	var err error
	switch f {
	case ARC:
		err = eachLine(r, n.addRange)
	case Blocks:
		err = eachLine(r, n.addBlock)
	case Words:
		err = n.addWords(bufio.NewReaderSize(r, 1<<16))
	case Keys:
		err = eachLine(r, n.addKey)
	default:
		err = fmt.Errorf("trace format %q: use one of %v", f, Formats())
	}
	if err == nil && len(n.t.Requests) == 0 {
		err = errors.New("no requests in it")
	}
	if err != nil {
		return nil, err
	}
	return &n.t, nil
}

// A numberer gives keys their numbers.
type numberer struct {
	t      Trace
	blocks map[uint64]uint32
	keys   map[string]uint32
}

// add adds a request for the key that is id's in its map, under the name that
// it gets if it is new.
func add[K comparable](t *Trace, numbers map[K]uint32, id K, name func(K) string) error {
	if len(t.Requests) >= MaxRequests {
		return errTooLong
	}
	n, ok := numbers[id]
	if !ok {
		n = uint32(len(t.Keys))
		numbers[id] = n
		t.Keys = append(t.Keys, name(id))
	}
	t.Requests = append(t.Requests, n)
	return nil
}

func (n *numberer) block(id uint64) error {
	return add(&n.t, n.blocks, id, func(id uint64) string { return strconv.FormatUint(id, 10) })
}

func (n *numberer) addKey(line []byte) error {
	return add(&n.t, n.keys, string(line), func(key string) string { return key })
}

func (n *numberer) addRange(line []byte) error {
	fields := strings.Fields(string(line))
	switch len(fields) {
	case 0:
		return nil
	case 1:
		return errors.New("want a start and a count")
	}
	start, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return err
	}
	count, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return err
	}
	if count > 0 && start > math.MaxUint64-(count-1) {
		return fmt.Errorf("there are no %d blocks from %d on", count, start)
	}
	if count > MaxRequests {
		return errTooLong // before the memory is filled
	}
	for i := range count {
		if err := n.block(start + i); err != nil {
			return err
		}
	}
	return nil
}

func (n *numberer) addBlock(line []byte) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	if id, err := strconv.ParseUint(string(line), 10, 64); err == nil {
		return n.block(id)
	}
	return n.addKey(line)
}

func (n *numberer) addWords(r io.Reader) error {
	var word [8]byte
	for {
		switch _, err := io.ReadFull(r, word[:]); {
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("its size is no multiple of 8 bytes: %w", err)
		case err != nil:
			return err
		}
		if err := n.block(binary.BigEndian.Uint64(word[:])); err != nil {
			return err
		}
	}
}

// eachLine calls fn with each line. Errors tell the line.
func eachLine(r io.Reader, fn func(line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	n := 1
	for ; lines.Scan(); n++ {
		if err := fn(lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n, err)
	}
	return nil
}
