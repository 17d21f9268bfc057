package loadgen

import (
	"syscall"
	"time"
)

// preciseSleep sleeps for d in the kernel, late by tens of microseconds.
// It may return early when a signal arrives.
func preciseSleep(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	// The only errors are an interruption, which the caller tolerates, and
	// arguments that NsecToTimespec cannot produce.
	_ = syscall.Nanosleep(&ts, nil)
}
