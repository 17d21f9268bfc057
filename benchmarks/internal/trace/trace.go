package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// A Trace is a sequence of requests. Keys are numbered from 0 in the order in
// which they come first.
type Trace struct {
	Name     string
	Requests []uint32
	Distinct int
}

// A numberer gives keys their numbers.
type numberer struct {
	t  Trace
	of map[uint64]uint32
}

func newNumberer(name string) *numberer {
	return &numberer{Trace{Name: name}, make(map[uint64]uint32)}
}

func (n *numberer) add(key uint64) {
	id, ok := n.of[key]
	if !ok {
		id = uint32(len(n.of))
		n.of[key] = id
	}
	n.t.Requests = append(n.t.Requests, id)
}

func (n *numberer) trace() *Trace {
	n.t.Distinct = len(n.of)
	return &n.t
}

// A format reads a recorded trace.
type format func(r *bufio.Reader, add func(key uint64)) error

// formats has the recorded traces that are known, and what their files hold.
func formats() map[string]format {
	return map[string]format{
		"oltp":               readRanges,
		"p3":                 readRanges,
		"gli":                readLines,
		"loop":               readLines,
		"trace_vaultservice": readWords,
	}
}

// Recorded returns the names of the recorded traces.
func Recorded() []string { return []string{"oltp", "p3", "gli", "loop", "trace_vaultservice"} }

// Load reads a recorded trace from its file, NAME.gz in a directory.
func Load(dir, name string) (*Trace, error) {
	read := formats()[name]
	if read == nil {
		return nil, fmt.Errorf("no trace %q: use one of %v", name, Recorded())
	}
	f, err := os.Open(filepath.Join(dir, name+".gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	n := newNumberer(name)
	if err := read(bufio.NewReaderSize(z, 1<<16), n.add); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return n.trace(), nil
}

// readRanges reads lines of "start count ...": count blocks from start on.
func readRanges(r *bufio.Reader, add func(uint64)) error {
	return eachLine(r, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return fmt.Errorf("line %q: want a start and a count", line)
		}
		start, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return err
		}
		count, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return err
		}
		for i := range count {
			add(start + i)
		}
		return nil
	})
}

// readLines reads lines that each are a block. One that is no number is a key
// of another kind.
func readLines(r *bufio.Reader, add func(uint64)) error {
	return eachLine(r, func(line string) error {
		key, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			key = xxhash.Sum64String(line)
		}
		add(key)
		return nil
	})
}

// readWords reads keys of 8 bytes.
func readWords(r *bufio.Reader, add func(uint64)) error {
	var word [8]byte
	for {
		if _, err := io.ReadFull(r, word[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		add(binary.BigEndian.Uint64(word[:]))
	}
}

// eachLine calls fn with each line that is not empty.
func eachLine(r *bufio.Reader, fn func(line string) error) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if line := string(bytes.TrimSpace(lines.Bytes())); line != "" {
			if err := fn(line); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// Sizes returns the size of each key's value: from low to high bytes, as many
// of 2x as of x, and always the same for the same seed.
func (t *Trace) Sizes(seed uint64, low, high int) []int {
	rng := newRand(seed)
	sizes := make([]int, t.Distinct)
	for i := range sizes {
		sizes[i] = int(float64(low) * math.Pow(float64(high)/float64(low), rng.Float64()))
	}
	return sizes
}

// First returns the trace's first n requests, or all that it has.
func (t *Trace) First(n int) *Trace {
	part := &Trace{Name: t.Name, Requests: t.Requests[:min(n, len(t.Requests))]}
	for _, id := range part.Requests {
		part.Distinct = max(part.Distinct, int(id)+1) // they are numbered as they come
	}
	return part
}
