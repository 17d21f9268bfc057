package singleflight_test

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/singleflight"
)

type (
	config = singleflight.Config
	stats  = singleflight.Stats
)

var seed = maphash.MakeSeed()

func hash(key string) uint64 { return maphash.String(seed, key) }

// A result is what a call of Do has returned, and after how long.
type result struct {
	val    string
	shared bool
	err    error
	took   time.Duration
}

// A caller is a call of Do that runs in a goroutine of its own.
type caller struct {
	result result
	done   bool // set after result; read it only after synctest.Wait
}

func (c *caller) check(t *testing.T, want result) {
	t.Helper()
	if !c.done {
		t.Fatalf("the caller still waits, want %+v", want)
	}
	got := c.result
	if got.val != want.val || got.shared != want.shared || !errors.Is(got.err, want.err) || got.took != want.took {
		t.Errorf("the caller has got %+v, want %+v", got, want)
	}
}

func call(ctx context.Context, g *singleflight.Group[string], key string, fn func(context.Context) (string, error)) *caller {
	c := new(caller)
	go func() {
		start := time.Now()
		v, shared, err := g.Do(ctx, hash(key), key, fn)
		c.result = result{v, shared, err, time.Since(start)}
		c.done = true
	}()
	synctest.Wait()
	return c
}

func checkStats(t *testing.T, g *singleflight.Group[string], want stats) {
	t.Helper()
	if got := g.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

// takes returns a function that obeys its context and takes d.
func takes(d time.Duration, val string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return val, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// ignores returns a function that takes d whatever its context says.
func ignores(d time.Duration, val string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		time.Sleep(d)
		return val, nil
	}
}

func unexpected(t *testing.T) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		t.Error("a function was called that should not be")
		return "", nil
	}
}

func TestCallersShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		first := call(t.Context(), g, "k", takes(time.Second, "one"))
		var others []*caller
		for range 10 {
			others = append(others, call(t.Context(), g, "k", unexpected(t)))
		}
		other := call(t.Context(), g, "other", takes(time.Second, "two"))
		checkStats(t, g, stats{Flights: 2, InFlight: 2, Suppressed: 10})
		time.Sleep(time.Second)
		synctest.Wait()
		first.check(t, result{val: "one", took: time.Second})
		for _, c := range others {
			c.check(t, result{val: "one", shared: true, took: time.Second})
		}
		other.check(t, result{val: "two", took: time.Second})
		checkStats(t, g, stats{Flights: 2, Suppressed: 10})
	})
}

func TestNothingIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		boom := errors.New("boom")
		call(t.Context(), g, "k", func(context.Context) (string, error) { return "with an error", boom }).
			check(t, result{val: "with an error", err: boom})
		call(t.Context(), g, "k", takes(0, "again")).check(t, result{val: "again"})
		call(t.Context(), g, "", takes(0, "the empty key")).check(t, result{val: "the empty key"})
		checkStats(t, g, stats{Flights: 3})
	})
}

func TestKeysOfOneHashDoNotShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		var wg sync.WaitGroup
		for _, key := range []string{"a", "b", "c"} {
			wg.Go(func() {
				v, shared, err := g.Do(t.Context(), 7, key, takes(time.Second, key))
				if v != key || shared || err != nil {
					t.Errorf("Do(%q) = %q, %v, %v", key, v, shared, err)
				}
			})
		}
		wg.Wait()
	})
}

// In the field: the flight ran with its first caller's context, whose end was an
// error for everybody else.
func TestFirstCallersCancelledContextFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := call(ctx, g, "k", takes(time.Second, "v"))
		second := call(t.Context(), g, "k", unexpected(t))
		time.Sleep(300 * time.Millisecond)
		cancel(gone)
		synctest.Wait()
		first.check(t, result{err: gone, took: 300 * time.Millisecond}) // at once
		time.Sleep(700 * time.Millisecond)
		synctest.Wait()
		second.check(t, result{val: "v", shared: true, took: time.Second})
		checkStats(t, g, stats{Flights: 1, Suppressed: 1})
	})
}

func TestCallersDeadlineIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := call(t.Context(), g, "k", takes(2*time.Second, "v"))
		second := call(ctx, g, "k", unexpected(t))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		second.check(t, result{shared: true, err: context.DeadlineExceeded, took: time.Second})
		first.check(t, result{val: "v", took: 2 * time.Second})
	})
}

func TestContextDoneOnEntryStartsAndJoinsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		call(ctx, g, "k", unexpected(t)).check(t, result{err: gone})
		running := call(t.Context(), g, "k", takes(time.Second, "v"))
		call(ctx, g, "k", unexpected(t)).check(t, result{err: gone})
		time.Sleep(time.Second)
		synctest.Wait()
		running.check(t, result{val: "v", took: time.Second})
		checkStats(t, g, stats{Flights: 1})
	})
}

func TestLastCallerLeavingCancelsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		ctx1, cancel1 := context.WithCancel(t.Context())
		ctx2, cancel2 := context.WithCancel(t.Context())
		var ended time.Duration
		start := time.Now()
		call(ctx1, g, "k", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			ended = time.Since(start)
			return "", ctx.Err()
		})
		second := call(ctx2, g, "k", unexpected(t))
		time.Sleep(time.Second)
		cancel1()
		time.Sleep(time.Second)
		if ended != 0 {
			t.Fatalf("the call was cancelled after %v although a caller waits", ended)
		}
		cancel2()
		synctest.Wait()
		if ended != 2*time.Second {
			t.Errorf("the call was cancelled after %v, want 2s", ended)
		}
		second.check(t, result{shared: true, err: context.Canceled, took: 2 * time.Second})
		checkStats(t, g, stats{Flights: 1, Suppressed: 1, Abandoned: 1})
	})
}

// A late joiner must not inherit the error of a flight that everybody has left,
// even while its function still runs.
func TestLateJoinerNeverInheritsADyingFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		ctx, cancel := context.WithCancel(t.Context())
		call(ctx, g, "k", ignores(10*time.Second, "old"))
		cancel()
		synctest.Wait()
		late := call(t.Context(), g, "k", takes(time.Second, "new"))
		time.Sleep(time.Second)
		synctest.Wait()
		late.check(t, result{val: "new", took: time.Second})

		// Nor must the old function's return end a later flight.
		next := call(t.Context(), g, "k", takes(20*time.Second, "next"))
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if next.done {
			t.Fatalf("the abandoned function has ended a later flight: %+v", next.result)
		}
		joined := call(t.Context(), g, "k", unexpected(t))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		next.check(t, result{val: "next", took: 20 * time.Second})
		joined.check(t, result{val: "next", shared: true, took: 11 * time.Second})
	})
}

func TestContextHasTheFirstCallersValuesAndTheTimeoutAsDeadline(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Minute})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Second)
		defer cancel()
		call(ctx, g, "k", func(ctx context.Context) (string, error) {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) != time.Minute {
				t.Errorf("the deadline is in %v (%v), want in 1m", time.Until(deadline), ok)
			}
			v, _ := ctx.Value(key{}).(string)
			return v, ctx.Err()
		}).check(t, result{val: "value"})

		g = singleflight.New[string](config{})
		var after context.Context
		call(ctx, g, "k", func(ctx context.Context) (string, error) {
			if deadline, ok := ctx.Deadline(); ok {
				t.Errorf("the deadline is in %v, want none", time.Until(deadline))
			}
			after = ctx
			return "", nil
		})
		if after.Err() == nil {
			t.Error("the context goes on after the function has returned")
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Second})
		var cause error
		obeys := call(t.Context(), g, "obeys", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return "", ctx.Err()
		})
		first := call(t.Context(), g, "ignores", ignores(3*time.Second, "late"))
		time.Sleep(400 * time.Millisecond)
		second := call(t.Context(), g, "ignores", unexpected(t))
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()

		obeys.check(t, result{err: singleflight.ErrTimeout, took: time.Second})
		if !errors.Is(cause, singleflight.ErrTimeout) {
			t.Errorf("the context's cause is %v, want ErrTimeout", cause)
		}
		first.check(t, result{err: singleflight.ErrTimeout, took: time.Second})
		second.check(t, result{shared: true, err: singleflight.ErrTimeout, took: 600 * time.Millisecond})
		checkStats(t, g, stats{Flights: 2, Suppressed: 1, Timeouts: 2, Abandoned: 2, AbandonedRunning: 1})

		// The key is free, and the late result is thrown away.
		call(t.Context(), g, "ignores", takes(0, "new")).check(t, result{val: "new"})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		checkStats(t, g, stats{Flights: 3, Suppressed: 1, Timeouts: 2, Abandoned: 2})
	})
}

func TestTooManyAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Second, MaxAbandoned: 2})
		call(t.Context(), g, "a", ignores(5*time.Second, ""))
		ctx, cancel := context.WithCancel(t.Context())
		call(ctx, g, "b", ignores(5*time.Second, ""))
		time.Sleep(500 * time.Millisecond)
		running := call(t.Context(), g, "running", takes(900*time.Millisecond, "v"))
		cancel() // b has been left
		time.Sleep(500 * time.Millisecond)
		synctest.Wait() // a has timed out

		call(t.Context(), g, "c", unexpected(t)).check(t, result{err: singleflight.ErrTooManyAbandoned})
		joined := call(t.Context(), g, "running", unexpected(t))
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		running.check(t, result{val: "v", took: 900 * time.Millisecond})
		joined.check(t, result{val: "v", shared: true, took: 400 * time.Millisecond})
		checkStats(t, g, stats{Flights: 3, Suppressed: 1, Timeouts: 1, Refused: 1, Abandoned: 2, AbandonedRunning: 2})

		time.Sleep(4 * time.Second)
		synctest.Wait()
		call(t.Context(), g, "c", takes(0, "now")).check(t, result{val: "now"})
		checkStats(t, g, stats{Flights: 4, Suppressed: 1, Timeouts: 1, Refused: 1, Abandoned: 2})
	})
}

func TestMaxAbandonedDefaultAndNone(t *testing.T) {
	for _, tt := range []struct{ max, refusedAfter int }{{0, singleflight.DefaultMaxAbandoned}, {1, 1}, {-1, 1 << 30}} {
		synctest.Test(t, func(t *testing.T) {
			g := singleflight.New[string](config{Timeout: time.Second, MaxAbandoned: tt.max})
			for i := range 100 {
				c := call(t.Context(), g, fmt.Sprint(i), ignores(time.Hour, ""))
				time.Sleep(time.Second)
				synctest.Wait()
				if i < tt.refusedAfter {
					c.check(t, result{err: singleflight.ErrTimeout, took: time.Second})
				} else {
					c.check(t, result{err: singleflight.ErrTooManyAbandoned})
				}
			}
			time.Sleep(time.Hour)
		})
	}
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Second, MaxAbandoned: 1, Grace: 500 * time.Millisecond})
		call(t.Context(), g, "returns in time", ignores(1400*time.Millisecond, ""))
		hangs := call(t.Context(), g, "hangs", ignores(3*time.Second, ""))
		time.Sleep(1499 * time.Millisecond)
		synctest.Wait()
		hangs.check(t, result{err: singleflight.ErrTimeout, took: time.Second}) // not later for the grace
		checkStats(t, g, stats{Flights: 2, Timeouts: 2})
		call(t.Context(), g, "k", takes(0, "v")).check(t, result{val: "v"})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		call(t.Context(), g, "k", unexpected(t)).check(t, result{err: singleflight.ErrTooManyAbandoned})
		checkStats(t, g, stats{Flights: 3, Timeouts: 2, Refused: 1, Abandoned: 1, AbandonedRunning: 1})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		checkStats(t, g, stats{Flights: 3, Timeouts: 2, Refused: 1, Abandoned: 1})
	})
}

// In the field: a panic in a getter left its flight in the map, and everybody who
// asked for the key afterwards waited for ever.
func TestPanicWedgesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Minute})
		boom := errors.New("boom")
		explode := func(context.Context) (string, error) {
			time.Sleep(time.Second)
			panic(boom)
		}
		callers := []*caller{call(t.Context(), g, "k", explode), call(t.Context(), g, "k", unexpected(t))}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, c := range callers {
			c.check(t, result{err: boom, shared: i > 0, took: time.Second})
			var p *singleflight.PanicError
			if !errors.As(c.result.err, &p) {
				t.Fatalf("the error is %T, want a *PanicError", c.result.err)
			}
			if p.Value != any(boom) || !strings.Contains(string(p.Stack), "TestPanicWedgesNoKey") || !strings.Contains(p.Error(), "boom") {
				t.Errorf("PanicError{%v} %q, stack:\n%s", p.Value, p, p.Stack)
			}
		}
		call(t.Context(), g, "k", takes(0, "after")).check(t, result{val: "after"})
		checkStats(t, g, stats{Flights: 2, Suppressed: 1})
	})
}

func TestPanicWithSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		c := call(t.Context(), g, "k", func(context.Context) (string, error) { panic(42) })
		var p *singleflight.PanicError
		if !errors.As(c.result.err, &p) || p.Value != 42 || p.Unwrap() != nil {
			t.Errorf("the error is %#v, want a *PanicError of 42", c.result.err)
		}
		c = call(t.Context(), g, "k", func(context.Context) (string, error) { panic(nil) })
		if !errors.As(c.result.err, &p) {
			t.Errorf("the error is %#v, want a *PanicError", c.result.err)
		}
	})
}

// A function that panics after its flight has ended must not crash the process.
func TestPanicAfterTheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{Timeout: time.Second})
		call(t.Context(), g, "k", func(context.Context) (string, error) {
			time.Sleep(2 * time.Second)
			panic("late")
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		checkStats(t, g, stats{Flights: 1, Timeouts: 1, Abandoned: 1})
	})
}

func TestGoexitWedgesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := singleflight.New[string](config{})
		exit := func(context.Context) (string, error) {
			time.Sleep(time.Second)
			runtime.Goexit()
			return "never", nil
		}
		first := call(t.Context(), g, "k", exit)
		second := call(t.Context(), g, "k", unexpected(t))
		time.Sleep(time.Second)
		synctest.Wait()
		first.check(t, result{err: singleflight.ErrGoexit, took: time.Second})
		second.check(t, result{shared: true, err: singleflight.ErrGoexit, took: time.Second})
		call(t.Context(), g, "k", takes(0, "after")).check(t, result{val: "after"})
		checkStats(t, g, stats{Flights: 2, Suppressed: 1})
	})
}

// The only caller's context ends at the moment at which the function returns. It
// gets the one or the other, and the flight ends once.
func TestResultAndEndOfTheContextAtTheSameMoment(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			g := singleflight.New[string](config{Timeout: time.Second})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			c := call(ctx, g, "k", ignores(time.Second, "v"))
			time.Sleep(time.Second)
			synctest.Wait()
			switch err := c.result.err; {
			case !c.done, c.result.took != time.Second:
				t.Fatalf("the caller has got %+v, done %v", c.result, c.done)
			case err == nil && c.result.val == "v", errors.Is(err, context.DeadlineExceeded), errors.Is(err, singleflight.ErrTimeout):
			default:
				t.Errorf("the caller has got %+v", c.result)
			}
			if st := g.Stats(); st.InFlight != 0 || st.AbandonedRunning != 0 {
				t.Errorf("at rest: %+v", st)
			}
		})
	}
}

// TestSecondLookupMakesLoadsExact is the use that Do's documentation describes:
// callers look into a cache, then share a flight that looks again. Whatever the
// interleaving, each key is loaded once.
func TestSecondLookupMakesLoadsExact(t *testing.T) {
	const keys, callers, rounds = 40, 8, 5
	g := singleflight.New[string](config{Timeout: time.Minute})
	var cache sync.Map
	var loads atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range keys * rounds {
				key := fmt.Sprint(i % keys)
				if _, ok := cache.Load(key); ok {
					continue
				}
				v, _, err := g.Do(t.Context(), hash(key), key, func(context.Context) (string, error) {
					if v, ok := cache.Load(key); ok {
						return v.(string), nil
					}
					loads.Add(1)
					runtime.Gosched()
					cache.Store(key, key)
					return key, nil
				})
				if v != key || err != nil {
					t.Errorf("Do(%q) = %q, %v", key, v, err)
				}
			}
		})
	}
	wg.Wait()
	if n := loads.Load(); n != keys {
		t.Errorf("%d loads, want one for each of %d keys", n, keys)
	}
	if st := g.Stats(); st.InFlight != 0 || st.AbandonedRunning != 0 {
		t.Errorf("at rest: %+v", st)
	}
}

// TestStress lets callers with and without patience meet functions that return,
// fail, panic, exit, obey and ignore their contexts.
func TestStress(t *testing.T) {
	g := singleflight.New[string](config{Timeout: 2 * time.Millisecond, MaxAbandoned: -1})
	boom := errors.New("boom")
	release := make(chan struct{})
	fns := []func(ctx context.Context) (string, error){
		func(context.Context) (string, error) { return "v", nil },
		func(context.Context) (string, error) { runtime.Gosched(); return "", boom },
		func(context.Context) (string, error) { panic(boom) },
		func(context.Context) (string, error) { runtime.Goexit(); return "", nil },
		func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
		func(ctx context.Context) (string, error) {
			<-ctx.Done()
			runtime.Gosched()
			return "ignored", nil
		},
		func(context.Context) (string, error) { <-release; return "ignored", nil },
	}
	var joined, answered atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 400 {
				ctx, cancel := context.WithCancel(t.Context())
				if (w+i)%3 == 0 {
					go cancel()
				}
				key := fmt.Sprint(i % 11)
				v, shared, err := g.Do(ctx, hash(key), key, fns[(w*7+i)%len(fns)])
				if shared {
					joined.Add(1)
				}
				answered.Add(1)
				var p *singleflight.PanicError
				switch {
				case err == nil && v == "v", err == nil && v == "ignored",
					errors.Is(err, boom), errors.As(err, &p),
					errors.Is(err, singleflight.ErrGoexit), errors.Is(err, singleflight.ErrTimeout),
					errors.Is(err, context.Canceled) && ctx.Err() != nil:
				default:
					t.Errorf("Do = %q, %v, %v", v, shared, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	close(release)
	st := g.Stats()
	if st.InFlight != 0 || st.Suppressed != joined.Load() {
		t.Errorf("at rest: %+v, want none in flight and %d suppressed", st, joined.Load())
	}
	if n := st.Flights + st.Suppressed; n > answered.Load() || n < answered.Load()/2 {
		t.Errorf("%d flights and %d suppressed callers of %d", st.Flights, st.Suppressed, answered.Load())
	}
	for deadline := time.Now().Add(10 * time.Second); g.Stats().AbandonedRunning != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("abandoned functions are still counted as running: %+v", g.Stats())
		}
	}
}
