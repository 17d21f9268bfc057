//go:build !race && !msan && !asan

package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	// most is how much one call of the system reads or writes, in bytes: it takes
	// microseconds, in which the scheduler cannot take the processor away.
	most = 64 << 10

	// tellEvery is after how long the scheduler is told of a read. Its monitor, which
	// takes the processor from goroutines that keep it for long, sleeps while all is
	// idle, and would not learn otherwise that there is work again.
	tellEvery = 10 * time.Millisecond
)

// New returns a connection that reads from and writes to c, and shares all else
// with it. What is not one of the net package's TCP connections is returned as it is.
func New(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	s := &conn{TCPConn: t, raw: raw, start: time.Now()}
	s.read.try, s.write.try = s.tryRead, s.tryWrite
	return s
}

type conn struct {
	*net.TCPConn
	raw   syscall.RawConn
	start time.Time
	told  time.Duration // since start

	read, write transfer
}

// A transfer is what a Read or a Write is at.
type transfer struct {
	try func(fd uintptr) (done bool)

	mu  sync.Mutex // guards the fields below
	buf []byte
	n   int
	err syscall.Errno
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return c.TCPConn.Read(b)
	}
	t := &c.read
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf, t.n, t.err = b[:min(len(b), most)], 0, 0
	err := c.raw.Read(t.try)
	t.buf = nil
	switch {
	case err != nil:
		return 0, named("read", err)
	case t.err != 0:
		return 0, c.opError("read", t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

func (c *conn) tryRead(fd uintptr) (done bool) {
	t := &c.read
	for {
		if now := time.Since(c.start); now-c.told >= tellEvery {
			c.told = now
			n, err := syscall.Read(int(fd), t.buf)
			t.n = max(n, 0)
			t.err, _ = err.(syscall.Errno)
		} else {
			var n uintptr
			n, _, t.err = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&t.buf[0])), uintptr(len(t.buf)))
			t.n = int(n)
		}
		if t.err != syscall.EINTR {
			return t.err != syscall.EAGAIN
		}
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	t := &c.write
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf, t.n, t.err = b, 0, 0
	err := c.raw.Write(t.try)
	t.buf = nil
	switch {
	case err != nil:
		err = named("write", err)
	case t.err != 0:
		err = c.opError("write", t.err)
	}
	return t.n, err
}

func (c *conn) tryWrite(fd uintptr) (done bool) {
	t := &c.write
	for t.n < len(t.buf) {
		b := t.buf[t.n:]
		n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(min(len(b), most)))
		switch err {
		case 0:
			t.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.err = err
			return true
		}
	}
	return true
}

// named makes an error of the raw connection one of a Read or a Write.
func named(call string, err error) error {
	if op, ok := err.(*net.OpError); ok {
		op.Op = call
	}
	return err
}

// opError makes a failed call's error the one that the net package would return.
func (c *conn) opError(call string, err syscall.Errno) error {
	return &net.OpError{
		Op: call, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(call, err),
	}
}
