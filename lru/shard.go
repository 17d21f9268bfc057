package lru

import (
	"sync"
	"sync/atomic"
)

// A budget is what shards share: they may hold most bytes together.
type budget struct {
	most int64
	_    [56]byte // used is written by each Add: keep it away from what others read
	used atomic.Int64
	_    [56]byte
}

func (b *budget) exceeded() bool { return b.used.Load() > b.most }

func (b *budget) nearlyFull() bool { return b.used.Load() > b.most/2 }

// A shard is one part of a cache: an index and three queues. A cache's shards
// share one budget. The adaptive policy also runs shards of its own that hold
// entries without values (adaptation.go).
type shard struct {
	table atomic.Pointer[table] // read without the lock
	_     [120]byte             // each Get reads what is above, each Add writes what is below

	mu sync.Mutex
	// guards all that follows, what the table holds, and the links and the
	// state of the entries, but for the bit that a hit sets

	tab     *table // as in table
	queues  [numQueues]queue
	ghost   ghost
	entries int
	uses    int   // since the epoch began, and half of those before
	epoch   uint8 // of the counts
	evicted [numReasons]int64

	budget *budget
	share  int64         // the budget's part that is this shard's when all hold the same
	way    *atomic.Int32 // which of the settings is in use
	now    func() int64
	_      [64]byte
}

// departures are entries that have left a shard, for OnEvict to be told when its
// lock is no longer held. If nobody is to be told it is nil.
type departures []departure

type departure struct {
	e *Entry
	r Reason
}

func (s *shard) init(b *budget, share int64, way *atomic.Int32, now func() int64) {
	s.budget, s.share, s.way, s.now = b, share, way, now
	s.tab = newTable(0)
	s.table.Store(s.tab)
}

func (s *shard) mode() setting { return settings[s.way.Load()] }

func (s *shard) at(r ref) *Entry { return s.tab.at(r) }

func (s *shard) bytesLocked() int64 {
	return s.queues[window].bytes + s.queues[probation].bytes + s.queues[protected].bytes
}

// overLocked reports whether there is more in the cache than the budget, and more
// in this shard than floor, so that it is this shard that makes room.
func (s *shard) overLocked(floor int64) bool {
	return s.budget.exceeded() && s.bytesLocked() > floor
}

// addLocked enters a new entry into the index. The caller puts it into a queue.
func (s *shard) addLocked(e *Entry, mark uint64) ref {
	if s.entries++; s.entries > maxFill*len(s.tab.buckets) {
		s.rebuildLocked()
	}
	s.budget.used.Add(e.Size())
	return s.tab.addLocked(e, mark)
}

// putLocked stores e under the key, which may be there already: that is a use, like
// a hit. It reports whether the shard has more bytes than before.
func (s *shard) putLocked(hash uint64, key string, e *Entry, strict bool, left *departures) bool {
	old, r := s.tab.find(hash, key)
	if old != nil {
		grown := s.replaceLocked(r, old, e, left)
		if strict {
			s.queues[window].toHeadLocked(s.tab, r, e)
		} else {
			e.touch()
		}
		return grown
	}
	r = s.addLocked(e, markOf(hash))
	if strict {
		s.pushLocked(window, r, e)
	} else {
		s.admitLocked(r, e)
	}
	return true
}

// aliveLocked returns the key's entry if it has one that has not expired, else nil.
func (s *shard) aliveLocked(hash uint64, key string) *Entry {
	if e, _ := s.tab.find(hash, key); e != nil && !e.expired(s.now) {
		return e
	}
	return nil
}

// replaceLocked puts a newer entry of the same key in the place of old, in its queue
// too: the links of the neighbours name slots, so they stay right. The new one
// inherits what is known of the key's use. It reports whether it is larger.
func (s *shard) replaceLocked(r ref, old, e *Entry, left *departures) bool {
	e.prev, e.next = old.prev, old.next
	const inherited = stateCount | stateQueue
	e.setStateLocked(inherited, old.state.Load()&inherited)
	s.tab.replaceLocked(r, e)
	s.leftLocked(old, Replaced, left)
	if e.payload() == old.payload() {
		return false
	}
	more := e.Size() - old.Size()
	s.queues[e.queue()].bytes += more
	s.budget.used.Add(more)
	return more > 0
}

// pushLocked puts an entry at the head of queue q, and returns its size.
func (s *shard) pushLocked(q uint32, r ref, e *Entry) int64 {
	size := e.Size()
	e.setQueueLocked(q)
	s.queues[q].pushLocked(s.tab, r, e, size)
	return size
}

// moveLocked moves an entry to the head of queue q.
func (s *shard) moveLocked(q uint32, r ref, e *Entry) {
	size := e.Size()
	s.queues[e.queue()].unlinkLocked(s.tab, e, size)
	e.setQueueLocked(q)
	s.queues[q].pushLocked(s.tab, r, e, size)
}

// dropLocked takes the entry e, which is in slot r, out of the shard.
func (s *shard) dropLocked(r ref, e *Entry, why Reason, left *departures) {
	size := e.Size()
	s.queues[e.queue()].unlinkLocked(s.tab, e, size)
	s.tab.removeLocked(r, e)
	s.budget.used.Add(-size)
	s.leftLocked(e, why, left)
	s.entries--
}

// fitLocked gives memory back if the table has become too large. It invalidates
// refs.
func (s *shard) fitLocked() {
	if n := len(s.tab.buckets); s.entries < minFill*n && bucketsFor(s.entries) < n {
		s.rebuildLocked()
	}
}

// evictOldestLocked evicts the entry at the tail, for the policy LRU.
func (s *shard) evictOldestLocked(left *departures) {
	r := s.queues[window].tail
	e := s.at(r)
	why := Capacity
	if e.expired(s.now) { // it is no sign of a budget that is too small
		why = Expired
	}
	s.dropLocked(r, e, why, left)
}

// clearLocked removes all entries.
func (s *shard) clearLocked(left *departures) {
	for _, e := range s.listLocked() {
		s.budget.used.Add(-e.Size())
		s.leftLocked(e, Removed, left)
	}
	s.queues = [numQueues]queue{}
	s.entries = 0
	s.ghost = ghost{} // it has the size for what was there
	s.tab = newTable(0)
	s.table.Store(s.tab)
}

func (s *shard) leftLocked(e *Entry, why Reason, left *departures) {
	s.evicted[why]++
	if left != nil {
		*left = append(*left, departure{e, why})
	}
}

// rebuildLocked makes a table for the number of entries that there are now. Those
// who read the old one meanwhile find in it what they would have found before.
func (s *shard) rebuildLocked() {
	old := s.tab
	s.tab = newTable(s.entries)
	for i := range s.queues {
		q := s.queues[i]
		s.queues[i] = queue{bytes: q.bytes}
		for r := q.tail; r != 0; {
			e := old.at(r)
			newer := e.prev
			s.queues[i].linkLocked(s.tab, s.tab.addLocked(e, old.mark(r)), e)
			r = newer
		}
	}
	s.table.Store(s.tab)
	if len(s.ghost.sets) > 0 {
		s.ghost.resizeLocked(s.entries)
	}
}

// listLocked returns the entries, roughly the most useful first.
func (s *shard) listLocked() []*Entry {
	list := make([]*Entry, 0, s.entries)
	for _, q := range []int{protected, window, probation} {
		for r := s.queues[q].head; r != 0; {
			e := s.at(r)
			list = append(list, e)
			r = e.next
		}
	}
	return list
}
