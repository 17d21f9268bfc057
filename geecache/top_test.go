package geecache

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/geecache/geecache/consistenthash"
)

// followed returns what the counter has of each key.
func followed(t *testing.T, c *topCounter) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	for _, k := range c.keys {
		counts[string(k.key)] = k.count
	}
	if len(counts) != len(c.keys) || len(counts) > topKeys {
		t.Errorf("%d keys are followed in %d places, want at most %d", len(counts), len(c.keys), topKeys)
	}
	if !slices.IsSortedFunc(c.keys, func(a, b topKey) int { return cmp.Compare(b.count, a.count) }) {
		t.Errorf("the most asked for are not first: %v", c.keys)
	}
	return counts
}

// Each count is at least the truth and at most an n-th of all above it, and what is
// asked for more often than that is there.
func TestTopCounterBoundsItsError(t *testing.T) {
	const keys, n = 5000, 100_000
	for _, s := range []float64{1.01, 1.3, 3} {
		rng := rand.New(rand.NewPCG(1, 2))
		zipf := rand.NewZipf(rng, s, 1, keys-1)
		var c topCounter
		truth := map[string]int64{}
		for range n {
			key := fmt.Sprint("key-", zipf.Uint64())
			truth[key]++
			c.add(consistenthash.Hash(key), key)
		}
		got := followed(t, &c)
		sum := int64(0)
		for key, count := range got {
			sum += count
			if count < truth[key] || count > truth[key]+n/topKeys {
				t.Errorf("s = %v: %q is counted %d times, the truth is %d", s, key, count, truth[key])
			}
		}
		if sum != n {
			t.Errorf("s = %v: the counts add up to %d, want %d", s, sum, n)
		}
		for key, count := range truth {
			if got[key] == 0 && count > n/topKeys {
				t.Errorf("s = %v: %q was asked for %d times and is not followed", s, key, count)
			}
		}
	}
}

// Keys are told apart also where their hashes are the same.
func TestTopCounterComparesKeys(t *testing.T) {
	var c topCounter
	for i := range 30 {
		c.add(7, fmt.Sprint(i%3))
	}
	if got := followed(t, &c); len(got) != 3 || got["0"] != 10 || got["1"] != 10 || got["2"] != 10 {
		t.Errorf("counts are %v, want 10 each of 3", got)
	}
}

func TestTopCounterKeepsNoLongBuffer(t *testing.T) {
	var c topCounter
	for i := range 20 * topKeys {
		key := strings.Repeat("k", i%100*50) + fmt.Sprint(i)
		c.add(consistenthash.Hash(key), key)
	}
	for i := range 4 * topKeys {
		key := fmt.Sprint("short-", i)
		c.add(consistenthash.Hash(key), key)
	}
	for _, k := range c.keys {
		if !strings.HasPrefix(string(k.key), "short-") || cap(k.key) != topKeyBytes {
			t.Errorf("%.20q has a buffer of %d bytes, want %d", k.key, cap(k.key), topKeyBytes)
		}
	}
}

func TestHotKeysKeepNoBufferOfTheNetwork(t *testing.T) {
	var c topCounter
	buf := make([]byte, 64<<10)
	for range 50000 { // keys that alias one read buffer
		at := rand.IntN(2000) * 30
		n := copy(buf[at:], fmt.Sprintf("key-%010d", rand.IntN(1+rand.IntN(300))))
		key := unsafe.String(unsafe.SliceData(buf[at:]), n)
		c.add(consistenthash.Hash(key), key)
	}
	before := followed(t, &c)
	clear(buf)
	for key := range followed(t, &c) {
		if before[key] == 0 {
			t.Fatalf("key %q came with a change of the buffer", key)
		}
	}
}

// A hit does not allocate, not even one in a thousand, however many keys there are.
func TestHitDoesNotAllocate(t *testing.T) {
	const keys, hits = 10_000, 100_000
	getter, _ := constant("v")
	g := localGroup(t, getter, GroupConfig{CacheBytes: 64 << 20})
	ctx, rng := t.Context(), rand.New(rand.NewPCG(3, 4))
	all := make([]string, keys)
	for i := range all {
		all[i] = fmt.Sprint("key-", i)
	}
	get := func() {
		for range hits {
			if _, err := g.Get(ctx, all[rng.IntN(keys)]); err != nil {
				t.Error(err)
			}
		}
	}
	get() // few keys are left out, and AllocsPerRun begins with a run that does not count
	var n float64
	for range 5 { // the runtime may allocate meanwhile, or move the stack, and with it the counters
		if n = testing.AllocsPerRun(1, get); n == 0 {
			return
		}
	}
	t.Errorf("%v allocations in %d hits", n, hits)
}
