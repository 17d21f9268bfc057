//go:build unix && !linux

package cli

import (
	"os"
	"syscall"
)

// childAttr makes a child a process group of its own, so that Ctrl-C reaches
// it once, through its parent.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// terminate asks a process to end, one that is stopped included.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM) // it may have ended
	_ = p.Signal(syscall.SIGCONT)
}

// terminates says that terminate lets a process end by itself, with a status
// that means something.
const terminates = true

// pause stops a process where it is, and proceed lets it go on.
func pause(p *os.Process) error   { return p.Signal(syscall.SIGSTOP) }
func proceed(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// ours reports whether a file belongs to this process's user.
func ours(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
