package lru

import (
	"math/bits"
	"sync/atomic"
)

// A table is a shard's index: it finds an entry by its key. It is read without
// a lock, and changed with the shard's held.
//
// A bucket is one cache line: seven entries, a byte of each one's hash to pass
// over most of the others without touching them, and a count of the entries that
// would be here had there been room and are in a later bucket. An entry stays in
// its slot until it is removed, so a reader who walks from bucket to bucket cannot
// miss one that is there all the while; a slot is free as soon as its entry goes,
// because the counts, and not the slots, tell a reader where to stop.
type table struct {
	buckets []bucket
}

type bucket struct {
	meta    atomic.Uint64 // bytes 0 to 6: the slots' marks, 0 is free; byte 7: the count, 255 stays
	entries [bucketSlots]atomic.Pointer[Entry]
}

const (
	bucketSlots = 7

	// A table grows when there are more than maxFill entries a bucket and
	// shrinks when there are fewer than minFill, to newFill. With these, 2 to 7%
	// of the entries are not in their home. With 6 and 4.8, 6 to 12% were not, and
	// a hit took 4% longer (100,000 entries) to 13% (1000).
	maxFill = 5
	minFill = 3
	newFill = 4

	markOnes  = 0x0001010101010101
	markHighs = 0x0080808080808080
	overOne   = 1 << 56
	overMost  = 255
)

// A ref names a slot of a table: 1 + 8 * bucket + slot; 0 is none.
type ref uint32

func newTable(entries int) *table { return &table{buckets: make([]bucket, bucketsFor(entries))} }

func bucketsFor(entries int) int { return 1 + entries/newFill }

// home is the bucket of an entry whose hash has the high half h.
func (t *table) home(h uint32) int {
	return int(uint64(h) * uint64(len(t.buckets)) >> 32)
}

// markOf returns the byte of a hash that is kept in the bucket. Its bits choose
// neither the shard nor the bucket.
func markOf(hash uint64) uint64 { return max(hash>>16&0xff, 1) }

// first returns the entry that is most likely the one of that hash: the first one
// of its mark in its home.
func (t *table) first(hash uint64) *Entry {
	b := &t.buckets[t.home(uint32(hash>>32))]
	x := b.meta.Load() ^ markOf(hash)*markOnes
	m := (x - markOnes) &^ x & markHighs
	if m == 0 {
		return nil
	}
	return b.entries[bits.TrailingZeros64(m)/8].Load()
}

// find returns the key's entry and its slot, or nil.
func (t *table) find(hash uint64, key string) (*Entry, ref) {
	want := markOf(hash) * markOnes
	i := t.home(uint32(hash >> 32))
	for range t.buckets { // the counts end it sooner
		b := &t.buckets[i]
		meta := b.meta.Load()
		// A zero byte of x is a mark that matches. What this finds beyond the
		// first match may be none; the key decides.
		x := meta ^ want
		for m := (x - markOnes) &^ x & markHighs; m != 0; m &= m - 1 {
			slot := bits.TrailingZeros64(m) / 8
			if e := b.entries[slot].Load(); e != nil && e.is(key) {
				return e, ref(1 + 8*i + slot)
			}
		}
		if meta < overOne {
			return nil, 0
		}
		if i++; i == len(t.buckets) {
			i = 0
		}
	}
	return nil, 0
}

func (t *table) at(r ref) *Entry {
	return t.buckets[(r-1)/8].entries[(r-1)%8].Load()
}

// mark returns the mark of the entry in slot r.
func (t *table) mark(r ref) uint64 {
	return t.buckets[(r-1)/8].meta.Load() >> (8 * ((r - 1) % 8)) & 0xff
}

// addLocked enters e, whose key is not there, and returns its slot. There must
// be a free one.
func (t *table) addLocked(e *Entry, mark uint64) ref {
	for i := t.home(e.hash); ; {
		b := &t.buckets[i]
		meta := b.meta.Load()
		if free := (meta - markOnes) &^ meta & markHighs; free != 0 {
			slot := bits.TrailingZeros64(free) / 8
			b.entries[slot].Store(e)
			b.meta.Store(meta | mark<<(8*slot))
			return ref(1 + 8*i + slot)
		}
		if meta>>56 < overMost {
			b.meta.Store(meta + overOne)
		}
		if i++; i == len(t.buckets) {
			i = 0
		}
	}
}

// replaceLocked puts e in the place of another entry of the same key.
func (t *table) replaceLocked(r ref, e *Entry) {
	t.buckets[(r-1)/8].entries[(r-1)%8].Store(e)
}

// removeLocked frees slot r, in which e is.
func (t *table) removeLocked(r ref, e *Entry) {
	at, slot := int(r-1)/8, (r-1)%8
	b := &t.buckets[at]
	b.meta.Store(b.meta.Load() &^ (0xff << (8 * slot)))
	b.entries[slot].Store(nil)
	for i := t.home(e.hash); i != at; {
		b := &t.buckets[i]
		if meta := b.meta.Load(); meta>>56 < overMost {
			b.meta.Store(meta - overOne)
		}
		if i++; i == len(t.buckets) {
			i = 0
		}
	}
}
