package consistenthash_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/consistenthash"
)

type (
	node   = consistenthash.Node
	config = consistenthash.Config
)

// ownerIDs returns the owner's ID of each hash.
func ownerIDs(r *consistenthash.Ring, hashes []uint64) []string {
	ids := make([]string, len(hashes))
	for i, h := range hashes {
		ids[i] = r.Nodes()[r.Owner(h)].ID
	}
	return ids
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name  string
		nodes []node
		cfg   config
		want  []string // parts of the error
	}{
		{"empty ID", []node{{ID: "a"}, {}}, config{}, []string{"ID is empty"}},
		{"duplicate ID", []node{{ID: "a"}, {ID: "b"}, {ID: "a"}}, config{}, []string{`"a"`, "two nodes"}},
		{"negative weight", []node{{ID: "a", Weight: -1}}, config{}, []string{`"a"`, "weight -1", "positive"}},
		{"NaN", []node{{ID: "a", Weight: math.NaN()}}, config{}, []string{`"a"`, "weight NaN"}},
		{"infinite", []node{{ID: "a", Weight: math.Inf(1)}}, config{}, []string{`"a"`, "weight +Inf"}},
		{"too many points", []node{{ID: "a"}, {ID: "b", Weight: 1e300}}, config{}, []string{`"b"`, "1e+300", "VirtualNodes"}},
		{"negative virtual nodes", nil, config{VirtualNodes: -1}, []string{"Config.VirtualNodes", "-1"}},
		{"too many virtual nodes", nil, config{VirtualNodes: 1 << 20}, []string{"Config.VirtualNodes"}},
		{"too many nodes", make([]node, consistenthash.MaxNodes+1), config{}, []string{"65537", "65536"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := consistenthash.New(tt.nodes, tt.cfg)
			if err == nil || r != nil {
				t.Fatalf("New = %v, %v, want an error", r, err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not contain %q", err, part)
				}
			}
		})
	}
}

func TestEmptyRing(t *testing.T) {
	for name, r := range map[string]*consistenthash.Ring{"zero": {}, "new": newRing(t, nil, config{})} {
		if got := r.Owner(42); got != -1 {
			t.Errorf("%s: Owner = %d, want -1", name, got)
		}
		if got := r.Get("key"); got != "" {
			t.Errorf("%s: Get = %q, want none", name, got)
		}
		if got := r.GetN("key", 3); len(got) != 0 {
			t.Errorf("%s: GetN = %q, want none", name, got)
		}
		if r.Len() != 0 || len(r.Nodes()) != 0 {
			t.Errorf("%s: Len = %d, Nodes = %v, want none", name, r.Len(), r.Nodes())
		}
	}
}

func TestNodesAreSortedAndTheInputIsNotKept(t *testing.T) {
	in := []node{{ID: "c", Weight: 2}, {ID: "a"}, {ID: "b", Weight: 0.5}}
	r := newRing(t, in, config{})
	if in[0].ID != "c" || in[1].Weight != 0 {
		t.Errorf("New has changed its input to %v", in)
	}
	in[0] = node{ID: "changed"}
	want := []node{{ID: "a", Weight: 1}, {ID: "b", Weight: 0.5}, {ID: "c", Weight: 2}}
	if got := r.Nodes(); !slices.Equal(got, want) {
		t.Errorf("Nodes = %v, want %v", got, want)
	}
}

func TestGetAndOwnerAndGetNAgree(t *testing.T) {
	r := newRing(t, hostPorts(7), config{})
	for i := range 1000 {
		key := fmt.Sprintf("key-%d", i)
		id := r.Nodes()[r.Owner(consistenthash.Hash(key))].ID
		if got := r.Get(key); got != id {
			t.Fatalf("Get(%q) = %s, Owner says %s", key, got, id)
		}
		if got := r.GetN(key, 1); len(got) != 1 || got[0] != id {
			t.Fatalf("GetN(%q, 1) = %s, Owner says %s", key, got, id)
		}
	}
}

func TestGetNIsDistinct(t *testing.T) {
	const nodes = 130
	r := newRing(t, hostPorts(nodes), config{VirtualNodes: 3})
	for i := range 100 {
		key := fmt.Sprintf("key-%d", i)
		all := r.GetN(key, 1<<30)
		if len(all) != nodes {
			t.Fatalf("GetN(%q, all) returns %d nodes, want %d", key, len(all), nodes)
		}
		if distinct := len(slices.Compact(slices.Sorted(slices.Values(all)))); distinct != nodes {
			t.Fatalf("GetN(%q, all) returns %d distinct nodes, want %d", key, distinct, nodes)
		}
		for _, n := range []int{-1, 0, 1, 3, nodes, nodes + 1} {
			want := all[:min(max(n, 0), nodes)]
			if got := r.GetN(key, n); !slices.Equal(got, want) {
				t.Fatalf("GetN(%q, %d) = %s, want the first of all, %s", key, n, got, want)
			}
		}
	}
}

// A successor is the node that owns the key when those before it are gone.
func TestSuccessorsAreTheNextOwners(t *testing.T) {
	nodes := hostPorts(6)
	r := newRing(t, nodes, config{VirtualNodes: 64})
	for i := range 50 {
		key := fmt.Sprintf("key-%d", i)
		order := r.GetN(key, 6)
		for gone := range order {
			left := slices.DeleteFunc(slices.Clone(nodes), func(n node) bool { return slices.Contains(order[:gone], n.ID) })
			if got := newRing(t, left, config{VirtualNodes: 64}).Get(key); got != order[gone] {
				t.Fatalf("key %q without %s is owned by %s, want %s", key, order[:gone], got, order[gone])
			}
		}
	}
}

func TestChangeMovesOnlyThatNodesShare(t *testing.T) {
	hashes := userHashes(100_000)
	base := []node{{ID: "a"}, {ID: "b", Weight: 2}, {ID: "c", Weight: 0.3}, {ID: "d"}, {ID: "e", Weight: 1.5}}
	before := ownerIDs(newRing(t, base, config{}), hashes)
	with := func(changed ...node) []node { return append(slices.Clone(base[:4]), changed...) }
	tests := []struct {
		name  string
		nodes []node
		who   string // the only one that may gain or lose
		moved [2]float64
	}{
		{"same", base, "", [2]float64{0, 0}},
		{"removed", base[:4], "e", [2]float64{0.2, 0.3}},
		{"added", append(slices.Clone(base), node{ID: "f", Weight: 2}), "f", [2]float64{0.2, 0.3}},
		{"heavier", with(node{ID: "e", Weight: 3}), "e", [2]float64{0.1, 0.2}},
		{"lighter", with(node{ID: "e", Weight: 0.5}), "e", [2]float64{0.1, 0.2}},
		{"a little heavier", with(node{ID: "e", Weight: 1.51}), "e", [2]float64{0.0001, 0.01}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := ownerIDs(newRing(t, tt.nodes, config{}), hashes)
			moved, wrong := 0, 0
			for i := range hashes {
				if before[i] == after[i] {
					continue
				}
				moved++
				if before[i] != tt.who && after[i] != tt.who {
					wrong++
				}
			}
			if wrong != 0 {
				t.Errorf("%d keys moved between nodes other than %q", wrong, tt.who)
			}
			if got := float64(moved) / float64(len(hashes)); got < tt.moved[0] || got > tt.moved[1] {
				t.Errorf("%.4f of the keys moved, want %v", got, tt.moved)
			}
		})
	}
}

// With 100 nodes of equal weight, too, in each style of IDs.
func TestAddingAndRemovingMovesNoKeyBetweenTwoOthers(t *testing.T) {
	hashes := userHashes(50_000)
	cfg := config{VirtualNodes: 256}
	for _, style := range idStyles {
		nodes := nodesNamed(101, func(i int) string { return style.id(0, i) })
		with := ownerIDs(newRing(t, nodes, cfg), hashes)
		gone := nodes[37].ID
		without := ownerIDs(newRing(t, slices.Delete(nodes, 37, 38), cfg), hashes)
		moved := 0
		for i := range hashes {
			if with[i] != without[i] {
				moved++
				if with[i] != gone {
					t.Fatalf("style %s: a key of %s moved to %s, but only %s has gone", style.name, with[i], without[i], gone)
				}
			}
		}
		if moved == 0 {
			t.Errorf("style %s: no key moved", style.name)
		}
	}
}

// TestSearchAgainstNaive compares the ring with a linear search over the same
// placement, computed anew from its description in the package's documentation.
func TestSearchAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, count := range []int{1, 2, 3, 17, 100} {
		for _, virtual := range []int{1, 2, 5, 40} {
			r := newRing(t, hostPorts(count), config{VirtualNodes: virtual})
			points := naivePoints(r, virtual)
			hashes := []uint64{0, 1, 1 << 63, math.MaxUint64}
			for range 200 {
				hashes = append(hashes, rng.Uint64())
			}
			for _, p := range points[:min(20, len(points))] { // at, before and behind a point
				hashes = append(hashes, p.place<<16-1, p.place<<16, p.place<<16+65535, (p.place+1)<<16)
			}
			for _, hash := range hashes {
				if got, want := r.Owner(hash), naiveOwner(points, hash); got != want {
					t.Fatalf("%d nodes, %d virtual: Owner(%#x) = %d, want %d", count, virtual, hash, got, want)
				}
			}
		}
	}
}

type point struct {
	place uint64 // 48 bits
	owner int
}

// naivePoints returns the points of a ring whose nodes all have the weight 1.
func naivePoints(r *consistenthash.Ring, virtual int) []point {
	var points []point
	for owner, n := range r.Nodes() {
		state := consistenthash.Hash(n.ID)
		for range virtual {
			state += 0x9e3779b97f4a7c15
			z := state
			z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
			z = (z ^ (z >> 27)) * 0x94d049bb133111eb
			points = append(points, point{(z ^ (z >> 31)) >> 16, owner})
		}
	}
	return points
}

// naiveOwner returns the owner of the point at the least distance after the hash.
func naiveOwner(points []point, hash uint64) int {
	owner, best := -1, uint64(math.MaxUint64)
	for _, p := range points {
		if distance := (p.place - hash>>16) & (1<<48 - 1); distance < best {
			owner, best = p.owner, distance
		}
	}
	return owner
}

// TestGoldenPlacement pins the placement. If it fails, nodes of the old and the
// new program disagree about the owners: a cluster that runs both is split.
// Change it only together with Version.
func TestGoldenPlacement(t *testing.T) {
	if consistenthash.Version != 1 {
		t.Fatal("Version has changed: pin its placement here")
	}
	rings := []struct {
		name  string
		nodes []node
		cfg   config
		want  uint64
	}{
		{"three nodes", hostPorts(3), config{}, 0x8cea226a706e9d30},
		{"weights", []node{{ID: "a", Weight: 0.5}, {ID: "b"}, {ID: "c", Weight: 3}}, config{}, 0x2148368c096cae12},
		{"100 nodes", hostPorts(100), config{}, 0xfc08103e8d868106},
		{"few points", hostPorts(10), config{VirtualNodes: 10}, 0x4835c32df625b0be},
	}
	for _, tt := range rings {
		var owners strings.Builder
		r := newRing(t, tt.nodes, tt.cfg)
		for i := range 2000 {
			fmt.Fprintln(&owners, r.GetN(fmt.Sprintf("key-%d", i), 2))
		}
		if got := consistenthash.Hash(owners.String()); got != tt.want {
			t.Errorf("%s: owners have the hash %#x, want %#x", tt.name, got, tt.want)
		}
	}
	// A few in words, for whoever writes another implementation.
	r := newRing(t, []node{{ID: "127.0.0.1:8001"}, {ID: "127.0.0.1:8002"}, {ID: "127.0.0.1:8003"}}, config{})
	for key, want := range map[string]string{
		"Tom":    "127.0.0.1:8001",
		"Jack":   "127.0.0.1:8003",
		"":       "127.0.0.1:8002",
		"user:1": "127.0.0.1:8002",
		"user:2": "127.0.0.1:8003",
		"user:3": "127.0.0.1:8001",
	} {
		if got := r.Get(key); got != want {
			t.Errorf("Get(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	r := newRing(t, hostPorts(10), config{})
	if n := testing.AllocsPerRun(100, func() { r.Owner(12345) }); n != 0 {
		t.Errorf("Owner allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Get("user:12345") }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Nodes() }); n != 0 {
		t.Errorf("Nodes allocates %v times", n)
	}
}

// FuzzOrderOfInsertion makes nodes from the input and gives them to New in
// several orders: the rings must be the same.
func FuzzOrderOfInsertion(f *testing.F) {
	f.Add([]byte("abc"), uint64(1), uint8(0))
	f.Add([]byte("node-1,node-2,node-3"), uint64(7), uint8(1))
	f.Add([]byte{0, 0, 1, 1, 0, 255, 254}, uint64(9), uint8(200))
	f.Fuzz(func(t *testing.T, ids []byte, seed uint64, virtual uint8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		seen := map[string]bool{"": true}
		var nodes []node
		for i := 0; i < len(ids) && len(nodes) < 40; {
			end := min(i+1+rng.IntN(4), len(ids))
			id := string(ids[i:end])
			i = end
			if !seen[id] {
				seen[id] = true
				nodes = append(nodes, node{ID: id, Weight: float64(rng.IntN(5)) / 2})
			}
		}
		cfg := config{VirtualNodes: max(int(virtual), 1)}
		a := newRing(t, nodes, cfg)
		for range 3 {
			rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			b := newRing(t, nodes, cfg)
			if !slices.Equal(a.Nodes(), b.Nodes()) {
				t.Fatalf("Nodes differ: %v, %v", a.Nodes(), b.Nodes())
			}
			for i := range uint64(100) {
				hash := consistenthash.Hash(string(binary.LittleEndian.AppendUint64(nil, seed+i)))
				if x, y := a.Owner(hash), b.Owner(hash); x != y {
					t.Fatalf("Owner(%#x) is %d in one order and %d in another", hash, x, y)
				}
				if x, y := a.Successors(hash, 3), b.Successors(hash, 3); !slices.Equal(x, y) {
					t.Fatalf("Successors(%#x) is %d in one order and %d in another", hash, x, y)
				}
			}
		}
	})
}
