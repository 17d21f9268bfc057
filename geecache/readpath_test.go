package geecache

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// The rules of the read path, one by one. docs/ARCHITECTURE.md states them.

func TestRule1KeyIsHashedOnceAtTheDoor(t *testing.T) {
	doors := map[string]bool{
		"Get": true, "Lookup": true, "GetMany": true, // callers of this process
		"answerNow": true, "answer": true, "AnswerClient": true, "answerPlain": true, // peers: steps of one request
		"touch":  true, // before answerNow, several at once: to hash again costs less than to hand the hash on
		"Owners": true, "hashOf": true,
		"offer": true, "takeOver": true, "Restore": true, // entries that change hands
		"each": true, "fetch": true, // GetMany's keys, once more for those that missed
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				name := ""
				switch c := call.Fun.(type) {
				case *ast.SelectorExpr:
					if x, ok := c.X.(*ast.Ident); ok && x.Name == "consistenthash" {
						name = c.Sel.Name
					}
				case *ast.Ident:
					if c.Name == "hashOf" {
						name = "Hash"
					}
				}
				if name == "Hash" {
					found++
					if !doors[fn.Name.Name] {
						t.Errorf("%s hashes a key: take the hash from the caller, who has it", fn.Name.Name)
					}
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Fatal("no call of consistenthash.Hash found: this test looks for the wrong name")
	}
}

// noObserver fails the test if a hit is timed.
type noObserver struct{ calls atomic.Int64 }

func (o *noObserver) ObserveMiss(string, time.Duration)                 { o.calls.Add(1) }
func (o *noObserver) ObserveLoad(string, time.Duration, error)          { o.calls.Add(1) }
func (o *noObserver) ObserveServed(string, string, time.Duration, Code) { o.calls.Add(1) }

func TestRule2HitIsAViewAndAllocatesNothing(t *testing.T) {
	o := &noObserver{}
	n, err := New(Config{Logger: quiet(), Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	getter, _ := constant("630")
	g, err := n.NewGroup("g", getter, GroupConfig{TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := g.Get(ctx, "Tom"); err != nil {
		t.Fatal(err)
	}
	before := o.calls.Load()
	a, _ := g.Get(ctx, "Tom")
	b, _ := g.Get(ctx, "Tom")
	if unsafe.SliceData(a.b) != unsafe.SliceData(b.b) {
		t.Error("two hits returned different bytes in memory: a hit must not copy")
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = g.Get(ctx, "Tom") }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
	wantCount(t, "observations of hits", o.calls.Load()-before, 0)
	wantCount(t, "hits", g.Stats().Hits, 1003)
}

func TestRule3FlightLooksAgain(t *testing.T) {
	getter, calls := constant("630")
	g := localGroup(t, getter, GroupConfig{})
	// A caller has missed; before its flight starts, another's has ended.
	if _, err := g.Get(t.Context(), "Tom"); err != nil {
		t.Fatal(err)
	}
	a, err := g.load(t.Context(), hashOf("Tom"), "Tom", ModeOwner)
	if err != nil || string(a.value) != "630" {
		t.Fatalf("load = %q, %v", a.value, err)
	}
	wantCount(t, "calls of the source", calls.Load(), 1)
}

func TestRule4FetchIsSharedAndMayLeaveAHotCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{HotTTL: 3 * time.Second, HotShare: 1})
		defer c.close()
		c.src.delay = 100 * time.Millisecond
		key := c.keyOwnedBy("n1", "")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { mustGet(t, c.g(0), key) })
		}
		wg.Wait()
		wantCount(t, "requests to the owner", c.net.askedOf("n1"), 1)
		wantCount(t, "suppressed", c.g(0).Stats().FetchJoin, 49)
		wantCount(t, "origin of the next", mustGet(t, c.g(0), key).From, FromHot)
		time.Sleep(3*time.Second + tick)
		wantCount(t, "origin after the hot TTL", mustGet(t, c.g(0), key).From, FromPeer)
		wantCount(t, "loads", c.src.count(key), 1)
	})
}

func TestRule5NodesWithDifferentViewsNeitherForwardNorDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &testCluster{t: t, net: newMemNet(), src: &testSource{delay: 50 * time.Millisecond}}
		defer c.close()
		// Each believes that only the other one owns keys.
		heavy := func(id string) []Peer {
			p := memPeers(2)
			for i := range p {
				p[i].Weight = 0.01
				if p[i].ID == id {
					p[i].Weight = 10
				}
			}
			return p
		}
		a := c.config(memPeers(2)[0], heavy("n1"))
		a.Weight = 0.01
		c.addConfig(a)
		b := c.config(memPeers(2)[1], heavy("n0"))
		b.Weight = 0.01
		c.addConfig(b)
		key := c.keyOwnedBy("n1", "")
		if o := c.nodes[1].Owners(key, 1)[0].ID; o != "n0" {
			t.Fatalf("n1 believes that %s owns the key", o)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { mustGet(t, c.g(i%2), key) })
		}
		wg.Wait()
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v of the bubble's time: they waited for each other", d)
		}
		wantCount(t, "requests between the nodes", c.net.askedOf("n0")+c.net.askedOf("n1"), 2)
		if n := c.src.count(key); n > 2 {
			t.Errorf("%d loads, want at most one a node", n)
		}
		if c.g(0).Stats().EpochMismatch == 0 || c.g(1).Stats().EpochMismatch == 0 {
			t.Error("the difference of the views was not counted")
		}
	})
}

func TestRule5LocalAndRemoteCallersShareTheOwnersLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, GroupConfig{})
		defer c.close()
		c.src.delay = 200 * time.Millisecond
		key := c.keyOwnedBy("n1", "")
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() { mustGet(t, c.g(i%3), key) })
		}
		wg.Wait()
		wantCount(t, "loads", c.src.count(key), 1)
		wantCount(t, "loads by the owner", c.g(1).Stats().LoadsOwner, 1)
	})
}

func TestRule5FetchThatFallsBackEndsBeforeTheLoadBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{})
		defer c.close()
		c.src.delay = time.Second
		c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
		key := c.keyOwnedBy("n1", "n0")
		var wg sync.WaitGroup
		wg.Go(func() { mustGet(t, c.g(0), key) })
		synctest.Wait()
		s := c.g(0).Stats()
		wantCount(t, "loads in flight", s.LoadsInFlight, 1)
		wantCount(t, "fetches in flight, waiting for the load", s.FetchesInFlight, 0)
		wg.Wait()
	})
}

func TestRule6MarkedRequestsAreNeverForwarded(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "")
	// n0 is asked for what n1 owns, by a node with another view.
	reply := c.nodes[0].Answer(t.Context(), &PeerRequest{Group: "g", Key: key, Epoch: 42})
	wantCount(t, "code", reply.Code, CodeOK)
	wantCount(t, "requests to the owner", c.net.askedOf("n1"), 0)
	wantCount(t, "loads for others", c.g(0).Stats().LoadsOther, 1)
}

func TestRule6UnmarkedRequestsTakeOneHop(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "")
	reply := c.nodes[0].AnswerClient(t.Context(), "g", key)
	wantCount(t, "code", reply.Code, CodeOK)
	wantCount(t, "requests to the owner", c.net.askedOf("n1"), 1)
	wantCount(t, "loads by the owner", c.g(1).Stats().LoadsOwner, 1)

	// The owner may be the node that sent the request: it does not shake hands.
	for _, m := range c.nodes[0].place().members {
		m.marked = m.self
	}
	key = "another " + c.keyOwnedBy("n1", "")
	for i := 0; c.nodes[0].Owners(key, 1)[0].ID != "n1"; i++ {
		key = fmt.Sprint("another ", i)
	}
	reply = c.nodes[0].AnswerClient(t.Context(), "g", key)
	wantCount(t, "code", reply.Code, CodeOK)
	wantCount(t, "requests to the owner", c.net.askedOf("n1"), 1)
	wantCount(t, "asked by", fmt.Sprint(c.src.askedBy(key)), "[n0]")
}

func TestRule8OneLoadAKeyWithoutFaults(t *testing.T) {
	c := newTestCluster(t, 5, GroupConfig{})
	defer c.close()
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range 300 {
				mustGet(t, c.g((w+i)%5), fmt.Sprint("k", (i*7+w)%100))
			}
		})
	}
	wg.Wait()
	for i := range 100 {
		wantCount(t, "loads of a key", c.src.count(fmt.Sprint("k", i)), 1)
	}
	var owner, other int64
	for i := range 5 {
		s := c.g(i).Stats()
		owner += s.LoadsOwner
		other += s.LoadsStandIn + s.LoadsOther
		wantCount(t, "gets", s.Gets, s.Hits+s.HotHits+s.Misses)
	}
	wantCount(t, "loads by owners", owner, 100)
	wantCount(t, "loads by others", other, 0)
}

func TestRule9WhatChangesHandsBecomesAHotCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, GroupConfig{})
		defer c.close()
		c.net.nodes["n1"] = nil
		for i := range 200 {
			mustGet(t, c.g(0), fmt.Sprint("k", i))
		}
		c.add(memPeers(2)[1], memPeers(2))
		if err := c.nodes[0].SetView(memPeers(2)); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for i := range 200 {
			key := fmt.Sprint("k", i)
			want := FromMain
			if c.nodes[0].Owners(key, 1)[0].ID == "n1" {
				want = FromHot
				moved++
			}
			wantCount(t, "origin of "+key, mustGet(t, c.g(0), key).From, want)
		}
		if moved < 50 || moved > 150 {
			t.Errorf("%d of 200 keys moved to the second of two nodes", moved)
		}
		wantCount(t, "hot entries", c.g(0).Stats().Hot.Entries, int64(moved))
		time.Sleep(defaultHotTTL + tick)
		for i := range 200 {
			key := fmt.Sprint("k", i)
			if c.nodes[0].Owners(key, 1)[0].ID == "n1" {
				wantCount(t, "origin later", mustGet(t, c.g(0), key).From, FromPeer)
			}
		}
	})
}

func TestRule9LoadThatEndsAfterTheKeyMovedIsNotKeptAsMain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, GroupConfig{})
		defer c.close()
		c.src.delay = time.Second
		c.add(memPeers(2)[1], memPeers(2))
		key := "k"
		for i := 0; c.nodes[1].Owners(key, 1)[0].ID != "n1"; i++ {
			key = fmt.Sprint("k", i)
		}
		var wg sync.WaitGroup
		wg.Go(func() { mustGet(t, c.g(0), key) })
		synctest.Wait()
		if err := c.nodes[0].SetView(memPeers(2)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		wantCount(t, "main entries", c.g(0).Stats().Main.Entries, 0)
		wantCount(t, "hot entries", c.g(0).Stats().Hot.Entries, 1)
	})
}

func TestRule9NewOwnerAsksThePreviousOnesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{})
		defer c.close()
		for i := range 100 {
			mustGet(t, c.g(0), fmt.Sprint("k", i))
			mustGet(t, c.g(1), fmt.Sprint("k", i))
		}
		loads := c.src.total()
		for i := range 2 {
			cfg := c.config(memPeers(3)[i], nil)
			_ = cfg
			c.nodes[i].cfg.Handover = defaultHandover
			if err := c.nodes[i].SetView(memPeers(3)); err != nil {
				t.Fatal(err)
			}
		}
		cfg := c.config(memPeers(3)[2], memPeers(3))
		cfg.Handover = defaultHandover
		c.addConfig(cfg)
		for i := range 100 {
			mustGet(t, c.g(2), fmt.Sprint("k", i))
		}
		wantCount(t, "loads for the newcomer", c.src.total()-loads, 0)
		s := c.g(2).Stats()
		if s.HandoverHits == 0 || s.HandoverHits != s.Main.Entries {
			t.Errorf("%d entries were handed over, the newcomer has %d", s.HandoverHits, s.Main.Entries)
		}
		time.Sleep(defaultHandover + tick)
		asks := s.HandoverAsks
		for i := range 100 {
			mustGet(t, c.g(2), fmt.Sprint("later", i))
		}
		wantCount(t, "asks when the time is over", c.g(2).Stats().HandoverAsks, asks)
	})
}

func TestRule10CallerLeavesAloneAndTheLoadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{})
		defer c.close()
		c.src.delay = time.Second
		for _, owner := range []string{"n0", "n1"} { // a load flight, a fetch flight
			key := c.keyOwnedBy(owner, "")
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error)
			go func() { _, err := c.g(0).Get(ctx, key); first <- err }()
			synctest.Wait()
			var wg sync.WaitGroup
			wg.Go(func() { mustGet(t, c.g(0), key) })
			synctest.Wait()
			start := time.Now()
			cancel()
			wantErr(t, <-first, context.Canceled)
			wantCount(t, "the first caller waited", time.Since(start), 0)
			wg.Wait()
			wantCount(t, "loads", c.src.count(key), 1)
		}
	})
}

func TestRule10LastCallerEndsTheLoadAndNobodyInheritsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{}, 2)
		var calls atomic.Int64
		g := localGroup(t, GetterFunc(func(ctx context.Context, key string) (Value, error) {
			if calls.Add(1) > 1 {
				return Value{Bytes: []byte("second")}, nil
			}
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond) // it takes its time to obey
			ended <- struct{}{}
			return Value{}, ctx.Err()
		}), GroupConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() { _, err := g.Get(ctx, "k"); first <- err }()
		synctest.Wait()
		cancel()
		wantErr(t, <-first, context.Canceled)
		v, err := g.Get(t.Context(), "k") // while the first call still runs
		if err != nil || v.String() != "second" {
			t.Fatalf("the late joiner got %q, %v", v, err)
		}
		<-ended
		defer func() { _ = g.node.Close() }()
	})
}

func TestRule10SourceThatIgnoresItsContextIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int64
		g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
			calls.Add(1)
			<-release
			return Value{Bytes: []byte("late")}, nil
		}), GroupConfig{LoadTimeout: time.Second, MaxAbandoned: 2})
		defer func() { _ = g.node.Close() }()
		start := time.Now()
		for i := range 2 {
			_, err := g.Get(t.Context(), fmt.Sprint("k", i))
			wantErr(t, err, ErrLoadTimeout)
		}
		wantCount(t, "time until the callers knew", time.Since(start), 2*time.Second)
		time.Sleep(2 * abandonGrace)
		_, err := g.Get(t.Context(), "k3")
		wantErr(t, err, ErrOverloaded)
		wantCount(t, "calls", calls.Load(), 2)
		wantCount(t, "left behind", g.Stats().AbandonedRunning, 2)
		close(release)
		synctest.Wait()
		wantCount(t, "left behind when they have returned", g.Stats().AbandonedRunning, 0)
		wantCount(t, "entries: late results are thrown away", g.Stats().Main.Entries, 0)
	})
}

func TestRule10PanicOrGoexitIsAnErrorForEveryWaiter(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":  func() { panic("boom") },
		"Goexit": func() { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				broken.Store(true)
				g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
					time.Sleep(time.Second)
					if broken.Load() {
						fail()
					}
					return Value{Bytes: []byte("fine")}, nil
				}), GroupConfig{MaxLoads: 1})
				defer func() { _ = g.node.Close() }()
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						_, err := g.Get(t.Context(), "k")
						wantErr(t, err, ErrSource)
					})
				}
				wg.Wait()
				wantCount(t, "entries", g.Stats().Main.Entries, 0)
				wantCount(t, "load errors", g.Stats().LoadErrors, 1)
				wantCount(t, "loads in flight", g.Stats().LoadsInFlight, 0)
				broken.Store(false)
				if v, err := g.Get(t.Context(), "k"); err != nil || v.String() != "fine" {
					t.Errorf("the key is wedged: %q, %v", v, err)
				}
			})
		})
	}
}

func TestRule11NotFoundIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{NotFoundTTL: 5 * time.Second})
		defer c.close()
		key := "no"
		for i := 0; c.nodes[0].Owners(key, 1)[0].ID != "n1"; i++ {
			key = fmt.Sprint("no", i)
		}
		for range 10 {
			for i := range 2 {
				_, err := c.g(i).Get(t.Context(), key)
				wantErr(t, err, ErrNotFound)
				_, err = c.g(i).Lookup(t.Context(), key)
				wantErr(t, err, ErrNotFound)
			}
		}
		wantCount(t, "calls of the source", c.src.count(key), 1)
		wantCount(t, "errors", c.g(0).Stats().Errors+c.g(1).Stats().Errors, 0)
		wantCount(t, "peer errors", c.g(0).Stats().PeerErrors, 0)
		wantCount(t, "not found", c.g(0).Stats().NotFound, 20)
		time.Sleep(5*time.Second + tick)
		_, err := c.g(0).Get(t.Context(), key)
		wantErr(t, err, ErrNotFound)
		wantCount(t, "calls after the negative TTL", c.src.count(key), 2)
		wantCount(t, "state of the owner", c.nodes[0].Stats().Peers[1].State, "up")
	})
}
