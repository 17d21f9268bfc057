package suite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"

	"github.com/geecache/geecache/benchmarks/internal/cache"
)

const (
	heapBudget = 128 << 20
	heapFill   = 3_000_000 // entries of at most 100 bytes
	churns     = 10
)

// heap measures what a budget is in memory.
func heap() Suite {
	return Suite{
		Name:  "heap",
		Title: "Heap: what a budget of 128 MiB takes",
		Notes: []string{
			"Heap in use after a collection, less what was in use before the cache was made. Keys of 16 bytes; each cache has copies of its own of keys and values.",
			"3,000,000 entries of values up to 100 bytes are added, and of larger ones four times the budget.",
			"Churn: ten rounds, each of new keys worth one and a fifth of the budget: values of 0 B, 100 B, 1 KiB, 64 KiB and, in each fifth round, sizes between 64 B and 64 KiB. The largest heap after any round counts.",
			"What makes the budget of a peer: otter MaximumWeight and theine's and ristretto's cost, the length of key and value (ristretto adds what it needs itself); golang-lru as many entries as keys and values of the size of the first round would fill it with; freecache and golang/groupcache their size in bytes.",
			"Nothing is timed. The peers are measured once.",
		},
		Groups: func(s Scale) []Group {
			kinds := append([]cache.Kind{cache.Ours()}, cache.Peers()...)
			kinds = append(kinds, cache.Groupcache())
			var churned []cache.Kind
			for _, k := range kinds {
				if k.Name != "theine" && k.Name != "ristretto" { // a minute each
					churned = append(churned, k)
				}
			}
			units := []string{"heap/budget", "B/entry", "entries"}
			return []Group{
				{
					Name: "fill", Title: "Filled", Axis: "bytes of a value", Units: units, Points: s.points("bytes", 0, 100, 1<<10, 64<<10),
					Subjects: eachKind(kinds, measureFill), Fresh: true, Untimed: true, PeerReps: 1,
				},
				{
					Name: "churn", Title: "After churn with changing sizes", Units: units[:1], Points: one(),
					Subjects: eachKind(churned, measureChurn), Fresh: true, Untimed: true, Reps: 3, PeerReps: 1,
				},
			}
		},
	}
}

// liveHeap returns the heap that is in use.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC() // finalizers of the first may have let go of more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// budget returns the heap suite's budget.
func (s Scale) budget() int64 { return int64(s.pick(heapBudget, 4<<20)) }

// addEntries adds new entries; number counts them over all calls.
func addEntries(c cache.Cache, number *int, n int, size func() int) {
	buffer := make([]byte, largest)
	for range n {
		c.Set(fmt.Sprintf("key-%012d", *number), buffer[:size()])
		*number++
		if *number%64 == 0 {
			c.Settle() // ristretto drops what comes too fast
		}
	}
	c.Settle()
}

func measureFill(kind cache.Kind, s Scale, p Point) (Values, error) {
	entry := 16 + p.N
	n := s.pick(heapFill, 10_000)
	if p.N > 100 {
		n = int(4 * s.budget() / int64(entry))
	}
	before := liveHeap()
	c, err := kind.New(cache.Budget{Bytes: s.budget(), MeanBytes: int64(entry)})
	if err != nil {
		return nil, err
	}
	number := 0
	addEntries(c, &number, n, func() int { return p.N })
	entries := c.Len()
	used := liveHeap() - before
	c.Close()
	return Values{
		"heap/budget": used / float64(s.budget()), "B/entry": used / float64(max(entries, 1)), "entries": float64(entries),
	}, nil
}

func measureChurn(kind cache.Kind, s Scale, _ Point) (Values, error) {
	before := liveHeap()
	c, err := kind.New(cache.Budget{Bytes: s.budget(), MeanBytes: 16 + engineValue})
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	sizes := []struct {
		mean int
		next func() int
	}{
		{engineValue, func() int { return engineValue }},
		{1 << 10, func() int { return 1 << 10 }},
		{0, func() int { return 0 }},
		{64 << 10, func() int { return 64 << 10 }},
		{9446, func() int { return int(smallest * math.Pow(largest/smallest, rng.Float64())) }},
	}
	most := 0.0
	number := 0
	for round := range churns {
		size := sizes[round%len(sizes)]
		addEntries(c, &number, int(s.budget()*6/5)/(16+64+size.mean), size.next)
		most = max(most, liveHeap()-before)
	}
	c.Close()
	return Values{"heap/budget": most / float64(s.budget())}, nil
}
