package envbench

import (
	"os"
	"syscall"
)

// detached makes a process outlive this one.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// grouped makes a process the first of a group of its own.
func grouped() *syscall.SysProcAttr { return detached() }

// interruptGroup ends a process, and killGroup what is left: Windows has no signal that asks
// them to.
func interruptGroup(p *os.Process) error { return p.Kill() }
func killGroup(*os.Process)              {}

// endUsers would end processes that have a folder in their command line.
func endUsers(string) {}

// end ends a process: Windows has no signal that asks it to.
func end(p *os.Process) { _ = p.Kill() } // it may have ended

// alive reports whether there is a process of a number.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}

// hang would stop a process where it is.
func hang(int, bool) error {
	return &Unsupported{"having a process hang", "this system has no signal for it"}
}
