package lru

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// newTestShard returns a shard of the policy LRU with a budget that it does not
// exceed.
func newTestShard() *shard {
	s := new(shard)
	b := &budget{most: 1 << 40}
	s.init(b, b.most, new(atomic.Int32), func() int64 { return 0 })
	return s
}

// put stores a key with that hash in the shard.
func put(s *shard, hash uint64, key, value string) {
	s.putLocked(hash, key, newEntry(hash, key, &Item{Value: []byte(value)}), true, nil)
}

// drop removes a key from the shard, and reports whether it was there.
func drop(s *shard, hash uint64, key string) bool {
	e, r := s.tab.find(hash, key)
	if e != nil {
		s.dropLocked(r, e, Removed, nil)
		s.fitLocked()
	}
	return e != nil
}

// checkTable compares a table with what should be in it: slots, marks, and the
// counts of those who are not at home.
func checkTable(t *testing.T, tab *table, hashes map[string]uint64) {
	t.Helper()
	away := make([]int, len(tab.buckets))
	found := 0
	for i := range tab.buckets {
		meta := tab.buckets[i].meta.Load()
		for slot := range bucketSlots {
			e, mark := tab.buckets[i].entries[slot].Load(), meta>>(8*slot)&0xff
			if (e != nil) != (mark != 0) {
				t.Fatalf("bucket %d slot %d has the entry %v and the mark %d", i, slot, e, mark)
			}
			if e == nil {
				continue
			}
			found++
			h, ok := hashes[e.Key()]
			r := ref(1 + 8*i + slot)
			if !ok || mark != markOf(h) || e.hash != uint32(h>>32) || tab.at(r) != e || tab.mark(r) != mark {
				t.Fatalf("bucket %d slot %d: the key %q (%v), hash %x, mark %x", i, slot, e.Key(), ok, h, mark)
			}
			for j := tab.home(e.hash); j != i; j = (j + 1) % len(away) {
				away[j]++
			}
		}
	}
	if found != len(hashes) {
		t.Fatalf("the table holds %d entries, want %d", found, len(hashes))
	}
	for i, n := range away {
		if count := int(tab.buckets[i].meta.Load() >> 56); count != n && count != overMost {
			t.Fatalf("bucket %d counts %d entries in later ones, there are %d", i, count, n)
		}
	}
	for key, h := range hashes {
		e, r := tab.find(h, key)
		if e == nil || e.Key() != key || tab.at(r) != e {
			t.Fatalf("find(%q) = %v", key, e)
		}
		if f := tab.first(h); f == nil && tab.home(e.hash) == int(r-1)/8 {
			t.Fatalf("first does not see %q, which is at home", key)
		}
	}
}

// Keys of these kinds of hashes are entered, replaced and removed at random, and the
// table is compared with a map.
func TestTableAgainstMap(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(rng *rand.Rand) uint64{
		"mixed":     func(rng *rand.Rand) uint64 { return rng.Uint64() },
		"equal":     func(*rand.Rand) uint64 { return 0x1234_5678_9abc_def0 },
		"zero":      func(*rand.Rand) uint64 { return 0 },
		"ones":      func(*rand.Rand) uint64 { return 1<<64 - 1 }, // the last bucket is full and goes on at the first
		"one home":  func(rng *rand.Rand) uint64 { return rng.Uint64N(1 << 32) },
		"last home": func(rng *rand.Rand) uint64 { return rng.Uint64() | 0xffff_ffff<<32 },
		"one mark":  func(rng *rand.Rand) uint64 { return rng.Uint64() &^ (0xff << 16) },
		"few homes": func(rng *rand.Rand) uint64 { return rng.Uint64N(4)<<62 | rng.Uint64N(1<<32) },
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			s := newTestShard()
			hashes := map[string]uint64{}
			var list []string
			for step := range 12_000 {
				grow := step/1000%2 == 0 // then shrink, and so on
				switch p := rng.IntN(10); {
				case len(list) == 0 || grow == (p < 7):
					key := fmt.Sprint("k", step)
					hashes[key] = kinds[kind](rng)
					list = append(list, key)
					put(s, hashes[key], key, "v")
				case p == 5:
					key := list[rng.IntN(len(list))]
					put(s, hashes[key], key, "replaced")
				default:
					i := rng.IntN(len(list))
					key := list[i]
					if !drop(s, hashes[key], key) || drop(s, hashes[key], key) {
						t.Fatalf("step %d: %q is not there, or is still there when removed", step, key)
					}
					delete(hashes, key)
					list[i] = list[len(list)-1]
					list = list[:len(list)-1]
				}
				if step%500 == 0 {
					checkTable(t, s.tab, hashes)
				}
				if n, b := s.entries, len(s.tab.buckets); n != len(list) || n > maxFill*b || n < minFill*b && bucketsFor(n) < b || s.table.Load() != s.tab {
					t.Fatalf("step %d: %d entries in %d buckets, want %d entries", step, n, b, len(list))
				}
			}
			checkTable(t, s.tab, hashes)
		})
	}
}

// A count that has reached its highest value stays, because nobody knows any more
// how many there are: what is behind such a bucket must still be found.
func TestTableCountSaturates(t *testing.T) {
	t.Parallel()
	const n = 4000
	for _, h := range []uint64{0, 0xffff_ffff << 32} {
		s := newTestShard()
		hashes := map[string]uint64{}
		for i := range uint64(n) {
			key := fmt.Sprint(i)
			hashes[key] = h | i<<16 // 256 marks, one home
			put(s, hashes[key], key, "v")
		}
		home := &s.tab.buckets[s.tab.home(uint32(h>>32))]
		if home.meta.Load()>>56 != overMost {
			t.Fatalf("the home of %d keys counts %d", n, home.meta.Load()>>56)
		}
		for i := range uint64(n) {
			key := fmt.Sprint((i * 7) % n)
			e, r := s.tab.find(hashes[key], key)
			if e == nil {
				t.Fatalf("%q is not found when %d are left", key, len(hashes))
			}
			s.dropLocked(r, e, Removed, nil) // and no smaller table: counts stay as they are
			delete(hashes, key)
			if i%400 == 0 {
				checkTable(t, s.tab, hashes)
			}
		}
		if e := s.tab.first(h); e != nil {
			t.Errorf("the empty table has %v", e)
		}
		if home.meta.Load()>>56 != overMost {
			t.Errorf("the count has left its highest value: it is %d", home.meta.Load()>>56)
		}
		s.fitLocked()
		if len(s.tab.buckets) != 1 || s.tab.buckets[0].meta.Load() != 0 {
			t.Errorf("the table of no entries has %d buckets", len(s.tab.buckets))
		}
	}
}

// A table that has the size for its entries was made anew at every call.
func TestTableIsNotRebuiltInVain(t *testing.T) {
	s := newTestShard()
	for n := range 400 {
		put(s, uint64(n)*mix, fmt.Sprint(n), "")
		s.fitLocked()
		tab := s.tab
		s.fitLocked()
		if s.tab != tab {
			t.Errorf("%d entries: the table is rebuilt though nothing has changed", s.entries)
		}
	}
	tables, last := 0, s.tab
	for n := range 400 {
		drop(s, uint64(n)*mix, fmt.Sprint(n))
		if s.tab != last {
			tables, last = tables+1, s.tab
		}
		if s.fitLocked(); s.tab != last {
			t.Errorf("%d entries are left: the table is rebuilt though nothing has changed", s.entries)
		}
	}
	if tables == 0 || tables > 30 {
		t.Errorf("%d tables are made while 400 entries go", tables)
	}
}

// Readers without a lock see every key that is there all the while, and each of
// its values, while others come and go around it and the table is rebuilt.
func TestReaderNeverMissesWhatIsThere(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(i int) uint64{
		"mixed":    func(i int) uint64 { return uint64(i+1) * mix },
		"one home": func(i int) uint64 { return uint64(i) << 16 },
		"equal":    func(int) uint64 { return 0xffff_ffff_ffff_ffff },
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) {
			const fixed = 40
			hash := kinds[kind]
			s := newTestShard()
			for i := range fixed {
				put(s, hash(i), fmt.Sprint("fixed-", i), fmt.Sprint("fixed-", i))
			}
			var done atomic.Bool
			var readers sync.WaitGroup
			for range 3 {
				readers.Go(func() {
					for i := 0; !done.Load(); i = (i + 1) % fixed {
						key := fmt.Sprint("fixed-", i)
						e, _ := s.table.Load().find(hash(i), key)
						if e == nil || e.Key() != key || string(e.Value()) != key {
							t.Errorf("find(%q) = %v", key, e)
							return
						}
						if e := s.table.Load().first(hash(i)); e != nil && e.Key() == "" {
							t.Error("first returns an entry that is none")
							return
						}
					}
				})
			}
			rng := rand.New(rand.NewPCG(3, 4))
			for round := range 60 {
				for i := fixed; i < fixed+200; i++ {
					put(s, hash(i), fmt.Sprint("other-", i), "")
				}
				key := fmt.Sprint("fixed-", round%fixed)
				put(s, hash(round%fixed), key, key) // in its slot
				for _, i := range rng.Perm(200) {
					drop(s, hash(fixed+i), fmt.Sprint("other-", fixed+i))
				}
			}
			done.Store(true)
			readers.Wait()
		})
	}
}
