//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/geecache/geecache/tools/docker"
)

// A workspace is the repository that the steps work on, and what earlier steps
// leave for later ones. It is used by one goroutine.
type workspace struct {
	root    string
	out     io.Writer
	env     []string       // for every command; later entries win
	docker  *docker.Engine // after step engine
	image   string         // the nodes', after step image
	cleanup []func()
}

func newWorkspace(root string, out io.Writer) *workspace {
	path := filepath.Join(root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	return &workspace{root: root, out: out, env: append(os.Environ(), "PATH="+path)}
}

// close undoes what steps have started, newest first.
func (w *workspace) close() {
	for i := len(w.cleanup) - 1; i >= 0; i-- {
		w.cleanup[i]()
	}
	w.cleanup = nil
}

// path returns the absolute form of a slash-separated path of the repository.
func (w *workspace) path(rel string) string { return filepath.Join(w.root, filepath.FromSlash(rel)) }

// command prepares a command in a directory of the repository. It gets a
// process group of its own, and the end of ctx interrupts the whole group: go
// test passes nothing on to the processes that its tests have started.
func (w *workspace) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	if !strings.ContainsRune(name, os.PathSeparator) {
		if own := w.path("bin/" + name); isFile(own) {
			name = own
		}
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = w.path(dir)
	cmd.Env = w.env
	cmd.Stdout, cmd.Stderr = w.out, w.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// do prints a command, runs it in a directory of the repository and passes its
// output on.
func (w *workspace) do(ctx context.Context, dir, name string, args ...string) error {
	return w.doEnv(ctx, dir, nil, name, args...)
}

// doEnv is do with variables added to the environment.
func (w *workspace) doEnv(ctx context.Context, dir string, env []string, name string, args ...string) error {
	w.announce(dir, env, name, args)
	cmd := w.command(ctx, dir, name, args...)
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// output runs a command and returns its standard output; its standard error is
// passed on.
func (w *workspace) output(ctx context.Context, dir, name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := w.command(ctx, dir, name, args...)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out.String(), nil
}

func (w *workspace) announce(dir string, env []string, name string, args []string) {
	line := strings.Join(append(append(append([]string{}, env...), name), args...), " ")
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	if dir != "." {
		line = "(cd " + dir + " && " + line + ")"
	}
	fmt.Fprintf(w.out, "$ %s\n", line)
}

// files returns the repository's files that keep accepts, as slash-separated
// paths in lexical order. Directories that hold nothing of the project (hidden
// ones, testdata, what git ignores at the top) are left out, but .github is not.
func (w *workspace) files(keep func(path string) bool) ([]string, error) {
	var found []string
	err := filepath.WalkDir(w.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := entry.Name()
		if entry.IsDir() && rel != "." {
			hidden := strings.HasPrefix(name, ".") && name != ".github" && name != ".ci"
			if hidden || name == "testdata" || name == "node_modules" || rel == "bin" {
				return filepath.SkipDir
			}
		}
		if entry.Type().IsRegular() && keep(rel) {
			found = append(found, rel)
		}
		return nil
	})
	return found, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
