package lru

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// An adaptation chooses the setting of a cache's shards. It runs the policy with
// each of the settings on a small part of the keys, in shards without values that
// have the same part of the budget, the shadows, and moves towards the one that
// would have had the most hits.
type adaptation struct {
	way  atomic.Int32  // the setting in use
	mask atomic.Uint64 // bits of the mixed hash that are zero if a key is sampled

	most int64 // the cache's budget

	full atomic.Bool // noted takes no more
	// busy guards what follows. No Get and no Add waits for it: who finds it taken
	// lets a sample go.
	busy    sync.Mutex
	noted   []sample
	shadows []shadow
	rate    uint // one key of 2^rate is sampled
	planned int  // entries of a shadow

	period int // samples since the last look
	looks  int
	hits   [numSettings]int     // in the period
	ahead  [numSettings]float64 // hits more than the setting in use had, since it is that
	spread [numSettings]float64 // the squares of what each look added to that
	total  float64              // samples since then
}

// A sample is a use of a key.
type sample struct {
	hash    uint64
	payload uint32
}

// A shadow is a shard of entries without values, with a budget of its own.
type shadow struct {
	shard
	own budget
	way atomic.Int32
}

const (
	mix = 0x9e3779b97f4a7c15

	notedMost = 256

	// A shadow has 64 to 127 entries in a small cache, one key in 64 in a
	// larger one, and 512 to 1023 entries in a very large one.
	shadowLeast = 64
	shadowMost  = 1024
	usualRate   = 6

	looksEach = 8      // looks for as many samples as a shadow has entries
	lead      = 0.01   // of the samples, by which the best setting must lead
	surely    = 1.5    // times the root of the spread
	forgets   = 0.9936 // what is left of all that after each look: 0.95 after looksEach
	fillPart  = 16     // the shadows begin when this part of the budget is used
)

func (a *adaptation) init(most int64) {
	a.most = most
	a.mask.Store(^uint64(0)) // none
}

// forget gives the shadows' memory back. The setting stays.
func (a *adaptation) forget() {
	a.busy.Lock()
	defer a.busy.Unlock()
	a.mask.Store(^uint64(0))
	a.full.Store(false)
	a.noted, a.shadows = nil, nil
	a.restartLocked()
}

// restartLocked forgets what the shadows have had.
func (a *adaptation) restartLocked() {
	a.period, a.hits = 0, [numSettings]int{}
	a.ahead, a.spread, a.total = [numSettings]float64{}, [numSettings]float64{}, 0
}

// samples reports whether the uses of the key with this hash are noted.
func (a *adaptation) samples(hash uint64) bool { return hash*mix&a.mask.Load() == 0 }

// note notes a hit on a sampled key, for a later Add to work on: as long as all
// are hits there is nothing to choose.
func (a *adaptation) note(hash, payload uint64) {
	if a.full.Load() || !a.busy.TryLock() {
		return
	}
	a.noteLocked(hash, payload)
	a.busy.Unlock()
}

func (a *adaptation) noteLocked(hash, payload uint64) {
	if len(a.noted) < notedMost {
		a.noted = append(a.noted, sample{hash, uint32(payload)})
	}
	if len(a.noted) == notedMost {
		a.full.Store(true)
	}
}

// added notes that a key was added to c, and works on what has been noted.
func (a *adaptation) added(c *Cache, hash, payload uint64) {
	sampled := a.samples(hash)
	begin := a.mask.Load() == ^uint64(0) && c.budget.used.Load() > a.most/fillPart
	if !sampled && !a.full.Load() && !begin || !a.busy.TryLock() {
		return
	}
	defer a.busy.Unlock()
	if begin {
		st := c.Stats()
		a.beginLocked(int(float64(st.Entries) * float64(st.MaxBytes) / float64(max(st.Bytes, 1))))
		return
	}
	for _, n := range a.noted {
		a.useLocked(n)
	}
	a.noted = a.noted[:0]
	a.full.Store(false)
	if sampled {
		a.useLocked(sample{hash, uint32(payload)})
	}
}

// beginLocked makes the shadows of a cache that holds about that many entries.
func (a *adaptation) beginLocked(entries int) {
	a.rate = 0
	for entries>>(a.rate+1) >= shadowLeast && a.rate < usualRate || entries>>a.rate > shadowMost {
		a.rate++
	}
	a.planned = max(entries>>a.rate, 1)
	a.shadows = make([]shadow, numSettings)
	for i := range a.shadows {
		s := &a.shadows[i]
		s.own.most = a.most >> a.rate
		s.way.Store(int32(i))
		s.init(&s.own, s.own.most, &s.way, nil)
	}
	a.mask.Store(^(^uint64(0) >> a.rate))
}

// useLocked lets each shadow see a use, and from time to time looks which one had
// the most hits.
func (a *adaptation) useLocked(n sample) {
	if len(a.shadows) == 0 { // forgotten since n was noted
		return
	}
	if a.shadows == nil { // a hash of zero is sampled under any mask
		return
	}
	for i := range a.shadows {
		if a.shadows[i].use(n) {
			a.hits[i]++
		}
	}
	a.period++
	if a.period < max(8, a.planned/looksEach) {
		return
	}
	a.chooseLocked()
	if a.looks++; a.looks%looksEach != 0 {
		return
	}
	if held := a.shadows[a.way.Load()].entries; held > 4*a.planned || a.rate > 0 && held < a.planned/4 && a.shadows[0].own.nearlyFull() {
		a.beginLocked(held << a.rate) // the entries are of another size now
	}
}

// chooseLocked moves one step towards the best setting, if it is clearly better
// than the one in use: its lead must be worth the move, and not be the work of a
// look or two, for what a burst has gained is lost again in the next one. Then
// all begins anew.
func (a *adaptation) chooseLocked() {
	a.total += float64(a.period)
	current := int(a.way.Load())
	best := current
	for i, h := range a.hits {
		d := float64(h - a.hits[current])
		a.ahead[i] += d
		a.spread[i] += d * d
		if a.ahead[i] > a.ahead[best] {
			best = i
		}
	}
	if ahead := a.ahead[best]; ahead > lead*a.total+1 && ahead*ahead > surely*surely*a.spread[best] {
		if best > current {
			a.way.Store(int32(current + 1))
		} else {
			a.way.Store(int32(current - 1))
		}
		a.restartLocked()
		return
	}
	a.period, a.hits = 0, [numSettings]int{}
	a.total *= forgets
	for i := range a.ahead {
		a.ahead[i] *= forgets
		a.spread[i] *= forgets
	}
}

// use reports whether the shadow would have had a hit. What is larger than all of
// it, though it may be kept by the cache, tells nothing of the others: it is a miss.
func (s *shadow) use(n sample) bool {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], n.hash)
	if e, _ := s.tab.find(n.hash, string(key[:])); e != nil {
		e.touch()
		return true
	}
	if charge(uint64(n.payload)) > s.own.most {
		return false
	}
	e := newShadowEntry(n.hash, string(key[:]), n.payload)
	s.putLocked(n.hash, string(key[:]), e, false, nil)
	s.settleLocked(0, e, nil)
	s.fitLocked()
	return false
}
