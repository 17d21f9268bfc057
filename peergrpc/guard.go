package peergrpc

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errSilent: the peer showed no sign of life while requests waited.
var errSilent = errors.New("no sign of life")

// A guard notices that a peer is dead (stopped, cut off, its machine gone) while
// requests wait for it, without giving up on a peer whose source is slow.
//
// gRPC's own keepalive pings every 10 s at most, which is too slow. So when a
// request has waited for a while, the guard calls the peer's health service on a
// connection of its own, and again and again as long as any request waits. Any
// answer is a sign of life. When one does not come in time, all requests that
// have waited for a while fail.
type guard struct {
	after time.Duration // how long a request waits before the peer is pinged
	dead  time.Duration // how long a ping may take
	ping  func(ctx context.Context) error

	ctx  context.Context // ends when the guard is closed
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex            // guards what follows
	waiting map[*guarded]struct{} // requests that have waited for a while
	pinging bool                  // whether run runs
}

// A guarded request is one that a guard may fail.
type guarded struct {
	cancel context.CancelCauseFunc
}

func newGuard(after, dead time.Duration, ping func(context.Context) error) *guard {
	ctx, stop := context.WithCancel(context.Background())
	return &guard{
		after: after, dead: dead, ping: ping,
		ctx: ctx, stop: stop,
		waiting: make(map[*guarded]struct{}),
	}
}

// watch returns a context for a request, whose cause becomes errSilent when the
// peer is found dead, and the function to call when the request has ended.
func (g *guard) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &guarded{cancel: cancel}
	timer := time.AfterFunc(g.after, func() { g.late(ctx, w) })
	return ctx, func() {
		cancel(nil) // first, so that late, if it runs now, leaves w out
		if !timer.Stop() {
			g.mu.Lock()
			delete(g.waiting, w)
			g.mu.Unlock()
		}
	}
}

// late is called when a request has waited for a while.
func (g *guard) late(ctx context.Context, w *guarded) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx.Err() != nil || g.ctx.Err() != nil {
		return
	}
	g.waiting[w] = struct{}{}
	if !g.pinging {
		g.pinging = true
		g.wg.Go(g.run)
	}
}

// run pings the peer until no request waits or a ping fails.
func (g *guard) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-g.ctx.Done():
		}
		if g.ctx.Err() != nil || g.nobodyWaits() {
			return
		}
		ctx, cancel := context.WithTimeout(g.ctx, g.dead)
		err := g.ping(ctx)
		cancel()
		if err != nil {
			g.failAll()
			return
		}
		pause.Reset(g.after)
	}
}

// nobodyWaits reports whether no request waits, in which case run must end.
func (g *guard) nobodyWaits() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.pinging = false
	}
	return !g.pinging
}

// failAll ends all requests that wait. After it, run must end.
func (g *guard) failAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := range g.waiting {
		w.cancel(errSilent)
	}
	clear(g.waiting)
	g.pinging = false
}

// close ends the guard's goroutine.
func (g *guard) close() {
	g.mu.Lock()
	g.stop() // under the lock, so that late starts no goroutine after it
	g.mu.Unlock()
	g.wg.Wait()
}
