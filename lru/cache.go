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

// A Cache is a byte-budgeted cache. It is safe for concurrent use.
//
// The methods that take a key also take its hash, which the caller has computed
// once for all that it needs it for. It must be the same for the same key, and
// well mixed in all its bits, as xxhash64 is.
type Cache struct {
	shards  []shard
	mask    uint64
	strict  bool // Policy is LRU
	floor   int64
	now     func() int64
	onEvict func(e *Entry, r Reason) // may be nil
	adapt   adaptation

	budget  budget
	refused atomic.Int64
	hand    atomic.Uint64 // the shard that makes room next for another one's entries
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
		strict:  cfg.Policy == LRU,
		now:     cfg.Now,
		onEvict: cfg.OnEvict,
	}
	if c.now == nil {
		c.now = func() int64 { return time.Now().UnixNano() }
	}
	c.budget.most = cfg.maxBytes()
	share := c.budget.most / int64(n)
	if n > 1 {
		c.floor = share * 3 / 4
	}
	c.adapt.init(c.budget.most)
	for i := range c.shards {
		c.shards[i].init(&c.budget, share, &c.adapt.way, c.now)
	}
	return c, nil
}

func (c *Cache) shard(hash uint64) *shard { return &c.shards[hash&c.mask] }

// Get returns the key's entry and counts as a use of it. It returns nil if there
// is none or if it has expired; an expired one is evicted.
//
// It does not count hits and misses: that would cost as much as the rest.
func (c *Cache) Get(hash uint64, key string) *Entry {
	s := c.shard(hash)
	t := s.table.Load()
	e := t.first(hash)
	if e == nil || !e.is(key) {
		if e, _ = t.find(hash, key); e == nil {
			return nil
		}
	}
	st := e.state.Load()
	if st&stateUsed == 0 || st&stateExpires != 0 || hash*mix&c.adapt.mask.Load() == 0 {
		return c.use(s, hash, e)
	}
	return e
}

// use is the part of Get that most hits do not need.
func (c *Cache) use(s *shard, hash uint64, e *Entry) *Entry {
	if e.expired(c.now) {
		c.remove(s, hash, e.Key(), e, Expired)
		return nil
	}
	if c.strict {
		s.mu.Lock()
		if still, r := s.tab.find(hash, e.Key()); still == e {
			s.queues[window].toHeadLocked(s.tab, r, e)
		}
		s.mu.Unlock()
		return e
	}
	e.touch()
	if c.adapt.samples(hash) {
		c.adapt.note(hash, e.payload())
	}
	return e
}

// Peek is like Get, but leaves the cache as it is: it counts as no use, and an
// expired entry is not evicted.
func (c *Cache) Peek(hash uint64, key string) *Entry {
	e, _ := c.shard(hash).table.Load().find(hash, key)
	if e == nil || e.expired(c.now) {
		return nil
	}
	return e
}

// Add stores the item under the key, in place of an older one, and evicts others
// until all fit into the budget. It copies the key and it.Value.
//
// With the policy Adaptive and a full cache, the new entry itself may be what is
// evicted, at once, because the others are worth more. With LRU, those are evicted
// that were not used for longest, of the new entry's shard first.
//
// An item that is larger than an eighth of the budget is refused with an error
// that wraps [ErrTooLarge], and evicts no other key. An older entry of its own
// key is superseded all the same: it leaves the cache, Replaced.
//
// While Adds are under way, the cache may be over its budget by what they add.
func (c *Cache) Add(hash uint64, key string, it Item) error {
	_, err := c.add(hash, key, &it, nil)
	return err
}

// AddNew is Add for a key that has no entry: it leaves one that has not expired as
// it is. It reports whether it has stored the item.
func (c *Cache) AddNew(hash uint64, key string, it Item) (added bool, err error) {
	if c.Peek(hash, key) != nil {
		return false, nil
	}
	return c.add(hash, key, &it, func(*Entry) bool { return true })
}

// AddNewer is Add for a key whose entry is older: it leaves one that has not
// expired, and whose version is it.Version or larger, as it is. It reports whether
// it has stored the item.
func (c *Cache) AddNewer(hash uint64, key string, it Item) (added bool, err error) {
	stays := func(old *Entry) bool { return old.version >= it.Version }
	if old := c.Peek(hash, key); old != nil && stays(old) {
		return false, nil
	}
	return c.add(hash, key, &it, stays)
}

// add stores an item, unless the key has an entry that has not expired and of which
// stays, if it is not nil, says that it stays. It is called with the shard's lock.
func (c *Cache) add(hash uint64, key string, it *Item, stays func(old *Entry) bool) (added bool, err error) {
	s := c.shard(hash)
	payload := uint64(len(key)) + uint64(len(it.Value))
	if size := charge(payload); size > c.budget.most/maxItemShare || payload > maxLen {
		c.refused.Add(1)
		if stays == nil {
			c.remove(s, hash, key, nil, Replaced)
		}
		return false, fmt.Errorf("%w: it takes %d bytes, and an item may take %d (1/%d of the budget)",
			ErrTooLarge, size, min(c.budget.most/maxItemShare, maxLen), maxItemShare)
	}
	e := newEntry(hash, key, it)
	left := c.departures()
	s.mu.Lock()
	if stays != nil {
		if old := s.aliveLocked(hash, key); old != nil && stays(old) {
			s.mu.Unlock()
			return false, nil
		}
	}
	grown := s.putLocked(hash, key, e, c.strict, left)
	if grown {
		c.settleLocked(s, e, left)
	}
	s.mu.Unlock()
	c.notify(left)
	if grown && c.budget.exceeded() {
		c.makeRoom(e)
	}
	if !c.strict {
		c.adapt.added(c, hash, payload)
	}
	return true, nil
}

// settleLocked makes room in the shard to which keep has been added.
func (c *Cache) settleLocked(s *shard, keep *Entry, left *departures) {
	if !c.strict {
		s.settleLocked(c.floor, keep, left)
	}
	for c.strict && s.overLocked(c.floor+keep.Size()) {
		s.evictOldestLocked(left)
	}
	s.fitLocked()
}

// makeRoom evicts from the other shards, one entry from each in turn, those with
// little first spared: the shard that keep was added to may have nothing more to
// give. It holds one lock at a time.
//
// It ends: as long as the budget is exceeded there are others than keep, which
// takes at most an eighth of it. What a round did not find, another goroutine has
// evicted, or has added in a shard already passed and is making room for.
func (c *Cache) makeRoom(keep *Entry) {
	for tries := uint64(0); c.budget.exceeded(); tries++ {
		floor := c.floor
		if tries > c.mask {
			floor = 0
		}
		s := &c.shards[c.hand.Add(1)&c.mask]
		left := c.departures()
		s.mu.Lock()
		if s.overLocked(floor) {
			switch {
			case !c.strict:
				s.evictLocked(left)
			case s.at(s.queues[window].tail) != keep:
				s.evictOldestLocked(left)
			}
			s.fitLocked()
		}
		s.mu.Unlock()
		c.notify(left)
	}
}

// Remove removes the key's entry, expired or not, and reports whether there was
// one.
func (c *Cache) Remove(hash uint64, key string) bool {
	return c.remove(c.shard(hash), hash, key, nil, Removed)
}

// RemoveEntry removes e if it is still what is stored under its key, and reports
// whether it was.
func (c *Cache) RemoveEntry(hash uint64, e *Entry) bool {
	return c.remove(c.shard(hash), hash, e.Key(), e, Removed)
}

// remove removes the key's entry, provided that it is only, if only is not nil.
func (c *Cache) remove(s *shard, hash uint64, key string, only *Entry, why Reason) bool {
	left := c.departures()
	s.mu.Lock()
	e, r := s.tab.find(hash, key)
	if e == nil || only != nil && e != only {
		s.mu.Unlock()
		return false
	}
	s.dropLocked(r, e, why, left)
	s.fitLocked()
	s.mu.Unlock()
	c.notify(left)
	return true
}

// Clear removes all entries that are there when it comes to their shard. What is
// added meanwhile may stay.
func (c *Cache) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		left := c.departures()
		s.mu.Lock()
		s.clearLocked(left)
		s.mu.Unlock()
		c.notify(left)
	}
	c.adapt.forget()
}

// Range calls fn for each entry that has not expired, until fn returns false.
// The order is roughly from the most to the least worth keeping, and with the
// policy LRU from the most to the least recently used: it is exact within a
// shard, and the shards take turns. No lock is held during fn, which may call the
// cache; entries that come or go meanwhile may be left out or still be seen. It
// takes one word of memory for each entry.
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

// departures returns where to note which entries leave.
func (c *Cache) departures() *departures {
	if c.onEvict == nil {
		return nil
	}
	return new(departures)
}

func (c *Cache) notify(left *departures) {
	if left == nil {
		return
	}
	for _, d := range *left {
		c.onEvict(d.e, d.r)
	}
}

// Stats counts what a cache has done since it was made, and says what it holds.
type Stats struct {
	Entries  int64 // now, including those that have expired and were not yet evicted
	Bytes    int64 // what they cost now: the sum of their sizes
	MaxBytes int64 // the budget

	Evicted [numReasons]int64 // entries that left, by Reason
	Refused int64             // Adds that failed with ErrTooLarge
}

// Stats returns the cache's figures. They are exact when nobody uses the cache
// meanwhile.
func (c *Cache) Stats() Stats {
	st := Stats{MaxBytes: c.budget.most, Bytes: c.budget.used.Load(), Refused: c.refused.Load()}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Entries += int64(s.entries)
		for r, n := range s.evicted {
			st.Evicted[r] += n
		}
		s.mu.Unlock()
	}
	return st
}
