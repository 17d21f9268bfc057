package lru

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrTooLarge is returned by [Cache.Add] for an item that is larger than an
// eighth of the budget.
var ErrTooLarge = errors.New("lru: item too large")

// A Cache is a byte-budgeted LRU cache. It is safe for concurrent use.
//
// The methods that take a key also take its hash, which the caller has computed
// once for all that it needs it for. It must be the same for the same key, and
// well mixed in its low bits, which choose the shard; xxhash64 is.
type Cache struct {
	shards  []shard
	mask    uint64
	max     int64
	now     func() int64
	onEvict func(e *Entry, r Reason) // may be nil

	refused atomic.Int64

	_    [64]byte     // used is written by every Add: keep it away from what every Get reads
	used atomic.Int64 // what all entries cost; changed with the lock of the entry's shard held
	_    [56]byte
}

// New returns an empty cache, or the error of cfg.Validate.
func New(cfg Config) (*Cache, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := cfg.shards()
	c := &Cache{
		shards:  make([]shard, n),
		mask:    uint64(n - 1),
		max:     cfg.maxBytes(),
		now:     cfg.Now,
		onEvict: cfg.OnEvict,
	}
	if c.now == nil {
		c.now = func() int64 { return time.Now().UnixNano() }
	}
	for i := range c.shards {
		c.shards[i].initLocked()
	}
	return c, nil
}

func (c *Cache) shard(hash uint64) *shard { return &c.shards[hash&c.mask] }

// Get returns the entry of the key and makes it the most recently used one. It
// returns nil if there is none or if it has expired; an expired one is evicted.
func (c *Cache) Get(hash uint64, key string) *Entry {
	s := c.shard(hash)
	s.mu.Lock()
	e := s.entries[key]
	if e == nil {
		s.misses++
		s.mu.Unlock()
		return nil
	}
	if e.expired(c.now) {
		s.misses++
		c.dropLocked(s, e, Expired)
		s.mu.Unlock()
		c.notify(e, Expired)
		return nil
	}
	s.hits++
	s.touchLocked(e)
	s.mu.Unlock()
	return e
}

// Peek is like Get, but leaves the cache as it is: neither recency nor the
// counters change, and an expired entry is not evicted.
func (c *Cache) Peek(hash uint64, key string) *Entry {
	s := c.shard(hash)
	s.mu.Lock()
	e := s.entries[key]
	s.mu.Unlock()
	if e == nil || e.expired(c.now) {
		return nil
	}
	return e
}

// Add stores the item as the most recently used entry of the key, in place of
// an older one, and evicts others until all fit into the budget: the least
// recently used ones of its own shard first, then of the others. It takes over
// it.Value, and keeps key.
//
// An item that is larger than an eighth of the budget is refused with an error
// that wraps [ErrTooLarge], and evicts no other key. An older entry of its own
// key is superseded all the same: it leaves the cache, Replaced.
//
// While Adds are under way, the cache may be over its budget by what they add.
func (c *Cache) Add(hash uint64, key string, it Item) error {
	s := c.shard(hash)
	if size := itemSize(len(key), it.Value); size > c.max/maxItemShare {
		c.refused.Add(1)
		c.remove(s, key, nil, Replaced)
		return fmt.Errorf("%w: it takes %d bytes, and an item may take %d (1/%d of the budget)", ErrTooLarge, size, c.max/maxItemShare, maxItemShare)
	}
	e := &Entry{key: key, value: it.Value, expires: it.Expires, version: it.Version, flags: it.Flags}
	e.tag.Store(it.Tag)

	s.mu.Lock()
	old := s.entries[key]
	if old != nil {
		c.dropLocked(s, old, Replaced)
	}
	s.entries[key] = e
	s.pushFrontLocked(e)
	full := c.used.Add(e.Size()) > c.max
	s.mu.Unlock()

	if old != nil {
		c.notify(old, Replaced)
	}
	if full {
		c.makeRoom(hash, e)
	}
	return nil
}

// makeRoom evicts until the budget is kept: first from the shard of hash, where
// the entry keep has just been added, then one entry from each other shard in
// turn. It holds one lock at a time.
//
// It ends: as long as the budget is exceeded there are others than keep, which
// takes at most an eighth of it. What a round did not find, another goroutine
// has evicted, or has added in a shard already passed and is making room for.
func (c *Cache) makeRoom(hash uint64, keep *Entry) {
	for c.used.Load() > c.max && c.evictOldest(c.shard(hash), keep) {
	}
	for c.used.Load() > c.max {
		for i := uint64(1); i <= c.mask && c.used.Load() > c.max; i++ {
			c.evictOldest(c.shard(hash+i), keep)
		}
		if c.used.Load() > c.max {
			c.evictOldest(c.shard(hash), keep)
		}
	}
}

// evictOldest evicts the shard's least recently used entry other than keep, if
// the budget is still exceeded. It reports whether it did.
func (c *Cache) evictOldest(s *shard, keep *Entry) bool {
	s.mu.Lock()
	e := s.oldestLocked(keep)
	if e == nil || c.used.Load() <= c.max {
		s.mu.Unlock()
		return false
	}
	// One that has expired is no sign of a budget that is too small.
	r := Capacity
	if e.expired(c.now) {
		r = Expired
	}
	c.dropLocked(s, e, r)
	s.mu.Unlock()
	c.notify(e, r)
	return true
}

// Remove removes the key's entry, expired or not, and reports whether there was
// one.
func (c *Cache) Remove(hash uint64, key string) bool {
	return c.remove(c.shard(hash), key, nil, Removed)
}

// RemoveEntry removes e if it is still what is stored under its key, and reports
// whether it was.
func (c *Cache) RemoveEntry(hash uint64, e *Entry) bool {
	return c.remove(c.shard(hash), e.key, e, Removed)
}

// remove removes the key's entry, provided that it is only, if only is not nil.
func (c *Cache) remove(s *shard, key string, only *Entry, r Reason) bool {
	s.mu.Lock()
	e := s.entries[key]
	if e == nil || only != nil && e != only {
		s.mu.Unlock()
		return false
	}
	c.dropLocked(s, e, r)
	s.mu.Unlock()
	c.notify(e, r)
	return true
}

// Clear removes all entries that are there when it comes to their shard. What is
// added meanwhile may stay.
func (c *Cache) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		dropped := s.listLocked()
		for _, e := range dropped {
			c.dropLocked(s, e, Removed)
		}
		s.entries = make(map[string]*Entry) // gives the old index's memory back
		s.mu.Unlock()
		for _, e := range dropped {
			c.notify(e, Removed)
		}
	}
}

// Range calls fn for each entry that has not expired, until fn returns false.
// The order is roughly from the most to the least recently used: it is exact
// within a shard, and the shards take turns. No lock is held during fn, which
// may call the cache; entries that come or go meanwhile may be left out or still
// be seen. It takes one word of memory for each entry.
func (c *Cache) Range(fn func(e *Entry) bool) {
	lists := make([][]*Entry, len(c.shards))
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		lists[i] = s.listLocked()
		s.mu.Unlock()
	}
	for rank, more := 0, true; more; rank++ {
		more = false
		for _, list := range lists {
			if rank >= len(list) {
				continue
			}
			more = true
			if e := list[rank]; !e.expired(c.now) && !fn(e) {
				return
			}
		}
	}
}

// dropLocked takes e out of the shard, whose lock the caller holds, and gives its
// bytes back to the budget.
func (c *Cache) dropLocked(s *shard, e *Entry, r Reason) {
	s.dropLocked(e, r)
	c.used.Add(-e.Size())
}

func (c *Cache) notify(e *Entry, r Reason) {
	if c.onEvict != nil {
		c.onEvict(e, r)
	}
}

// Stats counts what a cache has done since it was made, and says what it holds.
type Stats struct {
	Entries  int64 // now, including those that have expired and were not yet evicted
	Bytes    int64 // what they cost now: the sum of their sizes
	MaxBytes int64 // the budget

	Hits    int64             // Gets that returned an entry
	Misses  int64             // Gets that did not
	Evicted [numReasons]int64 // entries that left, by Reason
	Refused int64             // Adds that failed with ErrTooLarge
}

// Stats returns the cache's figures. They are exact when nobody uses the cache
// meanwhile.
func (c *Cache) Stats() Stats {
	st := Stats{MaxBytes: c.max, Bytes: c.used.Load(), Refused: c.refused.Load()}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Entries += int64(len(s.entries))
		st.Hits += s.hits
		st.Misses += s.misses
		for r, n := range s.evicted {
			st.Evicted[r] += n
		}
		s.mu.Unlock()
	}
	return st
}
