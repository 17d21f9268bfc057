package lru

import (
	"fmt"
	"testing"
)

// A shard of a full cache holds small entries that were used once. A large one comes.
func TestLargeItemInAFullCache(t *testing.T) {
	const large = 100_000
	for _, tt := range []struct {
		name       string
		small      int // entries that are there
		floor      int // of the shard, in small entries
		used       int // uses of the large one, this one included
		want       bool
		wantAtMost int // small entries that are left
		wantLeast  int
	}{
		{"used once, above the floor", 200, 100, 1, false, 200, 195},
		{"used once, below the floor", 200, 300, 1, false, 200, 200},
		{"used often, above the floor", 200, 100, 5, true, 100, 99},
		{"used often, below the floor", 200, 300, 5, true, 199, 199},
		{"used once, alone", 0, 300, 1, true, 0, 0},
		{"used once, alone above the floor of none", 0, 0, 1, true, 0, 0},
	} {
		s := newTestShard()
		s.share = 0 // all that there is counts for the window
		for i := range tt.small {
			key := fmt.Sprint("small-", i)
			e := newEntry(uint64(i)*mix, key, &Item{Value: make([]byte, 20)})
			s.putLocked(uint64(i)*mix, key, e, false, nil)
			s.settleLocked(0, e, nil)
		}
		small := charge(30)
		s.ghost.resizeLocked(1000)
		h := uint64(1 << 60)
		s.ghost.putLocked(uint32(h>>32), uint32(tt.used-1), s.epoch)
		s.budget.most = s.budget.used.Load() + 1<<20
		s.budget.used.Add(1 << 20) // other shards hold the rest
		e := newEntry(h, "large", &Item{Value: make([]byte, large)})
		s.putLocked(h, "large", e, false, nil)
		s.settleLocked(int64(tt.floor)*small, e, nil)

		got, _ := s.tab.find(h, "large")
		left := s.entries
		if got != nil {
			left--
		}
		if (got != nil) != tt.want || left > tt.wantAtMost || left < tt.wantLeast {
			t.Errorf("%s: it is there: %v, beside %d small ones; want %v, and %d to %d", tt.name, got != nil, left, tt.want, tt.wantLeast, tt.wantAtMost)
		}
	}
}

// Keys that come once take no place in the main part of a full shard whose entries
// were used twice, whatever the window's share comes to in entries.
func TestNobodyPassesWithoutAContest(t *testing.T) {
	const added = 300
	size := charge(8)
	for way := range int32(numSettings - 2) {
		for n := int64(100); n < 240; n++ {
			s := newTestShard()
			s.budget.most = n * size
			s.share = s.budget.most
			s.way.Store(way)
			add := func(i int64) {
				h := uint64(i) * mix
				key := fmt.Sprintf("%08d", i)
				e := newEntry(h, key, &Item{})
				s.putLocked(h, key, e, false, nil)
				s.settleLocked(0, e, nil)
			}
			for i := range n {
				add(i)
			}
			for _, e := range s.listLocked() {
				e.setCountLocked(2, s.epoch)
			}
			main := s.queues[probation].bytes + s.queues[protected].bytes
			for i := range int64(added) {
				add(n + i)
			}
			kept := int64(0)
			for _, e := range s.listLocked() {
				if e.queue() != window && s.countLocked(e) > 1 {
					kept += size
				}
			}
			if kept < main {
				t.Errorf("setting %d, %d entries: %d of %d entries are left", way, n, kept/size, main/size)
			}
		}
	}
}
