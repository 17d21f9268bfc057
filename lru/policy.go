package lru

// The adaptive policy decides which entries are worth their bytes. New entries
// come to a window; what leaves the window's end must have been used more often,
// for its size, than the next victim of the main part to take its place. The main
// part is two queues: on probation, and protected, for those that were used again.
//
// A hit sets one bit. Everything else happens when an entry is added: at the end
// of each queue, an entry with the bit set gets a second chance at a head, and its
// count of uses goes up. Counts are halved from time to time, and those of keys
// that have left are remembered in the ghost.
//
// How large the window is best depends on the traffic, so it is chosen while the
// cache runs (adaptation.go). docs/ENGINE.md has a picture and the figures.

// A setting is one way to run the policy.
type setting struct {
	window float64 // the window's share of the shard's bytes; 1: all of it, a plain clock
	rotate bool    // a victim that wins against a candidate goes to the head
	aging  int     // counts are halved after as many uses for each entry
}

// settings are in the order in which adaptation moves from one to the next.
// (.01 for what is used often for long, .03 for what is used often now, .8 and 1 for
// what is used again soon.)
var settings = [numSettings]setting{{.01, false, 40}, {.03, true, 10}, {.1, true, 20}, {.3, true, 20}, {.8, true, 20}, {1, true, 20}}

const numSettings = 6

const (
	protectedShare = 0.6 // of what is not the window
	chances        = 8   // second chances that one look for a victim gives
	windowMoves    = 4   // entries that an Add moves out of a window that shrinks

	agingEntries = 256 // counts age as in a shard of as many entries at least

	// sizeWeight bounds by how much a difference in size outweighs one in use:
	// however large, an entry that is used this many times as often may stay.
	sizeWeight = 2
)

// The state of an entry. Only stateUsed changes without the shard's lock.
const (
	stateUsed    = 1 << 0 // a hit since the count was taken
	stateExpires = 1 << 1 // it has a time at which it expires
	countShift   = 2      // 4 bits: the count of uses, up to countMost
	countMost    = 15
	epochShift   = 6  // 8 bits: when the count was taken
	queueShift   = 14 // 2 bits: where it is
	flagsShift   = 24 // 8 bits: the caller's

	stateCount = stateUsed | countMost<<countShift | 0xff<<epochShift
	stateQueue = 3 << queueShift
)

// The queues of a shard.
const (
	window = iota
	probation
	protected
	numQueues
)

func (e *Entry) touch() {
	if e.state.Load()&stateUsed == 0 {
		e.state.Or(stateUsed)
	}
}

func (e *Entry) used() bool { return e.state.Load()&stateUsed != 0 }

func (e *Entry) queue() uint32 { return e.state.Load() >> queueShift & 3 }

func (e *Entry) setQueueLocked(q uint32) {
	e.setStateLocked(stateQueue, q<<queueShift)
}

// setCountLocked takes the count and clears the bit that a hit sets.
func (e *Entry) setCountLocked(count uint32, epoch uint8) {
	e.setStateLocked(stateCount, count<<countShift|uint32(epoch)<<epochShift)
}

// setStateLocked gives the bits of mask new values. It may undo a hit's setting
// of stateUsed at this moment: a use is not counted then, no more.
func (e *Entry) setStateLocked(mask, bits uint32) {
	e.state.Store(e.state.Load()&^mask | bits)
}

// countLocked returns how often the entry was used: its count, halved for each
// epoch since it was taken, and one more for a hit since.
func (s *shard) countLocked(e *Entry) uint32 { return countOf(e.state.Load(), s.epoch) }

// countOf returns the count that a state has in an epoch.
func countOf(st uint32, epoch uint8) uint32 {
	age := epoch - uint8(st>>epochShift)
	return min(countMost, st>>countShift&countMost>>min(age, 4)+st&stateUsed)
}

// foldLocked takes the entry's count anew.
func (s *shard) foldLocked(e *Entry) {
	count := s.countLocked(e)
	if e.used() && count < countMost {
		s.usesLocked()
	}
	e.setCountLocked(count, s.epoch)
}

// usesLocked counts a use, and begins a new epoch after many.
func (s *shard) usesLocked() {
	s.uses++
	if s.uses >= s.mode().aging*max(s.entries, agingEntries) {
		s.epoch++
		s.uses /= 2
	}
}

// admitLocked gives a new entry its count, and puts it into the window.
func (s *shard) admitLocked(r ref, e *Entry) {
	count := s.ghost.takeLocked(e.hash, s.epoch) + 1
	e.setCountLocked(min(count, countMost), s.epoch)
	s.usesLocked()
	s.pushLocked(window, r, e)
}

// settleLocked brings the window to its size, and makes room if there is more
// in the cache than the budget, and more than floor bytes in this shard beside the
// entry that was added. That one may be as large as many shards are together: the
// others must not give way to it below the floor, nor it be evicted when they
// have.
func (s *shard) settleLocked(floor int64, added *Entry, left *departures) {
	beside := floor + added.Size()
	for moved := 0; ; moved++ {
		over := s.queues[window].bytes > s.windowBytes(added)
		switch full := s.overLocked(beside); {
		case over && (full || moved < windowMoves):
			r, e := s.candidateLocked()
			switch {
			case e.expired(s.now):
				s.dropLocked(r, e, Expired, left)
			case e == added && s.overLocked(floor):
				s.contestLocked(r, e, floor, left)
			case full:
				s.contestLocked(r, e, beside, left)
			default:
				s.toProbationLocked(r, e)
			}
		case full:
			s.evictLocked(left)
		default:
			return
		}
	}
}

// windowBytes returns the window's share of the shard as it was before added came.
// Were added counted, the share could have room for one more entry while the
// shard is full and for none once a victim has gone: then each Add would evict
// without a contest, and move an entry out of the window without one.
func (s *shard) windowBytes(added *Entry) int64 {
	w := s.mode().window
	if w == 1 {
		return 1<<63 - 1
	}
	return int64(w * float64(max(s.share, s.bytesLocked()-added.Size())))
}

// candidateLocked returns the entry whose time in the window is over.
func (s *shard) candidateLocked() (ref, *Entry) {
	q := &s.queues[window]
	for range chances {
		r := q.tail
		e := s.at(r)
		if !e.used() {
			break
		}
		s.foldLocked(e)
		q.toHeadLocked(s.tab, r, e)
	}
	return q.tail, s.at(q.tail)
}

func (s *shard) toProbationLocked(r ref, e *Entry) {
	s.foldLocked(e)
	s.moveLocked(probation, r, e)
}

// contestLocked lets the candidate from the window take the place of victims of
// the main part, of one at least, one after another until there is room or the shard
// has no more than floor bytes beside it. It leaves the cache when it meets one that
// is worth more.
func (s *shard) contestLocked(r ref, e *Entry, floor int64, left *departures) {
	for first := true; first || s.overLocked(floor+e.Size()); first = false {
		vr, v := s.victimLocked()
		if v == nil && !s.overLocked(floor+e.Size()) {
			break
		}
		switch {
		case v == nil:
			s.ghostLocked(r, e, left)
			return
		case v.expired(s.now):
			s.dropLocked(vr, v, Expired, left)
		case s.beatsLocked(e, v):
			s.ghostLocked(vr, v, left)
		default:
			if s.mode().rotate {
				s.queues[v.queue()].toHeadLocked(s.tab, vr, v)
			}
			s.ghostLocked(r, e, left)
			return
		}
	}
	s.toProbationLocked(r, e)
}

// beatsLocked reports whether a is worth more than b: more uses for its bytes. b was
// used once at least, if only before its count was halved to nothing: what has
// just come for the first time does not take the place of its equal.
func (s *shard) beatsLocked(a, b *Entry) bool {
	sa, sb := a.Size(), b.Size()
	switch {
	case sa > sizeWeight*sb:
		sa, sb = sizeWeight, 1
	case sb > sizeWeight*sa:
		sa, sb = 1, sizeWeight
	}
	return int64(s.countLocked(a))*sb > int64(max(1, s.countLocked(b)))*sa
}

// victimLocked returns the entry of the main part that is next to go, nil if there
// is none.
func (s *shard) victimLocked() (ref, *Entry) {
	q, p := &s.queues[protected], &s.queues[probation]
	for range chances {
		if p.tail == 0 {
			break
		}
		r := p.tail
		e := s.at(r)
		if !e.used() {
			return r, e
		}
		s.foldLocked(e)
		s.moveLocked(protected, r, e)
		s.demoteLocked()
	}
	if p.tail != 0 {
		return p.tail, s.at(p.tail)
	}
	for range chances {
		if q.tail == 0 {
			return 0, nil
		}
		r := q.tail
		e := s.at(r)
		if !e.used() {
			return r, e
		}
		s.foldLocked(e)
		q.toHeadLocked(s.tab, r, e)
	}
	return q.tail, s.at(q.tail)
}

// demoteLocked moves the oldest protected entries back on probation while there
// are too many of them.
func (s *shard) demoteLocked() {
	q := &s.queues[protected]
	for n := 0; q.tail != 0 && float64(q.bytes) > protectedShare*float64(q.bytes+s.queues[probation].bytes); n++ {
		r := q.tail
		e := s.at(r)
		if n < chances && e.used() {
			s.foldLocked(e)
			q.toHeadLocked(s.tab, r, e)
			continue
		}
		s.toProbationLocked(r, e)
	}
}

// evictLocked makes room without a contest: it evicts a victim of the main part
// or, if that is empty, of the window.
func (s *shard) evictLocked(left *departures) {
	r, e := s.victimLocked()
	if e == nil {
		r, e = s.candidateLocked()
	}
	if e.expired(s.now) {
		s.dropLocked(r, e, Expired, left)
		return
	}
	s.ghostLocked(r, e, left)
}

// ghostLocked evicts an entry for its bytes, and remembers its count.
func (s *shard) ghostLocked(r ref, e *Entry, left *departures) {
	if len(s.ghost.sets) == 0 {
		s.ghost.resizeLocked(s.entries)
	}
	s.ghost.putLocked(e.hash, s.countLocked(e), s.epoch)
	s.dropLocked(r, e, Capacity, left)
}
