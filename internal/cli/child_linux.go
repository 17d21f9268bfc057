package cli

import (
	"os"
	"syscall"
)

// childAttr makes a child a process group of its own, so that Ctrl-C reaches
// it once, through its parent, and lets the kernel kill it when its parent dies
// without having stopped it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminate asks a process to end, one that is stopped included.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM) // it may have ended
	_ = p.Signal(syscall.SIGCONT)
}

// terminates says that terminate lets a process end by itself, with a status
// that means something.
const terminates = true
