// Package file keeps snapshots as files of a directory, for its user alone. It shares
// nothing with other machines unless the directory does.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/geecache/geecache/snapshot"
)

const (
	unfinished = ".unfinished-" // what names of files begin with that are being written
	abandoned  = time.Hour      // the age of such a file that nobody writes any more
)

// A Storage keeps objects as files below a directory. It is safe for concurrent use.
type Storage struct{ dir string }

var _ snapshot.Storage = (*Storage)(nil)

// ParseURL returns the directory that a URL names: file:///DIR or file:DIR.
func ParseURL(raw string) (dir string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return "", fmt.Errorf("file: %q: use file:///directory", raw)
	}
	if u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("file: %q names more than a directory of this machine: use file:///directory", raw)
	}
	if dir = u.Path; dir == "" {
		dir = u.Opaque
	}
	if dir == "" || dir == "/" {
		return "", fmt.Errorf("file: %q names no directory: use file:///directory", raw)
	}
	return filepath.FromSlash(dir), nil
}

// Open returns a storage in a directory, which it makes if there is none. It removes
// what a process has left that ended while it wrote.
func Open(dir string) (*Storage, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	s := &Storage{dir: dir}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), unfinished) {
			return gone(err)
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < abandoned {
			return gone(err)
		}
		return gone(os.Remove(path))
	})
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	return s, nil
}

// Exposed returns the mode of the directory if others than its user may look into it or
// change it, as in one that was there before: the files are for their user alone, but their
// names tell of nodes, and who may write can put others in their place.
func (s *Storage) Exposed() (mode fs.FileMode, exposed bool) {
	info, err := os.Stat(s.dir)
	if err != nil || runtime.GOOS == "windows" { // whose permissions are other ones
		return 0, false
	}
	return info.Mode().Perm(), info.Mode().Perm()&0o077 != 0
}

// gone returns nil if the error is that a file is not there any more: others work here.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Storage) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// List implements snapshot.Reading.
func (s *Storage) List(ctx context.Context, dir string) (names []string, err error) {
	err = filepath.WalkDir(s.path(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return gone(err)
		}
		if d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return ctx.Err()
		}
		name, err := filepath.Rel(s.dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("file: list: %w", err)
	}
	return names, nil
}

// Open implements snapshot.Reading.
func (s *Storage) Open(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	return f, nil
}

// Put implements snapshot.Writing: it writes another file, sees to it that it is on the
// disk, and gives it the name.
func (s *Storage) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.put(s.path(name), data)
	if errors.Is(err, fs.ErrNotExist) { // another node has deleted the last file of the directory meanwhile
		err = s.put(s.path(name), data)
	}
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

func (s *Storage) put(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, unfinished) // for its user alone
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(f.Name())))
	}
	return syncDir(dir)
}

// Delete implements snapshot.Writing. It removes the directory, too, with its last file.
func (s *Storage) Delete(_ context.Context, name string) error {
	if err := gone(os.Remove(s.path(name))); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	_ = os.Remove(filepath.Dir(s.path(name))) // it fails while there are others
	return nil
}
