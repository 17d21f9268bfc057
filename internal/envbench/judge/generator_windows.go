package judge

import "syscall"

func ownProcess() *syscall.SysProcAttr { return nil }

// interruptible says that Windows has no signal that asks a process to end.
const interruptible = false
