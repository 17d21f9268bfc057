//go:build !linux

package loadgen

import "time"

// preciseTimer sleeps by the runtime's timers, which are precise here.
type preciseTimer struct{}

func newPreciseTimer() *preciseTimer { return &preciseTimer{} }

func (*preciseTimer) sleep(d time.Duration) { time.Sleep(d) }

func (*preciseTimer) close() {}
