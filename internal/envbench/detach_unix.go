//go:build unix

package envbench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// detached makes a process outlive this one and its terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// interruptGroup asks all of a process's group to end, and killGroup ends them.
func interruptGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGINT) }
func killGroup(p *os.Process)            { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // they may have ended

// endUsers ends processes that have a folder in their command line: a compiler, say, whose
// parent was killed. It does so where the system shows command lines as files.
func endUsers(folder string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is a good one
	for _, file := range files {
		line, err := os.ReadFile(file)
		pid, e := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && e == nil && pid != os.Getpid() && strings.Contains(string(line), folder) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

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
