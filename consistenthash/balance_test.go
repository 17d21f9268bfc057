package consistenthash_test

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/geecache/geecache/consistenthash"
)

func newRing(tb testing.TB, nodes []consistenthash.Node, cfg consistenthash.Config) *consistenthash.Ring {
	tb.Helper()
	r, err := consistenthash.New(nodes, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// hostPorts returns n nodes named host:port.
func hostPorts(n int) []consistenthash.Node {
	return nodesNamed(n, func(i int) string { return fmt.Sprintf("localhost:%d", 8001+i) })
}

func nodesNamed(n int, id func(i int) string) []consistenthash.Node {
	nodes := make([]consistenthash.Node, n)
	for i := range nodes {
		nodes[i].ID = id(i)
	}
	return nodes
}

// idStyles are ways in which nodes are named; set tells one set of names of a
// style from another.
var idStyles = []struct {
	name string
	id   func(set, i int) string
}{
	{"port", func(set, i int) string { return fmt.Sprintf("localhost:%d", 8001+1000*set+i) }},
	{"address", func(set, i int) string { return fmt.Sprintf("10.%d.%d.%d:8001", set, i/10, i%10+1) }},
	{"name", func(set, i int) string { return fmt.Sprintf("cache-%d.geecache-%d.svc:8001", i, set) }},
	{"plain", func(set, i int) string { return fmt.Sprintf("node%d", 100*set+i) }},
	{"task", func(set, i int) string {
		rng := rand.New(rand.NewPCG(uint64(set), uint64(i)))
		return fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64())
	}},
}

// userHashes returns the hashes of the keys user:0 to user:n-1.
func userHashes(n int) []uint64 {
	hashes := make([]uint64, n)
	key := []byte("user:")
	for i := range hashes {
		hashes[i] = consistenthash.Hash(string(strconv.AppendInt(key, int64(i), 10)))
	}
	return hashes
}

// maxOverMean returns the largest share of the hashes that a node of the ring
// has, as a multiple of the mean.
func maxOverMean(r *consistenthash.Ring, hashes []uint64) float64 {
	count := make([]int, r.Len())
	for _, h := range hashes {
		count[r.Owner(h)]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	return float64(most) * float64(len(count)) / float64(len(hashes))
}

// TestBalance checks the promise that DefaultVirtualNodes is chosen for. The
// figures at that constant are from this test with 10 sets of each style.
func TestBalance(t *testing.T) {
	hashes := userHashes(1_000_000)
	worst, sum, n := 0.0, 0.0, 0
	for _, style := range idStyles {
		for set := range 2 {
			r := newRing(t, nodesNamed(100, func(i int) string { return style.id(set, i) }), consistenthash.Config{})
			got := maxOverMean(r, hashes)
			if got > 1.10 {
				t.Errorf("100 nodes of style %s, set %d: the fullest has %.3f times the mean, want at most 1.10", style.name, set, got)
			}
			worst, sum, n = max(worst, got), sum+got, n+1
		}
	}
	if worst < 1.01 {
		t.Errorf("max/mean %.3f at worst: too good for hashing, the test measures something else", worst)
	}
	t.Logf("%d sets of 100 nodes, 1,000,000 keys: max/mean %.3f on average, %.3f at worst", n, sum/float64(n), worst)
}

func TestWeightsAreProportions(t *testing.T) {
	hashes := userHashes(100_000)
	nodes := []consistenthash.Node{{ID: "a", Weight: 1}, {ID: "b", Weight: 2}, {ID: "c", Weight: 0.5}, {ID: "d"}, {ID: "e", Weight: 5.5}}
	r := newRing(t, nodes, consistenthash.Config{})
	count := make([]int, r.Len())
	for _, h := range hashes {
		count[r.Owner(h)]++
	}
	for i, n := range r.Nodes() {
		got := float64(count[i]) / float64(len(hashes)) * 10
		if got < 0.9*n.Weight || got > 1.1*n.Weight {
			t.Errorf("node %s has %.3f tenths of the keys, want its weight %v within 10 %%", n.ID, got, n.Weight)
		}
	}
}

// TestSimilarKeysDoNotShareANode is the regression test for FNV's bug: keys that
// differ in the last digit only land on one node, and few nodes get most of a
// range of them. It shows that the bug is one of FNV by measuring it, too.
func TestSimilarKeysDoNotShareANode(t *testing.T) {
	r := newRing(t, hostPorts(10), consistenthash.Config{})
	fnv64 := func(key string) uint64 {
		h := fnv.New64()
		io.WriteString(h, key)
		return h.Sum64()
	}
	// shared counts the decades of keys, user:d0 to user:d9, of which one node
	// owns eight or more. By chance that is one in 300,000.
	shared := func(hash func(string) uint64) (n int) {
		for d := range 1000 {
			count := make([]int, r.Len())
			for i := range 10 {
				count[r.Owner(hash(fmt.Sprintf("user:%d", 10*d+i)))]++
			}
			if slices.Max(count) >= 8 {
				n++
			}
		}
		return n
	}
	if n := shared(consistenthash.Hash); n != 0 {
		t.Errorf("of 1000 decades of keys, %d are on one node, want none", n)
	}
	if n := shared(fnv64); n < 10 {
		t.Errorf("of 1000 decades of keys hashed by FNV, %d are on one node: the test does not see the bug that it is for", n)
	}
}
