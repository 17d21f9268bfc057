package loadgen

import (
	"context"
	"time"
)

// A Clock tells the time and waits. It is safe for concurrent use.
type Clock interface {
	Now() time.Time

	// SleepUntil returns at t or as soon after it as possible, and earlier only
	// if ctx ends.
	SleepUntil(ctx context.Context, t time.Time)
}

// coarse is what the runtime's timers may be late by when the process is
// otherwise idle: on Linux it waits for them in whole milliseconds.
const coarse = 2 * time.Millisecond

// systemClock is the real time. Its last milliseconds are slept by the
// operating system and not by the runtime's timers, whose lateness would be
// seen in every latency.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) SleepUntil(ctx context.Context, t time.Time) {
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
	preciseSleep(d)
	if time.Since(before) <= 0 {
		// The time of a synctest bubble stands still while its goroutines are
		// in a system call; it advances only for the runtime's own timers.
		time.Sleep(d)
	}
}
