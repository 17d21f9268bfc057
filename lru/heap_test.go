package lru_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/geecache/geecache/lru"
)

// heap returns how many bytes are in use after a garbage collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what was swept late
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A filler adds new keys of 16 bytes to a cache.
type filler struct {
	c    *lru.Cache
	next uint64
	buf  []byte
}

// fill adds entries with values of n bytes until so many bytes have come.
func (f *filler) fill(t *testing.T, n int, bytes int64) {
	t.Helper()
	for each := size(16 + n); bytes > 0; bytes -= each {
		f.next++
		var key [16]byte
		binary.BigEndian.PutUint64(key[8:], f.next)
		if err := f.c.Add(hash(string(key[:])), string(key[:]), lru.Item{Value: f.buf[:n]}); err != nil {
			t.Fatal(err)
		}
	}
}

// In the field: a budget of N bytes filled 2.4 to 3.2 N of heap. A full cache takes
// no more than 5% above its budget, and it makes use of it; also after its entries
// have changed their size, once and again.
func TestBytesAreHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's allocations are larger")
	}
	sizes := []int{0, 100, 1 << 10, 64 << 10}
	for _, policy := range policies {
		for _, n := range sizes {
			const budget = 16 << 20
			before := heap()
			f := &filler{c: newCache(t, lru.Config{Policy: policy, MaxBytes: budget}), buf: make([]byte, 64<<10)}
			f.fill(t, n, budget*3/2)
			check := func(when string) {
				t.Helper()
				used, st := heap()-before-int64(len(f.buf)), f.c.Stats()
				ratio := float64(used) / budget
				t.Logf("policy %d, values of %d bytes, %s: heap is %.3f of the budget, %.1f bytes an entry, Bytes is %.3f",
					policy, n, when, ratio, float64(used)/float64(st.Entries), float64(st.Bytes)/budget)
				if ratio > 1.05 || ratio < 0.75 || st.Bytes < budget*95/100 {
					t.Errorf("policy %d, values of %d bytes, %s: heap is %.3f of the budget, Bytes is %d", policy, n, when, ratio, st.Bytes)
				}
				if n == 100 && when == "full" && used > 190*st.Entries {
					t.Errorf("policy %d: an entry of 16 and 100 bytes takes %d bytes of heap", policy, used/st.Entries)
				}
			}
			check("full")
			for round := range 10 {
				f.fill(t, sizes[round%len(sizes)]*(10-round)/10, budget/2)
			}
			f.fill(t, n, 3*budget)
			check("after churn")
			f.c.Clear()
			if used := heap() - before - int64(len(f.buf)); used > budget/20 {
				t.Errorf("policy %d, values of %d bytes: %d bytes remain after Clear", policy, n, used)
			}
			runtime.KeepAlive(f)
		}
	}
}
