package judge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

const (
	apiTimes    = 1000 // requests for the hot key
	apiWarmups  = 50   // before them
	pingTimes   = 400  // round trips between nodes
	pingPause   = 50 * time.Millisecond
	pingCallers = 8                // whose requests keep nodes busy meanwhile
	pingWithin  = 90 * time.Second // for all of them
)

func networkTest() test {
	return test{
		id: "network", title: "The network",
		method: fmt.Sprintf("node-to-node: the round trips of the pings that processes send to each other over their streams anyway, each as it was (last_rtt_ns on /statusz, "+
			"looked at every %v), while %d callers ask the API for keys that are not there, so that there is traffic. client-to-api: %d requests for one key that is in memory, "+
			"one after the other over a connection that is kept, after %d that do not count.", pingPause, pingCallers, apiTimes, apiWarmups),
		run: network,
	}
}

func network(ctx context.Context, s *session, t *result.Test) error {
	d, err := s.begin(ctx, s.Deployment)
	if err != nil {
		return err
	}
	defer d.asker.Close()
	s.tell("round trips between nodes")
	if err := roundTrips(ctx, d.asker, d.now, t); err != nil {
		return err
	}
	s.tell("%d requests for one key", apiTimes)
	c := newCaller(d.now.API, 1)
	defer c.close()
	e := envbench.DemoExpect()
	one := result.Series{Name: "client-to-api", Unit: "ms", Warmups: apiWarmups, Note: "one connection that is kept, from this machine to " + d.now.API}
	for i := range apiWarmups + apiTimes {
		got, err := c.get(ctx, e.Key)
		if err != nil {
			return err
		}
		if got.value != e.Value {
			return fmt.Errorf("%s is %.100q at the API, and not %q", e.Key, got.value, e.Value)
		}
		if i >= apiWarmups {
			one.Samples = append(one.Samples, milliseconds(got.took))
		}
	}
	t.Series = append(t.Series, one)
	return nil
}

// roundTrips samples pings between processes.
func roundTrips(ctx context.Context, a *envbench.Asker, now *envbench.Status, t *result.Test) error {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	defer traffic(ctx, now.API)()
	type pair struct{ from, to string }
	last := make(map[pair]time.Duration)
	var samples []float64
	var failed error
	for len(samples) < pingTimes && pause(ctx, pingPause) {
		for _, m := range now.Members {
			v, err := a.View(ctx, m.Addr)
			if err != nil {
				failed = fmt.Errorf("round trips of %s: %w", m.ID, err)
				continue
			}
			for _, p := range v.Peers {
				on, took := pair{v.ID, p.ID}, p.LastRTT
				before, known := last[on]
				last[on] = took
				// What was there at the first look is of an unknown time.
				if known && took != before && took > 0 {
					samples = append(samples, milliseconds(took))
				}
			}
		}
	}
	if len(samples) == 0 {
		if failed == nil {
			failed = fmt.Errorf("no process has pinged another within %v", pingWithin)
		}
		return failed
	}
	t.Series = append(t.Series, result.Series{
		Name: "node-to-node", Unit: "ms", Samples: samples,
		Note: fmt.Sprintf("pings over the peers' streams, with requests on their way: from process to process and back, by %d pairs of %d processes", len(last), len(now.Members)),
	})
	return nil
}

// traffic has the API asked for keys that are not there, until what it returns is called.
func traffic(ctx context.Context, api string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	c := newCaller(api, pingCallers)
	run := random()
	var wg sync.WaitGroup
	for i := range pingCallers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := c.get(ctx, fmt.Sprintf("absent-%s-%d-%d", run, i, n)); err != nil && !pause(ctx, pingPause) {
					return
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		c.close()
	}
}

// A caller asks an API, as a client does that keeps connections.
type caller struct {
	api, group string
	http       *http.Client
}

// newCaller returns a caller that keeps so many connections. Close it.
func newCaller(api string, connections int) *caller {
	t := &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections} // no proxy
	return &caller{api, envbench.DemoExpect().Group, &http.Client{Transport: t, Timeout: 10 * time.Second}}
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// An answer is what came of one request.
type answer struct {
	status      int
	value, from string // from where the answering process had it
	took        time.Duration
}

// get asks for a key. An answer of 404 is no error.
func (c *caller) get(ctx context.Context, key string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.api+"/api?"+url.Values{"key": {key}, "group": {c.group}}.Encode(), nil)
	if err != nil {
		return answer{}, err
	}
	begun := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	took := time.Since(begun)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return answer{}, fmt.Errorf("the API answers %s for %s: %.200s", resp.Status, key, strings.TrimSpace(string(body)))
	}
	return answer{resp.StatusCode, string(body), resp.Header.Get("Geecache-From"), took}, nil
}
