package suite

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/trace"
)

// A loopResult is what a closed loop has done.
type loopResult struct {
	ops     int64
	elapsed time.Duration
	allocs  float64 // heap objects per operation, of the whole process
}

// nsPerOp is the time between two operations of the whole process, as
// go test -bench has it for RunParallel.
func (r loopResult) nsPerOp() float64 { return float64(r.elapsed.Nanoseconds()) / float64(r.ops) }

func (r loopResult) perSecond() float64 { return float64(r.ops) / r.elapsed.Seconds() }

// An opFunc does the operations from one number up to, not including, another.
type opFunc func(from, n int) error

// fastBatch is how many operations a caller does between two looks at whether
// the time is over, where an operation takes nanoseconds.
const fastBatch = 64

// closedLoop has callers goroutines do operations one after the other for a
// window of time, after a warm-up of a fifth of it. newOp makes a goroutine's
// operation. Batches that were begun within the window are counted, and the
// time ends with the last of them.
func closedLoop(ctx context.Context, callers int, window time.Duration, perBatch int, newOp func(caller int) opFunc) (loopResult, error) {
	var (
		phase atomic.Int32 // 0: warm-up, 1: counts, 2: over
		total atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		fault error
	)
	for caller := range callers {
		op := newOp(caller)
		wg.Go(func() {
			i, counted := 0, int64(0)
			for {
				now := phase.Load()
				if now == 2 {
					break
				}
				if err := op(i, perBatch); err != nil {
					once.Do(func() { fault = err })
					return
				}
				i += perBatch
				if now == 1 {
					counted += int64(perBatch)
				}
			}
			total.Add(counted)
		})
	}
	wait(ctx, window/5)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	phase.Store(1)
	wait(ctx, window)
	phase.Store(2)
	wg.Wait()
	elapsed := time.Since(begun)
	runtime.ReadMemStats(&after)
	if fault == nil {
		fault = ctx.Err()
	}
	ops := max(total.Load(), 1)
	return loopResult{ops, elapsed, float64(after.Mallocs-before.Mallocs) / float64(ops)}, fault
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sequences draws a sequence of keys for each caller.
func sequences(callers int, keys []string, s float64, length int) [][]string {
	z := trace.NewZipf(1, len(keys), s)
	all := make([][]string, callers)
	for caller := range all {
		all[caller] = make([]string, length)
		for i := range all[caller] {
			all[caller][i] = keys[z.Next()]
		}
	}
	return all
}
