package lru

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// queued returns the keys of queue q from the head, and checks the links, where
// the entries say that they are, and the sum of their sizes.
func queued(t *testing.T, s *shard, q int) (list []string) {
	t.Helper()
	var last ref
	var bytes int64
	for r := s.queues[q].head; r != 0; {
		e := s.at(r)
		if e == nil || e.prev != last || e.queue() != uint32(q) {
			t.Fatalf("queue %d: slot %d has %v, with %d before it and not %d", q, r, e, e.prev, last)
		}
		list = append(list, e.Key())
		bytes += e.Size()
		last, r = r, e.next
	}
	if s.queues[q].tail != last || s.queues[q].bytes != bytes {
		t.Fatalf("queue %d ends at slot %d with %d bytes, not at %d with %d", q, last, bytes, s.queues[q].tail, s.queues[q].bytes)
	}
	return list
}

func TestQueuesAgainstSlices(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	s := newTestShard()
	var want [numQueues][]string
	hash := func(key string) uint64 { return uint64(len(key))*mix ^ uint64(key[len(key)-1])<<33 }
	where := func(key string) int {
		return slices.IndexFunc(want[:], func(l []string) bool { return slices.Contains(l, key) })
	}
	without := func(l []string, key string) []string {
		return slices.DeleteFunc(l, func(k string) bool { return k == key })
	}
	for step := range 20_000 {
		key := fmt.Sprint("key-", rng.IntN(60))
		e, r := s.tab.find(hash(key), key)
		q := where(key)
		if (e == nil) != (q < 0) {
			t.Fatalf("step %d: %q is in queue %d, but find returns %v", step, key, q, e)
		}
		to := rng.IntN(numQueues)
		switch p := rng.IntN(5); {
		case e == nil:
			e = newEntry(hash(key), key, &Item{Value: make([]byte, rng.IntN(300))})
			s.pushLocked(uint32(to), s.addLocked(e, markOf(hash(key))), e)
			want[to] = slices.Insert(want[to], 0, key)
		case p == 0:
			s.dropLocked(r, e, Removed, nil)
			s.fitLocked()
			want[q] = without(want[q], key)
		case p == 1: // stays where it is
			s.replaceLocked(r, e, newEntry(hash(key), key, &Item{Value: make([]byte, rng.IntN(300))}), nil)
		case p == 2:
			s.queues[q].toHeadLocked(s.tab, r, e)
			want[q] = slices.Insert(without(want[q], key), 0, key)
		default:
			s.moveLocked(uint32(to), r, e)
			want[q] = without(want[q], key)
			want[to] = slices.Insert(want[to], 0, key)
		}
		if step%50 == 0 {
			s.rebuildLocked() // keeps the order
		}
		if step%10 == 0 {
			for q := range want {
				if got := queued(t, s, q); !slices.Equal(got, want[q]) {
					t.Fatalf("step %d: queue %d holds %q, want %q", step, q, got, want[q])
				}
			}
		}
	}
	if got := s.bytesLocked(); got != s.budget.used.Load() {
		t.Errorf("the queues have %d bytes, and the budget %d", got, s.budget.used.Load())
	}
}
