package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection, the first as New returns it.
func pair(t *testing.T) (near, far *net.TCPConn, s net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	near, far = a.(*net.TCPConn), b.(*net.TCPConn)
	if s = New(near); s == net.Conn(near) {
		t.Skip("here the net package itself reads and writes, as with the race detector")
	}
	return near, far, s
}

func TestWhatIsWrittenArrives(t *testing.T) {
	_, far, s := pair(t)
	for _, size := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 8 << 20} {
		out := bytes.Repeat([]byte{byte(size), 1, 2}, size/3+1)[:size]
		for _, way := range []struct {
			name     string
			from, to net.Conn
		}{{"written", s, far}, {"read", far, s}} {
			wrote := make(chan error, 1)
			go func() {
				n, err := way.from.Write(out)
				if err == nil && n != size {
					err = io.ErrShortWrite
				}
				wrote <- err
			}()
			in := make([]byte, size)
			if _, err := io.ReadFull(way.to, in); err != nil || !bytes.Equal(in, out) {
				t.Fatalf("%d bytes %s: equal %v, %v", size, way.name, bytes.Equal(in, out), err)
			}
			if err := <-wrote; err != nil {
				t.Fatalf("%d bytes %s: %v", size, way.name, err)
			}
		}
	}
}

func TestReadWaits(t *testing.T) {
	_, far, s := pair(t)
	for i := range 100 { // the scheduler is told of some, and not of others
		got := make(chan byte, 1)
		go func() {
			b := make([]byte, 10)
			if n, err := s.Read(b); n != 1 || err != nil {
				t.Errorf("read: %d, %v", n, err)
			}
			got <- b[0]
		}()
		runtime.Gosched()
		if _, err := far.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if b := <-got; b != byte(i) {
			t.Fatalf("read %d, want %d", b, i)
		}
	}
}

func TestEnds(t *testing.T) {
	t.Run("the other side closes", func(t *testing.T) {
		_, far, s := pair(t)
		far.Close()
		if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read: %d, %v; want io.EOF itself", n, err)
		}
	})
	t.Run("the other side resets", func(t *testing.T) {
		_, far, s := pair(t)
		if err := far.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		far.Close()
		_, err := s.Read(make([]byte, 1))
		var op *net.OpError
		if !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" || op.Addr == nil {
			t.Errorf("read: %#v", err)
		}
		for err = nil; err == nil; { // the first may still go
			_, err = s.Write([]byte("x"))
		}
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
	t.Run("this side closes", func(t *testing.T) {
		_, _, s := pair(t)
		failed := make(chan error, 1)
		go func() {
			_, err := s.Read(make([]byte, 1))
			failed <- err
		}()
		runtime.Gosched()
		s.Close()
		err := <-failed
		var op *net.OpError
		if !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) || op.Op != "read" {
			t.Errorf("read: %v", err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	near, _, s := pair(t)
	if err := near.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	isTimeout := func(call string, err error) {
		t.Helper()
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%s: %v", call, err)
		}
	}
	_, err := s.Read(make([]byte, 1))
	isTimeout("read", err)

	if err := s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20 // more than the system holds
	n, err := s.Write(make([]byte, size))
	isTimeout("write", err)
	if n <= 0 || n >= size {
		t.Errorf("%d bytes written until the deadline", n)
	}
}

func TestReadsAndWritesAllocateNothing(t *testing.T) {
	_, far, s := pair(t)
	b, echo := make([]byte, 100), make([]byte, 100)
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(far, echo); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write(echo); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, b); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations for a round trip", got)
	}
}

// A goroutine that keeps the only processor must not hold others up for long, also
// when all that happened since the process was idle is a call that the scheduler
// was not told of. What ends the idleness must come from outside: a timer would
// wake the scheduler's monitor, too.
func TestSchedulerStillTakesTheProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	_, far, s := pair(t)
	f, err := far.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 3 {
		cmd := exec.Command("sh", "-c", "sleep 0.2; printf x; exec sleep 60")
		cmd.Stdout = f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		other := make(chan struct{})
		go close(other)
		for spins := true; spins; { // only preemption lets the other one run
			select {
			case <-other:
				spins = false
			default:
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("another goroutine ran after %v", took)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestOtherConnectionsAreLeftAlone(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if got := New(near); got != near {
		t.Errorf("New of a pipe is %T", got)
	}
	type wrapped struct{ *net.TCPConn } // it may do more than it shows
	if c := (wrapped{}); New(c) != net.Conn(c) {
		t.Error("New looks behind a connection of others")
	}
}
