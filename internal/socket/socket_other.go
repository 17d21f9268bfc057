//go:build !linux || race || msan || asan

package socket

import "net"

// New returns c. (The detectors of races and of wrong memory have to see what is
// read and written.)
func New(c net.Conn) net.Conn { return c }
