//go:build unix

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// late is what an answer takes that has waited for the slow node, less what the
// machine may be off.
const late = 150 * time.Millisecond

// measure runs load against one API server.
func (c *cluster) loadOn(t *testing.T, api *process, keys []string, d, warmup time.Duration) *loadgen.Result {
	t.Helper()
	cfg := c.loadConfig(t, keys)
	cfg.URLs, cfg.Duration, cfg.Warmup = []string{"http://" + api.addr}, d, warmup
	cfg.Rate /= 2
	r, err := loadgen.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != 0 {
		t.Errorf("%d of %d requests failed: %v", r.Failed, r.Requests, r.Outcomes)
	}
	return r
}

// extra returns how many requests the processes have sent in addition because a
// peer was slow, and how many keys were asked of each other in all.
func extra(t *testing.T, processes []*process) (extra, traffic int64) {
	t.Helper()
	for _, p := range processes {
		g := p.group(t)
		extra += g.ExtraRequests
		traffic += g.PeerRequests + g.Hedges + g.Served
	}
	return extra, traffic
}

// TestSlowNode: one node's answers take 200 ms. What it has in memory is
// answered as fast as ever, by its stand-ins, within the limit of extra requests,
// and without a load anywhere.
func TestSlowNode(t *testing.T) {
	o := newOrigin(t, 5*time.Millisecond)
	c, waiting, proxy := startBehindProxy(t, 4, o.url(), "--hedge-percent=0")
	keys := make([]string, 1000)
	if raceEnabled {
		keys = keys[:200] // so that each is asked for a few times even so
	}
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	c.batch(t, keys)
	duration, warmup := 4*time.Second, 4*time.Second
	if full() {
		duration = 20 * time.Second
	}
	healthy := c.loadOn(t, c.api, keys, duration, time.Second)

	heal := proxy.disturb(t, fault{"latency", `"latency":200`})
	eventually(t, "the slow node is found", func() error { return c.api.thinksSlow(c.nodes[0].addr, true) })
	hedged := c.loadOn(t, c.api, keys, duration, warmup)
	unhedged := c.loadOn(t, waiting, keys, duration, time.Second)
	if p := hedged.Latency.P95; p >= late {
		t.Errorf("p95 is %v: callers wait for the slow node", p)
	}
	if p := unhedged.Latency.P90; p < late {
		t.Errorf("without hedging p90 is %v: is the node slow at all?", p)
	}
	ratio := float64(hedged.Latency.P99) / float64(healthy.Latency.P99)
	t.Logf("p50, p99 and p99.9 of hits: healthy %v, %v, %v; one of 4 nodes slow, hedging %v, %v, %v; not hedging %v, %v, %v; p99 is %.2f times the healthy one's",
		healthy.Latency.P50, healthy.Latency.P99, healthy.Latency.P999, hedged.Latency.P50, hedged.Latency.P99, hedged.Latency.P999,
		unhedged.Latency.P50, unhedged.Latency.P99, unhedged.Latency.P999, ratio)
	if full() && ratio > 3 {
		t.Errorf("p99 of hits is %.2f times a healthy cluster's, want at most 3", ratio)
	}
	const burst = 100 // of each process
	all := append(c.all(), waiting)
	if n, traffic := extra(t, all); n > traffic/10+burst*int64(len(all)) || n == 0 {
		t.Errorf("%d extra requests beside %d; want some, and at most a tenth and %d", n, traffic, burst*len(all))
	} else {
		t.Logf("%d extra requests beside %d", n, traffic)
	}
	for key, n := range o.log() {
		if n != 1 {
			t.Errorf("%s was loaded %d times", key, n)
		}
	}
	heal()
	eventually(t, "the node is found to be well again", func() error { return c.api.thinksSlow(c.nodes[0].addr, false) })
}

// thinksSlow returns nil if the process holds a peer for slow, or for not slow.
func (p *process) thinksSlow(id string, slow bool) error {
	s, err := p.tryStatus()
	if err != nil {
		return err
	}
	for _, peer := range s.Peers {
		if peer.ID == id && peer.Slow == slow {
			return nil
		}
	}
	return fmt.Errorf("%+v", s.Peers)
}

// TestBreakerOpensAndCloses: each kind of fault makes the breaker open, all
// requests are answered meanwhile, and it closes when the fault is over.
func TestBreakerOpensAndCloses(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, time.Millisecond)
	c, _, proxy := startBehindProxy(t, 3, o.url())
	metric := fmt.Sprintf("geecache_peer_breaker_state{peer=%q,protocol=%q}", c.nodes[0].addr, "stream")
	var asked atomic.Int64
	// state asks for keys of the node, and waits for a state of the breaker.
	state := func(f fault, want float64) {
		t.Helper()
		ring := c.ring(t)
		eventually(t, fmt.Sprintf("%s: breaker in state %v", f.kind, want), func() error {
			for range 8 {
				key := keysOf(ring, c.nodes[0].addr, fmt.Sprintf("%d:", asked.Add(1)), 1)[0]
				resp, body, err := c.ask(c.api, key)
				if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, valueOf(key)) {
					t.Fatalf("%s: %s: %v, %q, %v", f.kind, key, resp, body, err)
				}
			}
			if got := c.api.metric(t, metric); got != want {
				return fmt.Errorf("it is %v", got)
			}
			return nil
		})
	}
	for _, f := range []fault{
		{"reset_peer", `"timeout":0`},  // connections are reset
		{"timeout", `"timeout":0`},     // nothing comes through, nothing ends
		{"limit_data", `"bytes":3000`}, // each connection ends after some answers
		{"bandwidth", `"rate":0`},      // nothing comes through
		{"latency", `"latency":2000`},  // no sign of life in time
	} {
		state(f, 0)
		heal := proxy.disturb(t, f)
		state(f, 2)
		heal()
		state(f, 0)
	}
	for _, to := range []string{"open", "half-open", "closed"} {
		name := fmt.Sprintf("geecache_peer_breaker_transitions_total{peer=%q,protocol=%q,to=%q}", c.nodes[0].addr, "stream", to)
		if n := c.api.metric(t, name); n < 5 {
			t.Errorf("%s is %v, want 5 at least", name, n)
		}
	}
}
