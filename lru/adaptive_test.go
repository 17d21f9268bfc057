package lru_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/geecache/geecache/lru"
)

// A request asks for key number id.
type request struct{ id, bytes int }

// A trace is what is asked for, one after another.
type trace []request

// zipf returns n requests of a Zipf distribution (s = 0.9) over so many keys.
func zipf(seed uint64, n, keys int) trace {
	rng := rand.New(rand.NewPCG(seed, 77))
	sums := make([]float64, keys)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -0.9)
		sums[i] = sum
	}
	tr := make(trace, n)
	for i := range tr {
		tr[i].id = sort.SearchFloat64s(sums, rng.Float64()*sum)
	}
	return tr
}

// loop returns n requests that go round and round so many keys.
func loop(n, keys int) trace {
	tr := make(trace, n)
	for i := range tr {
		tr[i].id = 1<<20 + i%keys
	}
	return tr
}

// recent returns n requests to a working set of so many keys that are asked for
// with the same likelihood; one of them goes for good at every fifth request, and a
// new one comes.
func recent(seed uint64, n, keys int) trace {
	rng := rand.New(rand.NewPCG(seed, 78))
	set := make([]int, keys)
	next := 1 << 21
	for i := range set {
		set[i] = next
		next++
	}
	tr := make(trace, n)
	for i := range tr {
		if i%5 == 0 {
			set[rng.IntN(keys)] = next
			next++
		}
		tr[i].id = set[rng.IntN(keys)]
	}
	return tr
}

// A replay sends requests to a cache, which is filled as it misses.
type replay struct {
	tb  testing.TB
	c   *lru.Cache
	buf []byte
}

func newReplay(tb testing.TB, cfg lru.Config) *replay {
	return &replay{tb: tb, c: newCache(tb, cfg), buf: make([]byte, 64<<10)}
}

// key returns the key of a request and its hash.
func (q request) key() (string, uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(q.id))
	return string(b[:]), hash(string(b[:]))
}

// run returns the shares of requests and of bytes that were hits.
func (r *replay) run(tr trace) (objects, bytes float64) {
	r.tb.Helper()
	var hits, hitBytes, all int
	for _, q := range tr {
		key, h := q.key()
		all += q.bytes
		if r.c.Get(h, key) != nil {
			hits++
			hitBytes += q.bytes
			continue
		}
		if err := r.c.Add(h, key, lru.Item{Value: r.buf[:q.bytes]}); err != nil {
			r.tb.Fatal(err)
		}
	}
	return float64(hits) / float64(len(tr)), float64(hitBytes) / float64(max(all, 1))
}

// entries returns a configuration with room for n entries without values.
func entries(policy lru.Policy, n int) lru.Config {
	return lru.Config{Policy: policy, MaxBytes: int64(n) * size(8), Shards: 1}
}

// both returns the hit ratios of both policies on a trace.
func both(t *testing.T, n int, tr trace) (adaptive, strict float64) {
	t.Helper()
	adaptive, _ = newReplay(t, entries(lru.Adaptive, n)).run(tr)
	strict, _ = newReplay(t, entries(lru.LRU, n)).run(tr)
	t.Logf("%d entries: adaptive %.4f, LRU %.4f", n, adaptive, strict)
	return adaptive, strict
}

func TestAdaptiveKeepsPartOfALoop(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 1000, 5000} {
		adaptive, strict := both(t, n, loop(40*n, 2*n))
		if adaptive < strict+0.3 {
			t.Errorf("a loop over %d keys in a cache of %d: adaptive %.3f, LRU %.3f", 2*n, n, adaptive, strict)
		}
	}
}

func TestAdaptiveKeepsWhatIsUsedOften(t *testing.T) {
	t.Parallel()
	tr := zipf(1, 100_000, 20_000)
	for _, n := range []int{200, 1000, 4000} {
		adaptive, strict := both(t, n, tr)
		if adaptive < strict+0.03 {
			t.Errorf("Zipf over 20000 keys in a cache of %d: adaptive %.3f, LRU %.3f", n, adaptive, strict)
		}
	}
}

// Scans of ten times the capacity, of keys that are asked for once, run beside the
// traffic, request by request. What the scans ask for does not count.
func TestAdaptiveWithstandsScans(t *testing.T) {
	t.Parallel()
	const n = 2000
	calm, scanned := newReplay(t, entries(lru.Adaptive, n)), newReplay(t, entries(lru.Adaptive, n))
	warm := zipf(2, 100_000, 20_000)
	calm.run(warm)
	scanned.run(warm)
	var before, after float64
	once := 1 << 24
	for round, tr := range slices.Collect(slices.Chunk(zipf(3, 200_000, 20_000), 20_000)) {
		b, _ := calm.run(tr)
		before += b / 10
		for i := range tr {
			if round%2 == 0 { // one request of a scan for each
				scanned.run(trace{{id: once}})
				once++
			}
			a, _ := scanned.run(tr[i : i+1])
			after += a / 200_000
		}
	}
	t.Logf("%.4f without scans, %.4f with", before, after)
	if after < before-0.03 {
		t.Errorf("scans lower the hit ratio from %.3f to %.3f", before, after)
	}
}

func TestAdaptiveFollowsRecentUse(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 1000} {
		adaptive, strict := both(t, n, recent(4, 50_000+150*n, n*7/10))
		if adaptive < strict-0.01 {
			t.Errorf("a working set that changes, in a cache of %d: adaptive %.3f, LRU %.3f", n, adaptive, strict)
		}
	}
}

// The traffic changes its kind three times; the policy has to change its mind.
func TestAdaptiveFollowsTheTraffic(t *testing.T) {
	t.Parallel()
	const n = 500
	a, s := newReplay(t, entries(lru.Adaptive, n)), newReplay(t, entries(lru.LRU, n))
	for i := range 4 {
		tr := recent(uint64(5+i), 60_000, n*7/10)
		if i%2 == 0 {
			tr = loop(60_000, 2*n)
		}
		a.run(tr[:30_000])
		s.run(tr[:30_000])
		adaptive, _ := a.run(tr[30_000:])
		strict, _ := s.run(tr[30_000:])
		t.Logf("part %d: adaptive %.4f, LRU %.4f", i, adaptive, strict)
		if i%2 == 0 && adaptive < strict+0.3 || i%2 == 1 && adaptive < strict-0.015 {
			t.Errorf("part %d: adaptive %.3f, LRU %.3f", i, adaptive, strict)
		}
	}
}

// sized gives each key a size of its own, from 64 B to 64 KiB, as many of one
// order as of another.
func (tr trace) sized() trace {
	for i := range tr {
		x := uint64(tr[i].id+1) * 0x9e3779b97f4a7c15
		tr[i].bytes = int(64 * math.Exp2(float64(x>>11)/(1<<53)*10))
	}
	return tr
}

func TestAdaptiveBySize(t *testing.T) {
	t.Parallel()
	tr := zipf(6, 60_000, 5_000).sized()
	for _, mib := range []int64{1, 4} {
		cfg := lru.Config{MaxBytes: mib << 20, Shards: 1}
		objects, bytes := newReplay(t, cfg).run(tr)
		cfg.Policy = lru.LRU
		strictObjects, strictBytes := newReplay(t, cfg).run(tr)
		t.Logf("%d MiB: adaptive %.4f of objects, %.4f of bytes, LRU %.4f and %.4f", mib, objects, bytes, strictObjects, strictBytes)
		if objects < strictObjects+0.03 || bytes < strictBytes+0.01 {
			t.Errorf("%d MiB: adaptive %.3f of objects, %.3f of bytes, LRU %.3f and %.3f", mib, objects, bytes, strictObjects, strictBytes)
		}
	}
}

// An item of an eighth of the budget that is asked for often gets into a cache that is
// full of small ones, and stays, however many shards there are.
func TestAdaptiveAdmitsALargeHotItem(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4, 16, 64} {
		const budget = 2 << 20
		r := newReplay(t, lru.Config{MaxBytes: budget, Shards: shards})
		small := zipf(7, 40_000, 40_000)
		for i := range small {
			small[i].bytes = 100
		}
		r.run(small)
		if st := r.c.Stats(); st.Evicted[lru.Capacity] == 0 {
			t.Fatalf("%d shards: the cache is not full: %+v", shards, st)
		}
		large := request{id: 1 << 30, bytes: budget/8 - 16<<10}
		r.buf = make([]byte, large.bytes)
		hits := 0
		for i, q := range small {
			r.run(trace{q})
			if i%20 == 0 {
				objects, _ := r.run(trace{large})
				hits += int(objects)
			}
		}
		t.Logf("%d shards: %d hits of 2000", shards, hits)
		if hits < 1700 {
			t.Errorf("%d shards: an item that is asked for at every 20th request has %d hits of 2000", shards, hits)
		}
	}
}

// Items that are larger than a shard's part of the budget, each asked for once, take
// nothing from the other keys of their shard below its floor.
func TestLargeItemsLeaveEachShardItsFloor(t *testing.T) {
	t.Parallel()
	const shards, budget = 64, 8 << 20
	r := newReplay(t, lru.Config{MaxBytes: budget, Shards: shards})
	rng := rand.New(rand.NewPCG(8, 8))
	for i := range 60_000 {
		r.run(trace{{id: i, bytes: 100}})
	}
	r.buf = make([]byte, budget/8)
	for i := range 400 {
		r.run(trace{{id: 1<<30 + i, bytes: budget/8 - 16<<10 - rng.IntN(budget/16)}})
		for range 50 {
			r.run(trace{{id: rng.IntN(1 << 30), bytes: 100}})
		}
	}
	var bytes [shards]int64
	r.c.Range(func(e *lru.Entry) bool {
		if len(e.Value()) == 100 {
			bytes[hash(e.Key())%shards] += e.Size()
		}
		return true
	})
	t.Logf("the shards have %d to %d bytes of small entries", slices.Min(bytes[:]), slices.Max(bytes[:]))
	if slices.Min(bytes[:]) < budget/shards/2 {
		t.Errorf("a shard has little left of small entries: %v", bytes)
	}
	checkSums(t, r.c)
}

func TestSmallCaches(t *testing.T) {
	t.Parallel()
	for _, policy := range policies {
		for _, n := range []int{1, 2, 5, 64} {
			for _, shards := range []int{1, 16} {
				cfg := entries(policy, n)
				cfg.Shards = shards
				if n < 8 { // of the smallest entries; larger ones are refused
					cfg.MaxBytes = 8 * size(8)
				}
				t.Run(fmt.Sprintf("policy=%d/entries=%d/shards=%d", policy, n, shards), func(t *testing.T) {
					r := newReplay(t, cfg)
					hot := request{id: 1}
					hits := 0.0
					for i := range 3000 {
						r.run(trace{{id: 100 + i}})
						objects, _ := r.run(trace{hot})
						hits += objects
					}
					if hits < 2600 {
						t.Errorf("a key that is asked for every other time has %v hits of 3000", hits)
					}
					checkSums(t, r.c)
				})
			}
		}
	}
}
