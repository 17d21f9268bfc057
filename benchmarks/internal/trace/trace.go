package trace

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/geecache/geecache/internal/tracefile"
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

// formats has the recorded traces that are known, and what their files hold.
func formats() map[string]tracefile.Format {
	return map[string]tracefile.Format{
		"oltp":               tracefile.ARC,
		"p3":                 tracefile.ARC,
		"gli":                tracefile.Blocks,
		"loop":               tracefile.Blocks,
		"trace_vaultservice": tracefile.Words,
	}
}

// Recorded returns the names of the recorded traces.
func Recorded() []string { return []string{"oltp", "p3", "gli", "loop", "trace_vaultservice"} }

// Load reads a recorded trace from its file, NAME.gz in a directory.
func Load(dir, name string) (*Trace, error) {
	format, ok := formats()[name]
	if !ok {
		return nil, fmt.Errorf("no trace %q: use one of %v", name, Recorded())
	}
	t, err := tracefile.Open(filepath.Join(dir, name+".gz"), format)
	if err != nil {
		return nil, err
	}
	return &Trace{Name: name, Requests: t.Requests, Distinct: len(t.Keys)}, nil
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
