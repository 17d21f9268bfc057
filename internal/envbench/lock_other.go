//go:build !unix || solaris || aix

package envbench

import "os"

// Lock would take a file for this process alone: here there is no such lock.
func Lock(*os.File) (bool, error) { return true, nil }
