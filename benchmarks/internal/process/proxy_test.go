package process_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/process"
)

// echo serves what it is sent, and returns its address and what ends it.
func echo(t *testing.T) (addr string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String(), func() { _ = l.Close() }
}

func TestProxyHoldsAnswersBack(t *testing.T) {
	server, end := echo(t)
	p, err := process.NewProxy(server)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func() time.Duration {
		t.Helper()
		begun := time.Now()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	ask()
	const delay = 50 * time.Millisecond
	p.SetDelay(delay)
	if took := ask(); took < delay {
		t.Errorf("an answer took %v, want %v or more", took, delay)
	}
	p.SetDelay(time.Hour)
	time.AfterFunc(delay, func() { p.SetDelay(0) })
	if took := ask(); took < delay {
		t.Errorf("an answer took %v, want it to wait for the end of the delay, %v", took, delay)
	}

	end()
	late, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if n, err := late.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came from a server that has ended", n)
	}
}

// Close does not wait for what is held back.
func TestProxyCloses(t *testing.T) {
	server, _ := echo(t)
	p, err := process.NewProxy(server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.SetDelay(time.Hour)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came through a proxy that is closed", n)
	}
}
