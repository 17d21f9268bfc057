package loadgen

import (
	"context"
	"time"
)

// A Clock tells the time and waits. Now is safe for concurrent use; SleepUntil
// is called by one goroutine at a time.
type Clock interface {
	Now() time.Time

	// SleepUntil returns at t or as soon after it as possible, and earlier only
	// if ctx ends.
	SleepUntil(ctx context.Context, t time.Time)
}

// coarse is what the runtime's timers may be late by when the process is
// otherwise idle: on Linux it waits for them in whole milliseconds.
const coarse = 2 * time.Millisecond

// systemClock is the real time. The last milliseconds of a sleep are left to a
// preciseTimer: the lateness of the runtime's timers would be seen in every
// latency. Its SleepUntil is for one goroutine, which is all that Run needs.
type systemClock struct {
	timer *preciseTimer
}

func newSystemClock() *systemClock { return &systemClock{timer: newPreciseTimer()} }

func (*systemClock) Now() time.Time { return time.Now() }

func (c *systemClock) SleepUntil(ctx context.Context, t time.Time) {
	d := time.Until(t)
	if d > coarse {
		timer := time.NewTimer(d - coarse)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		d = time.Until(t)
	}
	if d <= 0 {
		return
	}
	before := time.Now()
	c.timer.sleep(d)
	if time.Since(before) <= 0 {
		// The time of a synctest bubble stands still while its goroutines wait
		// for the kernel; it advances only for the runtime's own timers.
		time.Sleep(d)
	}
}

func (c *systemClock) close() { c.timer.close() }
