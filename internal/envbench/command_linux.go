package envbench

import "syscall"

// grouped makes a process the first of a group of its own, which is interrupted when its
// parent dies without having ended it.
func grouped() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}
