package suite

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/geecache/geecache/benchmarks/internal/cache"
)

const (
	engineKeys  = 100_000
	engineZipf  = 0.99
	engineValue = 100
	// sequenceLen is how many keys a caller draws beforehand, to go through
	// them again and again: drawing one costs more than a hit.
	sequenceLen = 1 << 16
)

// engine measures the local caches alone.
func engine() Suite {
	return Suite{
		Name:  "engine",
		Title: "Engine: hits and writes",
		Notes: []string{
			"Keys of 16 bytes, drawn from a Zipf distribution (exponent 0.99) before the clock starts; values of 100 bytes unless the table says otherwise; all entries fit, so every Get is a hit.",
			"ns/op is the time of the window divided by the operations of all goroutines. As many goroutines as processors, unless the table says otherwise. Our time includes hashing the key.",
			"A write replaces the value of an existing key. \"Copied\": the value is in a buffer that the caller uses again, as one from a connection, so that each cache makes a copy. \"Given\": the caller makes a new value for each write and gives it up; otter, theine, ristretto and golang-lru keep it, ours and freecache copy it all the same.",
			"Each measurement has a process of its own. ristretto is measured with its metrics on, which its Len needs; freecache copies the value out, and its key is a []byte that is made of the string.",
		},
		Groups: engineGroups,
	}
}

func engineGroups(s Scale) []Group {
	ours := cache.Ours()
	all := append([]cache.Kind{ours}, cache.Peers()...)
	few := []cache.Kind{ours, cache.Peers()[0]}
	g := func(name, title, axis string, kinds []cache.Kind, points []Point, setting func(Point) engineSetting) Group {
		return Group{
			Name: name, Title: title, Axis: axis, Units: []string{"ns/op"}, Points: points, Fresh: true,
			Subjects: engineSubjects(kinds, setting),
		}
	}
	keys := s.pick(engineKeys, 1000)
	usual := engineSetting{keys: keys, value: engineValue}
	return []Group{
		g("get", "Get, parallel, every one a hit", "", all, one(), func(Point) engineSetting { return usual }),
		g("get+20%set", "80% Get, 20% Set, parallel, values copied", "", all, one(), func(Point) engineSetting {
			set := usual
			set.setEvery = 5
			return set
		}),
		g("get+20%set/given", "80% Get, 20% Set, parallel, values given", "", all, one(), func(Point) engineSetting {
			set := usual
			set.setEvery, set.given = 5, true
			return set
		}),
		g("get/entries", "Get as the number of entries grows", "entries", few, s.points("entries", 1_000, 10_000, 100_000, 1_000_000), func(p Point) engineSetting {
			return engineSetting{keys: p.N, value: engineValue}
		}),
		g("get/value", "Get as values grow, 2000 entries", "bytes of a value", few, s.points("bytes", 0, 100, 1<<10, 64<<10), func(p Point) engineSetting {
			return engineSetting{keys: s.pick(2_000, 100), value: p.N}
		}),
		g("get/goroutines", "Get as callers grow", "goroutines", few, s.points("goroutines", 1, 2, 4, 16, 64), func(p Point) engineSetting {
			return engineSetting{keys: keys, value: engineValue, goroutines: p.N}
		}),
	}
}

// An engineSetting is what is done with a cache.
type engineSetting struct {
	keys, value int
	setEvery    int  // every how many-th operation is a Set; 0: none
	given       bool // each Set has a value of its own
	goroutines  int  // 0: as many as processors
}

func engineSubjects(kinds []cache.Kind, setting func(Point) engineSetting) []Subject {
	var subjects []Subject
	for _, kind := range kinds {
		subjects = append(subjects, Subject{kind.Name, func(_ context.Context, s Scale) (Measurer, error) {
			return MeasureFunc(func(ctx context.Context, p Point) (Values, error) {
				return measureEngine(ctx, kind, setting(p), s)
			}), nil
		}})
	}
	return subjects
}

var errMiss = errors.New("a miss, where all keys are resident")

func measureEngine(ctx context.Context, kind cache.Kind, set engineSetting, s Scale) (Values, error) {
	budget := cache.Budget{Entries: 2 * set.keys, Charge: int64(set.value) + 512, Given: set.given}
	c, err := kind.New(budget)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	keys := make([]string, set.keys)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%012d", i)
		c.Set(keys[i], make([]byte, set.value))
		if i%1024 == 0 || kind.Name == "ristretto" && i%32 == 0 {
			c.Settle() // ristretto drops what comes too fast
		}
	}
	c.Settle()
	callers := set.goroutines
	if callers == 0 {
		callers = runtime.GOMAXPROCS(0)
	}
	length := s.pick(sequenceLen, 1<<10)
	if callers > 4 {
		length /= 4
	}
	seqs := sequences(callers, keys, engineZipf, length)
	misses := make([]int, callers*16) // 16 apart: no cache line is shared
	newOp := func(caller int) opFunc {
		seq := seqs[caller]
		missed := &misses[caller*16]
		value := make([]byte, set.value)
		return func(from, n int) error {
			for i := from; i < from+n; i++ {
				key := seq[i&(len(seq)-1)]
				if set.setEvery != 0 && i%set.setEvery == 0 {
					if set.given {
						value = make([]byte, set.value)
					}
					c.Set(key, value)
				} else if _, ok := c.Get(key); !ok {
					*missed++
				}
			}
			return nil
		}
	}
	runtime.GC() // what filling has left is not measured
	r, err := closedLoop(ctx, callers, s.Window, fastBatch, newOp)
	if err != nil {
		return nil, err
	}
	missed := 0
	for _, n := range misses {
		missed += n
	}
	// ristretto may drop a Set, and with it the old value.
	if float64(missed) > 0.001*float64(r.ops) && !s.Small {
		return nil, fmt.Errorf("%s: %d of %d: %w", kind.Name, missed, r.ops, errMiss)
	}
	return Values{"ns/op": r.nsPerOp()}, nil
}
