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

// grouped makes a process the first of a group of its own.
func grouped() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// interruptGroup asks all of a process's group to end, and killGroup ends them.
func interruptGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGINT) }
func killGroup(p *os.Process)            { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // they may have ended

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
