package judge

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// A swept is a stub beside whose deployments there may be something.
type swept struct {
	*stub
	pids []int
}

func (s *swept) Sweep(_ context.Context, _ string, pid int) error {
	s.pids = append(s.pids, pid)
	return nil
}

// killed writes the journal of a measurement that was killed, and returns the configuration
// of the next one, the journal's name, and a folder that was left.
func killed(t *testing.T, e entry) (c Config, path, left string) {
	t.Helper()
	c = Config{Environment: "stub", Times: 1, Only: []string{"deploy"}, StateDir: t.TempDir()}
	path = filepath.Join(c.StateDir, "bench", "stub-"+envbench.DefaultName+".json")
	left = filepath.Join(e.Temp, "geecache-1-rebuild-123")
	text, err := json.Marshal(e)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text, 0o600), os.Mkdir(left, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, path, left
}

func TestWhatAKilledRunLeavesIsRemoved(t *testing.T) {
	for name, next := range map[string]func(d envbench.Driver, c Config) error{
		"by the next run": func(d envbench.Driver, c Config) error {
			r, err := Run(t.Context(), d, c)
			if err == nil && (r.Partial != "" || len(r.Tests) != 1) {
				t.Errorf("its own results are %+v", r)
			}
			return err
		},
		"by itself": func(d envbench.Driver, c Config) error { return RemoveLeft(t.Context(), d, c) },
	} {
		t.Run(name, func(t *testing.T) {
			c, path, left := killed(t, entry{PID: 1, Temp: t.TempDir()})
			f := &swept{stub: newStub(t)}
			f.nodes = 3
			var said []string
			c.Progress = func(_, text string) { said = append(said, text) }
			if err := next(f, c); err != nil {
				t.Fatal(err)
			}
			if f.downs[envbench.DefaultName] == 0 || f.downs[helloName(envbench.DefaultName)] == 0 || !slices.Contains(f.pids, 1) || f.nodes != 0 {
				t.Errorf("Down was called %v, Sweep %v, and %d nodes are left", f.downs, f.pids, f.nodes)
			}
			if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its folder: %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the journal: %v", err)
			}
			if !strings.Contains(strings.Join(said, "\n"), "was killed (process 1)") {
				t.Errorf("it says %q", said)
			}
		})
	}
}

// What cannot be removed is for whoever comes next, and nothing is measured beside it.
func TestWhatIsLeftStaysKnown(t *testing.T) {
	first, _, _ := killed(t, entry{PID: 1, Temp: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Down fails
	if r, err := Run(ctx, newStub(t), first); err == nil || r == nil || !strings.Contains(r.Partial, "interrupted") || len(r.Tests) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	c, path, _ := killed(t, entry{PID: 1, Temp: t.TempDir()})
	if err := RemoveLeft(ctx, newStub(t), c); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// A run that had made nothing when it was killed claims nothing: what is there is a user's.
func TestWhatAUserHasIsNotLeft(t *testing.T) {
	c, path, _ := killed(t, entry{PID: 1, Temp: t.TempDir()})
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	f := newStub(t)
	f.nodes = 3
	if r, err := Run(t.Context(), f, c); r != nil || err == nil || !strings.Contains(err.Error(), "another --name") || f.nodes != 3 {
		t.Errorf("%+v, %v, and %d nodes are left", r, err, f.nodes)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal: %v", err)
	}
}

func TestOneRunAtATime(t *testing.T) {
	c := Config{Environment: "stub", Times: 1, Only: []string{"deploy"}, StateDir: t.TempDir()}
	f := newStub(t)
	f.onUp = func(int) error {
		again, other := newStub(t), c
		if r, err := Run(t.Context(), again, c); r != nil || err == nil || !strings.Contains(err.Error(), "another process measures") || len(again.downs) != 0 {
			t.Errorf("a second run: %+v, %v; Down was called %v", r, err, again.downs)
		}
		if err := RemoveLeft(t.Context(), again, c); err == nil || len(again.downs) != 0 {
			t.Errorf("what a run that goes on has made: %v; Down was called %v", err, again.downs)
		}
		other.Deployment.Name = "other"
		if r, err := Run(t.Context(), again, other); r == nil || err != nil {
			t.Errorf("one of another name: %v", err)
		}
		f.onUp = nil
		return nil
	}
	if _, err := Run(t.Context(), f, c); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(c.StateDir, "bench", "*")); err != nil || len(left) != 0 {
		t.Errorf("%q are left (%v)", left, err)
	}
}

// What an environment seems not to be able to do when it is interrupted is no finding; and
// it is said which tests are missing.
func TestInterruptionIsNoFinding(t *testing.T) {
	f := newStub(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.onUp = func(int) error {
		cancel(errors.New("signal: hangup"))
		return &envbench.Unsupported{What: "a deployment", Evidence: "it was killed"}
	}
	r, err := Run(ctx, f, Config{Environment: "stub", Times: 1, Only: []string{"deploy", "counts", "scale"}})
	if err == nil || len(r.Tests) != 1 || r.Tests[0].State == result.Unsupported || r.Tests[0].State == result.Measured {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := "the run was interrupted: signal: hangup; cut: deploy; not begun: counts, scale"; !strings.HasSuffix(r.Partial, want) {
		t.Errorf("partial because of %q: want it to end with %q", r.Partial, want)
	}
}

func TestPartialHasNoEmptyParts(t *testing.T) {
	got := oneLine("deploy: its log ends with\n\n  \n; \nlast words\nthe run was interrupted\n")
	if want := "deploy: its log ends with; last words; the run was interrupted"; got != want {
		t.Errorf("%q: want %q", got, want)
	}
}
