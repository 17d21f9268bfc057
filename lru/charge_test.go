package lru

import "testing"

// given is what the allocator sets aside for n bytes without pointers.
func given(n int) int64 { return int64(cap(append([]byte(nil), make([]byte, n)...))) }

func TestAllocatedIsWhatTheAllocatorGives(t *testing.T) {
	for n := 1; n <= 70_000; {
		// It gives as much for all from n to last: it rounds up.
		last := given(n)
		if given(int(last)) != last {
			t.Fatalf("the allocator gives %d for %d, and %d for that", last, n, given(int(last)))
		}
		for ; n <= int(last); n++ {
			if got := allocated(uint64(n)); got != last {
				t.Fatalf("allocated(%d) = %d, the allocator gives %d", n, got, last)
			}
		}
	}
	for _, n := range []int{1 << 20, 1<<20 + 1, 10<<20 - 1} {
		if got := allocated(uint64(n)); got != given(n) {
			t.Errorf("allocated(%d) = %d, the allocator gives %d", n, got, given(n))
		}
	}
}

func TestChargeIsThatOfTheEntry(t *testing.T) {
	for _, n := range []int{0, 1, 3, 4, 5, 20, 21, 100, 116, 117, 1000, 40_000, 1 << 20} {
		e := newEntry(1, "", &Item{Value: make([]byte, n)})
		if n > 8 {
			e = newEntry(1, "12345678", &Item{Value: make([]byte, n-8)})
		}
		if want := given(max(headerBytes+n, minAllocation)) + besides; e.Size() != want || charge(uint64(n)) != want {
			t.Errorf("an entry of %d bytes has the size %d, and charge is %d, want %d", n, e.Size(), charge(uint64(n)), want)
		}
	}
	// What the comment at headerBytes promises.
	if n := charge(16+100) - besides; headerBytes+16+100 != int(n) {
		t.Errorf("16 bytes of key and 100 of value take %d of the %d bytes that are set aside", headerBytes+116, n)
	}
	if n := charge(1 << 62); n < 1<<62 {
		t.Errorf("charge(1<<62) = %d", n)
	}
}
