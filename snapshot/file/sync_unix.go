//go:build unix

package file

import (
	"errors"
	"os"
)

// syncDir sees to it that a new name is on the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
