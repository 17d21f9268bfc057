//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/internal/loadgen"
)

// callers ask for one key at the same time, spread over the targets, and each
// has to get the value.
func callers(t *testing.T, c *cluster, targets []*process, n int, key string, want []byte) {
	t.Helper()
	begin := make(chan struct{})
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for i := range n {
		p := targets[i%len(targets)]
		wg.Go(func() {
			<-begin
			resp, value, err := c.ask(p, key)
			switch {
			case err != nil:
				errs <- fmt.Errorf("%s: %w", p.name, err)
			case resp.StatusCode != http.StatusOK || !bytes.Equal(value, want):
				errs <- fmt.Errorf("%s: %d, %.100q", p.name, resp.StatusCode, value)
			}
		})
	}
	close(begin)
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// loads returns how many calls of the source all nodes have counted, and the
// source itself, if it counts.
func (c *cluster) loads(t *testing.T) (counted, queries int64) {
	t.Helper()
	for _, n := range c.nodes {
		s := n.status(t)
		for i := range s.Groups {
			counted += s.Groups[i].Loads()
		}
		if s.Process.Queries != nil {
			queries += *s.Process.Queries
		}
	}
	if g := c.api.group(t); g.Loads() != 0 {
		t.Errorf("the API server has loaded %d times", g.Loads())
	}
	return counted, queries
}

// ring returns the ring that the cluster's nodes have.
func (c *cluster) ring(t *testing.T) *consistenthash.Ring {
	t.Helper()
	var nodes []consistenthash.Node
	for _, n := range c.nodes {
		nodes = append(nodes, consistenthash.Node{ID: n.addr})
	}
	ring, err := consistenthash.New(nodes, consistenthash.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// keysOf returns n keys that a node owns, that begin with prefix.
func keysOf(ring *consistenthash.Ring, id, prefix string, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprintf("%s%d", prefix, i); ring.Get(key) == id {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestColdKeyIsLoadedOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterConfig{source: "slowdb:?latency=200ms"})
	for i, key := range []string{"Tom", "Jack", "Sam"} {
		callers(t, c, c.all(), 300, key, []byte([]string{"630", "589", "567"}[i]))
		counted, queries := c.loads(t)
		if want := int64(i + 1); counted != want || queries != want {
			t.Fatalf("after 300 callers for each of %d cold keys: %d loads, %d queries; want %d", i+1, counted, queries, want)
		}
	}
}

// TestOwnerKilledDuringLoad: the owner dies while all wait for its load. Every
// caller of a living process is answered, and only one stand-in loads.
func TestOwnerKilledDuringLoad(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 300*time.Millisecond)
	o.begun = make(chan string, 1000)
	c := startCluster(t, clusterConfig{source: o.url()})
	key := "the key"
	owner := c.node(t, c.ring(t).Get(key))
	var living []*process
	for _, p := range c.all() {
		if p != owner {
			living = append(living, p)
		}
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-o.begun
		_ = owner.cmd.Process.Kill()
	}()
	callers(t, c, living, 300, key, valueOf(key))
	<-killed
	if n := o.count(key); n != 2 {
		t.Errorf("%d queries, want 2: of the owner, and of its stand-in", n)
	}
	var standIn, other int64
	for _, p := range living[:2] {
		g := p.group(t)
		standIn, other = standIn+g.LoadsStandIn, other+g.LoadsOther+g.LoadsOwner
	}
	if standIn != 1 || other != 0 {
		t.Errorf("%d loads as a stand-in and %d others; want 1 and 0", standIn, other)
	}
}

// batch asks the API for many keys and checks their values.
func (c *cluster) batch(t *testing.T, keys []string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"group": "scores", "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post(c.api.url("/api/batch"), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct {
		Values map[string]struct{ Value string }
		Errors map[string]struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("batch: %s, %v", resp.Status, err)
	}
	for key, e := range got.Errors {
		t.Fatalf("batch: %d errors, such as of %s: %s: %s", len(got.Errors), key, e.Code, e.Message)
	}
	for _, key := range keys {
		if v := got.Values[key].Value; v != string(valueOf(key)) {
			t.Fatalf("batch: %s is %q", key, v)
		}
	}
}

// loadConfig is the load of the tests that break nodes: through the API, over
// the keys, each value checked.
func (c *cluster) loadConfig(t *testing.T, keys []string) loadgen.Config {
	t.Helper()
	rule, err := loadgen.ExpectFormat("value of %s")
	if err != nil {
		t.Fatal(err)
	}
	list := make([]loadgen.WeightedKey, len(keys))
	for i, key := range keys {
		list[i] = loadgen.WeightedKey{Key: key, Weight: 1}
	}
	cfg := loadgen.Config{
		URLs: []string{"http://" + c.api.addr}, Group: "scores", Keys: loadgen.Keys{List: list},
		Rate: 2000, Duration: 6 * time.Second, Expect: rule, Seed: 1,
	}
	if raceEnabled {
		cfg.Rate = 500 // the detector slows each of the processes five times or more
	}
	if full() {
		cfg.Duration = 20 * time.Second
	}
	return cfg
}

func reportLoad(t *testing.T, r *loadgen.Result) {
	t.Helper()
	for _, f := range r.Failures {
		t.Logf("failure: %+v", f)
	}
	if r.Failed != 0 || r.Completed+r.Outcomes[loadgen.Interrupted.String()] != r.Requests {
		t.Errorf("%d of %d requests failed: %v", r.Failed, r.Requests, r.Outcomes)
	}
	for _, note := range r.Notes() {
		t.Log(note)
	}
	for _, s := range r.Seconds {
		t.Logf("second %2d: %d requests, p50 %v, p99 %v, max %v", s.Second, s.Requests, s.P50, s.P99, s.Max)
	}
}

// A killing is the source's log right before a node was killed, and once it was
// dead.
type killing struct{ before, after map[string]int }

// checkReloads checks the source's log after the load. It returns how many loads
// were surely by stand-ins; those while the node died may have been its own.
func checkReloads(t *testing.T, log map[string]int, m killing, orphaned func(key string) bool) (sure, unsure int64) {
	t.Helper()
	for key, n := range log {
		if !orphaned(key) {
			if n != 1 {
				t.Errorf("%s: %d queries, though its owner lives", key, n)
			}
			continue
		}
		since := n - m.after[key]
		if since > 1 || n-m.before[key] > 2 || n > 2 {
			t.Errorf("%s: %d queries, %d of them since its owner died: more than one node loads it", key, n, since)
		}
		sure += int64(since)
		unsure += int64(m.after[key] - m.before[key])
	}
	return sure, unsure
}

// TestKillUnderLoad kills a node while requests come in. None may fail, and
// each of its keys is loaded again once, by its stand-in, and not by each node.
// The caches start cold, so that before and after the kill some requests wait
// for the source, and the latencies can be compared.
func TestKillUnderLoad(t *testing.T) {
	o := newOrigin(t, 5*time.Millisecond)
	c := startCluster(t, clusterConfig{source: o.url(), args: []string{"--hot-copies=false"}})
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	ring := c.ring(t)
	victim := c.nodes[1]
	cfg := c.loadConfig(t, keys)
	half := cfg.Duration / 2
	killed := make(chan killing, 1)
	timer := time.AfterFunc(half, func() {
		m := killing{before: o.log()}
		_ = victim.cmd.Process.Kill()
		<-victim.done
		m.after = o.log()
		killed <- m
	})
	defer timer.Stop()
	r, err := loadgen.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	reportLoad(t, r)
	at := int(half / time.Second)
	before, after := r.Window(0, at), r.Window(at+1, int(cfg.Duration/time.Second))
	t.Logf("p99 before %v, after the first second %v: x%.2f", before.P99, after.P99, float64(after.P99)/float64(before.P99))

	sure, unsure := checkReloads(t, o.log(), <-killed, func(key string) bool { return ring.Get(key) == victim.addr })
	var standIn, other int64
	for _, n := range c.nodes {
		if n != victim {
			g := n.group(t)
			standIn, other = standIn+g.LoadsStandIn, other+g.LoadsOther
		}
	}
	if sure == 0 || standIn < sure || standIn > sure+unsure || other != 0 {
		t.Errorf("the source was asked for %d to %d keys of the dead node; by their counters, nodes loaded %d as stand-ins, %d otherwise",
			sure, sure+unsure, standIn, other)
	}
	t.Logf("%d keys of the dead node were loaded by their stand-ins, each once", sure)
}

// loadMeanwhile sends until the function that it returns is called.
func loadMeanwhile(t *testing.T, cfg loadgen.Config) (stop func() *loadgen.Result) {
	t.Helper()
	cfg.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *loadgen.Result, 1)
	go func() {
		r, err := loadgen.Run(ctx, cfg)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	var once sync.Once
	var result *loadgen.Result
	stop = func() *loadgen.Result {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	t.Cleanup(func() { stop() })
	return stop
}

// TestStoppedNode stops a node as a hanging machine does. Its connections stay
// open, so only its silence tells. It serves again when it goes on.
func TestStoppedNode(t *testing.T) {
	o := newOrigin(t, 5*time.Millisecond)
	c := startCluster(t, clusterConfig{source: o.url(), args: []string{"--hot-copies=false"}})
	ring := c.ring(t)
	victim := c.nodes[2]
	cold := keysOf(ring, victim.addr, "cold:", 1)
	keys := make([]string, 2000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	c.batch(t, keys)
	cfg := c.loadConfig(t, keys)
	cfg.Rate = 200

	stop := loadMeanwhile(t, cfg)
	eventually(t, "load", func() error {
		if victim.group(t).Served == 0 {
			return fmt.Errorf("the victim serves nothing yet")
		}
		return nil
	})

	victim.signal(t, syscall.SIGSTOP)
	stopped := time.Now()
	resp, value, err := c.ask(c.api, cold[0])
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(value, valueOf(cold[0])) {
		t.Fatalf("a key of the stopped node: %v, %q, %v", resp, value, err)
	}
	t.Logf("the first key of the stopped node was answered after %v", time.Since(stopped).Round(time.Millisecond))
	if by, want := resp.Header.Get("Geecache-Node"), ring.GetN(cold[0], 2)[1]; by != want {
		t.Errorf("it was answered by %s, not by its stand-in %s", by, want)
	}
	eventually(t, "the API server's view", func() error {
		for _, p := range c.api.status(t).Peers {
			if p.ID == victim.addr && p.State == "down" {
				return nil
			}
		}
		return fmt.Errorf("it holds the stopped node for alive")
	})
	asked := time.Now()
	if _, _, err := c.ask(c.api, keysOf(ring, victim.addr, "next:", 1)[0]); err != nil {
		t.Error(err)
	}
	t.Logf("the next one after %v", time.Since(asked).Round(time.Millisecond))

	victim.signal(t, syscall.SIGCONT)
	eventually(t, "the node serves again", func() error {
		return victim.answers(c, keysOf(ring, victim.addr, fmt.Sprintf("back:%d:", time.Now().UnixNano()), 1)[0])
	})
	reportLoad(t, stop())
	if n := o.count(cold[0]); n < 1 || n > 2 {
		t.Errorf("%d queries for the cold key; want one by the stand-in, and at most one by the owner that went on", n)
	}
}

// answers returns nil if a cold key of the process is answered by it.
func (p *process) answers(c *cluster, key string) error {
	resp, _, err := c.ask(c.api, key)
	if err != nil {
		return err
	}
	if by := resp.Header.Get("Geecache-Node"); by != p.addr {
		return fmt.Errorf("its keys are answered by %s", by)
	}
	return nil
}

// TestSlowSourceIsNoTrouble: an owner that waits for its source is not dead.
func TestSlowSourceIsNoTrouble(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 5*time.Second)
	c := startCluster(t, clusterConfig{source: o.url(), args: []string{"--load-timeout=20s", "--api-timeout=25s"}})
	callers(t, c, c.all(), 40, "slow", valueOf("slow"))
	if n := o.count("slow"); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	for _, p := range c.all() {
		if g := p.group(t); g.StandIns != 0 || g.PeerErrors != 0 {
			t.Errorf("%s: asked %d stand-ins, found %d times a peer in trouble; want none", p.name, g.StandIns, g.PeerErrors)
		}
	}
}
