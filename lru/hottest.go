package lru

// How a walk over the hottest entries is cut up.
const (
	levels     = countMost + 1
	firstBand  = 64      // the first walk over the index gives a 64th of all or more,
	nextBand   = 4       // and each other one 4 times as much: so there are about 4
	countSome  = 1 << 16 // entries whose counts say where the bands are
	bucketStep = 1 << 10 // buckets that are read between two looks at the shard's epoch
)

// Hottest calls fn for entries that have not expired, those first that are used
// most, until fn returns false or they are worth most bytes. It is for a cache of
// whose content only a part can be saved: the order is rough, entries that come or
// go meanwhile may be left out or still be seen, and what is asked for beyond the
// used ones is any of the others. With the policy LRU the order is that of Range.
//
// No lock is held during fn, which may call the cache, and none for long in between;
// the memory that it takes does not grow with the cache.
func (c *Cache) Hottest(most int64, fn func(e *Entry) bool) {
	left := most
	give := func(e *Entry) bool {
		if e.expired(c.now) {
			return true
		}
		left -= e.Size()
		return fn(e) && left > 0
	}
	if most <= 0 {
		return
	}
	if c.strict {
		c.Range(give)
		return
	}
	bytes := c.levelBytes()
	band := min(most, c.budget.used.Load()) / firstBand
	for hi := levels; hi > 0; band *= nextBand {
		lo, got := hi, int64(0)
		for lo > 0 && got <= band {
			lo--
			got += bytes[lo]
		}
		if !c.walk(uint32(lo), uint32(hi), give) {
			return
		}
		hi = lo
	}
}

// levelBytes returns about how many bytes the entries of each count are charged for.
func (c *Cache) levelBytes() (bytes [levels]int64) {
	seen, shards := 0, 0
	for i := range c.shards {
		s := &c.shards[i]
		s.walk(0, levels, func(e *Entry, count uint32) bool {
			seen++
			bytes[count] += e.Size()
			return true
		})
		if shards++; seen >= countSome {
			break
		}
	}
	for i := range bytes { // keys are spread over the shards by their hash
		bytes[i] = bytes[i] / int64(shards) * int64(len(c.shards))
	}
	return bytes
}

// walk calls fn for each entry whose count is at least lo and less than hi, and
// reports whether it always returned true.
func (c *Cache) walk(lo, hi uint32, fn func(e *Entry) bool) bool {
	for i := range c.shards {
		if !c.shards[i].walk(lo, hi, func(e *Entry, _ uint32) bool { return fn(e) }) {
			return false
		}
	}
	return true
}

// walk reads the index as a reader does, without the lock.
func (s *shard) walk(lo, hi uint32, fn func(e *Entry, count uint32) bool) bool {
	t := s.table.Load()
	var epoch uint8
	for i := range t.buckets {
		if i%bucketStep == 0 {
			s.mu.Lock()
			epoch = s.epoch
			s.mu.Unlock()
		}
		b := &t.buckets[i]
		for slot := range b.entries {
			e := b.entries[slot].Load()
			if e == nil {
				continue
			}
			if n := countOf(e.state.Load(), epoch); n >= lo && n < hi && !fn(e, n) {
				return false
			}
		}
	}
	return true
}
