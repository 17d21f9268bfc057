package lru

import "sync"

// A shard is one part of the cache: an index and a list in order of use.
type shard struct {
	mu sync.Mutex
	// guards all that follows and the links of the entries in the list

	entries map[string]*Entry
	root    *Entry // of a ring: root.next is the most recently used entry, root.prev the least

	hits, misses int64
	evicted      [numReasons]int64

	_ [40]byte // to 128 bytes, so that two shards never share a cache line or a pair of lines
}

func (s *shard) initLocked() {
	root := new(Entry)
	root.prev, root.next = root, root
	s.root = root
	s.entries = make(map[string]*Entry)
}

func (s *shard) pushFrontLocked(e *Entry) {
	e.prev, e.next = s.root, s.root.next
	e.prev.next, e.next.prev = e, e
}

// unlinkLocked takes e out of the list. It clears e's links, since e may be kept
// for ever by a reader and must not keep its former neighbours alive.
func (s *shard) unlinkLocked(e *Entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// touchLocked makes e the most recently used entry. Writing nothing when it
// already is keeps the neighbours' cache lines clean for a hot key.
func (s *shard) touchLocked(e *Entry) {
	if s.root.next == e {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	s.pushFrontLocked(e)
}

// dropLocked takes e out of the shard and counts why.
func (s *shard) dropLocked(e *Entry, r Reason) {
	delete(s.entries, e.key)
	s.unlinkLocked(e)
	s.evicted[r]++
}

// oldestLocked returns the least recently used entry that is not keep, or nil.
func (s *shard) oldestLocked(keep *Entry) *Entry {
	e := s.root.prev
	if e == keep {
		e = e.prev
	}
	if e == s.root {
		return nil
	}
	return e
}

// listLocked returns the entries, the most recently used first.
func (s *shard) listLocked() []*Entry {
	list := make([]*Entry, 0, len(s.entries))
	for e := s.root.next; e != s.root; e = e.next {
		list = append(list, e)
	}
	return list
}
