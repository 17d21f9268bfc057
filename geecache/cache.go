package geecache

import (
	"math"
	"time"

	"github.com/geecache/geecache/lru"
)

// flagNotFound marks an entry that says "not found".
const flagNotFound uint8 = 1

// A cache is one of a group's two: main, for keys that this node answers for,
// or hot, for short-lived copies of what others own. It turns loaded values
// into entries; the engine is in package lru.
type cache struct {
	*lru.Cache
}

func newCache(budget int64, now func() int64) (cache, error) {
	c, err := lru.New(lru.Config{MaxBytes: budget, Now: now})
	return cache{c}, err
}

// stats describes the cache.
func (c cache) stats() CacheStats {
	s := c.Stats()
	return CacheStats{
		Entries:         s.Entries,
		Bytes:           s.Bytes,
		MaxBytes:        s.MaxBytes,
		EvictedCapacity: s.Evicted[lru.Capacity],
		EvictedExpired:  s.Evicted[lru.Expired],
		EvictedReplaced: s.Evicted[lru.Replaced],
		EvictedRemoved:  s.Evicted[lru.Removed],
		Refused:         s.Refused,
	}
}

// An answer is a value, or "not found", with what is known about it.
type answer struct {
	value    []byte
	notFound bool
	expires  int64 // of the node's clock; 0: never
	version  uint64
	keep     bool // false: the source forbade to keep it

	from  Origin
	node  string        // ID of the node that had it or loaded it
	peer  Origin        // if from is FromPeer: where that node had it from
	took  time.Duration // if from is FromPeer: how long that node took
	steps []Step        // only what went wrong on the way
}

// answerOf returns an entry's answer.
func answerOf(e *lru.Entry, from Origin, node string) answer {
	return answer{
		value:    e.Value(),
		notFound: e.Flags()&flagNotFound != 0,
		expires:  e.Expires(),
		version:  e.Version(),
		keep:     true,
		from:     from,
		node:     node,
	}
}

// item returns the answer as the engine stores it, expiring at expires.
func (a *answer) item(expires int64, tag uint32) lru.Item {
	it := lru.Item{Value: a.value, Expires: expires, Version: a.version, Tag: tag}
	if a.notFound {
		it.Flags = flagNotFound
	}
	return it
}

// err returns ErrNotFound if that is the answer.
func (a *answer) err() error {
	if a.notFound {
		return ErrNotFound
	}
	return nil
}

// sooner returns the earlier of two times of expiry, where 0 is never.
func sooner(a, b int64) int64 {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

// after returns the time ttl after now, as an entry has it: never 0, and at most
// the end of time.
func after(now int64, ttl time.Duration) int64 {
	if int64(ttl) > math.MaxInt64-now {
		return math.MaxInt64
	}
	return max(now+int64(ttl), 1)
}

// left returns what is left of a time of expiry as it travels: 0 for no limit,
// and never 0 for a limit.
func left(expires, now int64) time.Duration {
	if expires == 0 {
		return 0
	}
	return time.Duration(max(expires-now, 1))
}
