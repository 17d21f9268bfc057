package geecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// quiet is a logger for nodes whose words a test does not look at.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// A testSource is a source that remembers what it was asked for.
type testSource struct {
	delay time.Duration
	ttl   time.Duration

	mu    sync.Mutex
	calls map[string]int
	by    map[string][]string // key -> the nodes that asked, in order
}

// at returns the source as one node has it. A key that begins with "no" has no
// value; each other one has "value of KEY".
func (s *testSource) at(node string) Getter {
	return GetterFunc(func(ctx context.Context, key string) (Value, error) {
		s.mu.Lock()
		if s.calls == nil {
			s.calls, s.by = make(map[string]int), make(map[string][]string)
		}
		s.calls[key]++
		s.by[key] = append(s.by[key], node)
		s.mu.Unlock()
		if s.delay > 0 {
			t := time.NewTimer(s.delay)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return Value{}, ctx.Err()
			}
		}
		if strings.HasPrefix(key, "no") {
			return Value{}, fmt.Errorf("row: %w", ErrNotFound)
		}
		return Value{Bytes: []byte("value of " + key), TTL: s.ttl}, nil
	})
}

func (s *testSource) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[key]
}

func (s *testSource) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		n += c
	}
	return n
}

func (s *testSource) askedBy(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.by[key]...)
}

// A memNet joins the nodes of a test without sockets, so that they live in a
// synctest bubble and fail when they are told to.
type memNet struct {
	mu      sync.Mutex
	nodes   map[string]*Node
	fail    map[string]error                             // what asking the node ends with; by "n0>n1" if n0 asks
	hook    func(to string, req *PeerRequest) *PeerReply // answers in a node's place, if it is not nil
	asked   map[string]int                               // requests sent to the node
	modes   map[Mode]int
	batches map[string]int // batches sent to the node
}

func newMemNet() *memNet {
	return &memNet{nodes: map[string]*Node{}, fail: map[string]error{}, asked: map[string]int{}, modes: map[Mode]int{}, batches: map[string]int{}}
}

func (m *memNet) setFail(node string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail[node] = err
}

func (m *memNet) askedOf(node string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[node]
}

// New implements Transport.
func (m *memNet) New(self, peer Peer, addr string) (PeerClient, error) {
	return &memClient{net: m, from: self.ID, addr: addr}, nil
}

type memClient struct {
	net  *memNet
	from string
	addr string
}

func (c *memClient) Get(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	m := c.net
	m.mu.Lock()
	n, err, hook := m.nodes[c.addr], cmp.Or(m.fail[c.addr], m.fail[c.from+">"+c.addr]), m.hook
	m.asked[c.addr]++
	m.modes[req.Mode]++
	m.mu.Unlock()
	if err != nil {
		return PeerReply{}, err
	}
	if hook != nil {
		if r := hook(c.addr, req); r != nil {
			return *r, nil
		}
	}
	if n == nil {
		return PeerReply{}, fmt.Errorf("%w: nobody is there", ErrPeerTrouble)
	}
	done := make(chan PeerReply, 1)
	go func() { done <- n.Answer(ctx, req) }()
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return PeerReply{}, context.Cause(ctx)
	}
}

func (c *memClient) GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error) {
	c.net.mu.Lock()
	c.net.batches[c.addr]++
	c.net.mu.Unlock()
	replies, errs := make([]PeerReply, len(reqs)), make([]error, len(reqs))
	var wg sync.WaitGroup
	for i := range reqs {
		wg.Go(func() { replies[i], errs[i] = c.Get(ctx, &reqs[i]) })
	}
	wg.Wait()
	return replies, errs
}

func (m *memNet) batchesOf(node string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.batches[node]
}

func (c *memClient) Close() error { return nil }

// A testCluster is a few nodes on a memNet with one source.
type testCluster struct {
	t     testing.TB
	net   *memNet
	src   *testSource
	nodes []*Node
	group GroupConfig
}

// memPeers returns the view of nodes n0, n1, ...
func memPeers(n int) []Peer {
	var peers []Peer
	for i := range n {
		id := fmt.Sprintf("n%d", i)
		peers = append(peers, Peer{ID: id, Addr: "mem://" + id})
	}
	return peers
}

// newTestCluster starts n nodes that see each other, with the group "g". Hot
// copies are off unless gc says otherwise, and there is no jitter.
func newTestCluster(t testing.TB, n int, gc GroupConfig) *testCluster {
	t.Helper()
	c := &testCluster{t: t, net: newMemNet(), src: &testSource{}, group: gc}
	for i := range n {
		c.add(memPeers(n)[i], memPeers(n))
	}
	return c
}

func (c *testCluster) config(self Peer, view []Peer) Config {
	return Config{
		ID: self.ID, Addr: self.Addr, Role: self.Role, Peers: view, Logger: quiet(),
		Transports: map[string]Transport{"mem": c.net}, Handover: -1,
	}
}

func (c *testCluster) add(self Peer, view []Peer) *Node {
	c.t.Helper()
	return c.addConfig(c.config(self, view))
}

func (c *testCluster) addConfig(cfg Config) *Node {
	c.t.Helper()
	n, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	gc := c.group
	setDefault(&gc.HotTTL, -1)
	setDefault(&gc.TTLJitter, -1)
	if _, err := n.NewGroup("g", c.src.at(cfg.ID), gc); err != nil {
		c.t.Fatal(err)
	}
	c.net.mu.Lock()
	c.net.nodes[cfg.ID] = n
	c.net.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n
}

func (c *testCluster) close() {
	for _, n := range c.nodes {
		if err := n.Close(); err != nil {
			c.t.Error(err)
		}
	}
}

func (c *testCluster) g(i int) *Group { return c.nodes[i].Group("g") }

// keyOwnedBy returns a key whose owner, as node 0 sees it, is the node with the
// given ID, and whose first stand-in is standIn unless that is empty.
func (c *testCluster) keyOwnedBy(owner, standIn string) string {
	c.t.Helper()
	for i := range 100000 {
		key := fmt.Sprintf("key-%d", i)
		o := c.nodes[0].Owners(key, 2)
		if o[0].ID == owner && (standIn == "" || o[1].ID == standIn) {
			return key
		}
	}
	c.t.Fatalf("no key is owned by %s and then %s", owner, standIn)
	return ""
}

func mustGet(t testing.TB, g *Group, key string) Result {
	t.Helper()
	r, err := g.Lookup(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q) at %s: %v", key, g.node.ID(), err)
	}
	if want := "value of " + key; r.Value.String() != want {
		t.Fatalf("Get(%q) = %q, want %q", key, r.Value, want)
	}
	return r
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func wantCount[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// localGroup returns a group of a node that stands alone.
func localGroup(t testing.TB, getter Getter, gc GroupConfig) *Group {
	t.Helper()
	setDefault(&gc.TTLJitter, -1)
	n, err := New(Config{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	g, err := n.NewGroup("g", getter, gc)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// constant returns a source whose every key has the same value, and its count
// of calls.
func constant(value string) (GetterFunc, *atomic.Int64) {
	var calls atomic.Int64
	return func(context.Context, string) (Value, error) {
		calls.Add(1)
		return Value{Bytes: []byte(value)}, nil
	}, &calls
}
