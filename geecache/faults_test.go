package geecache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Faults that were found and mended, each with the test that showed it.

func TestLongestTTLIsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
			calls.Add(1)
			return Value{Bytes: []byte("v"), TTL: math.MaxInt64}, nil
		}), GroupConfig{})
		defer func() { _ = g.node.Close() }()
		time.Sleep(time.Second)
		for range 3 {
			if _, err := g.Get(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
		wantCount(t, "calls", calls.Load(), 1)
	})
}

func TestBadViewLosesNoMember(t *testing.T) {
	a := runNode(t, &testSource{}, Config{}, GroupConfig{})
	b := runNode(t, &testSource{}, Config{}, GroupConfig{})
	view := []Peer{{Addr: b.Addr()}}
	if err := a.SetView(view); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "they are connected", func() bool { return b.Stats().Connections == 1 })
	if err := a.SetView(nil); err != nil {
		t.Fatal(err)
	}
	if err := a.SetView(append(view, Peer{ID: "zzz", Addr: "carrier://pigeon"})); err == nil {
		t.Fatal("a bad view was accepted")
	}
	_ = a.Close()
	waitUntil(t, "the closed node's connection has ended", func() bool { return b.Stats().Connections == 0 })
}

func TestMemberThatLeavesTwiceMayBeAskedAsLongAsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{})
		defer c.close()
		n := c.nodes[0]
		n.cfg.Handover = 30 * time.Second
		set := func(view []Peer) {
			if err := n.SetView(view); err != nil {
				t.Fatal(err)
			}
		}
		retired := func() int {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.retired)
		}
		set(memPeers(1))
		time.Sleep(10 * time.Second)
		set(memPeers(2))
		time.Sleep(19 * time.Second)
		set(memPeers(1))
		time.Sleep(2 * time.Second)
		wantCount(t, "members that may be asked, 2 s after the last left", retired(), 1)
		time.Sleep(30 * time.Second)
		wantCount(t, "members that may be asked, later", retired(), 0)
	})
}

func TestRequestsEndInTheViewThatTheyBeganIn(t *testing.T) {
	src := &testSource{delay: 1500 * time.Millisecond} // longer than a member is kept without handover
	nodes := startCluster(t, 3, src, Config{Handover: -1}, GroupConfig{HotTTL: -1})
	key := keyOf(nodes[0], nodes[1].ID(), "k")
	done := make(chan error)
	go func() { _, err := nodes[0].Group("g").Get(t.Context(), key); done <- err }()
	waitUntil(t, "the load runs", func() bool { return src.count(key) == 1 })
	if err := nodes[0].SetView([]Peer{{Addr: nodes[2].Addr()}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantCount(t, "loads", src.count(key), 1)
}

func TestTheSameViewAgainChangesNothing(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	before := c.nodes[0].place()
	if err := c.nodes[0].SetView(memPeers(3)); err != nil {
		t.Fatal(err)
	}
	if c.nodes[0].place() != before {
		t.Error("the placement was made again")
	}
}

func TestDrainWaitsUntilTheLastReplyIsWritten(t *testing.T) {
	var loads atomic.Int64
	release := make(chan struct{})
	nodes := startCluster(t, 2, &testSource{}, Config{}, GroupConfig{})
	for _, n := range nodes {
		if _, err := n.NewGroup("large", GetterFunc(func(context.Context, string) (Value, error) {
			if loads.Add(1) == 1 {
				<-release
			}
			return Value{Bytes: make([]byte, defaultMaxValueBytes)}, nil
		}), GroupConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	asker, leaving := nodes[0], nodes[1]
	key := keyOf(asker, leaving.ID(), "k")
	done := make(chan error)
	go func() { _, err := asker.Group("large").Get(t.Context(), key); done <- err }()
	waitUntil(t, "the load runs", func() bool { return loads.Load() == 1 })
	drained := make(chan error)
	go func() { drained <- leaving.Drain(context.WithoutCancel(t.Context())) }()
	waitUntil(t, "the node drains", func() bool { return leaving.State() == "draining" })
	close(release)
	if err := errors.Join(<-drained, leaving.Close(), <-done); err != nil {
		t.Error(err)
	}
	wantCount(t, "loads", loads.Load(), 1)
}

func TestClosedNodeLoadsNothing(t *testing.T) {
	src := &testSource{delay: 300 * time.Millisecond}
	nodes := startCluster(t, 2, src, Config{}, GroupConfig{HotTTL: -1})
	key := keyOf(nodes[0], nodes[1].ID(), "k")
	var wg sync.WaitGroup
	wg.Go(func() { mustGet(t, nodes[1].Group("g"), key) })
	done := make(chan error)
	go func() { _, err := nodes[0].Group("g").Get(t.Context(), key); done <- err }()
	waitUntil(t, "the load runs", func() bool { return src.count(key) == 1 })
	waitUntil(t, "the fetch runs", func() bool { return nodes[0].Group("g").Stats().FetchesInFlight == 1 })
	_ = nodes[0].Close()
	wantErr(t, <-done, ErrClosed)
	wg.Wait()
	wantCount(t, "loads", src.count(key), 1)
}

func TestPeerOverHTTPThatRefusesIsInTrouble(t *testing.T) {
	src, theirs := &testSource{}, &testSource{}
	stranger := runNode(t, theirs, Config{Cluster: "theirs"}, GroupConfig{})
	n := runNode(t, src, Config{Peers: []Peer{{ID: "p", Addr: "http://" + stranger.Addr()}}}, GroupConfig{})
	for i := range 20 {
		mustGet(t, n.Group("g"), fmt.Sprint("k", i))
	}
	wantCount(t, "loads by the stranger", theirs.total(), 0)
}

func TestDeadlineIsNeverAPeersTrouble(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "n2")
	c.net.setFail("n1", fmt.Errorf("rpc: %w", context.DeadlineExceeded))
	if _, err := c.g(0).Get(t.Context(), key); err == nil {
		t.Error("no error")
	}
	wantCount(t, "loads elsewhere", c.src.total(), 0)

	c.net.setFail("n1", nil)
	c.net.hook = func(string, *PeerRequest) *PeerReply { return &PeerReply{Code: CodeDeadline} }
	_, err := c.g(0).Get(t.Context(), key)
	wantErr(t, err, ErrLoadTimeout)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller without a deadline is told of one: %v", err)
	}
}

func TestSourcesErrorIsTheSources(t *testing.T) {
	g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
		return Value{}, fmt.Errorf("another cache: %w", ErrNoGroup)
	}), GroupConfig{})
	_, err := g.Get(t.Context(), "k")
	wantCount(t, "code", CodeOf(err), CodeSource)
}

func TestLoadTimeoutsCountLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := localGroup(t, GetterFunc(func(ctx context.Context, _ string) (Value, error) {
			<-ctx.Done()
			return Value{}, ctx.Err()
		}), GroupConfig{LoadTimeout: time.Second})
		defer func() { _ = g.node.Close() }()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := g.Get(t.Context(), "k")
				wantErr(t, err, ErrLoadTimeout)
			})
		}
		wg.Wait()
		synctest.Wait() // the source obeys its context
		wantCount(t, "load timeouts", g.Stats().LoadTimeouts, 1)
		wantCount(t, "load errors", g.Stats().LoadErrors, 1)
	})
}

func TestStandInThatNeverSeesTheTroubleGivesTheKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, GroupConfig{})
		defer c.close()
		key := c.keyOwnedBy("n1", "n2")
		r := c.nodes[2].Answer(t.Context(), &PeerRequest{Group: "g", Key: key, Mode: ModeStandIn})
		wantCount(t, "code", r.Code, CodeOK)
		time.Sleep(settleWithin / 2)
		wantCount(t, "origin soon", mustGet(t, c.g(2), key).From, FromMain)
		time.Sleep(settleWithin)
		wantCount(t, "origin later", mustGet(t, c.g(2), key).From, FromHot)
		time.Sleep(defaultHotTTL + tick)
		wantCount(t, "answered by", mustGet(t, c.g(2), key).Node, "n1")
	})
}

func TestVersionsFromFarAheadAreNotBelieved(t *testing.T) {
	var h hybridClock
	first := h.next()
	h.see(math.MaxUint64)
	if second := h.next(); second <= first || ageOf(second) < -time.Minute {
		t.Errorf("after a version from the end of time: %d, then %d", first, second)
	}
	ahead := first + 1000<<16
	h.see(ahead)
	if next := h.next(); next <= ahead {
		t.Errorf("%d is not larger than %d, which a peer has shown", next, ahead)
	}
}
