package envbench

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
)

// A cluster that does not answer is not taken for one that has ended, while its process is
// there and something listens at its port: what is known of it is not forgotten.
func TestABusyClusterIsNotAbsent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	l := &local{Options: Options{Program: "/nonexistent/geecache"}, root: t.TempDir()}
	s := localState{PID: os.Getpid(), Port: 1, API: "http://" + ln.Addr().String()}
	if err := os.Mkdir(l.dir("busy"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.remember("busy", s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // one look is enough
	if err := l.Down(ctx, "busy"); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("of a cluster that does not answer Down says %v", err)
	}
	if _, err := os.Stat(l.dir("busy")); err != nil {
		t.Errorf("it is forgotten: %v", err)
	}
	_ = ln.Close()
	if err := l.Down(t.Context(), "busy"); err != nil {
		t.Errorf("of a cluster that has ended Down says %v", err)
	}
	if _, err := os.Stat(l.dir("busy")); !os.IsNotExist(err) {
		t.Errorf("what was known of it is still there: %v", err)
	}
}
