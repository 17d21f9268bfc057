package lru_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/geecache/geecache/lru"
)

// A key whose hash is zero was taken for one that the adaptation samples before
// there was anything to sample for.
func TestHashZeroFromTheBeginning(t *testing.T) {
	for _, policy := range policies {
		c := newCache(t, lru.Config{Policy: policy})
		for i := range 2000 {
			key := fmt.Sprint(i % 500)
			if err := c.Add(0, key, lru.Item{Value: []byte(key)}); err != nil {
				t.Fatal(err)
			}
			if e := c.Get(0, key); e == nil || string(e.Value()) != key {
				t.Fatalf("Get(%q) = %v", key, e)
			}
		}
		checkSums(t, c)
	}
}

// With a key that fills the entry's allocation to the last byte, the address of an
// empty value is that of the next object, or of none: the garbage collector stops
// the program when it finds such a pointer.
func TestEmptyValueBehindAFullAllocation(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 256 << 20})
	var values [][]byte
	zeros := strings.Repeat("0", 600)
	for n := range 600 {
		for i := range 200 {
			key := strconv.Itoa(i)
			key = zeros[:max(n-len(key), 0)] + key
			h := hash(key)
			if err := c.Add(h, key, lru.Item{}); err != nil {
				t.Fatal(err)
			}
			v := c.Get(h, key).Value()
			if len(v) != 0 {
				t.Fatalf("the value of %q is %q", key, v)
			}
			values = append(values, v)
		}
	}
	runtime.GC()
	c.Clear()
	runtime.GC()
	runtime.GC()
	runtime.KeepAlive(values)
}

// OnEvict may call the cache, whatever it calls, for each reason.
func TestOnEvictMayCallTheCache(t *testing.T) {
	for _, policy := range policies {
		for _, shards := range []int{1, 4} {
			now := &clock{now: 1}
			var c *lru.Cache
			calls := 0
			c = newCache(t, lru.Config{Policy: policy, MaxBytes: 10 * size(10), Shards: shards, Now: now.Now, OnEvict: func(e *lru.Entry, r lru.Reason) {
				if calls++; calls > 200 {
					return
				}
				if c.Peek(hash(e.Key()), e.Key()) == e {
					t.Errorf("%q is still there when OnEvict is called for it (%s)", e.Key(), r)
				}
				c.Get(hash("x"), "x")
				c.Remove(hash("y"), "y")
				key := fmt.Sprint("again-", calls)
				if err := c.Add(hash(key), key, lru.Item{}); err != nil {
					t.Error(err)
				}
				c.Range(func(e *lru.Entry) bool { c.RemoveEntry(hash(e.Key()), e); return false })
				if calls%50 == 0 {
					c.Clear()
				}
				c.Stats()
			}})
			for i := range 30 {
				add(t, c, fmt.Sprint(i), "v")
			}
			add(t, c, "29", "w")
			add(t, c, "29", "x")
			if err := c.Add(hash("t"), "t", lru.Item{Expires: 2}); err != nil {
				t.Fatal(err)
			}
			now.now = 3
			c.Get(hash("t"), "t")
			c.Clear()
			if calls <= 200 {
				t.Errorf("OnEvict was called %d times only", calls)
			}
			checkSums(t, c)
		}
	}
}

// The smallest budgets and the largest numbers of shards, and keys and values at
// both ends.
func TestExtremes(t *testing.T) {
	long := strings.Repeat("k", 1<<20)
	for _, policy := range policies {
		for _, budget := range []int64{1, 8, 8*size(0) - 1, 8 * size(0), 1 << 16, 16 << 20, 1 << 50} {
			for _, shards := range []int{1, 2, lru.MaxShards} {
				c := newCache(t, lru.Config{Policy: policy, MaxBytes: budget, Shards: shards})
				for i := range 300 {
					for _, key := range []string{"", fmt.Sprint(i), long[:i], long} {
						if len(key) == len(long) && i%50 > 0 {
							continue
						}
						h := hash(key)
						err := c.Add(h, key, lru.Item{Value: make([]byte, i%3), Expires: int64(-i % 2), Version: 1<<64 - 1, Tag: 1<<32 - 1, Flags: 255})
						if fits := size(len(key)+i%3) <= budget/8; fits != (err == nil) {
							t.Fatalf("budget %d: an item of %d bytes: %v", budget, size(len(key)+i%3), err)
						}
						if e := c.Get(h, key); e != nil && (e.Key() != key || len(e.Value()) != i%3 || e.Version() != 1<<64-1 || e.Tag() != 1<<32-1 || e.Flags() != 255 || i%2 == 1) {
							t.Fatalf("budget %d: Get(%.20q) = %.20q with %+v", budget, key, e.Key(), e)
						}
					}
				}
				checkSums(t, c)
				c.Clear()
				if st := c.Stats(); st.Bytes != 0 || st.Entries != 0 {
					t.Errorf("budget %d, %d shards: after Clear: %+v", budget, shards, st)
				}
			}
		}
	}
}

// A time that goes backwards makes entries return, and breaks nothing.
func TestTimeGoesBackwards(t *testing.T) {
	for _, policy := range policies {
		now := &clock{now: -10}
		c := newCache(t, lru.Config{Policy: policy, MaxBytes: 20 * size(8), Shards: 1, Now: now.Now})
		if err := c.Add(1, "k", lru.Item{Expires: -5}); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{-10, 1 << 62, -6, -5, -1 << 62} {
			now.now = at
			if there := c.Peek(1, "k") != nil; there != (at < -5) {
				t.Errorf("at %d it is %v that an entry that expires at -5 is there", at, there)
			}
		}
		for i := range 1000 {
			now.now = int64(i*7919%1000) - 500
			key := fmt.Sprint(i % 50)
			if err := c.Add(hash(key), key, lru.Item{Expires: int64(i%100) - 50}); err != nil {
				t.Fatal(err)
			}
			if e := c.Get(hash(key), key); e != nil && e.Expires() != 0 && e.Expires() <= now.now {
				t.Fatalf("at %d Get returns an entry that expires at %d", now.now, e.Expires())
			}
		}
		now.now = -1 << 62
		checkSums(t, c)
	}
}

// What has expired makes room without a contest: it goes when it is next, is told as
// Expired, and is gone in the end even if others were before it.
func TestExpiredMakeRoom(t *testing.T) {
	for _, every := range []int{1, 2, 10} { // one of so many entries is for ever
		now := &clock{now: 1}
		c, left := recorded(t, lru.Config{MaxBytes: 200 * size(8), Shards: 1, Now: now.Now})
		dead := map[string]bool{}
		for i := range 200 {
			key := fmt.Sprintf("key%05d", i)
			it := lru.Item{}
			if every == 1 || i%every > 0 {
				it.Expires = 10
				dead[key] = true
			}
			if err := c.Add(hash(key), key, it); err != nil {
				t.Fatal(err)
			}
		}
		checkLeft(t, left)
		now.now = 10
		n := 0
		for ; n < 20_000 && len(dead) > 0; n++ {
			key := fmt.Sprintf("new%05d", n%300)
			if c.Get(hash(key), key) == nil {
				add(t, c, key, "")
			}
			for _, d := range *left {
				if dead[d.key] != (d.reason == lru.Expired) {
					t.Errorf("%q leaves as %s", d.key, d.reason)
				}
				delete(dead, d.key)
			}
			*left = nil
			if every == 1 && n < 200 && len(dead) != 199-n {
				t.Fatalf("after %d new entries %d that have expired are still there", n+1, len(dead))
			}
		}
		t.Logf("one of %d for ever: after %d requests %d that have expired are left", every, n, len(dead))
		if len(dead) > 0 {
			t.Errorf("one of %d for ever: after %d requests %d that have expired are still there", every, n, len(dead))
		}
	}
}

// An entry that a reader keeps stays as it is, however it leaves the cache.
func TestKeptEntryStays(t *testing.T) {
	for _, policy := range policies {
		c := newCache(t, lru.Config{Policy: policy, MaxBytes: 100 * size(300), Shards: 1})
		kept := map[string]*lru.Entry{}
		for i := range 2000 {
			key := fmt.Sprint("key-", i%700)
			add(t, c, key, strings.Repeat(key, 20))
			if e := c.Get(hash(key), key); e != nil && i%3 == 0 {
				kept[key] = e
			}
		}
		c.Clear()
		runtime.GC()
		for i := range 2000 { // others come where they were
			add(t, c, fmt.Sprint(i), strings.Repeat("x", 100))
		}
		for key, e := range kept {
			if e.Key() != key || string(e.Value()) != strings.Repeat(key, 20) {
				t.Fatalf("the entry of %q is now %q with %q", key, e.Key(), e.Value())
			}
		}
	}
}

// When all Adds have returned, the cache is within its budget, however many there
// were at once and however large their items.
func TestConcurrentAddsKeepTheBudget(t *testing.T) {
	for _, policy := range policies {
		for _, shards := range []int{1, 4, 256} {
			const budget = 100_000
			c := newCache(t, lru.Config{Policy: policy, MaxBytes: budget, Shards: shards})
			for round := range 20 {
				var wg sync.WaitGroup
				for w := range 8 {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
						for range 60 {
							key := fmt.Sprint(rng.IntN(500))
							n := rng.IntN(1 + rng.IntN(budget/8-500))
							if err := c.Add(hash(key), key, lru.Item{Value: make([]byte, n)}); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				checkSums(t, c)
			}
		}
	}
}

// Range and Clear run while others add and remove.
func TestRangeAndClearBesideAdds(t *testing.T) {
	for _, policy := range policies {
		c := newCache(t, lru.Config{Policy: policy, MaxBytes: 100_000, Shards: 4})
		var writers, others sync.WaitGroup
		var done atomic.Bool
		for w := range 3 {
			writers.Go(func() {
				for i := range 5000 {
					key := fmt.Sprint((i*7 + w) % 2000)
					if err := c.Add(hash(key), key, lru.Item{Value: []byte(key)}); err != nil {
						t.Error(err)
					}
					if i%5 == 0 {
						c.Remove(hash(key), key)
					}
				}
			})
		}
		others.Go(func() {
			for i := 0; !done.Load(); i++ {
				seen := map[string]bool{}
				c.Range(func(e *lru.Entry) bool {
					if string(e.Value()) != e.Key() {
						t.Errorf("Range sees %q under %q", e.Value(), e.Key())
					}
					if policy == lru.LRU && seen[e.Key()] {
						t.Errorf("Range sees %q twice", e.Key())
					}
					seen[e.Key()] = true
					return true
				})
				if i%4 == 3 {
					c.Clear()
				}
			}
		})
		writers.Wait()
		done.Store(true)
		others.Wait()
		checkSums(t, c)
	}
}

// A key whose value is replaced all the time is there all the time.
func TestReplacedKeyIsAlwaysThere(t *testing.T) {
	for _, policy := range policies {
		c := newCache(t, lru.Config{Policy: policy, Shards: 1})
		add(t, c, "k", "value-0")
		var wg sync.WaitGroup
		var done atomic.Bool
		for range 2 {
			wg.Go(func() {
				for !done.Load() {
					if e := c.Get(hash("k"), "k"); e == nil || !strings.HasPrefix(string(e.Value()), "value-") {
						t.Errorf("Get = %v", e)
						return
					}
				}
			})
		}
		for i := range 5000 {
			add(t, c, "k", fmt.Sprint("value-", i))
			key := fmt.Sprint(i) // the table grows
			add(t, c, key, key)
		}
		done.Store(true)
		wg.Wait()
	}
}
