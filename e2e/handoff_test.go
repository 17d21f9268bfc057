//go:build unix

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// restart ends a node as an orchestrator does, and starts it again with more
// flags. It returns how long the node took to end.
func (c *cluster) restart(t *testing.T, i int, more ...string) time.Duration {
	t.Helper()
	old := c.nodes[i]
	begin := time.Now()
	old.signal(t, syscall.SIGTERM)
	if code := old.wait(t); code != 0 {
		t.Fatalf("after SIGTERM the exit status of %s is %d, want 0", old.name, code)
	}
	took := time.Since(begin)
	n := start(t, old.name+", again", append(old.cmd.Args[1:len(old.cmd.Args):len(old.cmd.Args)], more...)...)
	n.addr = old.addr
	c.nodes[i] = n
	n.awaitConnected(t, len(c.nodes))
	for _, p := range c.all() {
		p.awaitConnected(t, len(c.nodes))
	}
	return took
}

// reloads counts the calls of the source beyond the first of each key.
func reloads(log map[string]int) (n int) {
	for _, calls := range log {
		n += calls - 1
	}
	return n
}

// TestRollingRestart restarts all nodes of a warm cluster, one after another, under
// load. What they hand over need not be loaded again; without that, each key is.
func TestRollingRestart(t *testing.T) {
	const nodes, keys = 5, 5000
	for _, tt := range []struct {
		name         string
		first, again []string // flags before and after the restart
		lost         func(n int) bool
	}{
		// What is promised is a hit ratio of 80% of what it was, each second; here five restarts follow each
		// other within half a second. Most often up to 1% is lost, and 6% on a busy machine.
		{"with handoff", nil, nil, func(n int) bool { return n > keys/5 }},
		{"without", []string{"--handoff-bytes=0"}, nil, func(n int) bool { return n < keys/2 }},
		{"from 1.0 to 1.1", []string{"--protocol=1.0"}, []string{"--protocol=1.1"}, func(n int) bool { return n < keys/2 }},
		{"from 1.1 to 1.0", nil, []string{"--protocol=1.0"}, func(n int) bool { return n > 2*keys }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(t, 2*time.Millisecond)
			c := startCluster(t, clusterConfig{nodes: nodes, source: o.url(), nodeArgs: tt.first, args: []string{"--hot-copies=false"}})
			list := make([]string, keys)
			for i := range list {
				list[i] = fmt.Sprintf("user:%d", i)
			}
			warm := func() {
				for i := 0; i < keys; i += 500 {
					c.batch(t, list[i:i+500])
				}
			}
			warm()
			if n := reloads(o.log()); n != 0 {
				t.Fatalf("%d loads beyond the first of each key before anything has happened", n)
			}
			stop := loadMeanwhile(t, c.loadConfig(t, list))
			var slowest time.Duration
			for i := range nodes {
				slowest = max(slowest, c.restart(t, i, tt.again...))
			}
			reportLoad(t, stop())
			warm()
			n := reloads(o.log())
			t.Logf("%d loads of %d keys beyond the first; the slowest node took %v to end", n, keys, slowest.Round(time.Millisecond))
			if tt.lost(n) {
				t.Errorf("%d loads of %d keys beyond the first of each", n, keys)
			}
			if slowest > 10*time.Second {
				t.Errorf("a node took %v to end", slowest)
			}
		})
	}
}
