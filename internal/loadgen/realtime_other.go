//go:build !linux

package loadgen

import (
	"errors"
	"runtime"
)

// RealTime would have the kernel run this process before all others.
func RealTime() error {
	return errors.New("real-time scheduling: not supported on " + runtime.GOOS)
}

// scheduling returns nothing: what is not asked for is not told.
func scheduling() string { return "" }
