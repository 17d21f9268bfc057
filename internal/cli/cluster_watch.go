package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
)

const (
	// lookEvery is how often a process is asked whether a change has reached it.
	lookEvery = 10 * time.Millisecond
	// changeWithin bounds how long that may take.
	changeWithin = 20 * time.Second
)

// An outcome is what became of a change to one node. Times are from when it began.
type outcome struct {
	Op     string   `json:"op"`
	Node   int      `json:"node"`
	Addr   string   `json:"addr"`
	PID    int      `json:"pid"`
	Others int      `json:"others"`             // running processes that were asked, the API server among them
	Late   int      `json:"late,omitempty"`     // those of them that the change has not reached
	Quiet  *float64 `json:"quiet_ms,omitempty"` // nobody asks the node any more
	Ring   *float64 `json:"ring_ms,omitempty"`  // it is in the ring of all and can be asked, or was waited for until it was in none
	Ended  *float64 `json:"ended_ms,omitempty"`
	Exit   string   `json:"exit,omitempty"`
	Handed *int64   `json:"handed_over,omitempty"` // entries that others took from it
	Text   string   `json:"text"`
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

// until asks a process for its state until ok says so, and returns how long it
// took; a negative duration if ctx ended first.
func (l *localCluster) until(ctx context.Context, addr string, ok func(*memberStatus) bool) time.Duration {
	begun := time.Now()
	c, err := l.ask.peer(addr)
	if err != nil {
		return -1
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if s, err := c.status(ctx); err == nil && ok(s) {
			return time.Since(begun)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return -1
		}
	}
}

// untilAll does so with several processes at once. It returns how long the last
// one took, and how many ctx cut off.
func (l *localCluster) untilAll(ctx context.Context, addrs []string, ok func(*memberStatus) bool) (took time.Duration, late int) {
	var wg sync.WaitGroup
	times := make([]time.Duration, len(addrs))
	for i, addr := range addrs {
		wg.Go(func() { times[i] = l.until(ctx, addr, ok) })
	}
	wg.Wait()
	for _, d := range times {
		took = max(took, d)
		if d < 0 {
			late++
		}
	}
	return took, late
}

// nodesOf returns the nodes of the ring that a process has.
func nodesOf(s *memberStatus) map[string]*geecache.PeerStats {
	nodes := make(map[string]*geecache.PeerStats)
	for i := range s.Peers {
		if p := &s.Peers[i]; p.Role == geecache.RoleNode {
			nodes[p.ID] = p
		}
	}
	return nodes
}

// takeovers returns how many entries the processes have taken from others.
func (l *localCluster) takeovers(ctx context.Context, addrs []string) (n int64) {
	for _, addr := range addrs {
		c, err := l.ask.peer(addr)
		if err != nil {
			continue
		}
		if s, err := c.status(ctx); err == nil {
			for i := range s.Groups {
				n += s.Groups[i].TakeoverAccepted
			}
		}
	}
	return n
}

// stopping reports whether the cluster ends while a change is waited for, and says
// so: that what was waited for has not come means nothing then.
func (o *outcome) stopping(cluster context.Context, c *child) bool {
	if cluster.Err() == nil {
		return false
	}
	o.Text = fmt.Sprintf("node %d (%s): %v", c.number, c.addr, errStopping)
	return true
}

// watchAdded waits until a node that was started, or goes on, is in the ring of all
// others, which ask it, and they are in its own.
func (l *localCluster) watchAdded(cluster context.Context, o *outcome, c *child, others []string, begun time.Time) {
	ctx, cancel := context.WithTimeout(cluster, changeWithin)
	defer cancel()
	go func() { // one that ends is never there
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	here := func(s *memberStatus) bool {
		p := nodesOf(s)[c.addr]
		return p != nil && p.State == "up" && p.Breaker != "open"
	}
	_, late := l.untilAll(ctx, others, here)
	own := l.until(ctx, c.addr, func(s *memberStatus) bool {
		nodes := nodesOf(s)
		return s.State == "serving" && len(nodes) >= len(others)-l.clients(others)+1
	})
	o.Ring, o.Late = milliseconds(time.Since(begun)), late
	if o.stopping(cluster, c) {
		return
	}
	who := fmt.Sprintf("node %d (%s)", c.number, c.addr)
	verb := "is"
	if o.Op == "resume" { // it may not have left their rings
		verb = "goes on, answers again and is"
	}
	select {
	case <-c.done:
		o.Exit = c.cmd.ProcessState.String()
		o.Text = fmt.Sprintf("%s has ended: %s: its log, where the cluster runs, says why", who, o.Exit)
	default:
		switch {
		case late > 0:
			o.Text = fmt.Sprintf("%s runs, and is not in the ring of %s, or they do not reach it, after %v", who, ofOthers(late, len(others)), changeWithin)
		case own < 0:
			o.Late = 1
			o.Text = fmt.Sprintf("%s is in the ring of %s, and does not see all of them after %v", who, ofOthers(len(others), len(others)), changeWithin)
		default:
			o.Text = fmt.Sprintf("%s %s in the ring of %s after %s", who, verb, ofOthers(len(others), len(others)), msText(*o.Ring))
		}
	}
}

// clients returns how many of the addresses are the API server's.
func (l *localCluster) clients(addrs []string) (n int) {
	for _, addr := range addrs {
		if addr == l.apiAddr {
			n++
		}
	}
	return n
}

// watchGone waits until nobody asks a node any more, and, if it is to, until it is in
// no ring: one that is missing keeps its place for a while, so that nothing moves
// when it comes back.
func (l *localCluster) watchGone(cluster context.Context, o *outcome, c *child, others []string, begun time.Time, wait bool) {
	ctx, cancel := context.WithTimeout(cluster, changeWithin)
	defer cancel()
	_, o.Late = l.untilAll(ctx, others, func(s *memberStatus) bool {
		p := nodesOf(s)[c.addr]
		return p == nil || p.State != "up" || p.Breaker == "open"
	})
	o.Quiet = milliseconds(time.Since(begun))
	if o.stopping(cluster, c) {
		return
	}
	how := fmt.Sprintf("node %d (%s) %s", c.number, c.addr, map[string]string{"kill": "is dead", "pause": "is paused"}[o.Op])
	if o.Late > 0 {
		o.Text = fmt.Sprintf("%s, and is still asked by %s after %v", how, ofOthers(o.Late, len(others)), changeWithin)
		return
	}
	o.Text = fmt.Sprintf("%s: no other asked it any more after %s", how, msText(*o.Quiet))
	if !wait {
		return
	}
	_, o.Late = l.untilAll(ctx, others, func(s *memberStatus) bool { return nodesOf(s)[c.addr] == nil })
	o.Ring = milliseconds(time.Since(begun))
	if o.stopping(cluster, c) {
		return
	}
	if o.Late > 0 {
		o.Text += fmt.Sprintf(", and it is still in the ring of %s after %v", ofOthers(o.Late, len(others)), changeWithin)
		return
	}
	o.Text += fmt.Sprintf(", and it was out of the ring of %s after %s", ofOthers(len(others), len(others)), msText(*o.Ring))
}

// watchRemoved waits until a node that leaves is in no ring, and has ended. taken is
// how many entries the others had taken from others before.
func (l *localCluster) watchRemoved(ctx context.Context, o *outcome, c *child, others []string, begun time.Time, taken int64) {
	wait, cancel := context.WithTimeout(ctx, changeWithin)
	defer cancel()
	_, o.Late = l.untilAll(wait, others, func(s *memberStatus) bool { return nodesOf(s)[c.addr] == nil })
	o.Ring = milliseconds(time.Since(begun))
	l.watchEnd(o, c, begun)
	if o.stopping(ctx, c) {
		return
	}
	handed := l.takeovers(ctx, others) - taken
	o.Handed = &handed
	who := fmt.Sprintf("node %d (%s)", c.number, c.addr)
	if o.Late > 0 {
		o.Text = fmt.Sprintf("%s has left, and is still in the ring of %s after %v", who, ofOthers(o.Late, len(others)), changeWithin)
		return
	}
	o.Text = fmt.Sprintf("%s was out of the ring of %s after %s, handed %d entries over and ended after %s",
		who, ofOthers(len(others), len(others)), msText(*o.Ring), handed, msText(*o.Ended))
	if terminates && !c.cmd.ProcessState.Success() {
		o.Text += ": " + o.Exit
	}
}

// watchEnd waits for the end of a process that was told to end, and kills it when
// it takes too long.
func (l *localCluster) watchEnd(o *outcome, c *child, begun time.Time) {
	late := time.AfterFunc(l.drain+killAfter, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	<-c.done
	o.Ended, o.Exit = milliseconds(time.Since(begun)), c.cmd.ProcessState.String()
}

func ofOthers(n, all int) string {
	switch {
	case n < all:
		return fmt.Sprintf("%d of %d others", n, all)
	case n == 1:
		return "the only other"
	}
	return fmt.Sprintf("all %d others", n)
}

func msText(ms float64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}
