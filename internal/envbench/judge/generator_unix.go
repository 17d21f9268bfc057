//go:build unix && !linux

package judge

import "syscall"

// ownProcess makes the load tool a process group of its own, so that Ctrl-C reaches it once,
// through its parent.
func ownProcess() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// interruptible says that a process can be asked to end.
const interruptible = true
