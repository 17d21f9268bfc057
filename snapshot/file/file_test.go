package file

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/geecache/geecache/snapshot"
	"github.com/geecache/geecache/snapshot/snapshottest"
)

func open(t *testing.T, dir string) *Storage {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "snapshots")
	snapshottest.Run(t, func(t *testing.T) snapshot.Storage { return open(t, dir) })
}

// Nobody else can read values there.
func TestFilesAreForTheirUserAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // permissions are other ones there
	}
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := open(t, dir)
	if err := s.Put(t.Context(), "c/n/a", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"": 0o700, "c": 0o700, "c/n": 0o700, "c/n/a": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q has the mode %v, want %v: %v", path, info.Mode().Perm(), mode, err)
		}
	}
}

func TestExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		return
	}
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := open(t, dir)
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o500: false, 0o750: true, 0o705: true, 0o777: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if got, exposed := s.Exposed(); exposed != want || got != mode {
			t.Errorf("with the mode %v it is exposed: %v (%v), want %v", mode, exposed, got, want)
		}
	}
}

// What a process has left that ended while it wrote is no object, and is removed when
// it is old; what another one is writing stays.
func TestUnfinishedFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "c/n/a", nil); err != nil {
		t.Fatal(err)
	}
	left, writing := filepath.Join(dir, "c", "n", unfinished+"1"), filepath.Join(dir, "c", "n", unfinished+"2")
	for _, path := range []string{left, writing} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(left, past, past); err != nil {
		t.Fatal(err)
	}
	if names, err := s.List(t.Context(), "c"); err != nil || len(names) != 1 {
		t.Errorf("the names are %q: %v", names, err)
	}
	open(t, dir)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what was left is still there: %v", err)
	}
	if _, err := os.Stat(writing); err != nil {
		t.Errorf("what is being written is gone: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]string{
		"file:///var/lib/geecache": "/var/lib/geecache", "file:snapshots": "snapshots", "file://localhost/x": "/x", "file:///a%20b": "/a b",
		"file:///": "", "file:": "", "file://host/x": "", "file:///x?y=1": "", "http://x/y": "", "/x": "",
	} {
		got, err := ParseURL(raw)
		if got != filepath.FromSlash(want) || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", raw, got, err, want)
		}
	}
}
