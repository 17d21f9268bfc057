package geecache

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A slowNet joins nodes of a bubble by pipes. What a node sends on connections
// that others have opened to it may be late.
type slowNet struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]*slowNode
}

// usual is how late all is, and soon what an answer from memory takes at most.
const (
	usual = time.Millisecond
	soon  = 10 * usual
)

type slowNode struct {
	*pipeListener
	delay atomic.Int64
}

func (s *slowNet) add(addr string) *slowNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &slowNode{pipeListener: newPipeListener()}
	n.delay.Store(int64(usual))
	s.nodes[addr] = n
	return n
}

func (s *slowNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	n := s.nodes[addr]
	s.mu.Unlock()
	raw, err := n.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(raw, there); raw.Close() }()
	go n.deliver(there, raw)
	return here, nil
}

// deliver hands on what comes from a node, each read after the delay.
func (n *slowNode) deliver(to, from net.Conn) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	chunks := make(chan chunk, 1<<12)
	go func() {
		defer to.Close()
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.data); err != nil {
				return
			}
		}
	}()
	defer close(chunks)
	for {
		buf := make([]byte, 64<<10)
		k, err := from.Read(buf)
		if k > 0 {
			chunks <- chunk{time.Now().Add(time.Duration(n.delay.Load())), buf[:k]}
		}
		if err != nil {
			return
		}
	}
}

// startSlowNet starts n nodes that speak the stream, and returns them with their
// links. Hot copies are off.
func startSlowNet(t *testing.T, n int, src *testSource, cfg Config) (nodes []*Node, links []*slowNode) {
	t.Helper()
	s := &slowNet{nodes: make(map[string]*slowNode)}
	var view []Peer
	for i := range n {
		view = append(view, Peer{ID: fmt.Sprintf("n%d", i), Addr: fmt.Sprintf("n%d:1", i)})
		links = append(links, s.add(view[i].Addr))
	}
	for i := range n {
		cfg := cfg
		cfg.ID, cfg.Addr, cfg.Listener, cfg.Peers, cfg.Dial = view[i].ID, view[i].Addr, links[i], view, s.dial
		cfg.Logger, cfg.Handover = quiet(), -1
		node, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.NewGroup("g", src.at(cfg.ID), GroupConfig{HotTTL: -1, TTLJitter: -1}); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
		go func() { _ = node.Start(context.Background()) }()
	}
	time.Sleep(3 * time.Second) // they connect, and ping each other
	for _, node := range nodes {
		wantCount(t, "peers that are up", peersUp(node), n-1)
	}
	return nodes, links
}

func closeAll(nodes []*Node) {
	for _, n := range nodes {
		_ = n.Close()
	}
	synctest.Wait()
}

func (n *Node) slowPeers() (ids []string) {
	for _, p := range n.Stats().Peers {
		if p.Slow {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// keyAlong returns a key whose owner and stand-in are given.
func keyAlong(n *Node, owner, standIn, prefix string) string {
	for i := 0; ; i++ {
		key := fmt.Sprint(prefix, i)
		if o := n.Owners(key, 2); o[0].ID == owner && o[1].ID == standIn {
			return key
		}
	}
}

func TestSlowOwnersKeysComeFromItsStandInsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &testSource{}
		nodes, links := startSlowNet(t, 4, src, Config{})
		defer closeAll(nodes)
		caller := nodes[0].Group("g")
		key := keyAlong(nodes[0], "n1", "n2", "k")
		get := func(node string, atMost time.Duration) {
			t.Helper()
			began := time.Now()
			wantCount(t, "answered by", mustGet(t, caller, key).Node, node)
			if d := time.Since(began); d > atMost {
				t.Errorf("an answer took %v, want at most %v", d, atMost)
			}
		}
		get("n1", soon)
		links[1].delay.Store(int64(200 * time.Millisecond))
		get("n1", 200*time.Millisecond+soon) // it is not known to be slow yet
		time.Sleep(2 * time.Second)
		wantCount(t, "slow peers", fmt.Sprint(nodes[0].slowPeers()), "[n1]")
		get("n1", 200*time.Millisecond+soon) // the stand-in has nothing yet
		time.Sleep(time.Second)
		for range 20 {
			get("n2", soon)
			time.Sleep(time.Second) // longer than a hot copy would live
		}
		// The stand-in itself, too.
		wantCount(t, "origin at the stand-in", mustGet(t, nodes[2].Group("g"), key).From, FromMain)
		wantCount(t, "loads", fmt.Sprint(src.askedBy(key)), "[n1]")
		s, there := caller.Stats(), nodes[2].Group("g").Stats()
		wantCount(t, "hedges, and hits among them", fmt.Sprint(s.Hedges, s.HedgeHits), "21 20")
		wantCount(t, "copies", fmt.Sprint(there.CopyAsks, there.CopyHits), "1 1")
		wantCount(t, "extra requests", fmt.Sprint(s.ExtraRequests, there.ExtraRequests), "1 1")

		// A key that nobody has is loaded by its owner, and by nobody else.
		cold := keyAlong(nodes[0], "n1", "n2", "cold")
		wantCount(t, "a cold key is answered by", mustGet(t, caller, cold).Node, "n1")
		wantCount(t, "loads of it", fmt.Sprint(src.askedBy(cold)), "[n1]")

		links[1].delay.Store(int64(usual))
		time.Sleep(10 * time.Second)
		wantCount(t, "slow peers later", len(nodes[0].slowPeers()), 0)
		get("n1", soon)
		mustGet(t, nodes[2].Group("g"), key) // becomes a hot copy
		time.Sleep(defaultHotTTL + tick)
		wantCount(t, "answered at the stand-in by", mustGet(t, nodes[2].Group("g"), key).Node, "n1")
		wantCount(t, "loads", src.count(key), 1)
	})
}

func TestHedgingMayBeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, links := startSlowNet(t, 3, &testSource{}, Config{HedgePercent: -1})
		defer closeAll(nodes)
		links[1].delay.Store(int64(200 * time.Millisecond))
		key := keyOf(nodes[0], "n1", "k")
		for range 20 {
			wantCount(t, "answered by", mustGet(t, nodes[0].Group("g"), key).Node, "n1")
			time.Sleep(time.Second)
		}
		wantCount(t, "slow peers", len(nodes[0].slowPeers()), 0)
		wantCount(t, "extra requests", nodes[0].Group("g").Stats().ExtraRequests, 0)
	})
}

func TestWhereAllAreFarNobodyIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, links := startSlowNet(t, 3, &testSource{}, Config{})
		defer closeAll(nodes)
		for _, l := range links {
			l.delay.Store(int64(100 * time.Millisecond))
		}
		time.Sleep(20 * time.Second) // their pings change one after the other
		for range 50 {
			mustGet(t, nodes[0].Group("g"), keyOf(nodes[0], "n1", "k"))
			mustGet(t, nodes[0].Group("g"), keyOf(nodes[0], "n2", "k"))
			time.Sleep(100 * time.Millisecond)
		}
		wantCount(t, "slow peers", len(nodes[0].slowPeers()), 0)
	})
}

// A node that stops while nothing waits for it is not noticed at once: the first
// request finds out, within a second.
func TestPausedNodeIsOutOfTheWayWithinASecond(t *testing.T) {
	for name, idle := range map[string]time.Duration{"under traffic": 0, "idle": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes, links := startSlowNet(t, 3, &testSource{}, Config{})
				const paused = time.Hour
				defer func() {
					closeAll(nodes)
					time.Sleep(2 * paused) // until the links are done
				}()
				g := nodes[0].Group("g")
				key := keyAlong(nodes[0], "n1", "n2", "k")
				mustGet(t, g, key)
				links[1].delay.Store(int64(paused))
				time.Sleep(idle)
				began := time.Now()
				r := mustGet(t, g, key)
				if d := time.Since(began); d >= time.Second || r.Node != "n2" {
					t.Errorf("answered by %s after %v, want n2 within 1s", r.Node, d)
				}
				began = time.Now()
				mustGet(t, g, keyAlong(nodes[0], "n1", "n2", "other"))
				if d := time.Since(began); d > soon {
					t.Errorf("the next request took %v", d)
				}
			})
		})
	}
}

func TestHedgesStayWithinTheirShare(t *testing.T) {
	h := newHedger(10)
	taken := 0
	for traffic := range int64(10_000) {
		if h.take(traffic) {
			taken++
		}
	}
	if taken < 1000 || taken > 1000+hedgeBurst {
		t.Errorf("%d extra requests beside 10000; want 1000 and at most %d", taken, hedgeBurst)
	}
	for h.take(10_000) {
	}
	h.giveBack()
	wantCount(t, "leave after one was given back", h.take(10_000), true)
	wantCount(t, "leave for another", h.take(10_000), false)
	wantCount(t, "leave for one when much has gone by", h.take(1e9), true)
	saved := 0
	for h.take(1e9) {
		saved++
	}
	wantCount(t, "saved", saved, hedgeBurst-1)
	wantCount(t, "leave without hedging", newHedger(-1).share, 0)
}

func TestAKeyIsCopiedOnceAtATime(t *testing.T) {
	h := newHedger(10)
	wantCount(t, "first", h.begin(1), true)
	wantCount(t, "again", h.begin(1), false)
	h.end(1)
	wantCount(t, "later", h.begin(1), true)
	for i := range uint64(2 * copiesMost) {
		h.begin(i)
	}
	wantCount(t, "keys at a time", len(h.copying), copiesMost)
}

func TestLatencyFollowsWhatPingsTake(t *testing.T) {
	var l latency
	wantCount(t, "unknown", l.typical(), 0)
	wantCount(t, "unknown most", l.most(), 0)
	l.add(time.Millisecond)
	wantCount(t, "after one", l.typical(), time.Millisecond)
	for range 50 {
		l.add(200 * time.Millisecond)
	}
	wantCount(t, "the last one, as it was", l.latest(), 200*time.Millisecond)
	if d := l.typical(); d < 195*time.Millisecond || d > 200*time.Millisecond {
		t.Errorf("it takes %v, want about 200ms", d)
	}
	for i := range 100 {
		l.add(time.Duration(1+i%2*9) * time.Millisecond)
	}
	if d := l.most(); d < 10*time.Millisecond || d > 40*time.Millisecond {
		t.Errorf("between 1 and 10 ms, it hardly takes more than %v", d)
	}
	short := streamTimings{deadAfter: 750 * time.Millisecond, deadMost: 900 * time.Millisecond}
	wantCount(t, "death of a fast one", short.patient(&l).deadAfter, short.deadAfter)
	for range 20 {
		l.add(400 * time.Millisecond)
	}
	wantCount(t, "death of a slow one", short.patient(&l).deadAfter, short.deadMost)
	l.forget()
	wantCount(t, "forgotten", l.typical(), 0)
	wantCount(t, "forgotten last", l.latest(), 0)
}
