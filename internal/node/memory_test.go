package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
)

// newTestGuard returns a guard that sees what the test tells it.
func newTestGuard(t *testing.T, limit int64, maxValue int) (g *guard, live, total *atomic.Int64) {
	t.Helper()
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	live, total = new(atomic.Int64), new(atomic.Int64)
	g = newGuard(limit, maxValue)
	g.sample = func() (int64, int64) { return live.Load(), total.Load() }
	g.collect = func() {}
	return g, live, total
}

func TestShareOut(t *testing.T) {
	const limit = 256 << 20
	for _, tc := range []struct {
		name      string
		cfg       Config
		limit     int64
		main, hot int64
	}{
		{"no limit", Config{}, 0, 0, 0},
		{"a node", Config{}, limit, 119304648, 14913080},
		{"two groups", Config{Groups: []string{"a", "b"}}, limit, 59652324, 7456540},
		{"a client", Config{Role: geecache.RoleClient}, limit, limit / 2, 0},
		{"budgets given", Config{Group: geecache.GroupConfig{CacheBytes: 7, HotBytes: 3}}, limit, 7, 3},
		{"hot budget given", Config{Group: geecache.GroupConfig{HotBytes: 1 << 20}}, limit, limit/2 - 1<<20, 1 << 20},
		{"hot budget too large", Config{Group: geecache.GroupConfig{HotBytes: limit}}, limit, limit / 18, limit},
	} {
		cfg, err := tc.cfg.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		cfg.shareOut(tc.limit)
		if got := cfg.Group; abs(got.CacheBytes-tc.main) > 100 || abs(got.HotBytes-tc.hot) > 100 {
			t.Errorf("%s: %d and %d bytes, want about %d and %d", tc.name, got.CacheBytes, got.HotBytes, tc.main, tc.hot)
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }

func TestMemoryLimitOfAProcess(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "")
	p := start(t, Config{MemoryLimit: 128 << 20})
	if got := debug.SetMemoryLimit(-1); got > 128<<20 || got < 100<<20 {
		t.Errorf("GOMEMLIMIT is %d", got)
	}
	if got := p.cacheBytes(); got > 65<<20 || got < 60<<20 {
		t.Errorf("the caches have %d bytes", got)
	}
	if m := p.status().Process.Memory; m == nil || m.LimitBytes != 128<<20 || m.Tight {
		t.Errorf("status: %+v", m)
	}
	// What the user has set stays.
	debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "1TiB")
	newGuard(128<<20, 1<<20)
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT was set to %d, though the environment sets it", got)
	}
}

func TestMemoryShare(t *testing.T) {
	for _, tc := range []struct {
		given, want int64
		n           int
	}{{256 << 20, 64 << 20, 4}, {64 << 20, minMemory, 10}} {
		if got := MemoryShare(tc.given, tc.n); got != tc.want {
			t.Errorf("a share of %d in %d is %d, want %d", tc.n, tc.given, got, tc.want)
		}
	}
}

func TestTightMemoryRefusesLoadsAndServesHits(t *testing.T) {
	g, live, total := newTestGuard(t, 100<<20, 1<<20)
	g.soft = 90 << 20
	n := newTestNode(t, g.getter(geecache.GetterFunc(scores)).Get, geecache.GroupConfig{})
	a, err := NewAPI(n, "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	a.guard = g
	want := func(target, method, body string, status int) {
		t.Helper()
		resp := ask(a, method, target, body)
		if resp.StatusCode != status {
			t.Errorf("%s %s: status %d, want %d: %s", method, target, resp.StatusCode, status, bodyOf(t, resp))
		}
		if status == 503 && (resp.Header.Get("Retry-After") == "" || resp.Header.Get("Geecache-Error") != "overloaded") {
			t.Errorf("%s: headers %v", target, resp.Header)
		}
	}
	want("/api?key=Tom", "GET", "", 200)
	for _, full := range []struct{ live, total int64 }{{80 << 20, 0}, {0, 98 << 20}} {
		live.Store(full.live)
		total.Store(full.total)
		if !g.look() {
			t.Fatalf("%+v is not tight", full)
		}
		want("/api?key=Tom", "GET", "", 200)
		want("/api?key=Jack", "GET", "", 503)
		want("/api/explain?key=Jack", "GET", "", 503)
		want("/api/batch", "POST", `{"keys": ["Jack"]}`, 503)
		if _, err := n.Group("scores").Get(t.Context(), "Sam"); !errors.Is(err, geecache.ErrOverloaded) {
			t.Errorf("a load: %v", err)
		}
	}
	if n := g.refused.Load(); n != 8 {
		t.Errorf("%d were refused, want 8", n)
	}
	live.Store(50 << 20)
	total.Store(95 << 20) // garbage that is not collected yet is no trouble
	if g.look() {
		t.Error("it stays tight")
	}
	want("/api?key=Jack", "GET", "", 200)
}

func TestGuardCollectsWhileTight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, live, _ := newTestGuard(t, 100<<20, 1)
		live.Store(math.MaxInt64)
		ctx, cancel := context.WithCancel(t.Context())
		collected := make(chan struct{}, 1)
		g.collect = func() { // nothing else would
			live.Store(0)
			collected <- struct{}{}
		}
		done := make(chan struct{})
		go func() { g.run(ctx); close(done) }()
		<-collected
		time.Sleep(lookEvery)
		synctest.Wait()
		if g.tight.Load() {
			t.Error("it stays tight after a collection")
		}
		cancel()
		<-done
	})
}

// Values on their way have a quarter of the limit: large ones wait for each
// other, small ones do not.
func TestLargeValuesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := newTestGuard(t, 64<<20, 4<<20)
		var running, most atomic.Int64
		leave := make(chan struct{})
		size := 4 << 20
		getter := g.getter(geecache.GetterFunc(func(context.Context, string) (geecache.Value, error) {
			n := running.Add(1)
			defer running.Add(-1)
			most.Store(max(most.Load(), n))
			<-leave
			return geecache.Value{Bytes: make([]byte, size)}, nil
		}))
		round := func(n int) int64 {
			most.Store(0)
			for i := range n {
				go func() { _, _ = getter.Get(t.Context(), fmt.Sprint(i)) }()
			}
			synctest.Wait()
			at := running.Load()
			for range n {
				leave <- struct{}{}
			}
			synctest.Wait()
			return at
		}
		if n := round(20); n != 2 { // 16 MiB for values of 4 MiB and their garbage
			t.Errorf("%d large values at a time, want 2", n)
		}
		size = 100
		for range 2000 {
			round(1)
		}
		if n := round(200); n != 200 {
			t.Errorf("%d small values at a time, want 200", n)
		}
		// Who waits leaves with his context.
		g.expect.Store(g.room)
		go func() { _, _ = getter.Get(t.Context(), "a") }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := getter.Get(ctx, "b"); !errors.Is(err, context.Canceled) {
			t.Errorf("a load without room: %v", err)
		}
		leave <- struct{}{}
	})
}

// A process that has just begun expects the largest values that there may be, and room for
// a few of them. Small ones, or none at all, must not wait for that.
func TestLoadsOfANewProcessDoNotQueue(t *testing.T) {
	for name, source := range map[string]geecache.GetterFunc{
		"not found": func(context.Context, string) (geecache.Value, error) {
			time.Sleep(50 * time.Millisecond)
			return geecache.Value{}, geecache.ErrNotFound
		},
		"small values": func(context.Context, string) (geecache.Value, error) {
			time.Sleep(50 * time.Millisecond)
			return geecache.Value{Bytes: []byte("630")}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, _, _ := newTestGuard(t, 256<<20, 8<<20)
			synctest.Test(t, func(t *testing.T) {
				const loads = 1200 // 300 a second
				get := g.getter(source)
				var longest atomic.Int64
				var all sync.WaitGroup
				for range loads {
					all.Go(func() {
						begun := time.Now()
						if _, err := get.Get(t.Context(), "k"); err != nil && !errors.Is(err, geecache.ErrNotFound) {
							t.Error(err)
						}
						for took := int64(time.Since(begun)); ; {
							old := longest.Load()
							if took <= old || longest.CompareAndSwap(old, took) {
								return
							}
						}
					})
					time.Sleep(time.Second / 300)
				}
				all.Wait()
				if took := time.Duration(longest.Load()); took > 500*time.Millisecond {
					t.Errorf("one of %d loads, of 50 ms each, took %v", loads, took)
				}
			})
		})
	}
}
