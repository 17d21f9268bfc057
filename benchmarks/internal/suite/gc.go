package suite

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/cache"
)

const (
	gcBytes   = 1 << 30
	gcPercent = 25
	gcRate    = 400_000 // writes a second
)

// gc measures what the garbage collector does for a large cache.
func gc() Suite {
	return Suite{
		Name:  "gc",
		Title: "Garbage collector: a large cache under steady writes",
		Notes: []string{
			"As many entries of 16-byte keys and 100-byte values as ours has in 1 GiB; otter has room for as many entries. New keys are written at 400,000 a second by two goroutines, each of which evicts an older one; nothing is read.",
			"GOGC=25, so that a measurement needs less time: a cycle begins after a quarter of the live heap was allocated, for all alike. A measurement goes from the end of one cycle to the end of another.",
			"Share: /cpu/classes/gc/total of /cpu/classes/total, from runtime/metrics: of the time that the processors had, which is what runtime.MemStats calls GCCPUFraction. All write at the same rate. Of what was busy: the same without the time in which the processors were idle. That is larger the less a cache needs for its own work: ours takes less for a write, and so has the larger one. Pause: the longest of /sched/pauses/total/gc, to a bucket of the runtime's histogram.",
			"Each subject has a process of its own, which waits while others are measured.",
		},
		Groups: func(s Scale) []Group {
			var kinds []cache.Kind
			for _, k := range append([]cache.Kind{cache.Ours()}, cache.Peers()...) {
				if k.Name == Ours || k.Name == "otter" {
					kinds = append(kinds, k)
				}
			}
			var subjects []Subject
			for _, kind := range kinds {
				subjects = append(subjects, Subject{kind.Name, func(ctx context.Context, s Scale) (Measurer, error) {
					return newCollected(ctx, kind, s)
				}})
			}
			return []Group{{
				Name: "writes", Title: "Steady writes", Units: []string{"GC CPU share %", "of busy %", "GC ms/s", "longest pause µs", "heap GiB"},
				Points: one(), Subjects: subjects,
			}}
		},
	}
}

// A collected is a full cache.
type collected struct {
	c      cache.Cache
	number atomic.Int64 // of the next key
	rate   int
}

func newCollected(ctx context.Context, kind cache.Kind, s Scale) (Measurer, error) {
	charge, err := cache.Charge(fmt.Sprintf("key-%012d", 0), make([]byte, engineValue))
	if err != nil {
		return nil, err
	}
	entries := int(int64(s.pick(gcBytes, 1<<20)) / charge)
	c, err := kind.New(cache.Budget{Entries: entries, Charge: charge})
	if err != nil {
		return nil, err
	}
	m := &collected{c: c, rate: s.pick(gcRate, 5_000_000)}
	for range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.write(1)
	}
	c.Settle()
	debug.SetGCPercent(gcPercent)
	runtime.GC()
	return m, nil
}

func (m *collected) write(n int) {
	var value [engineValue]byte
	for range n {
		m.c.Set(fmt.Sprintf("key-%012d", m.number.Add(1)), value[:])
	}
}

// Measure writes from the end of one cycle to the end of the next.
func (m *collected) Measure(ctx context.Context, _ Point) (Values, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	const writers, tick = 2, time.Millisecond
	for range writers {
		wg.Go(func() {
			begun, written := time.Now(), 0
			t := time.NewTicker(tick)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
				}
				due := int(float64(m.rate/writers) * time.Since(begun).Seconds())
				m.write(min(due-written, m.rate/writers/10))
				written = due
			}
		})
	}
	before := awaitCycle(ctx, readCollector())
	after := awaitCycle(ctx, before)
	cancel()
	wg.Wait()
	return after.since(before), nil
}

func (m *collected) Close() error {
	m.c.Close()
	return nil
}

// A collector is what the runtime tells of its garbage collector. The times are
// brought up to date at the end of each cycle.
type collector struct {
	at              time.Time
	cycles          uint64
	gc, total, idle float64 // seconds of processors
	live            uint64
	pauses          *metrics.Float64Histogram
}

func readCollector() collector {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/gc/heap/live:bytes"}, {Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	v := func(i int) metrics.Value { return samples[i].Value }
	return collector{
		time.Now(), v(0).Uint64(), v(1).Float64(), v(2).Float64(), v(3).Float64(), v(4).Uint64(), v(5).Float64Histogram(),
	}
}

// awaitCycle returns what the runtime tells when a cycle after before has ended.
func awaitCycle(ctx context.Context, before collector) collector {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		now := readCollector()
		if now.cycles > before.cycles || ctx.Err() != nil {
			return now
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

func (c collector) since(before collector) Values {
	longest := 0.0
	for i, n := range c.pauses.Counts {
		if n > before.pauses.Counts[i] {
			longest = c.pauses.Buckets[i+1]
			if math.IsInf(longest, 1) {
				longest = c.pauses.Buckets[i]
			}
		}
	}
	total := c.total - before.total
	busy := total - (c.idle - before.idle)
	return Values{
		"GC CPU share %":   100 * (c.gc - before.gc) / max(total, 1e-9),
		"of busy %":        100 * (c.gc - before.gc) / max(busy, 1e-9),
		"GC ms/s":          1000 * (c.gc - before.gc) / c.at.Sub(before.at).Seconds(),
		"longest pause µs": 1e6 * longest,
		"heap GiB":         float64(c.live) / (1 << 30),
	}
}
