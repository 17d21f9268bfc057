package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	Name    string                     // that it is called by
	Args    func(port string) []string // to serve one port of 127.0.0.1
	Package string                     // that has it, as Debian calls it; empty: Name
}

// Redis and Memcached are the servers as Debian has them. Redis keeps nothing
// on disk. memcached gets a limit of connections above the callers' number.
func Redis() Program {
	return Program{Name: "redis-server", Args: func(port string) []string {
		return []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"}
	}}
}

func Memcached() Program {
	return Program{Name: "memcached", Args: func(port string) []string {
		return []string{"-l", "127.0.0.1", "-p", port, "-U", "0", "-c", "4096", "-m", "1024", "-I", "16m", "-u", "nobody"}
	}}
}

// Etcd is an etcd of one member that keeps its data in a directory.
func Etcd(dir string) Program {
	return Program{Name: "etcd", Package: "etcd-server", Args: func(port string) []string {
		clients := "http://127.0.0.1:" + port
		const peers = "http://127.0.0.1:0" // there are none
		return []string{
			"--name=bench", "--data-dir=" + dir, "--logger=zap", "--log-level=error",
			"--listen-client-urls=" + clients, "--advertise-client-urls=" + clients,
			"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=bench=" + peers,
		}
	}}
}

// Find returns the program's path, or an error that says how to install it.
func (p Program) Find() (string, error) {
	path, err := exec.LookPath(p.Name)
	if err != nil {
		return "", fmt.Errorf("%s is %w: apt-get install %s (Debian's name; on macOS: brew install redis memcached etcd)", p.Name, ErrNotInstalled, cmp.Or(p.Package, p.Name))
	}
	return path, nil
}

// Start starts the program on a port of 127.0.0.1, and returns when it accepts
// connections. stop ends it at once.
func (p Program) Start(ctx context.Context, port string) (stop func(), err error) {
	path, err := p.Find()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, p.Args(port)...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := AwaitPort(ctx, net.JoinHostPort("127.0.0.1", port)); err != nil {
		stop()
		return nil, fmt.Errorf("%s %v: %w", path, cmd.Args[1:], err)
	}
	return stop, nil
}

// Run runs the program on a free port, calls ready with its address when it
// accepts connections, and ends it when until ends.
func (p Program) Run(ctx context.Context, until io.Reader, ready func(addr string) error) error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	stop, err := p.Start(ctx, port)
	if err != nil {
		return err
	}
	defer stop()
	if err := ready(net.JoinHostPort("127.0.0.1", port)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, until)
	return err
}

// FreePort returns a port of 127.0.0.1 that nobody has just now. It lies below the range from
// which systems take the ports of outgoing connections: none of those takes it before the
// server does.
func FreePort() (string, error) {
	var last error
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(10_000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("no port between 10000 and 20000 is free: %w", last)
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
