package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"time"
)

// ErrNotInstalled: a server of the system is missing. The error that wraps it
// says how to install it.
var ErrNotInstalled = errors.New("not installed")

// startTimeout is how long a server of the system may take until it answers.
const startTimeout = 10 * time.Second

// A Program is a server of the system.
type Program struct {
	Name string                     // that it is called by
	Args func(port string) []string // to serve one port of 127.0.0.1
}

// Redis and Memcached are the servers as Debian has them. Redis keeps nothing
// on disk. memcached gets a limit of connections above the callers' number.
func Redis() Program {
	return Program{"redis-server", func(port string) []string {
		return []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"}
	}}
}

func Memcached() Program {
	return Program{"memcached", func(port string) []string {
		return []string{"-l", "127.0.0.1", "-p", port, "-U", "0", "-c", "4096", "-m", "1024", "-I", "16m", "-u", "nobody"}
	}}
}

// Run runs the program on a free port, calls ready with its address when it
// accepts connections, and ends it when until ends.
func (p Program) Run(ctx context.Context, until io.Reader, ready func(addr string) error) error {
	path, err := exec.LookPath(p.Name)
	if err != nil {
		return fmt.Errorf("%s is %w: apt-get install %s (Debian's name; on macOS: brew install redis memcached)", p.Name, ErrNotInstalled, p.Name)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, p.Args(port)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
	}()
	addr := net.JoinHostPort("127.0.0.1", port)
	if err := AwaitPort(ctx, addr); err != nil {
		return fmt.Errorf("%s %v: %w", path, cmd.Args[1:], err)
	}
	if err := ready(addr); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, until)
	return err
}

// freePort returns a port of 127.0.0.1 that nobody has just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return strconv.Itoa(port), l.Close()
}

func AwaitPort(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer within %v: %w", addr, startTimeout, err)
		case <-tick.C:
		}
	}
}
