package loadgen

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// preciseTimer sleeps by a timer of the kernel that the runtime waits for as it
// waits for sockets, and so neither in whole milliseconds nor with a processor
// kept from other goroutines, as a sleeping system call does. It belongs to one
// goroutine.
type preciseTimer struct {
	file *os.File // nil if the kernel has refused it
	fd   int      // of file, which would leave the runtime's poller if asked for it
	buf  [8]byte
}

func newPreciseTimer() *preciseTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &preciseTimer{} // the runtime's timers will do: lag is measured
	}
	return &preciseTimer{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd}
}

// sleep returns after d, which must be positive.
func (t *preciseTimer) sleep(d time.Duration) {
	if t.file != nil {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err == nil {
			if _, err := t.file.Read(t.buf[:]); err == nil {
				return
			}
		}
	}
	time.Sleep(d)
}

func (t *preciseTimer) close() {
	if t.file != nil {
		_ = t.file.Close() // holds nothing that could be lost
	}
}
