//go:build unix

package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A rootfs writes the files of an image as a tar archive. The first error stays, and
// makes all that follows do nothing.
type rootfs struct {
	e    *Engine
	tag  string // of the image
	tar  *tar.Writer
	seen map[string]bool
	err  error
}

// errEnded is what a rootfs is told when nobody reads it any more.
var errEnded = errors.New("docker import has ended")

// importing runs docker import with what fill writes.
func (e *Engine) importing(ctx context.Context, tag string, args []string, fill func(context.Context, *rootfs)) error {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		r := &rootfs{e: e, tag: tag, tar: tar.NewWriter(out), seen: make(map[string]bool)}
		fill(ctx, r)
		err := errors.Join(r.err, r.tar.Close())
		written <- err
		_ = out.CloseWithError(err) // of a pipe: never fails
	}()
	_, err := e.output(ctx, in, ".", "docker", args...)
	_ = in.CloseWithError(errEnded)
	if why := <-written; why != nil && !errors.Is(why, errEnded) {
		return errors.Join(why, err)
	}
	return err
}

// dir writes a directory.
func (r *rootfs) dir(name string, mode int64, owner int) {
	r.write(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

// file writes a file.
func (r *rootfs) file(name string, mode int64, content string) {
	r.write(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}, strings.NewReader(content))
}

// link writes a symbolic link.
func (r *rootfs) link(name, target string) {
	r.write(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (r *rootfs) write(h *tar.Header, content io.Reader) {
	h.Name = strings.TrimPrefix(h.Name, "/")
	if r.err != nil || r.seen[h.Name] {
		return
	}
	r.seen[h.Name] = true
	if r.err = r.tar.WriteHeader(h); r.err == nil && content != nil {
		_, r.err = io.Copy(r.tar, content)
	}
}

// copy writes a file of this machine, or what a link leads to.
func (r *rootfs) copy(from, to string) {
	if r.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		r.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		r.err = err
		return
	}
	r.write(&tar.Header{Name: to, Mode: int64(info.Mode().Perm()), Size: info.Size()}, f)
}

// tree writes a directory of this machine with all that is in it, but for what skip
// names, by paths relative to it.
func (r *rootfs) tree(from, to string, skip ...string) {
	if r.err != nil {
		return
	}
	r.err = filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		for _, s := range skip {
			if rel == s {
				return filepath.SkipDir
			}
		}
		name := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			r.dir(name, 0o755, 0)
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			r.link(name, target)
		case entry.Type().IsRegular():
			r.copy(path, name)
		}
		return r.err
	})
}

var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// program writes a program of this machine with the libraries that it is linked to.
func (r *rootfs) program(ctx context.Context, from, to string) {
	r.copy(from, to)
	r.libraries(ctx, from)
}

// libraries writes the libraries that a file is linked to, to where they are here.
func (r *rootfs) libraries(ctx context.Context, from string) {
	if r.err != nil {
		return
	}
	out, err := r.e.output(ctx, nil, ".", "ldd", from)
	if err != nil {
		if strings.Contains(out+err.Error(), "not a dynamic executable") {
			return
		}
		r.err = err
		return
	}
	if strings.Contains(out, "not found") {
		r.err = fmt.Errorf("%s: a library is missing: %s", from, out)
		return
	}
	for _, m := range libraryPath.FindAllStringSubmatch(out, -1) {
		r.copy(m[1], m[1])
	}
}
