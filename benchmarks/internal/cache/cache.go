// Package cache puts the engine of this project and the local caches that it
// is compared with behind one small interface.
package cache

import "bytes"

// A Cache maps keys to values within a budget.
type Cache interface {
	// Get returns the value. It must not be changed.
	Get(key string) ([]byte, bool)
	// Set stores the value, which remains the caller's unless Budget.Given says
	// otherwise: a cache that would keep the slice is given a copy.
	Set(key string, value []byte)
	// Settle waits until what was done before has its effect, for caches that
	// evict in the background.
	Settle()
	// Len returns the number of entries.
	Len() int
	Close()
}

// A Budget says how much a cache may hold. Either Entries of one weight, or
// Bytes; a cache that can count only the one is given the other's equivalent
// for entries of MeanBytes.
type Budget struct {
	Entries int

	Bytes     int64
	MeanBytes int64 // key and value of a typical entry
	// Given: the caller gives values up when it sets them, so that a cache may
	// keep the slice. Otherwise it has to copy.
	Given bool

	// Charge is what our engine charges for one of Entries.
	Charge int64
}

// weigh returns what an entry takes of limit, for caches that are told.
func (b Budget) weigh(key string, value []byte) int64 {
	if b.Bytes == 0 {
		return 1
	}
	return int64(len(key) + len(value))
}

// kept returns what a cache that does not copy is given.
func (b Budget) kept(value []byte) []byte {
	if b.Given {
		return value
	}
	return bytes.Clone(value)
}

// limit returns the budget in what weigh counts.
func (b Budget) limit() int64 {
	if b.Bytes == 0 {
		return int64(b.Entries)
	}
	return b.Bytes
}

// entries returns how many typical entries there is room for.
func (b Budget) entries() int64 {
	if b.Bytes == 0 {
		return int64(b.Entries)
	}
	return max(b.Bytes/max(b.MeanBytes, 1), 1)
}

// A Kind makes caches of one sort.
type Kind struct {
	Name string
	New  func(Budget) (Cache, error)
	// Bytes: the cache can be given a budget in bytes.
	Bytes bool
}

// Peers returns the caches that ours is compared with.
func Peers() []Kind {
	return []Kind{
		{"otter", newOtter, true},
		{"theine", newTheine, true},
		{"ristretto", newRistretto, true},
		{"golang-lru", newGolangLRU, false},
		{"freecache", newFreecache, true},
	}
}
