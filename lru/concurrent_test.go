package lru_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/geecache/geecache/lru"
)

// TestConcurrent lets goroutines do everything at once and compares the sums
// when they have come to rest.
func TestConcurrent(t *testing.T) {
	for _, policy := range policies {
		for _, shards := range []int{1, 2, 16} {
			t.Run(fmt.Sprintf("policy=%d/shards=%d", policy, shards), func(t *testing.T) {
				testConcurrent(t, lru.Config{Policy: policy, Shards: shards, MaxBytes: 64 << 10})
			})
		}
	}
}

func testConcurrent(t *testing.T, cfg lru.Config) {
	var now, added atomic.Int64
	var left [4]atomic.Int64
	cfg.Now = now.Load
	cfg.OnEvict = func(e *lru.Entry, r lru.Reason) {
		left[r].Add(1)
		if string(e.Value()[:len(e.Key())]) != e.Key() {
			t.Errorf("the entry of %q has the value %q", e.Key(), e.Value())
		}
	}
	c := newCache(t, cfg)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() { churn(t, c, rand.New(rand.NewPCG(uint64(w), 9)), &now, &added) })
	}
	wg.Wait()
	now.Store(-1 << 62)
	checkSums(t, c)
	st := c.Stats()
	gone := int64(0)
	for r := range left {
		gone += left[r].Load()
		if left[r].Load() != st.Evicted[r] || left[r].Load() == 0 {
			t.Errorf("%d calls of OnEvict for %s, Stats says %d", left[r].Load(), lru.Reason(r), st.Evicted[r])
		}
	}
	if st.Entries+gone != added.Load() {
		t.Errorf("%d entries are there, %d have left, of %d", st.Entries, gone, added.Load())
	}
}

// filled returns a value of n bytes that begins with s.
func filled(s string, n int) []byte {
	b := make([]byte, n)
	copy(b, s)
	return b
}

func churn(t *testing.T, c *lru.Cache, rng *rand.Rand, now, added *atomic.Int64) {
	for range 3000 {
		key := fmt.Sprint("key-", rng.IntN(300))
		h := hash(key)
		switch p := rng.IntN(1000); {
		case p < 500:
			it := lru.Item{Value: filled(key, len(key)+rng.IntN(1000)), Flags: uint8(len(key))}
			if p < 250 {
				it.Expires = now.Load() + 1 + int64(rng.IntN(20))
			}
			if p < 5 {
				it.Value = filled(key, 8<<10)
			}
			if c.Add(h, key, it) == nil {
				added.Add(1)
			}
		case p < 900:
			if e := c.Get(h, key); e != nil {
				if e.Key() != key || string(e.Value()[:len(key)]) != key || int(e.Flags()) != len(key) {
					t.Errorf("Get(%q) = %q with flags %d", key, e.Value(), e.Flags())
				}
				e.SetTag(e.Tag() + 1)
				if p > 890 {
					c.RemoveEntry(h, e)
				}
			}
		case p < 950:
			c.Remove(h, key)
		case p < 990:
			now.Add(1)
		case p < 999:
			c.Range(func(e *lru.Entry) bool { return e.Size() > 0 })
		default:
			c.Clear()
		}
	}
}
