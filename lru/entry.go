package lru

import (
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"
)

// A Reason says why an entry left the cache.
type Reason uint8

const (
	Capacity   Reason = iota // others were worth more within the budget
	Expired                  // its time was over
	Replaced                 // a newer value of its key came
	Removed                  // Remove, RemoveEntry or Clear
	numReasons = iota
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
	// Value is copied: it remains the caller's.
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
// as it is when the cache evicts it, and keeps nothing else alive.
//
// It is one allocation without pointers: these fields, then the bytes of the
// key, then those of the value. So the garbage collector has one object an
// entry to mark and none to scan.
//
// The fields that a hit reads are the last ones, next to the key, so that most
// hits touch one line of the processor's cache here.
type Entry struct {
	version uint64
	expires int64
	hash    uint32 // the high half of the key's hash

	// The neighbours in the queue, guarded by the shard's mu.
	prev, next ref

	tag      atomic.Uint32
	valueLen uint32
	keyLen   uint32
	state    atomic.Uint32 // see policy.go
}

const (
	// headerBytes is where the key begins: behind the last field, in what would
	// be the struct's padding. With 16 bytes of key and 100 of value the entry
	// fills the allocator's class of 160 bytes to the last one.
	headerBytes = int(unsafe.Offsetof(Entry{}.state) + unsafe.Sizeof(Entry{}.state))

	// maxLen is what a length field can hold.
	maxLen = math.MaxUint32
)

// allocEntry returns an entry with room for that many bytes of key and value.
func allocEntry(payload int) *Entry {
	b := make([]byte, max(headerBytes+payload, minAllocation))
	return (*Entry)(unsafe.Pointer(unsafe.SliceData(b)))
}

// newEntry copies key and value into a new entry.
func newEntry(hash uint64, key string, it *Item) *Entry {
	e := allocEntry(len(key) + len(it.Value))
	e.version, e.expires = it.Version, it.Expires
	e.hash = uint32(hash >> 32)
	e.keyLen, e.valueLen = uint32(len(key)), uint32(len(it.Value))
	copy(unsafe.Slice(e.at(0), len(key)), key)
	copy(e.Value(), it.Value)
	e.tag.Store(it.Tag)
	state := uint32(it.Flags) << flagsShift
	if it.Expires != 0 {
		state |= stateExpires
	}
	e.state.Store(state)
	return e
}

// newShadowEntry returns an entry that is charged for payload bytes and has
// only a key.
func newShadowEntry(hash uint64, key string, payload uint32) *Entry {
	e := allocEntry(len(key))
	e.hash = uint32(hash >> 32)
	e.keyLen, e.valueLen = uint32(len(key)), max(payload, uint32(len(key)))-uint32(len(key))
	copy(unsafe.Slice(e.at(0), len(key)), key)
	return e
}

// at returns the address of the entry's byte i behind the header.
func (e *Entry) at(i uint32) *byte {
	return (*byte)(unsafe.Add(unsafe.Pointer(e), headerBytes+int(i)))
}

// Key returns the key.
func (e *Entry) Key() string { return unsafe.String(e.at(0), e.keyLen) }

// is reports whether the entry's key is key.
func (e *Entry) is(key string) bool {
	n := len(key)
	if n != int(e.keyLen) {
		return false
	}
	if n < 8 {
		return e.Key() == key
	}
	a, b := unsafe.Pointer(e.at(0)), unsafe.Pointer(unsafe.StringData(key))
	for i := 0; i < n-8; i += 8 {
		if *(*uint64)(unsafe.Add(a, i)) != *(*uint64)(unsafe.Add(b, i)) {
			return false
		}
	}
	return *(*uint64)(unsafe.Add(a, n-8)) == *(*uint64)(unsafe.Add(b, n-8))
}

// Value returns the value. It belongs to the entry: it must not be changed.
func (e *Entry) Value() []byte {
	if e.valueLen == 0 { // behind the key may be another object, or none
		return []byte{}
	}
	return unsafe.Slice(e.at(e.keyLen), e.valueLen)
}

// Expires returns the time, as Config.Now tells it, at which the entry
// expires; zero means never.
func (e *Entry) Expires() int64 { return e.expires }

// Version returns the version that the entry was added with.
func (e *Entry) Version() uint64 { return e.version }

// Flags returns the flags that the entry was added with.
func (e *Entry) Flags() uint8 { return uint8(e.state.Load() >> flagsShift) }

// Tag returns the entry's tag.
func (e *Entry) Tag() uint32 { return e.tag.Load() }

// SetTag changes the entry's tag.
func (e *Entry) SetTag(tag uint32) { e.tag.Store(tag) }

// Size returns what the entry is charged for, in bytes: what the allocator sets
// aside for it, and its part of what the cache keeps beside the entries.
func (e *Entry) Size() int64 { return charge(e.payload()) }

// payload is the length of key and value.
func (e *Entry) payload() uint64 { return uint64(e.keyLen) + uint64(e.valueLen) }

// expired reports whether the entry's time is over.
func (e *Entry) expired(now func() int64) bool {
	return e.state.Load()&stateExpires != 0 && e.expires <= now()
}
