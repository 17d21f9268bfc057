package geecache

import "context"

const (
	// sharedAfter is how many fetches in a row must bring one context until a
	// goroutine waits for its end.
	sharedAfter = 16

	// sharedMost bounds the contexts of a connection that goroutines wait for.
	sharedMost = 4
)

// A sharedContext is one that many callers bring: those of a worker pool, or the
// parts of one large request. If each of them waited for its end, they would
// queue for the lock of its channel; so a goroutine waits for it, and makes them
// leave.
type sharedContext struct {
	ctx  context.Context
	done <-chan struct{}
}

// contexts finds out which contexts are shared. It is guarded by frameWriter.mu.
type contexts struct {
	last   <-chan struct{} // of the last fetch
	run    int             // fetches in a row that have had it
	shared []*sharedContext
}

// sharedLocked returns the context's watcher, nil if its caller must wait for its
// end itself.
func (cc *clientConn) sharedLocked(ctx context.Context) *sharedContext {
	done, c := ctx.Done(), &cc.contexts
	for _, s := range c.shared {
		if s.done == done {
			return s
		}
	}
	if done == nil || done != c.last {
		c.last, c.run = done, 0
		return nil
	}
	if c.run++; c.run < sharedAfter || len(c.shared) == sharedMost {
		return nil
	}
	s := &sharedContext{ctx, done}
	c.shared = append(c.shared, s)
	cc.tasks.Go(func() {
		select {
		case <-done:
			cc.leaveTogether(s)
		case <-cc.done:
		}
	})
	return s
}

// leaveTogether makes all callers leave that share a context, which has ended.
// Who comes later finds no watcher, and sees that the context has ended.
func (cc *clientConn) leaveTogether(ended *sharedContext) {
	var callers []*singleCall
	cc.w.mu.Lock()
	for i, s := range cc.contexts.shared {
		if s == ended {
			cc.contexts.shared = append(cc.contexts.shared[:i:i], cc.contexts.shared[i+1:]...)
		}
	}
	for _, k := range cc.slots {
		if k == nil || k.shared == nil {
			continue
		}
		for s, first := k.shared, true; first || s != k.shared; s, first = s.next, false {
			if s.watcher == ended {
				callers = append(callers, s)
			}
		}
	}
	for _, s := range callers {
		cc.leaveFlightLocked(s)
	}
	cc.w.mu.Unlock()
	for _, s := range callers {
		s.err = ended.ctx.Err()
		s.callWaiter.end()
	}
}
