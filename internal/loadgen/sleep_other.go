//go:build !linux

package loadgen

import "time"

// preciseSleep sleeps for d. The runtime's timers are precise here.
func preciseSleep(d time.Duration) { time.Sleep(d) }
