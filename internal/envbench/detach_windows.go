package envbench

import (
	"os"
	"syscall"
)

// detached makes a process outlive this one.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// end ends a process: Windows has no signal that asks it to.
func end(p *os.Process) { _ = p.Kill() } // it may have ended
