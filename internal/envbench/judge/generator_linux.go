package judge

import "syscall"

// ownProcess makes the load tool a process group of its own, so that Ctrl-C reaches it once,
// through its parent, and lets the kernel kill it when its parent dies without having
// stopped it.
func ownProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// interruptible says that a process can be asked to end.
const interruptible = true
