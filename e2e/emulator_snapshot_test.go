//go:build docker && linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gc "github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/loadgen"
)

const (
	savedKeys   = 20_000
	savedBytes  = 1 << 10
	savedRate   = 500 // requests a second; a few of the keys get most of them
	savedZipf   = 0.9
	savedSource = 20 * time.Millisecond // what a query takes
	backWithin  = 5 * time.Second       // of the last start
	backLevel   = 0.9                   // of the hit ratio before
)

// A restarted is a cluster in the emulator all of whose nodes are ended at once: the
// emulator starts others in their place.
type restarted struct {
	*emulator
	api    *process // an address
	origin *origin
	prove  *http.Client // proves the cluster's secret
}

// TestEmulatorRestart ends all nodes at once under load. With snapshots in the emulator's
// S3 the hit ratio is soon what it was; without, it is not.
func TestEmulatorRestart(t *testing.T) {
	e := newEmulator(t)
	const secret = "of this test alone"
	e.env = append(e.env, "E2E_SECRET="+secret)
	r := &restarted{emulator: e, origin: newOriginAt(t, e.gateway(t), savedSource)}
	r.origin.value = func(key string) ([]byte, bool) { return noise(key, savedBytes), true }
	r.prove = &http.Client{Timeout: patience, Transport: (&gc.Credentials{Secrets: func() []string { return []string{secret} }}).Transport(client.Transport)}

	// Without snapshots: the cluster of which the others are changes.
	r.deploy(t)
	if _, _, late := r.restart(t, "TERM"); late >= backLevel {
		t.Errorf("without snapshots the hit ratio is back at %.1f%% as well: this test shows nothing", 100*late)
	}
	r.deploy(t, "--snapshot=s3://e2e-snapshots/a/prefix")
	back := false
	for try := 0; try < 3 && !back; try++ { // a machine that is busy with other things may need several
		_, back, _ = r.restart(t, "TERM")
	}
	if !back {
		t.Errorf("it was not back within %v of the last start", backWithin)
	}
	r.loaded(t)

	// A crash of all: what there is was saved by the timer.
	r.deploy(t, "--snapshot=s3://e2e-snapshots/a/prefix", "--var=GEECACHE_SNAPSHOT_INTERVAL=3s")
	if at, ok, _ := r.restart(t, "KILL"); ok {
		t.Logf("after a crash of all nodes it is back after %v", at.Round(10*time.Millisecond))
	} else {
		t.Log("after a crash of all nodes it was not back in that time")
	}
	if out, err := e.script(t, "destroy.sh"); err != nil {
		t.Errorf("destroy.sh: %v\n%s", err, out)
	}
	e.nothingLeft(t)
}

// gateway returns this machine's address on the network of the tasks.
func (e *emulator) gateway(t *testing.T) string {
	t.Helper()
	name := ""
	for _, v := range e.env {
		if value, ok := strings.CutPrefix(v, "EMULATOR_NETWORK="); ok {
			name = value
		}
	}
	return strings.TrimSpace(docker(t, "network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", name))
}

// deploy deploys the cluster, or changes it.
func (r *restarted) deploy(t *testing.T, more ...string) {
	t.Helper()
	s := r.must(t, "deploy.sh", append([]string{
		"--image=" + r.image, "--source=" + r.origin.url(), "--cache-bytes=256MiB", "--secret=GEECACHE_SECRET=env:E2E_SECRET",
	}, more...)...)
	t.Logf("changed: %q", s.Changed)
	if !s.Agree || s.Answering != 3 {
		t.Fatalf("%+v: want 3 nodes that agree", s)
	}
	for _, m := range s.Members {
		if m.API {
			r.api = &process{addr: m.Addr, name: "the API server"}
		}
	}
}

// status asks a member what it is.
func (r *restarted) status(t *testing.T, addr string) (s status) {
	t.Helper()
	resp, err := r.prove.Get("http://" + addr + "/statusz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil || s.ID == "" {
		t.Fatalf("/statusz of %s: %s %s %v", addr, resp.Status, body, err)
	}
	return s
}

// take counts at the API server, which goes on, and at the source. A request that fails
// is none that memory has answered.
func (r *restarted) take(t *testing.T) (all sample) {
	for _, g := range r.status(t, r.api.addr).Groups {
		if g.Name == "scores" {
			all.requests, all.queries = g.Gets, g.Errors
		}
	}
	for _, n := range r.origin.log() {
		all.queries += int64(n)
	}
	return all
}

// restart fills the cluster, sends a signal to all of its nodes at the same time, and
// returns how long after the last start of those that take their place the hit ratio was
// back for good; ok is false if it was not, within backWithin. late is the hit ratio of
// the second half of that time.
func (r *restarted) restart(t *testing.T, signal string) (at time.Duration, ok bool, late float64) {
	t.Helper()
	c := &cluster{api: r.api}
	const batch = 1000
	for i := 0; i < savedKeys; i += batch {
		keys := make([]string, batch)
		for j := range keys {
			keys[j] = fmt.Sprintf("user:%d", i+j)
		}
		c.fetch(t, keys)
	}
	stop := loadMeanwhile(t, loadgen.Config{
		URLs: []string{"http://" + r.api.addr}, Group: "scores", Rate: savedRate, Seed: 1, Expect: loadgen.ExpectStatus(),
		Keys: loadgen.Keys{Dist: loadgen.Zipf, N: savedKeys, ZipfS: savedZipf, Format: "user:%d"},
	})
	defer stop()
	take := func() sample { return r.take(t) }
	if signal == "KILL" {
		r.saved(t)
	}
	before := level(take, 2*time.Second)
	old := r.containers(t)
	begin := time.Now()
	docker(t, append([]string{"kill", "--signal=" + signal}, old...)...)
	var last time.Time
	eventually(t, "other nodes run in their place", func() error {
		now := slices.DeleteFunc(r.containers(t), func(id string) bool { return slices.Contains(old, id) })
		if len(now) != len(old) {
			return fmt.Errorf("%d of %d run", len(now), len(old))
		}
		for line := range strings.Lines(docker(t, append([]string{"inspect", "--format={{.State.StartedAt}}"}, now...)...)) {
			at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(line))
			if err != nil {
				return err
			}
			if at.After(last) {
				last = at
			}
		}
		return nil
	})
	t.Logf("SIG%s to all; the last of the others was started %v later", signal, last.Sub(begin).Round(10*time.Millisecond))
	all := recovery(t, take, last, backWithin, 250*time.Millisecond)
	at, ok = backAt(all, backLevel*before)
	ok = ok && at <= backWithin
	requests := int64(0)
	for _, w := range all {
		if w.end > backWithin/2 {
			requests += w.requests
			late += w.ratio * float64(w.requests)
		}
	}
	late /= float64(max(requests, 1))
	t.Logf("the hit ratio was %.1f%%; it is back at %.0f%% of that: %v, after %v; of the second half of the time it is %.1f%%",
		100*before, 100*backLevel, ok, at.Round(10*time.Millisecond), 100*late)
	return at, ok, late
}

// containers returns the nodes' containers that run.
func (r *restarted) containers(t *testing.T) []string {
	t.Helper()
	return strings.Fields(docker(t, "ps", "--quiet", "--filter=label=com.amazonaws.ecs.task-definition-family="+r.name+"-node"))
}

// nodes returns what the nodes are.
func (r *restarted) nodes(t *testing.T) (all []status) {
	t.Helper()
	out, err := r.run(t.Context(), geecache, "env", "status", "emulator", "--endpoint="+r.endpoint, "--json")
	for _, m := range decode(t, out, err).Members {
		if !m.API {
			all = append(all, r.status(t, m.Addr))
		}
	}
	return all
}

// saved waits until each node has saved all that there is now.
func (r *restarted) saved(t *testing.T) {
	t.Helper()
	saves := make(map[string]int64)
	for _, n := range r.nodes(t) {
		saves[n.ID] = n.Snapshot.Saves
	}
	eventually(t, "all nodes have saved a snapshot", func() error {
		for _, n := range r.nodes(t) {
			if n.Snapshot.Saves < saves[n.ID]+2 { // the first may have been begun before
				return fmt.Errorf("%s has saved %d", n.ID, n.Snapshot.Saves)
			}
		}
		return nil
	})
}

// loaded checks that what the nodes have is of snapshots.
func (r *restarted) loaded(t *testing.T) {
	t.Helper()
	total := int64(0)
	for _, n := range r.nodes(t) {
		t.Logf("%s: %+v", n.ID, n.Snapshot)
		total += n.Snapshot.LoadedNow
	}
	if total < savedKeys/2 { // what was asked for before it came has been loaded from the source
		t.Errorf("%d of %d entries were loaded", total, savedKeys)
	}
}

// newOriginAt starts an origin at an address of this machine.
func newOriginAt(t *testing.T, host string, delay time.Duration) *origin {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return startOrigin(t, l, delay)
}
