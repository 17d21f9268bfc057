package lru

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// checkShards compares what the shards of a cache that is at rest say in different
// places: the queues, the index and the sums.
func checkShards(t *testing.T, c *Cache) {
	t.Helper()
	total := int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		hashes := map[string]uint64{}
		for q := range numQueues {
			for _, key := range queued(t, s, q) {
				if _, twice := hashes[key]; twice {
					t.Fatalf("shard %d: %q is in two queues", i, key)
				}
				hashes[key] = testHash(key)
			}
		}
		if len(hashes) != s.entries || s.table.Load() != s.tab {
			t.Fatalf("shard %d: %d entries are queued, it counts %d", i, len(hashes), s.entries)
		}
		checkTable(t, s.tab, hashes)
		total += s.bytesLocked()
	}
	if used := c.budget.used.Load(); used != total || used > c.budget.most {
		t.Fatalf("the shards hold %d bytes, the budget says %d, of %d", total, used, c.budget.most)
	}
}

// testHash maps the keys "0", "1", ... to hashes of all kinds, some of them equal.
func testHash(key string) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range []byte(key) {
		h = (h ^ uint64(b)) * mix
	}
	h ^= h >> 29
	if h%5 == 0 {
		h &= 7 // one home, one mark
	}
	return h
}

// act does something to the cache, as rng says.
func act(t *testing.T, c *Cache, rng *rand.Rand, now *atomic.Int64) {
	key := fmt.Sprint(rng.IntN(2000) * rng.IntN(2))
	if rng.IntN(3) > 0 {
		key = fmt.Sprint(rng.IntN(100))
	}
	h := testHash(key)
	switch p := rng.IntN(1000); {
	case p < 500:
		it := Item{Value: make([]byte, rng.IntN(1+rng.IntN(2000))), Flags: uint8(p)}
		if p%4 == 0 {
			it.Expires = now.Load() + int64(rng.IntN(100)) - 10
		}
		if err := c.Add(h, key, it); err != nil {
			t.Error(err)
		}
	case p < 900:
		if e := c.Get(h, key); e != nil && e.Key() != key {
			t.Errorf("Get(%q) returns %q", key, e.Key())
		}
	case p < 960:
		c.Remove(h, key)
	case p < 998:
		now.Add(int64(rng.IntN(20)) - 5) // backwards, too
	case p < 999:
		c.adapt.way.Store(int32(rng.IntN(numSettings)))
	default:
		c.Clear()
	}
}

func TestShardsHoldTogether(t *testing.T) {
	for _, policy := range []Policy{Adaptive, LRU} {
		for _, shards := range []int{1, 8, 64} {
			rng := rand.New(rand.NewPCG(uint64(shards), 5))
			var now atomic.Int64
			c, err := New(Config{Policy: policy, Shards: shards, MaxBytes: 40_000, Now: now.Load})
			if err != nil {
				t.Fatal(err)
			}
			for step := range 20_000 {
				act(t, c, rng, &now)
				if step%100 == 0 {
					checkShards(t, c)
				}
			}
		}
	}
}

// Hits set their bit while those who hold the lock write the rest of the state:
// nothing but a use may get lost.
func TestShardsHoldTogetherAfterConcurrentUse(t *testing.T) {
	for _, shards := range []int{1, 8, 64} {
		var now atomic.Int64
		c, err := New(Config{Shards: shards, MaxBytes: 40_000, Now: now.Load})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 5 {
			var wg sync.WaitGroup
			for w := range 6 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
					for range 1500 {
						act(t, c, rng, &now)
					}
				})
			}
			wg.Wait()
			checkShards(t, c)
		}
	}
}

// What a hit and the holder of the lock do to one state, at once.
func TestHitLosesNoBits(t *testing.T) {
	e := newEntry(1, "key", &Item{Flags: 0xa5, Expires: 9})
	var wg sync.WaitGroup
	var done atomic.Bool
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				e.touch()
			}
		})
	}
	defer func() {
		done.Store(true)
		wg.Wait()
	}()
	for i := range uint32(2_000_000) {
		e.setQueueLocked(i % numQueues)
		if e.queue() != i%numQueues {
			t.Fatalf("the queue is %d, want %d", e.queue(), i%numQueues)
		}
		e.setCountLocked(i%16, uint8(i))
		st := e.state.Load()
		if st>>countShift&countMost != i%16 || uint8(st>>epochShift) != uint8(i) || e.Flags() != 0xa5 || st&stateExpires == 0 || e.queue() != i%numQueues {
			t.Fatalf("step %d: the state is %x", i, st)
		}
	}
}

func TestCountHalvesWithEachEpoch(t *testing.T) {
	s := newTestShard()
	e := newEntry(1, "key", &Item{})
	for epoch, want := range []uint32{13, 6, 3, 1, 0, 0} {
		e.setCountLocked(13, 250)
		s.epoch = uint8(250 + epoch) // around the end, too
		if got := s.countLocked(e); got != want {
			t.Errorf("13 of %d epochs ago is %d, want %d", epoch, got, want)
		}
		e.touch()
		if got := s.countLocked(e); got != want+1 {
			t.Errorf("13 of %d epochs ago and a use is %d, want %d", epoch, got, want+1)
		}
	}
	e.setCountLocked(countMost, s.epoch)
	e.touch()
	uses := s.uses
	s.foldLocked(e)
	if got := s.countLocked(e); got != countMost || e.used() || s.uses != uses {
		t.Errorf("the highest count and a use is %d; used %v, %d uses", got, e.used(), s.uses-uses)
	}
}

// A difference in size counts for no more than one in use by a factor of two.
func TestBeats(t *testing.T) {
	s := newTestShard()
	entry := func(count uint32, payload int) *Entry {
		e := newEntry(1, "", &Item{Value: make([]byte, payload)})
		e.setCountLocked(count, s.epoch)
		return e
	}
	for _, tt := range []struct {
		count, size           int
		otherCount, otherSize int
		want                  bool
	}{
		{2, 100, 1, 100, true},
		{1, 100, 1, 100, false}, // who is there stays
		{1, 100, 1, 200, true},
		{1, 200, 1, 100, false},
		{2, 10_000, 1, 100, false},
		{3, 10_000, 1, 100, true},
		{1, 100, 2, 10_000, false},
		{2, 100, 3, 10_000, true},
		{0, 0, 0, 10_000, false},
		{1, 100, 0, 100, false}, // it was used once, before its count was halved
		{2, 100, 0, 100, true},
		{1, 100, 0, 200, true},
		{2, 10_000, 0, 0, false},
		{3, 10_000, 0, 0, true},
	} {
		if got := s.beatsLocked(entry(uint32(tt.count), tt.size), entry(uint32(tt.otherCount), tt.otherSize)); got != tt.want {
			t.Errorf("%d uses for %d bytes beat %d for %d: %v", tt.count, tt.size, tt.otherCount, tt.otherSize, got)
		}
	}
}
