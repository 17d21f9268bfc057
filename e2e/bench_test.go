//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// benchEnds is how long `geecache env bench` may take to clean up.
const benchEnds = 3 * time.Minute

// A benchRun is `geecache env bench`, with folders of its own.
type benchRun struct {
	dir string   // results, state and temporary files
	env []string // more of it
}

func newBenchRun(t *testing.T, env ...string) *benchRun {
	t.Helper()
	b := &benchRun{dir: t.TempDir(), env: env}
	if err := os.Mkdir(b.path("tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *benchRun) path(name string) string { return filepath.Join(b.dir, name) }

// A cut is where a measurement is interrupted, and how.
type cut struct {
	id, moment string // a test, and what it says then
	sig        syscall.Signal
}

// removing is what a measurement says when it removes what it has made.
const removing = "removing what was made"

// start runs one of the tests, and sends a signal once it says what moment is in and begun
// returns nil. It returns what is said, how long it went on after that, and how it ended.
// SIGINT goes to all of its process group, as a terminal has it; and any signal is sent once
// more, to that group, while things are removed.
func (b *benchRun) start(t *testing.T, environment string, c cut, begun func() error, args ...string) (said string, took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, geecache, append([]string{"env", "bench", environment, "--only=" + c.id, "--times=10", "--dir=..", "--output=" + b.path(c.id+".json")}, args...)...)
	cmd.Env = b.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	var sent time.Time
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		fmt.Fprintln(&all, line)
		switch {
		case sent.IsZero() && strings.HasPrefix(line, c.id) && strings.Contains(line, c.moment):
			eventually(t, "something is there that can be left", begun)
			sent = time.Now()
			whom := cmd.Process.Pid
			if c.sig == syscall.SIGINT {
				whom = -whom
			}
			if err := syscall.Kill(whom, c.sig); err != nil {
				t.Error(err)
			}
		case !sent.IsZero() && strings.Contains(line, removing):
			_ = syscall.Kill(-cmd.Process.Pid, c.sig) // it may be through
		}
	}
	err = cmd.Wait()
	if sent.IsZero() {
		t.Fatalf("%s in %s does not come to %q: %v\n%s", c.id, environment, c.moment, err, &all)
	}
	return all.String(), time.Since(sent), err
}

// environ is the environment of the run's commands.
func (b *benchRun) environ() []string {
	env := append(os.Environ(), "XDG_RUNTIME_DIR=", "XDG_STATE_HOME="+b.path("state"), "TMPDIR="+b.path("tmp"))
	return append(env, b.env...)
}

// interrupt is start with a signal that asks for the end. It fails unless the program ends
// with an error, and its results are marked.
func (b *benchRun) interrupt(t *testing.T, environment string, c cut, begun func() error, args ...string) {
	t.Helper()
	said, took, err := b.start(t, environment, c, begun, args...)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Fatalf("%s in %s, until %q: %v\n%s", c.id, environment, c.moment, err, said)
	}
	t.Logf("%s in %s: %v after %v in %q it had cleaned up and ended", c.id, environment, took.Round(10*time.Millisecond), c.sig, c.moment)
	if took > benchEnds {
		t.Errorf("it took %v", took)
	}
	r, err := result.Load(b.path(c.id + ".json"))
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !strings.Contains(r.Partial, "the run was interrupted") || !strings.Contains(r.Partial, "cut: "+c.id) ||
		len(r.Tests) != 1 || r.Tests[0].State != result.Partial && r.Tests[0].State != result.Failed {
		t.Errorf("the results are marked as partial because of %q; the tests are %+v", r.Partial, r.Tests)
	}
}

// kill is start with SIGKILL.
func (b *benchRun) kill(t *testing.T, environment string, c cut, begun func() error, args ...string) {
	t.Helper()
	c.sig = syscall.SIGKILL
	if said, _, err := b.start(t, environment, c, begun, args...); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%s in %s: %v\n%s", c.id, environment, err, said)
	}
}

// afterwards runs another command of the same user's, which must say that it removes what was
// left.
func (b *benchRun) afterwards(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), geecache, append(args, "--dir=..")...)
	cmd.Env = b.environ()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "was killed (process") {
		t.Errorf("%q: %v\n%s", args, err, out)
	}
}

// some returns a check that the run has started so many processes, itself among them.
func (b *benchRun) some(t *testing.T, n int) func() error {
	return func() error {
		if all := b.processes(t); len(all) < n {
			return fmt.Errorf("there are only %q", all)
		}
		return nil
	}
}

// sends returns a check that the load tool runs, which is another process.
func (b *benchRun) sends(t *testing.T) func() error {
	return func() error {
		all := b.processes(t)
		if !slices.ContainsFunc(all, func(line string) bool { return strings.Contains(line, " load --realtime ") }) {
			return fmt.Errorf("there are only %q", all)
		}
		return nil
	}
}

// processes returns the command lines of all that the run has started, by their files.
func (b *benchRun) processes(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, []byte("XDG_STATE_HOME="+b.path("state")+"\x00")) {
			continue // it has ended, or is another's
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		all = append(all, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return all
}

// nothingLeft fails if a process that the run has started is there, or a file.
func (b *benchRun) nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "no process is left", func() error {
		if all := b.processes(t); len(all) > 0 {
			return fmt.Errorf("there are %q", all)
		}
		return nil
	})
	for _, folder := range []string{"tmp", "state/geecache/local", "state/geecache/bench"} {
		left, err := os.ReadDir(b.path(folder))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, one := range left {
			t.Errorf("%s is left in %s", one.Name(), folder)
		}
	}
}

// Interrupted in the middle of any test, a measurement leaves nothing behind on this
// machine, and says in its results that they are not all. What it costs is reckoned at once.
func TestBenchInterrupted(t *testing.T) {
	cuts := []cut{
		{"deploy", "deployments, 1 of", syscall.SIGINT},
		{"redeploy", "redeployments, 0 of", syscall.SIGHUP},
		{"discovery", "a node joins, 0 of", syscall.SIGTERM},
		{"counts", "is planted", syscall.SIGTERM},
		{"scale", "scaling out and in, 1 of", syscall.SIGINT},
		{"logs", "markers in the log, 0 of", syscall.SIGHUP},
		{"metrics", "Metrics that arrive", syscall.SIGINT},
		{"network", "round trips", syscall.SIGTERM},
		{"cache", "search for the highest rate, 0 of", syscall.SIGINT},
		{"recovery", "a node is killed, 0 of", syscall.SIGTERM},
		{"setup", "from a clone to the first deployment, 0 of", syscall.SIGINT},
		{"fidelity", "memory limit", syscall.SIGHUP},
	}
	const ports = 12 // of a cluster that grows, and its API
	first, err := freeRange(ports * len(cuts))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cuts {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			b := newBenchRun(t)
			processes := 3 // a cluster's first, besides the program itself
			if c.id == "setup" {
				processes = 2 // git, or the compiler
			}
			times := "--times=10"
			if c.id == "cache" {
				times = "--times=1" // of what comes before
			}
			begun := b.some(t, processes)
			if c.id == "scale" || c.id == "recovery" || c.id == "cache" {
				begun = b.sends(t)
			}
			b.interrupt(t, "local", c, begun, times, "--name=bench", fmt.Sprintf("--port=%d", first+i*ports), fmt.Sprintf("--api=%d", first+i*ports+ports-1))
			b.nothingLeft(t)
		})
	}
}

// Killed, a measurement leaves no process all the same, and the rest to whoever comes next.
func TestBenchKilled(t *testing.T) {
	first, err := freeRange(8)
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchRun(t)
	b.kill(t, "local", cut{id: "counts", moment: "is planted"}, b.some(t, 5), "--name=bench", fmt.Sprintf("--port=%d", first), fmt.Sprintf("--api=%d", first+7))
	eventually(t, "no process is left", func() error {
		if all := b.processes(t); len(all) > 0 {
			return fmt.Errorf("there are %q", all)
		}
		return nil
	})
	b.afterwards(t, "env", "down", "local", "--name=bench")
	b.nothingLeft(t)
}
