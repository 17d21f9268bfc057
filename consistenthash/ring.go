package consistenthash

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	ownerBits = 16
	ownerMask = 1<<ownerBits - 1

	searchStep = 4 // points that search looks at together
)

// Hash returns the hash of a key that the ring's methods take: its xxhash64.
func Hash(key string) uint64 { return xxhash.Sum64String(key) }

// A Ring says which node a key belongs to. It never changes, and is safe for
// concurrent use. The zero Ring is empty.
type Ring struct {
	nodes []Node // sorted by ID, weights resolved

	// points holds the points in the order of the ring. The upper 48 bits of a
	// point are its place, the lower 16 its node's index: one word, so that
	// looking at a point and learning whose it is is one access to memory. The
	// last searchStep of them lie at or after every key and repeat the first
	// one's node, so that a search needs no look at the end.
	points []uint64

	// first[b] is the index of the first point whose upper bits are b or more.
	// There are one or two points to a value of b, so that the search behind it
	// mostly ends in its first step, in one cache line or two.
	first []uint32
	shift uint // a place's upper bits are place >> shift
}

// New returns the ring of the nodes, in whatever order they are given. It
// refuses an invalid Config, an ID that is empty or appears twice, and a weight
// that is negative, NaN or infinite. It does not keep the slice.
func New(nodes []Node, cfg Config) (*Ring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(nodes) > MaxNodes {
		return nil, fmt.Errorf("consistenthash: %d nodes: a ring has at most %d", len(nodes), MaxNodes)
	}
	r := &Ring{nodes: slices.Clone(nodes)}
	slices.SortFunc(r.nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	total := 0
	for i := range r.nodes {
		n := &r.nodes[i]
		if err := n.validate(); err != nil {
			return nil, err
		}
		if i > 0 && n.ID == r.nodes[i-1].ID {
			return nil, fmt.Errorf("consistenthash: two nodes have the ID %q: give each node an ID of its own", n.ID)
		}
		if n.Weight == 0 {
			n.Weight = 1
		}
		if total += n.points(cfg.virtualNodes()); total > maxPoints {
			return nil, fmt.Errorf("consistenthash: with node %q (weight %v) the ring has more than %d points: lower the weights or Config.VirtualNodes (%d)", n.ID, n.Weight, maxPoints, cfg.virtualNodes())
		}
	}
	if total > 0 {
		r.build(total, cfg.virtualNodes())
	}
	return r, nil
}

// build computes and sorts the points. Since their places are uniformly
// distributed, counting them into the buckets of r.first almost sorts them, and
// what is left for the insertion sort is the order of a few within a bucket.
func (r *Ring) build(total, virtualNodes int) {
	bucketBits := max(bits.Len(uint(total))-1, 1)
	r.shift = uint(64 - bucketBits)
	r.first = make([]uint32, 1<<bucketBits)
	r.points = make([]uint64, total+searchStep)

	unsorted := make([]uint64, 0, total)
	for owner, n := range r.nodes {
		seed := xxhash.Sum64String(n.ID)
		for i := range n.points(virtualNodes) {
			p := place(seed, i) | uint64(owner)
			unsorted = append(unsorted, p)
			r.first[p>>r.shift]++
		}
	}
	end := uint32(0)
	for b, n := range r.first {
		end += n
		r.first[b] = end
	}
	// Filling each bucket from its end leaves first at its beginning.
	for _, p := range unsorted {
		b := p >> r.shift
		r.first[b]--
		r.points[r.first[b]] = p
	}
	insertionSort(r.points[:total])
	for i := range searchStep {
		r.points[total+i] = ^uint64(ownerMask) | r.points[0]&ownerMask
	}
}

// place returns the place of a node's point i: the i-th output of splitmix64,
// with the lower bits zero.
func place(seed uint64, i int) uint64 {
	z := seed + (uint64(i)+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return (z ^ z>>31) &^ ownerMask
}

// insertionSort sorts what is almost sorted already.
func insertionSort(a []uint64) {
	for i := 1; i < len(a); i++ {
		v, j := a[i], i
		for ; j > 0 && a[j-1] > v; j-- {
			a[j] = a[j-1]
		}
		a[j] = v
	}
}

// search returns the index of the point that the hash belongs to. The ring must
// not be empty.
func (r *Ring) search(hash uint64) int {
	key := hash &^ ownerMask
	i := int(r.first[key>>r.shift])
	for {
		// How many of the next four lie before the key, without a branch: the
		// processor could only guess where a bucket's search ends.
		next := (*[searchStep]uint64)(r.points[i:])
		_, b0 := bits.Sub64(next[0], key, 0)
		_, b1 := bits.Sub64(next[1], key, 0)
		_, b2 := bits.Sub64(next[2], key, 0)
		_, b3 := bits.Sub64(next[3], key, 0)
		n := int(b0 + b1 + b2 + b3)
		i += n
		if n < searchStep {
			return i
		}
	}
}

// Owner returns the index in Nodes of the node that a key of this hash belongs
// to, or -1 if the ring is empty. It does not allocate.
func (r *Ring) Owner(hash uint64) int {
	if len(r.nodes) == 0 {
		return -1
	}
	return int(r.points[r.search(hash)] & ownerMask)
}

// Get returns the ID of the node that the key belongs to, or "" if the ring is
// empty.
func (r *Ring) Get(key string) string {
	i := r.Owner(Hash(key))
	if i < 0 {
		return ""
	}
	return r.nodes[i].ID
}

// GetN returns the IDs of the first n distinct nodes for the key, or of all if
// there are fewer: its owner, then the node that would own it without the owner,
// and so on.
func (r *Ring) GetN(key string, n int) []string {
	indexes := r.Successors(Hash(key), n)
	ids := make([]string, len(indexes))
	for i, index := range indexes {
		ids[i] = r.nodes[index].ID
	}
	return ids
}

// Successors is GetN for a hash, with indexes in Nodes. The caller owns the
// result.
func (r *Ring) Successors(hash uint64, n int) []int {
	n = min(n, len(r.nodes))
	if n <= 0 {
		return nil
	}
	found := make([]int, 0, n)
	seen := make([]uint64, (len(r.nodes)+63)/64)
	last := len(r.points) - searchStep // what follows only repeats the first one
	for i := r.search(hash); len(found) < n; i++ {
		if i >= last {
			i = 0
		}
		owner := int(r.points[i] & ownerMask)
		if bit := uint64(1) << (owner % 64); seen[owner/64]&bit == 0 {
			seen[owner/64] |= bit
			found = append(found, owner)
		}
	}
	return found
}

// Nodes returns the nodes, sorted by ID, with the weight 1 where none was given.
// The slice belongs to the ring: it must not be changed.
func (r *Ring) Nodes() []Node { return r.nodes[:len(r.nodes):len(r.nodes)] }

// Len returns the number of nodes.
func (r *Ring) Len() int { return len(r.nodes) }
