//go:build unix

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// geecache is the program under test.
var geecache string

// patience is how long to wait for what should happen soon: a bound for broken
// programs, not a measure of good ones.
const patience = 30 * time.Second

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if signal.Ignored(syscall.SIGHUP) { // as under nohup: programs that tests start would ignore it, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	dir, err := os.MkdirTemp("", "geecache-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if geecache = os.Getenv("GEECACHE_E2E_BINARY"); geecache != "" {
		return m.Run()
	}
	geecache = filepath.Join(dir, "geecache")
	args := []string{"build", "-o", geecache}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/geecache/geecache")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// full says that tests under load run as long as the specification has it.
func full() bool { return os.Getenv("GEECACHE_E2E_FULL") != "" }

var ports struct {
	mu    sync.Mutex // guards given
	given map[int]bool
}

// freePort returns a port that nothing listens on. It lies below the range from
// which systems take the ports of outgoing connections, so that none of those
// takes it before the program does.
func freePort() (int, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	var last error
	for range 1000 {
		port := 10_000 + rand.IntN(10_000)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		ports.given[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port between 10000 and 20000: %w", last)
}

// freeRange returns the first of n ports in a row on which nothing listens.
func freeRange(n int) (int, error) {
	for range 100 {
		first, err := freePort()
		if err != nil {
			return 0, err
		}
		free := 1
		for ; free < n; free++ {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+free)))
			if err != nil {
				break
			}
			_ = l.Close()
		}
		if free == n {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", n)
}

// freeAddr returns an address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// eventually polls until ok returns nil, and fails the test with its last error
// if it never does.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	if err := poll(patience, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func poll(most time.Duration, ok func() error) error {
	deadline := time.Now().Add(most)
	for {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A lockedBuffer collects what a process writes.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
