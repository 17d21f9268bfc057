package peergrpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testAfter = 150 * time.Millisecond
	testDead  = 750 * time.Millisecond
)

func TestGuardLeavesASlowPeerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pings atomic.Int64
		g := newGuard(testAfter, testDead, func(context.Context) error {
			pings.Add(1)
			return nil
		})
		defer g.close()
		ctx, done := g.watch(t.Context())
		time.Sleep(5 * time.Second)
		if ctx.Err() != nil {
			t.Fatalf("a request that waits for a living peer failed: %v", context.Cause(ctx))
		}
		if n := pings.Load(); n < 30 || n > 34 {
			t.Errorf("%d pings in 5 s, want one each %v", n, testAfter)
		}
		done()
		before := pings.Load()
		time.Sleep(time.Minute)
		if n := pings.Load() - before; n > 1 {
			t.Errorf("%d pings after the last request ended", n)
		}
	})
}

func TestGuardFindsADeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(testAfter, testDead, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		defer g.close()
		for range 3 { // again and again: a guard is not used up
			ctxs := make([]context.Context, 10)
			for i := range ctxs {
				ctx, done := g.watch(t.Context())
				defer done()
				ctxs[i] = ctx
			}
			start := time.Now()
			for _, ctx := range ctxs {
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), errSilent) {
					t.Errorf("the cause is %v, want %v", context.Cause(ctx), errSilent)
				}
			}
			if d := time.Since(start); d != testAfter+testDead {
				t.Errorf("noticed after %v, want %v", d, testAfter+testDead)
			}
		}
	})
}

func TestGuardLeavesQuickRequestsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(testAfter, testDead, func(context.Context) error {
			t.Error("pinged although no request waits")
			return nil
		})
		defer g.close()
		for range 100 {
			_, done := g.watch(t.Context())
			time.Sleep(testAfter / 2)
			done()
		}
		time.Sleep(time.Second)
		if len(g.waiting) != 0 {
			t.Errorf("%d requests are left behind", len(g.waiting))
		}
	})
}

func TestGuardCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pinged := make(chan struct{})
		g := newGuard(testAfter, testDead, func(ctx context.Context) error {
			close(pinged)
			<-ctx.Done()
			return ctx.Err()
		})
		_, done := g.watch(t.Context())
		_, late := g.watch(t.Context())
		<-pinged
		g.close()
		done()
		late()
		_, after := g.watch(t.Context())
		time.Sleep(time.Second) // no ping: pinged would be closed twice
		after()
	})
}

// A request that ends in the very moment at which it becomes late must not be
// watched for ever.
func TestGuardForgetsARequestThatEndsAsItBecomesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(testAfter, testDead, func(context.Context) error { return nil })
		for range 200 {
			_, done := g.watch(t.Context())
			go func() {
				time.Sleep(testAfter)
				done()
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		g.mu.Lock()
		if len(g.waiting) != 0 || g.pinging {
			t.Errorf("%d requests are left behind, pinging: %v", len(g.waiting), g.pinging)
		}
		g.mu.Unlock()
		g.close()
	})
}
