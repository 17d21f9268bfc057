package lru

import (
	"fmt"
	"sync/atomic"
)

// A Reason says why an entry left the cache.
type Reason uint8

// The reasons.
const (
	Capacity Reason = iota // the budget was needed for others
	Expired                // its time was over when it was looked up or evicted
	Replaced               // a newer value of its key came
	Removed                // Remove, RemoveEntry or Clear
	numReasons
)

// String returns the reason as one lower-case word.
func (r Reason) String() string {
	switch r {
	case Capacity:
		return "capacity"
	case Expired:
		return "expired"
	case Replaced:
		return "replaced"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// An Item is what [Cache.Add] stores under a key.
type Item struct {
	// Value is taken over by the cache, not copied: nobody may change it
	// afterwards. It should have an allocation of its own; a part of a larger
	// one keeps the whole alive, which the budget does not see.
	Value []byte

	// Expires is the time, as Config.Now tells it, from which on the entry is
	// no longer returned. Zero means never.
	Expires int64

	// Version, Flags and Tag are the caller's; the cache does not look at them.
	Version uint64
	Flags   uint8
	Tag     uint32
}

// An Entry is a key and its value as the cache holds them. It is immutable but
// for its tag, is safe for concurrent use, and may be kept for ever: it stays
// as it is when the cache evicts it.
type Entry struct {
	prev, next *Entry // guarded by the shard's mu; nil when not in a shard

	key     string
	value   []byte
	expires int64
	version uint64
	tag     atomic.Uint32
	flags   uint8
}

// entryOverhead is what an entry costs beside the bytes of its key and value:
// the Entry (80 bytes), its slot in the shard's map (25 bytes, at a load that
// varies from 7/16 to 7/8), and what the allocator's size classes waste on a
// key and a value. It is an estimate; TestBytesAreHeap compares it with the heap.
const entryOverhead = 80 + 40 + 16

// Key returns the key.
func (e *Entry) Key() string { return e.key }

// Value returns the value. It belongs to the entry: it must not be changed.
func (e *Entry) Value() []byte { return e.value }

// Expires returns the time, as Config.Now tells it, at which the entry
// expires; zero means never.
func (e *Entry) Expires() int64 { return e.expires }

// Version returns the version that the entry was added with.
func (e *Entry) Version() uint64 { return e.version }

// Flags returns the flags that the entry was added with.
func (e *Entry) Flags() uint8 { return e.flags }

// Tag returns the entry's tag.
func (e *Entry) Tag() uint32 { return e.tag.Load() }

// SetTag changes the entry's tag.
func (e *Entry) SetTag(tag uint32) { e.tag.Store(tag) }

// Size returns what the entry is charged for, in bytes: the length of its key,
// the capacity of its value, and a constant that estimates the rest.
func (e *Entry) Size() int64 { return itemSize(len(e.key), e.value) }

func itemSize(keyLen int, value []byte) int64 {
	return int64(keyLen) + int64(cap(value)) + entryOverhead
}

// expired reports whether the entry's time is over.
func (e *Entry) expired(now func() int64) bool {
	return e.expires != 0 && e.expires <= now()
}
