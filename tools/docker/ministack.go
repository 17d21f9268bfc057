//go:build unix

package docker

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What MiniStack's image has beside the package: what it starts tasks with, and what it reads
// CloudWatch's requests with.
const (
	dockerPackage = "docker==7.1.0"
	cborPackage   = "cbor2==5.7.1"
)

// whatMiniStack says what the stand-in for MiniStack's image is made of: the package of
// that version, in this machine's Python.
func whatMiniStack(ctx context.Context, e *Engine, tag string) (string, error) {
	out, err := e.output(ctx, nil, ".", "python3", "--version")
	if err != nil {
		return "", fmt.Errorf("a stand-in is made of this machine's Python: run scripts/install-deps: %w", err)
	}
	return fmt.Sprintf("the package ministack %s with %s and %s in this machine's %s", tag, dockerPackage, cborPackage, strings.TrimSpace(out)), nil
}

// pythonPaths prints where a Python has its library and its program.
const pythonPaths = `import os, sys, sysconfig; print(sysconfig.get_paths()["stdlib"]); print(os.path.realpath(sys.executable))`

// fillMiniStack installs MiniStack into a virtual environment and writes that with the
// Python it is for.
func fillMiniStack(ctx context.Context, r *rootfs) {
	users(r)
	certificates(r)
	dir, err := os.MkdirTemp("", "geecache-ministack-")
	if err != nil {
		r.err = err
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var lines []string
	for _, args := range [][]string{
		{"python3", "-m", "venv", dir},
		{filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "ministack==" + r.tag, dockerPackage, cborPackage},
		{"python3", "-c", pythonPaths},
	} {
		out, err := r.e.output(ctx, nil, ".", args[0], args[1:]...)
		if err != nil {
			r.err = fmt.Errorf("%w: run scripts/install-deps", err)
			return
		}
		lines = strings.Split(strings.TrimSpace(out), "\n")
	}
	stdlib, program := lines[0], lines[1]
	home := "/usr/local/lib/" + filepath.Base(stdlib)
	r.program(ctx, program, "/usr/local/bin/python3")
	r.tree(stdlib, home, "test", "site-packages", "dist-packages", "idlelib", "tkinter", "ensurepip")
	packages := filepath.Join(dir, "lib", filepath.Base(stdlib), "site-packages")
	r.tree(packages, "/app", "pip", "setuptools")
	for _, from := range []string{stdlib, packages} {
		r.extensions(ctx, from)
	}
	r.dir("var/run", 0o755, 0)
}

// extensions writes the libraries that a Python's compiled modules are linked to.
func (r *rootfs) extensions(ctx context.Context, dir string) {
	if r.err != nil {
		return
	}
	r.err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".so") && !strings.Contains(path, "tkinter") {
			r.libraries(ctx, path)
		}
		return err
	})
}
