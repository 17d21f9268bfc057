package geecache

import (
	"context"
	"sync"
	"time"
)

// cutOffMost is for how long after a client has lost all of its peers its callers wait
// for one of them to come back. That is long enough for two attempts to connect.
const cutOffMost = 2 * time.Second

// A cutOff is that no peer is worth a try. When all peers are in trouble at the same
// moment, they are rarely dead: a machine that has too much to do has kept all of them,
// or this process, from giving a sign of life in time, or all of them are being replaced.
// A client, which cannot load itself, lets its callers wait a moment rather than fail.
// After that moment it fails at once, so that an outage gathers no callers.
type cutOff struct {
	mu    sync.Mutex
	since int64         // of the node's clock; 0: it is not cut off
	back  chan struct{} // closed when a peer is worth a try; nil: nobody waits
}

// begin returns what is closed when a peer is worth a try, and how long to wait for it.
func (c *cutOff) begin(now int64) (back <-chan struct{}, patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == 0 {
		c.since = max(now, 1)
	}
	if c.back == nil {
		c.back = make(chan struct{})
	}
	return c.back, cutOffMost - time.Duration(now-c.since)
}

// look takes note of whether a peer is worth a try, and whether one is known to be well,
// which ends it.
func (c *cutOff) look(members []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == 0 {
		return
	}
	for _, m := range members {
		if c.back != nil && m.usable() {
			close(c.back)
			c.back = nil
		}
		if m.well() {
			c.since = 0
		}
	}
}

// awaitPeer waits until a peer is worth a try, and reports whether one is.
func (n *Node) awaitPeer(ctx context.Context) bool {
	back, patience := n.cutOff.begin(n.clock.exact())
	if patience <= 0 {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-back:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-n.stop:
	}
	return false
}
