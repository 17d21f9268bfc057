package cli

import (
	"errors"
	"os"
	"syscall"
)

// childAttr makes a child a process group of its own, so that Ctrl-C reaches
// only its parent.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends a process: Windows has no signal that asks it to.
func terminate(p *os.Process) { _ = p.Kill() } // it may have ended

// terminates says that terminate lets a process end by itself, with a status
// that means something.
const terminates = false

var errNoPause = errors.New("Windows cannot pause a process")

// pause and proceed fail: Windows has no signal for that.
func pause(*os.Process) error   { return errNoPause }
func proceed(*os.Process) error { return errNoPause }

// ours reports true: the folder for temporary files is each user's own.
func ours(os.FileInfo) bool { return true }
