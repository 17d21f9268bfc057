package main

import (
	"fmt"
	"os"

	"github.com/geecache/geecache/benchmarks/internal/driver"
)

// progress returns a function that shows on a terminal what is being measured,
// and nil for anything else.
func progress(f *os.File) func(driver.Step) {
	if !isTerminal(f) {
		return nil
	}
	return func(s driver.Step) {
		fmt.Fprintf(f, "\r\x1b[K%s %3d%%  %s %s %s", s.Suite, 100*s.Done/max(s.All, 1), s.Group, s.Point, s.Subject)
	}
}

// clearLine removes what progress has left.
func clearLine(f *os.File) {
	if isTerminal(f) {
		fmt.Fprint(f, "\r\x1b[K")
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
