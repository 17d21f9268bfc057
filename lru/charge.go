package lru

import (
	"sync"
	"unsafe"
)

// besides is what an entry is charged for beside its own allocation, in bytes:
// its place in the index (12.8 to 21 bytes: 64 for seven, from 3 to 5 of which are
// taken), in the ghost (9 to 14) and in the shadows (0.4 to 6). All three are seldom
// large at once: TestBytesAreHeap holds the heap to 1.05 of the budget.
const besides = 30

// minAllocation is how many bytes an entry has at least.
const minAllocation = int(unsafe.Sizeof(Entry{}))

// charge returns what an entry with payload bytes of key and value costs.
func charge(payload uint64) int64 {
	return allocated(max(uint64(headerBytes)+payload, uint64(minAllocation))) + besides
}

// The allocator rounds up to classes up to largestClass bytes, and to whole pages
// beyond. The classes are multiples of wordBytes, and those above largestFine, of
// coarseBytes.
const (
	wordBytes    = 8
	largestFine  = 1 << 10
	coarseBytes  = 128
	largestClass = 32 << 10
	pageBytes    = 8 << 10
)

// sizeClasses tells for each number of words, and of coarse steps, how many bytes
// the allocator sets aside.
type sizeClasses struct {
	fine   [largestFine/wordBytes + 1]uint16
	coarse [largestClass/coarseBytes + 1]uint16
}

// learnClasses learns the allocator's classes from itself: it is asked for n bytes
// and says how many it gave.
func learnClasses() *sizeClasses {
	c := new(sizeClasses)
	for n := 1; n <= largestClass; {
		given := cap(append([]byte(nil), make([]byte, n)...))
		for ; n <= given; n++ {
			if n <= largestFine {
				c.fine[(n+wordBytes-1)/wordBytes] = uint16(given)
			}
			c.coarse[(n+coarseBytes-1)/coarseBytes] = uint16(given)
		}
	}
	return c
}

var classes = sync.OnceValue(learnClasses)

// allocated returns how many bytes the allocator sets aside for n.
func allocated(n uint64) int64 {
	switch {
	case n <= largestFine:
		return int64(classes().fine[(n+wordBytes-1)/wordBytes])
	case n <= largestClass:
		return int64(classes().coarse[(n+coarseBytes-1)/coarseBytes])
	}
	return int64((n + pageBytes - 1) / pageBytes * pageBytes)
}
