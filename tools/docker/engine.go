//go:build unix

// Package docker sees to it that there is what steps with containers need: an
// engine that answers, the client's plugins compose and buildx, and base images,
// or stand-ins for them where no registry can be reached. It refuses to install
// packages: that is scripts/install-deps.
package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNoEngine is returned if no engine answers and none is installed.
var ErrNoEngine = errors.New("no Docker engine answers, and dockerd is not installed")

// The deadlines of an engine of our own.
const (
	engineStarts = 60 * time.Second
	engineEnds   = 30 * time.Second
)

// An Engine is a Docker engine that answers. It is used by one goroutine.
type Engine struct {
	root string // the repository
	env  []string
	out  io.Writer

	own   *exec.Cmd // dockerd, if it is ours
	ended chan error
	dir   string // its data
}

// Start returns the engine that DOCKER_HOST in env or the default names, or, if it does
// not answer and this is root, starts one whose ports are published on loopback only.
// root is the repository. What it does is told to out. Stop ends what it has started.
func Start(ctx context.Context, root string, env []string, out io.Writer) (*Engine, error) {
	e := &Engine{root: root, env: append(env, "PATH="+searchPath(env)), out: out}
	if version, err := e.Output(ctx, "version", "--format", "{{.Server.Version}}"); err == nil {
		e.say("the Docker engine %s answers", strings.TrimSpace(version))
		return e, nil
	}
	dockerd, err := e.look("dockerd")
	if err != nil {
		return nil, ErrNoEngine
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("no Docker engine answers: start it, or let `docker info` work for you (root would start one of its own)")
	}
	if e.dir, err = os.MkdirTemp("", "geecache-docker-"); err != nil {
		return nil, err
	}
	if err := e.start(ctx, dockerd); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context, dockerd string) error {
	host := "unix://" + filepath.Join(e.dir, "sock")
	logName := filepath.Join(e.dir, "log")
	log, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer log.Close()
	e.say("no Docker engine answers: starting one at %s", host)
	// It outlives ctx, so that what runs in it can be taken down.
	e.own = exec.Command(dockerd, "--host", host, "--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "--ip", "127.0.0.1")
	e.own.Env = e.env
	e.own.Stdout, e.own.Stderr = log, log
	e.own.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if err := e.own.Start(); err != nil {
		e.own = nil
		return err
	}
	e.ended = make(chan error, 1)
	go func() { e.ended <- e.own.Wait() }()
	e.env = append(e.env, "DOCKER_HOST="+host)

	ctx, cancel := context.WithTimeout(ctx, engineStarts)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := e.Output(ctx, "version"); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-e.ended:
			e.ended <- err
			return fmt.Errorf("dockerd ended: %w\n%s", err, tail(logName))
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer within %v\n%s", engineStarts, tail(logName))
		}
	}
}

// Stop ends the engine with all that it holds, if Start has started it.
func (e *Engine) Stop() error {
	if e.own != nil {
		if err := e.own.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case <-e.ended:
		case <-time.After(engineEnds):
			_ = e.own.Process.Kill()
			<-e.ended
		}
		e.own = nil
	}
	if e.dir == "" {
		return nil
	}
	return os.RemoveAll(e.dir)
}

// Env returns the environment of commands that use the engine.
func (e *Engine) Env() []string { return e.env }

// Host returns the engine's address, as DOCKER_HOST has it.
func (e *Engine) Host() string {
	if host := lookup(e.env, "DOCKER_HOST"); host != "" {
		return host
	}
	return "unix:///var/run/docker.sock"
}

// Output runs docker and returns its standard output; the error has what it said.
func (e *Engine) Output(ctx context.Context, args ...string) (string, error) {
	return e.output(ctx, nil, ".", "docker", args...)
}

func (e *Engine) output(ctx context.Context, in io.Reader, dir, name string, args ...string) (string, error) {
	program, err := e.look(name)
	if err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Join(e.root, filepath.FromSlash(dir))
	cmd.Env = e.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

func (e *Engine) say(format string, args ...any) { fmt.Fprintf(e.out, format+"\n", args...) }

// look returns the path of a program on the PATH of the environment, which is not
// that of this process.
func (e *Engine) look(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(lookup(e.env, "PATH")) {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// searchPath returns the PATH of an environment, with where Debian has daemons.
func searchPath(env []string) string {
	return lookup(env, "PATH") + string(os.PathListSeparator) + "/usr/sbin" + string(os.PathListSeparator) + "/sbin"
}

// lookup returns a variable of an environment in which later entries win.
func lookup(env []string, name string) (value string) {
	for _, e := range env {
		if n, v, _ := strings.Cut(e, "="); n == name {
			value = v
		}
	}
	return value
}

// tail returns the last lines of a file.
func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
