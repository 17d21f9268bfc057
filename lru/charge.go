package lru

import (
	"slices"
	"sync"
	"unsafe"
)

// besides is what an entry is charged for beside its own allocation, in bytes:
// its place in the index (10.7 to 18.3 bytes: 64 for seven, from 3.5 to 6 of
// which are taken), in the ghost (9.0 to 12.3) and in the shadows (0.3 to 5). It
// is near the upper end of what they sum up to, so that the heap stays within the
// budget.
const besides = 28

// charge returns what an entry with payload bytes of key and value costs.
func charge(payload uint64) int64 {
	return allocated(max(uint64(headerBytes)+payload, uint64(minAllocation))) + besides
}

const (
	minAllocation = int(unsafe.Sizeof(Entry{}))

	// The allocator rounds up to classes up to largestClass bytes, and to whole
	// pages beyond.
	largestClass = 32 << 10
	pageBytes    = 8 << 10
)

// sizeClasses are the allocator's size classes, learnt from itself once: it is
// asked for n bytes and says how many it gave.
var sizeClasses = sync.OnceValue(func() []int64 {
	var classes []int64
	for n := 1; n <= largestClass; {
		given := cap(append([]byte(nil), make([]byte, n)...))
		classes = append(classes, int64(given))
		n = given + 1
	}
	return classes
})

// allocated returns how many bytes the allocator sets aside for n.
func allocated(n uint64) int64 {
	if n > largestClass {
		return int64((n + pageBytes - 1) / pageBytes * pageBytes)
	}
	classes := sizeClasses()
	i, _ := slices.BinarySearch(classes, int64(n))
	return classes[i]
}
