//go:build unix && !linux

package envbench

import "syscall"

// grouped makes a process the first of a group of its own.
func grouped() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
