package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// inRealTime is set in the process in which RealTime is tried: there is no way back from it.
const inRealTime = "LOADGEN_TEST_REAL_TIME"

// Threads that there are and threads to come run in real time, where that is permitted; and
// where it is not, the process goes on as it was.
func TestRealTime(t *testing.T) {
	if os.Getenv(inRealTime) != "" {
		tryRealTime(t)
		return
	}
	if s := scheduling(); s != ScheduledNormally && s != ScheduledRealTime { // somebody may test under chrt
		t.Errorf("scheduling is %q", s)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestRealTime$", "-test.v")
	cmd.Env = append(os.Environ(), inRealTime+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("without the capability: refused\n")) {
		t.Errorf("it did not try both\n%s", out)
	}
	t.Logf("%s", out)
}

func tryRealTime(t *testing.T) {
	before := scheduling()
	// Of this thread alone: it is the one that asks.
	runtime.LockOSThread()
	if err := dropNice(); err != nil {
		t.Fatal(err)
	}
	err := RealTime()
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_SYS_NICE") || scheduling() != before {
		t.Errorf("without the capability: %v, and scheduling is %q", err, scheduling())
	}
	fmt.Println("without the capability: refused")

	var asked sync.WaitGroup
	asked.Go(func() { err = RealTime() }) // on another thread, which has what the process had
	asked.Wait()
	if errors.Is(err, unix.EPERM) {
		fmt.Println("with all that the process has: refused, too")
		return
	}
	if err != nil || scheduling() != ScheduledRealTime {
		t.Errorf("%v, and scheduling is %q", err, scheduling())
	}
	var begun, ended sync.WaitGroup
	release := make(chan struct{})
	for range 20 { // threads that there were not
		begun.Add(1)
		ended.Go(func() {
			runtime.LockOSThread()
			begun.Done()
			<-release
		})
	}
	begun.Wait()
	if s := scheduling(); s != ScheduledRealTime {
		t.Errorf("with more threads, scheduling is %q", s)
	}
	close(release)
	ended.Wait()
	fmt.Println("with all that the process has: granted")
}

// dropNice takes from this thread what lets it have real time.
func dropNice() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_NICE
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_RTPRIO, &unix.Rlimit{}) // which may permit it, too
}
