package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/memory"
)

// How a limit of memory is shared out, and when it is nearly reached. What is
// left is for garbage, connections and the program itself.
const (
	cachePercent = 50 // the caches of all groups
	loadPercent  = 25 // values on their way from the source
	softPercent  = 90 // GOMEMLIMIT: the collector works harder from here on
	tightLive    = 85 // of GOMEMLIMIT, live after a collection: then loads are refused
	tightTotal   = 97 // of the limit, taken from the system: the same
)

func percent(n int64, p int64) int64 { return n/100*p + n%100*p/100 }

// memoryLimit returns what the process may use, 0 if nothing bounds it.
func (c Config) memoryLimit() int64 {
	group := memory.Limit()
	if c.MemoryLimit > 0 && (group == 0 || c.MemoryLimit < group) {
		return c.MemoryLimit
	}
	return group
}

// MemoryShare returns what each of n processes may use that share given bytes,
// or, if those are not positive, the control group's limit; 0 if nothing bounds
// them.
func MemoryShare(given int64, n int) int64 {
	if limit := (Config{MemoryLimit: given}).memoryLimit(); limit > 0 {
		return max(limit/int64(n), minMemory)
	}
	return 0
}

// shareOut gives the caches their budgets, unless they have been given.
func (c *Config) shareOut(limit int64) {
	if limit == 0 || c.Group.CacheBytes != 0 {
		return
	}
	share := max(percent(limit, cachePercent)/int64(len(c.Groups)), 1)
	if c.Role == geecache.RoleClient { // all of it is hot
		c.Group.CacheBytes = share
		return
	}
	if c.Group.HotBytes == 0 {
		c.Group.HotBytes = max(share/9, 1)
	}
	c.Group.CacheBytes = max(share-c.Group.HotBytes, share/9, 1)
}

// A guard watches the process's memory. While it is tight, what would need more
// is refused, before the kernel kills the process. A nil guard lets all pass.
type guard struct {
	limit, soft int64
	sample      func() (live, total int64)
	collect     func()

	tight   atomic.Bool
	refused atomic.Int64

	room   int64 // bytes of values on their way
	onWay  *semaphore.Weighted
	expect atomic.Int64 // how large a value may be, by those that came
}

// newGuard returns the guard of a process with a limit, and sets GOMEMLIMIT,
// unless the environment does.
func newGuard(limit int64, maxValue int) *guard {
	g := &guard{
		limit: limit, soft: percent(limit, softPercent), sample: sampleMemory, collect: runtime.GC,
		room: percent(limit, loadPercent),
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(g.soft)
	} else if given := debug.SetMemoryLimit(-1); given != math.MaxInt64 {
		g.soft = min(given, limit)
	}
	g.onWay = semaphore.NewWeighted(g.room)
	g.expect.Store(int64(maxValue))
	return g
}

// short reports whether memory is tight.
func (g *guard) short() bool { return g != nil && g.tight.Load() }

// sampleMemory returns the bytes that were live after the last collection, and
// those that the process has from the system. It stops nobody.
func sampleMemory() (live, total int64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	of := func(i int) int64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return int64(s[i].Value.Uint64())
	}
	return of(0) + of(1), of(2) - of(3)
}

const (
	lookEvery    = 100 * time.Millisecond
	collectEvery = 10 // looks, while memory is tight: there is nothing that would otherwise
)

// run watches until ctx ends.
func (g *guard) run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	looks := 0
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if looks++; g.look() && looks >= collectEvery {
			looks = 0
			g.collect()
		}
	}
}

// look reports whether memory is tight.
func (g *guard) look() bool {
	live, total := g.sample()
	tight := live > percent(g.soft, tightLive) || total > percent(g.limit, tightTotal)
	g.tight.Store(tight)
	return tight
}

// admit returns an error while memory is tight.
func (g *guard) admit() error {
	if g == nil || !g.tight.Load() {
		return nil
	}
	g.refused.Add(1)
	return fmt.Errorf("%w: the process has nearly all of its %d MiB of memory (--memory-limit)", geecache.ErrOverloaded, g.limit>>20)
}

// getter returns a getter that asks the source, of which values wait for room
// when many are on their way.
func (g *guard) getter(source geecache.Getter) geecache.Getter {
	if g == nil {
		return source
	}
	return geecache.GetterFunc(func(ctx context.Context, key string) (geecache.Value, error) {
		if err := g.admit(); err != nil {
			return geecache.Value{}, err
		}
		// The value, and as much again of garbage by its making.
		need := min(max(2*g.expect.Load(), 16<<10), g.room)
		if err := g.onWay.Acquire(ctx, need); err != nil {
			return geecache.Value{}, context.Cause(ctx)
		}
		defer g.onWay.Release(need)
		v, err := source.Get(ctx, key)
		if err == nil || errors.Is(err, geecache.ErrNotFound) { // what is not there takes no room
			g.learn(int64(len(v.Bytes)))
		}
		return v, err
	})
}

// learn is told of a value's size: what is expected grows with it at once, and
// shrinks within some dozens of loads. A process begins with the largest value that there
// may be, with room for a few: it must know better before the fifty milliseconds of each
// add up.
func (g *guard) learn(size int64) {
	for {
		old := g.expect.Load()
		if g.expect.CompareAndSwap(old, max(size, old-old/8)) {
			return
		}
	}
}
