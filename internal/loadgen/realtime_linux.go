package loadgen

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// RealTime has the kernel run this process before all that are not of its kind,
// whenever it has something to do: all of its threads, those to come included.
// It takes root or CAP_SYS_NICE. There is no way back, and a process that never
// rests takes the processors from all others.
func RealTime() error {
	// Each thread is told by itself, and one that is made meanwhile by another
	// that has not been told yet is missing in the list: so until a list has
	// none that has to be told.
	for {
		told, err := tellThreads()
		switch {
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("real-time scheduling: %w: it takes root or CAP_SYS_NICE", err)
		case err != nil:
			return fmt.Errorf("real-time scheduling: %w", err)
		}
		if told == 0 {
			return nil
		}
	}
}

// realTime is round robin, at the lowest priority of those that come before all
// ordinary processes.
var realTime = unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}

// tellThreads returns how many threads had to be told.
func tellThreads() (told int, err error) {
	err = eachThread(func(id int, policy uint32) error {
		if isRealTime(policy) {
			return nil
		}
		attr := realTime
		told++
		return unix.SchedSetAttr(id, &attr, 0)
	})
	return told, err
}

func isRealTime(policy uint32) bool { return policy == unix.SCHED_RR || policy == unix.SCHED_FIFO }

// eachThread calls do for each thread of this process that has not ended.
func eachThread(do func(id int, policy uint32) error) error {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		attr, err := unix.SchedGetAttr(id, 0)
		if err == nil {
			err = do(id, attr.Policy)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// scheduling returns how the kernel says that this process is scheduled.
func scheduling() string {
	s := ScheduledRealTime
	err := eachThread(func(_ int, policy uint32) error {
		if !isRealTime(policy) {
			s = ScheduledNormally
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return s
}
