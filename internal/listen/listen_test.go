package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are pipes in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// newPipe returns both ends of a connection, of which near is the listener's.
func newPipe(t *testing.T, l *Listener) (near, far net.Conn) {
	t.Helper()
	below, far := net.Pipe()
	go func() { l.Listener.(pipes) <- below }()
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func readOne(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

func TestDeadlinePassesWithinATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newPipe(t, New(make(pipes), 10))
		for _, d := range []time.Duration{time.Millisecond, Tick, time.Hour} {
			begun := time.Now()
			if err := near.SetDeadline(begun.Add(d)); err != nil {
				t.Fatal(err)
			}
			if err := readOne(near); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read: %v", err)
			}
			if took := time.Since(begun); took < d || took > d+Tick {
				t.Errorf("a deadline after %v passed after %v", d, took)
			}
			if _, err := near.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("write: %v", err)
			}
		}
		defer near.Close() // in the bubble, with its timer
	})
}

func TestDeadlineCanBeMovedAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newPipe(t, New(make(pipes), 10))
		defer near.Close()
		// In the past: at once, as net/http stops its reads.
		_ = near.SetReadDeadline(time.Unix(1, 0))
		begun := time.Now()
		if err := readOne(near); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 0 {
			t.Errorf("read past the deadline: %v, after %v", err, time.Since(begun))
		}
		for _, d := range []time.Time{{}, begun.Add(time.Hour)} {
			_ = near.SetReadDeadline(d)
			go func() { _, _ = far.Write([]byte("x")) }()
			if err := readOne(near); err != nil {
				t.Errorf("read with the deadline %v: %v", d, err)
			}
		}
		// Moved before it passes, again and again: it does not pass.
		read := make(chan error)
		go func() { read <- readOne(near) }()
		for range 20 {
			_ = near.SetReadDeadline(time.Now().Add(Tick))
			time.Sleep(Tick / 2)
		}
		_, _ = far.Write([]byte("x"))
		if err := <-read; err != nil {
			t.Errorf("read with a deadline that moves: %v", err)
		}
	})
}

func TestExactDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newPipe(t, New(make(pipes), 10))
		defer near.Close()
		_ = near.SetReadDeadline(time.Unix(1, 0))
		Exact(near)
		Exact(near)
		begun := time.Now()
		_ = near.SetReadDeadline(begun.Add(time.Millisecond))
		if err := readOne(near); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Millisecond {
			t.Errorf("%v after %v, want the deadline after 1ms", err, time.Since(begun))
		}
		other, _ := net.Pipe()
		Exact(other) // is left alone
	})
}

// Whoever sets a deadline while it passes has the last word.
func TestDeadlineRaces(t *testing.T) {
	l := New(make(pipes), 10)
	near, far := newPipe(t, l)
	c := near.(*conn)
	var wg sync.WaitGroup
	for range 1000 {
		_ = near.SetReadDeadline(l.start.Add(time.Hour))
		wg.Go(func() { c.read.expire(int64(2 * time.Hour)) })
		wg.Go(func() { _ = near.SetReadDeadline(time.Time{}) })
		wg.Wait()
		if c.read.at.Load() != never {
			t.Fatal("the deadline that was set last is not there")
		}
	}
	go func() { _, _ = far.Write([]byte("x")) }()
	if err := readOne(near); err != nil {
		t.Errorf("read without a deadline: %v", err)
	}
}

func TestConnectionsBeyondTheBoundAreClosed(t *testing.T) {
	l := New(make(pipes), 2)
	a, _ := newPipe(t, l)
	b, _ := newPipe(t, l)
	over, far := net.Pipe()
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	l.Listener.(pipes) <- over
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the third connection: %v, want its end", err)
	}
	_ = a.Close()
	_ = a.Close() // counts once
	next, _ := net.Pipe()
	l.Listener.(pipes) <- next
	c := <-accepted
	_, _ = b.Close(), c.Close()
	if n := l.open.Load(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
	if l.sweep != nil {
		t.Error("the sweep goes on without a connection")
	}
}

func holding(near net.Conn, major int) *http.Request {
	r := &http.Request{ProtoMajor: major}
	return r.WithContext(ConnContext(context.Background(), near))
}

func TestHoldKeepsTheOrder(t *testing.T) {
	large := strings.Repeat("b", 5000)
	for _, tc := range []struct {
		name   string
		writes []string
	}{
		{"head and rest", []string{strings.Repeat("a", bufferSize), large, "c"}},
		{"head alone", []string{"a"}},
		{"large at once", []string{large, "c"}},
		{"nothing", nil},
	} {
		for _, major := range []int{1, 2} {
			near, far := newPipe(t, New(make(pipes), 10))
			go func() {
				release := Hold(holding(near, major))
				for _, s := range tc.writes {
					if n, err := io.WriteString(near, s); n != len(s) || err != nil {
						t.Errorf("%s: wrote %d of %d bytes: %v", tc.name, n, len(s), err)
					}
				}
				release()
				_, _ = io.WriteString(near, ".")
				_ = near.Close()
			}()
			got, err := io.ReadAll(far)
			if want := strings.Join(tc.writes, "") + "."; string(got) != want || err != nil {
				t.Errorf("%s, HTTP/%d: %d bytes, want %d: %v", tc.name, major, len(got), len(want), err)
			}
		}
	}
}

func TestHoldEndsWhatItCannotWrite(t *testing.T) {
	near, far := newPipe(t, New(make(pipes), 10))
	release := Hold(holding(near, 1))
	_, _ = io.WriteString(near, "head")
	_ = far.Close()
	if n, err := io.WriteString(near, "rest"); n != 0 || err == nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	release()
	if !near.(*conn).closed.Load() {
		t.Error("half an answer was sent, and the connection goes on")
	}
}

// A response goes out in one write, which a server of its own needs two for.
func TestHoldMakesOneWriteOfALargeBody(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 3*HoldFrom)
	s := &http.Server{
		ConnContext: ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer Hold(r)()
			_, _ = w.Write([]byte(body))
			if c := r.Context().Value(connKey{}).(*conn); c.holds != 0 || cap(c.pieces) == 0 {
				t.Error("the body's head was written on its own: has net/http's buffer another size?")
			}
		}),
	}
	go func() { _ = s.Serve(New(tcp, 10)) }()
	defer s.Close()
	for range 2 {
		resp, err := http.Get("http://" + tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(got) != body || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
