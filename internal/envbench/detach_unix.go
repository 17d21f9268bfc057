//go:build unix

package envbench

import (
	"os"
	"syscall"
)

// detached makes a process outlive this one and its terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// end asks a process to end.
func end(p *os.Process) { _ = p.Signal(syscall.SIGTERM) } // it may have ended
