//go:build unix

package envbench

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// detached makes a process outlive this one and its terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// end asks a process to end.
func end(p *os.Process) { _ = p.Signal(syscall.SIGTERM) } // it may have ended

// alive reports whether a process runs. One that has ended does not, whether its parent has
// asked for its status or not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true // a system that tells no more
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // after its name
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// hang stops a process where it is, or lets it go on.
func hang(pid int, stop bool) error {
	if stop {
		return syscall.Kill(pid, syscall.SIGSTOP)
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}
