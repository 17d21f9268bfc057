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

// interrupt runs one of the tests, sends a signal once it says what moment is in and begun
// returns nil, and returns the results. It fails unless the program ends with an error, and marks them.
func (b *benchRun) interrupt(t *testing.T, environment, id, moment string, sig os.Signal, begun func() error, args ...string) *result.File {
	t.Helper()
	out := b.path(id + ".json")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, geecache, append([]string{"env", "bench", environment, "--only=" + id, "--times=50", "--dir=..", "--output=" + out}, args...)...)
	cmd.Env = append(append(os.Environ(), "XDG_STATE_HOME="+b.path("state"), "TMPDIR="+b.path("tmp")), b.env...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	var sent time.Time
	for lines := bufio.NewScanner(said); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if sent.IsZero() && strings.HasPrefix(lines.Text(), id) && strings.Contains(lines.Text(), moment) {
			eventually(t, "something is there that can be left", begun)
			sent = time.Now()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	if sent.IsZero() || !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Fatalf("%s in %s, until %q: %v\n%s", id, environment, moment, err, &all)
	}
	took := time.Since(sent)
	t.Logf("%s in %s: %v after %v in %q it had cleaned up and ended", id, environment, took.Round(10*time.Millisecond), sig, moment)
	if took > benchEnds {
		t.Errorf("it took %v", took)
	}
	r, err := result.Load(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &all)
	}
	if !strings.Contains(r.Partial, "interrupted") || len(r.Tests) != 1 || r.Tests[0].State == result.Measured {
		t.Errorf("the results are marked as partial because of %q; the tests are %+v", r.Partial, r.Tests)
	}
	return r
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
	for _, folder := range []string{b.path("tmp"), b.path("state/geecache/local")} {
		left, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, one := range left {
			if !strings.HasPrefix(one.Name(), "go-build") && !strings.HasPrefix(one.Name(), "geecache-"+fmt.Sprint(os.Getuid())) { // the compiler's own, and the folder of sockets
				t.Errorf("%s is left in %s", one.Name(), folder)
			}
		}
	}
}

// Interrupted in the middle of each test, a measurement leaves nothing behind on this
// machine, and says in its results that they are not all.
func TestBenchInterrupted(t *testing.T) {
	port, err := freeRange(8)
	if err != nil {
		t.Fatal(err)
	}
	api, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id, moment string
		sig        os.Signal
	}{
		{"deploy", "deployments, 1 of", os.Interrupt},
		{"redeploy", "redeployments, 0 of", os.Interrupt},
		{"counts", "is planted", syscall.SIGTERM},
		{"scale", "scaling out and in, 1 of", os.Interrupt},
		{"recovery", "a node is killed, 0 of", syscall.SIGTERM},
	} {
		t.Run(tt.id, func(t *testing.T) {
			b := newBenchRun(t)
			begun := func() error { // besides the program itself
				if all := b.processes(t); len(all) < 3 {
					return fmt.Errorf("there are only %q", all)
				}
				return nil
			}
			b.interrupt(t, "local", tt.id, tt.moment, tt.sig, begun, "--name=bench", fmt.Sprintf("--port=%d", port), fmt.Sprintf("--api=%d", api))
			b.nothingLeft(t)
		})
	}
}
