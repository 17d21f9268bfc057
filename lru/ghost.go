package lru

// A ghost remembers how often keys were used that are no longer in the cache, so
// that one that comes back is not taken for a newcomer. It holds four keys for
// each entry of the shard, at 2.25 bytes a key: a fingerprint and a count, no key.
type ghost struct {
	sets []ghostSet
}

// A ghostSet holds keys whose hashes are close, the oldest first. A lane is a
// fingerprint of 12 bits, never zero, and a count of 4 bits; one whose count is
// zero is free.
type ghostSet struct {
	lanes [8]uint16
	epoch uint8 // that the counts are of
}

const (
	ghostCount = 1<<4 - 1
	oldLanes   = 4 // one of the oldest four is forgotten for a new key
)

// resizeLocked makes room for four keys for each of that many entries. What it
// holds stays, roughly: a set begins with the keys of the one that was at its middle.
func (g *ghost) resizeLocked(entries int) {
	sets := make([]ghostSet, (entries+1)/2)
	for i := range sets {
		if len(g.sets) > 0 {
			sets[i] = g.sets[uint64(2*i+1)*uint64(len(g.sets))/uint64(2*len(sets))]
		}
	}
	g.sets = sets
}

// set returns the set of a key, its counts halved for each epoch that has passed.
func (g *ghost) set(hash uint32, epoch uint8) *ghostSet {
	s := &g.sets[uint64(hash)*uint64(len(g.sets))>>32]
	if age := epoch - s.epoch; age != 0 {
		s.epoch = epoch
		for i, lane := range s.lanes {
			s.lanes[i] = lane&^ghostCount | lane&ghostCount>>min(age, 4)
		}
	}
	return s
}

func fingerprint(hash uint32) uint16 { return max(uint16(hash<<4), 1<<4) }

// putLocked remembers a key's count.
func (g *ghost) putLocked(hash, count uint32, epoch uint8) {
	if count == 0 || len(g.sets) == 0 {
		return
	}
	s := g.set(hash, epoch)
	out, least := 0, uint16(ghostCount+1)
	for i, lane := range s.lanes {
		c := lane & ghostCount
		if c == 0 || i < oldLanes && c < least {
			out, least = i, c
		}
		if c == 0 {
			break
		}
	}
	s.forget(out)
	s.lanes[len(s.lanes)-1] = fingerprint(hash) | uint16(count)
}

// takeLocked forgets a key and returns its count; 0 if it does not know the key.
func (g *ghost) takeLocked(hash uint32, epoch uint8) uint32 {
	if len(g.sets) == 0 {
		return 0
	}
	s := g.set(hash, epoch)
	for i, lane := range s.lanes {
		if lane&ghostCount != 0 && lane&^ghostCount == fingerprint(hash) {
			s.forget(i)
			return uint32(lane & ghostCount)
		}
	}
	return 0
}

// forget takes lane i out and moves the later ones down.
func (s *ghostSet) forget(i int) {
	copy(s.lanes[i:], s.lanes[i+1:])
	s.lanes[len(s.lanes)-1] = 0
}
