package suite

import (
	"context"
	"fmt"

	"github.com/geecache/geecache/benchmarks/internal/cache"
	"github.com/geecache/geecache/benchmarks/internal/trace"
)

const (
	syntheticKeys     = 30_000
	smallest, largest = 64, 64 << 10 // values, by bytes
	byBytes           = "bytes "     // before the names of groups by bytes
)

// hitRatio measures which entries are kept.
func hitRatio() Suite {
	return Suite{
		Name:  "hitratio",
		Title: "Hit ratio",
		Notes: []string{
			"Each request is a Get and, after a miss, a Set; one at a time, through the caches as they are used: ours with all the shards that it chooses itself.",
			"Unit sizes: the budget is 2, 10 or 20% of the distinct keys in entries; ours is given as many times what it charges for one.",
			"By bytes: each key has a size from 64 B to 64 KiB, as many of 2x as of x; the budget is 2, 10 or 20% of the distinct keys' and values' bytes. Ours pays its bookkeeping from that too, the others do not. golang-lru cannot count bytes.",
			"otter and theine evict in the background, ristretto admits there: after each request they are waited for (CleanUp, Wait, Wait).",
			"Replayed 10 times: gli and loop; 3 times: oltp and trace_vaultservice; once: p3 and all by bytes; others 3 times by ours and once by the peers.",
			"geecache is the adaptive default, geecache-lru the strict LRU.",
			"Recorded traces (oltp, p3, gli, loop, trace_vaultservice) are measured where GEECACHE_TRACES names their directory; the others are made from a seed.",
		},
		Groups: hitRatioGroups,
	}
}

func hitRatioGroups(s Scale) []Group {
	var groups []Group
	names := trace.Synthetic()
	if s.Traces != "" {
		names = append(trace.Recorded(), names...)
	}
	for _, name := range names {
		reps, peerReps := repetitions(name)
		groups = append(groups, Group{
			Name: name, Title: "Hit ratio: " + name, Axis: "% of the distinct keys", Units: []string{"hit %"},
			Points: percents(), Subjects: replayers(name, policies()), Fresh: true, Untimed: true, Reps: reps, PeerReps: peerReps,
		})
	}
	for _, name := range names {
		groups = append(groups, Group{
			Name: byBytes + name, Title: "Hit ratio by bytes: " + name, Axis: "% of the distinct bytes",
			Units: []string{"object hit %", "byte hit %"}, Points: percents(), Subjects: sizedReplayers(name, bytePolicies()),
			Fresh: true, Untimed: true, Reps: 1,
		})
	}
	return append(groups, Group{
		Name: "scan", Title: "Hit ratio of a running Zipf workload, at 10% of its keys, without and with one-off scans of 10x the capacity",
		Units: []string{"hit %"}, Points: []Point{{Name: "no scan"}, {Name: "scan between"}, {Name: "scan at once"}},
		Subjects: scanners(policies()), Fresh: true, Untimed: true, Reps: 3, PeerReps: 1,
	})
}

// repetitions returns how often a trace is replayed, by ours and by the peers.
// Nothing is timed; what varies is what hashes, samples and background work
// decide. That is 2 points where a trace is short or only loops, and a few
// tenths of a point in the others.
func repetitions(name string) (ours, peers int) {
	switch name {
	case "gli", "loop":
		return 10, 10
	case "oltp", "trace_vaultservice":
		return 3, 3
	case "p3":
		return 1, 1
	}
	return 3, 1
}

// Shares of the distinct keys, in percent.
func percents() []Point {
	return []Point{{"2%", 2}, {"10%", 10}, {"20%", 20}}
}

// policies are the caches whose choice is compared. freecache is not among
// them: its least size is 512 KiB.
func policies() []cache.Kind {
	kinds := []cache.Kind{cache.Ours(), cache.Strict()}
	for _, k := range cache.Peers() {
		if k.Name != "freecache" {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func bytePolicies() []cache.Kind {
	var kinds []cache.Kind
	for _, k := range policies() {
		if k.Bytes {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// load returns a trace, recorded or synthetic.
func load(s Scale, name string) (*trace.Trace, error) {
	for _, synthetic := range trace.Synthetic() {
		if name == synthetic {
			return trace.Make(name, 1, s.pick(syntheticKeys, 500))
		}
	}
	t, err := trace.Load(s.Traces, name)
	if err == nil && s.Small {
		t = t.First(20_000)
	}
	return t, err
}

// blockKey is a key of a trace, of 16 bytes.
func blockKey(id int) string { return fmt.Sprintf("block-%010d", id) }

func blockKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = blockKey(i)
	}
	return keys
}

// replay has a cache serve requests, and calls seen for each.
func replay(c cache.Cache, requests []uint32, keys []string, value func(id uint32) []byte, seen func(id uint32, hit bool)) {
	for _, id := range requests {
		_, hit := c.Get(keys[id])
		if !hit {
			c.Set(keys[id], value(id))
		}
		c.Settle()
		seen(id, hit)
	}
}

func noValue(uint32) []byte { return nil }

// unitBudget returns the budget for so many entries without a value.
func unitBudget(entries int) (cache.Budget, error) {
	charge, err := cache.Charge(blockKey(0), nil)
	return cache.Budget{Entries: max(entries, 1), Charge: charge, Given: true}, err
}

func replayers(name string, kinds []cache.Kind) []Subject {
	return eachKind(kinds, func(kind cache.Kind, s Scale, p Point) (Values, error) {
		t, err := load(s, name)
		if err != nil {
			return nil, err
		}
		budget, err := unitBudget(t.Distinct * p.N / 100)
		if err != nil {
			return nil, err
		}
		c, err := kind.New(budget)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		hits := 0
		replay(c, t.Requests, blockKeys(t.Distinct), noValue, func(_ uint32, hit bool) {
			if hit {
				hits++
			}
		})
		return Values{"hit %": percent(hits, len(t.Requests))}, nil
	})
}

func sizedReplayers(name string, kinds []cache.Kind) []Subject {
	return eachKind(kinds, func(kind cache.Kind, s Scale, p Point) (Values, error) {
		t, err := load(s, name)
		if err != nil {
			return nil, err
		}
		keys, sizes := blockKeys(t.Distinct), t.Sizes(1, smallest, largest)
		total := 0
		for i, size := range sizes {
			total += len(keys[i]) + size
		}
		c, err := kind.New(cache.Budget{
			Bytes: int64(total) * int64(p.N) / 100, MeanBytes: int64(total / t.Distinct), Given: true,
		})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		shared := make([]byte, largest)
		var hits, hitBytes, bytes int
		replay(c, t.Requests, keys, func(id uint32) []byte { return shared[:sizes[id]:sizes[id]] }, func(id uint32, hit bool) {
			bytes += sizes[id]
			if hit {
				hits++
				hitBytes += sizes[id]
			}
		})
		return Values{"object hit %": percent(hits, len(t.Requests)), "byte hit %": percent(hitBytes, bytes)}, nil
	})
}

// scanners replay a Zipf workload with scans. Capacity is 10% of its keys.
func scanners(kinds []cache.Kind) []Subject {
	return eachKind(kinds, func(kind cache.Kind, s Scale, p Point) (Values, error) {
		keys := s.pick(syntheticKeys, 500)
		scan := map[string]trace.Scan{"no scan": trace.NoScan, "scan between": trace.Interleaved, "scan at once": trace.Burst}[p.Name]
		requests, workload := trace.WithScans(1, keys, keys, scan)
		budget, err := unitBudget(keys / 10)
		if err != nil {
			return nil, err
		}
		c, err := kind.New(budget)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		hits, own := 0, 0
		replay(c, requests, blockKeys(keys+5*keys), noValue, func(id uint32, hit bool) {
			if id >= workload {
				return
			}
			own++
			if hit {
				hits++
			}
		})
		return Values{"hit %": percent(hits, own)}, nil
	})
}

// eachKind makes a subject of each cache.
func eachKind(kinds []cache.Kind, measure func(kind cache.Kind, s Scale, p Point) (Values, error)) []Subject {
	var subjects []Subject
	for _, kind := range kinds {
		subjects = append(subjects, Subject{kind.Name, func(_ context.Context, s Scale) (Measurer, error) {
			return MeasureFunc(func(_ context.Context, p Point) (Values, error) { return measure(kind, s, p) }), nil
		}})
	}
	return subjects
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }
