package geecache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startCluster starts n nodes on loopback ports that speak the stream.
func startCluster(t testing.TB, n int, src *testSource, cfg Config, gc GroupConfig) []*Node {
	t.Helper()
	return startNodes(t, src, gc, slices.Repeat([]Config{cfg}, n)...)
}

// startNodes is the same with a configuration for each node.
func startNodes(t testing.TB, src *testSource, gc GroupConfig, cfgs ...Config) []*Node {
	t.Helper()
	n := len(cfgs)
	var view []Peer
	var listeners []net.Listener
	for range n {
		l := listenLoopback(t)
		listeners = append(listeners, l)
		view = append(view, Peer{Addr: l.Addr().String()})
	}
	nodes := make([]*Node, n)
	for i, cfg := range cfgs {
		cfg.Listener, cfg.Peers = listeners[i], view
		nodes[i] = newListeningNode(t, src, cfg, gc)
	}
	for _, node := range nodes {
		if err := node.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		waitUntil(t, "all peers are up", func() bool { return peersUp(node) == n-1 })
	}
	return nodes
}

// patient returns timings with which a machine that is busy with other things is no peer
// in trouble, for tests that count loads: a stand-in would make some of its own.
func patient() Timings {
	return Timings{DeadAfter: time.Minute, DeadMost: time.Minute, SlowAfter: time.Minute}
}

func peersUp(n *Node) int {
	up := 0
	for _, p := range n.Stats().Peers {
		if p.State == "up" {
			up++
		}
	}
	return up
}

// keyOf returns a key that the node with the given ID owns.
func keyOf(n *Node, id, prefix string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(prefix, i); n.Owners(key, 1)[0].ID == id {
			return key
		}
	}
}

func TestClusterOverTheStream(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1})
	for _, key := range weirdKeys() {
		for _, n := range nodes {
			mustGet(t, n.Group("g"), key)
		}
		wantCount(t, fmt.Sprintf("loads of %.20q", key), src.count(key), 1)
	}
	epoch := nodes[0].Stats().Epoch
	for _, n := range nodes {
		wantCount(t, "epoch", n.Stats().Epoch, epoch)
		wantCount(t, "state", n.State(), "serving")
		wantCount(t, "ready", n.Ready(), true)
	}
	values, err := nodes[0].Group("g").GetMany(t.Context(), weirdKeys()...)
	if err != nil || len(values) != len(weirdKeys()) {
		t.Errorf("GetMany: %d values, %v", len(values), err)
	}
}

func TestColdKeyIsLoadedOnceForTheCluster(t *testing.T) {
	src := &testSource{delay: 200 * time.Millisecond}
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1})
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() { mustGet(t, nodes[i%3].Group("g"), "cold") })
	}
	wg.Wait()
	wantCount(t, "loads", src.count("cold"), 1)
}

// The promise of rule 8 while the view changes: at most one load at each owner
// of an epoch, plus one at each stand-in.
func TestColdKeyWhileTheViewChanges(t *testing.T) {
	src := &testSource{delay: 200 * time.Millisecond}
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1})
	newcomer := newListeningNode(t, src, Config{}, GroupConfig{HotTTL: -1})
	var view []Peer
	for _, n := range append(nodes, newcomer) {
		view = append(view, Peer{Addr: n.Addr()})
	}
	if err := newcomer.SetView(view); err != nil {
		t.Fatal(err)
	}
	// A key that moves to the newcomer, and one whose owner is killed.
	moves := keyOf(newcomer, newcomer.ID(), "moves")
	victim := nodes[2]
	dies := keyOf(newcomer, victim.ID(), "dies")

	// In each of the two views: the owner, and the one after it.
	allowed := map[string]map[string]bool{moves: {}, dies: {}}
	for key := range allowed {
		for _, p := range append(nodes[0].Owners(key, 2), newcomer.Owners(key, 2)...) {
			allowed[key][p.ID] = true
		}
	}

	var wg sync.WaitGroup
	get := func(n *Node, key string) {
		wg.Go(func() { mustGet(t, n.Group("g"), key) })
	}
	for i := range 300 {
		get(nodes[i%2], []string{moves, dies}[i/2%2])
	}
	waitUntil(t, "both keys are being loaded", func() bool { return src.count(moves) == 1 && src.count(dies) == 1 })
	if err := newcomer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = victim.Close()
	for _, n := range nodes[:2] {
		if err := n.SetView(view); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		get([]*Node{nodes[0], nodes[1], newcomer}[i%3], []string{moves, dies}[i/3%2])
	}
	wg.Wait()
	for _, key := range []string{moves, dies} {
		by := src.askedBy(key)
		seen := map[string]bool{}
		for _, id := range by {
			if seen[id] {
				t.Errorf("%s was loaded twice by %s: %v", key, id, by)
			}
			seen[id] = true
			if !allowed[key][id] {
				t.Errorf("%s was loaded by %s, neither its owner nor its stand-in: %v", key, id, by)
			}
		}
	}
}

func TestDrainLosesNothing(t *testing.T) {
	src := &testSource{delay: 20 * time.Millisecond}
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1})
	leaving := nodes[2]
	var stop atomic.Bool
	var wg sync.WaitGroup
	var asked atomic.Int64
	for w := range 20 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				mustGet(t, nodes[w%2].Group("g"), fmt.Sprint("k", w, i))
				asked.Add(1)
			}
		})
	}
	waitUntil(t, "requests run", func() bool { return asked.Load() > 100 })
	if err := leaving.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	wantCount(t, "state", leaving.State(), "draining")
	wantCount(t, "ready", leaving.Ready(), false)
	now := asked.Load()
	waitUntil(t, "more requests run", func() bool { return asked.Load() > now+100 })
	if err := leaving.Close(); err != nil {
		t.Error(err)
	}
	now = asked.Load()
	waitUntil(t, "more requests run", func() bool { return asked.Load() > now+100 })
	stop.Store(true)
	wg.Wait()
	_, err := leaving.Group("g").Get(t.Context(), "never asked")
	wantErr(t, err, ErrClosed)
}

func TestDrainEndsWithItsContext(t *testing.T) {
	src := &testSource{delay: time.Minute}
	nodes := startCluster(t, 1, src, Config{}, GroupConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan error)
	go func() { _, err := nodes[0].Group("g").Get(ctx, "slow"); gone <- err }()
	waitUntil(t, "the load runs", func() bool { return src.count("slow") == 1 })
	short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelShort()
	wantErr(t, nodes[0].Drain(short), context.DeadlineExceeded)
	cancel()
	wantErr(t, <-gone, context.Canceled)
	if err := nodes[0].Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNodeListensOnLoopbackOnlyUnlessToldOtherwise(t *testing.T) {
	for _, tt := range []struct {
		listen   string
		insecure bool
		ok       bool
	}{
		{"127.0.0.1:0", false, true},
		{"0.0.0.0:0", false, false},
		{":0", false, false},
		{"0.0.0.0:0", true, true},
	} {
		n, err := New(Config{Listen: tt.listen, Insecure: tt.insecure, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		err = n.Start(t.Context())
		if (err == nil) != tt.ok {
			t.Errorf("listen on %s, insecure %v: %v", tt.listen, tt.insecure, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("the error does not name the remedy: %v", err)
		}
		_ = n.Close()
	}
}

// A recycled address used to answer for somebody else's cluster.
func TestAnotherClustersNodeIsRefused(t *testing.T) {
	src, theirs := &testSource{}, &testSource{}
	stranger := runNode(t, theirs, Config{Cluster: "theirs"}, GroupConfig{})
	n := runNode(t, src, Config{}, GroupConfig{})
	if err := n.SetView([]Peer{{Addr: stranger.Addr()}}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		mustGet(t, n.Group("g"), fmt.Sprint("k", i))
	}
	wantCount(t, "loads by the stranger", theirs.total(), 0)
	wantCount(t, "loads", src.total(), 50)
	var state, text string
	for _, p := range n.Stats().Peers {
		if !p.Self {
			state, text = p.State, p.LastError
		}
	}
	if state != "down" || !strings.Contains(text, "theirs") {
		t.Errorf("the stranger is %q: %q; want down, and both clusters named", state, text)
	}
	if stranger.Stats().HandshakesRefused[RefusedCluster] == 0 || n.Stats().HandshakesRefused[RefusedCluster] == 0 {
		t.Error("the refusal was not counted")
	}
}

func TestTwoNodesWithOneGroupNameLiveInOneProcess(t *testing.T) {
	a := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) { return Value{Bytes: []byte("a")}, nil }), GroupConfig{})
	b := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) { return Value{Bytes: []byte("b")}, nil }), GroupConfig{})
	va, _ := a.Get(t.Context(), "k")
	vb, _ := b.Get(t.Context(), "k")
	wantCount(t, "values", va.String()+vb.String(), "ab")
	wantCount(t, "gets of one", a.Stats().Gets, 1)
}

func TestBadViewsLeaveTheLastOne(t *testing.T) {
	n, err := New(Config{ID: "a", Addr: "127.0.0.1:1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	epoch := n.Stats().Epoch
	for name, view := range map[string][]Peer{
		"twice":           {{ID: "b", Addr: "127.0.0.1:2"}, {ID: "b", Addr: "127.0.0.1:3"}},
		"nor Addr":        {{}},
		"weight":          {{Addr: "127.0.0.1:2", Weight: -1}},
		"weight is 1e+12": {{Addr: "127.0.0.1:2", Weight: 1e12}},
		"role":            {{Addr: "127.0.0.1:2", Role: "boss"}},
		"no Addr":         {{ID: "b"}},
		"nothing speaks":  {{Addr: "carrier://pigeon"}},
	} {
		err := n.SetView(view)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("view %v: %v", view, err)
		}
		wantCount(t, "epoch after "+name, n.Stats().Epoch, epoch)
	}
}

func TestClosedNode(t *testing.T) {
	n, err := New(Config{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	getter, _ := constant("v")
	g, err := n.NewGroup("g", getter, GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
	_, err = g.Get(t.Context(), "k")
	wantErr(t, err, ErrClosed)
	wantErr(t, n.SetView(nil), ErrClosed)
	if err := n.Start(t.Context()); err == nil {
		t.Error("a closed node was started")
	}
}

// A user of the library compiles, beyond the standard library, a hash function
// and protobuf.
func TestLibraryNeedsAHashFunctionAndProtobufOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if !strings.HasPrefix(path, "github.com/geecache/geecache/") &&
			!strings.HasPrefix(path, "google.golang.org/protobuf/") &&
			path != "github.com/cespare/xxhash/v2" {
			t.Errorf("the library needs %s", path)
		}
	}
}

func TestCheckPeer(t *testing.T) {
	n, err := New(Config{Cluster: "c", ID: "a", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	for _, c := range []struct {
		cluster, id, version string
		ok                   bool
	}{
		{"c", "b", "1.0", true}, {"c", "b", "1.1", true}, {"c", "b", "1.2", true},
		{"c", "b", "1.3", false}, {"c", "b", "0.9", false}, {"c", "b", "2.0", false}, {"c", "b", "", false},
		{"d", "b", "1.0", false}, {"c", "a", "1.0", false},
	} {
		err := n.CheckPeer(c.cluster, c.id, c.version)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPortZeroIsAFreePort(t *testing.T) {
	n, err := New(Config{Listen: "127.0.0.1:0", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	if strings.HasSuffix(n.Addr(), ":0") || n.ID() != n.Addr() {
		t.Fatalf("address %s, ID %s", n.Addr(), n.ID())
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	resp, _ := raw(t, n.Addr(), "GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp == nil {
		t.Error("nobody answers at the node's address")
	}
}

func TestGetManyOfMoreKeysThanAConnectionHolds(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{MaxStreamRequests: manyBatch, Timings: patient()}, GroupConfig{HotTTL: -1})
	var keys []string
	for i := range 3 * manyBatch {
		keys = append(keys, fmt.Sprint("k", i))
	}
	values, err := nodes[0].Group("g").GetMany(t.Context(), keys...)
	if err != nil || len(values) != len(keys) {
		t.Errorf("%d values of %d, %.200v", len(values), len(keys), err)
	}
	wantCount(t, "loads", src.total(), len(keys))
}

// A client that found nobody yet must be sent nothing.
func TestClientWithoutNodesIsNotReady(t *testing.T) {
	n, err := New(Config{Role: RoleClient, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, "ready without a node", n.Ready(), false)
	if err := n.SetView([]Peer{{Addr: listenLoopback(t).Addr().String()}}); err != nil {
		t.Fatal(err)
	}
	wantCount(t, "ready with a node", n.Ready(), true)
}
