package lru

import "testing"

// A new value of a key that is there is a use of the key, as a hit is one: the entry
// keeps its queue, its place and its count.
func TestReplacingIsAUse(t *testing.T) {
	s := newTestShard()
	keys := []string{"a", "b", "c"}
	for i, key := range keys {
		h := uint64(i) * mix
		s.putLocked(h, key, newEntry(h, key, &Item{Value: []byte("old")}), false, nil)
	}
	old, r := s.tab.find(mix, "b")
	old.setCountLocked(7, s.epoch)
	s.moveLocked(protected, r, old)
	e := newEntry(mix, "b", &Item{Value: []byte("new"), Flags: 0xa5, Expires: 9})
	if s.putLocked(mix, "b", e, false, nil) {
		t.Error("a value of the same length takes more bytes")
	}
	if got, at := s.tab.find(mix, "b"); got != e || at != r {
		t.Errorf("the key is in slot %d with %v, want slot %d with the new entry", at, got, r)
	}
	if e.queue() != protected || !e.used() || s.countLocked(e) != 8 {
		t.Errorf("queue %d, used %v, count %d; want queue %d, used, and 8", e.queue(), e.used(), s.countLocked(e), protected)
	}
	if e.Flags() != 0xa5 || !e.expired(func() int64 { return 9 }) {
		t.Errorf("flags %x and expiry %d are not the new entry's own", e.Flags(), e.Expires())
	}
}

// A value of another length changes the bytes of its queue and of the budget, and
// only a longer one asks for room.
func TestReplacingCountsTheDifference(t *testing.T) {
	s := newTestShard()
	for i, tt := range []struct {
		bytes int
		grown bool
	}{{100, true}, {5000, true}, {5000, false}, {200, false}, {0, false}, {0, false}, {300, true}} {
		e := newEntry(mix, "key", &Item{Value: make([]byte, tt.bytes)})
		if grown := s.putLocked(mix, "key", e, false, nil); grown != tt.grown {
			t.Errorf("step %d: grown = %v, want %v", i, grown, tt.grown)
		}
		if want := e.Size(); s.bytesLocked() != want || s.budget.used.Load() != want {
			t.Errorf("step %d: the queues have %d bytes and the budget %d, want %d", i, s.bytesLocked(), s.budget.used.Load(), want)
		}
	}
}
