//go:build unix && !solaris && !aix

package envbench

import (
	"errors"
	"os"
	"syscall"
)

// Lock takes a file for this process alone until it is closed, which the end of the process
// does, too. It reports false if another one has it.
func Lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
