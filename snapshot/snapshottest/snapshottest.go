// Package snapshottest is the contract of snapshots' storages, as a suite of tests. It
// tests what every storage must do, and nothing that only one can.
package snapshottest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/geecache/geecache/snapshot"
)

// Server returns the address that an environment variable gives of a server which
// scripts/test-servers starts. Without it, the test is skipped, or fails where servers
// are required: in CI, or with GEECACHE_TEST_SERVERS=1.
func Server(t testing.TB, variable string) string {
	t.Helper()
	addr := os.Getenv(variable)
	if addr == "" {
		const remedy = `%s is not set: run eval "$(scripts/test-servers up)"`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatalf(remedy, variable)
		}
		t.Skipf(remedy, variable)
	}
	return addr
}

// Run runs the suite. open returns the storage, which is empty before the first time.
func Run(t *testing.T, open func(t *testing.T) snapshot.Storage) {
	for name, test := range map[string]func(t *testing.T, s, other snapshot.Storage){
		"Empty": empty, "RoundTrip": roundTrip, "Replace": replace, "Directories": directories,
		"Delete": deleteObjects, "Concurrent": concurrent, "ManyNames": manyNames,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t), open(t)) })
	}
}

// content is what no two names share.
func content(name string, size int) []byte {
	return bytes.Repeat(append([]byte(name), 0, 0xff, '\r', '\n'), size/(len(name)+4)+1)[:size]
}

func put(t *testing.T, s snapshot.Storage, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func get(t *testing.T, s snapshot.Storage, name string) ([]byte, error) {
	t.Helper()
	body, err := s.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return data, nil
}

func want(t *testing.T, s snapshot.Storage, name string, data []byte) {
	t.Helper()
	if got, err := get(t, s, name); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s has %d bytes, and not the %d that were put: %v", name, len(got), len(data), err)
	}
}

func wantNames(t *testing.T, s snapshot.Storage, dir string, names ...string) {
	t.Helper()
	got, err := s.List(t.Context(), dir)
	slices.Sort(got)
	slices.Sort(names)
	if err != nil || !slices.Equal(got, names) {
		t.Errorf("%s has %d names, such as %.3v; want %d: %v", dir, len(got), got, len(names), err)
	}
}

// What is not there is no error to list, and is told when it is opened.
func empty(t *testing.T, s, _ snapshot.Storage) {
	wantNames(t, s, "nothing")
	if _, err := get(t, s, "nothing/at/all"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that is not there: %v", err)
	}
	if err := s.Delete(t.Context(), "nothing/at/all"); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// Another process reads what was put, whatever its size.
func roundTrip(t *testing.T, s, other snapshot.Storage) {
	var names []string
	for _, size := range []int{0, 1, 1000, 4<<20 + 12345, 12 << 20} {
		name := fmt.Sprintf("round/node-%d/x_1.Z", size)
		put(t, s, name, content(name, size))
		want(t, other, name, content(name, size))
		names = append(names, name)
	}
	wantNames(t, other, "round", names...)
}

func replace(t *testing.T, s, other snapshot.Storage) {
	put(t, s, "replace/n/a", content("first", 5000))
	put(t, s, "replace/n/a", content("second", 300))
	want(t, other, "replace/n/a", content("second", 300))
	wantNames(t, other, "replace", "replace/n/a")
}

// A directory is not another one whose name begins alike.
func directories(t *testing.T, s, other snapshot.Storage) {
	put(t, s, "dir/n/a", nil)
	put(t, s, "dir-2/n/a", nil)
	put(t, s, "dir.2/n/a", nil)
	wantNames(t, other, "dir", "dir/n/a")
	wantNames(t, other, "dir-2", "dir-2/n/a")
}

func deleteObjects(t *testing.T, s, other snapshot.Storage) {
	for _, name := range []string{"delete/n/a", "delete/n/b", "delete/m/a"} {
		put(t, s, name, []byte(name))
	}
	for range 2 { // the second time it is gone already
		if err := other.Delete(t.Context(), "delete/n/a"); err != nil {
			t.Fatal(err)
		}
	}
	wantNames(t, s, "delete", "delete/n/b", "delete/m/a")
	if err := other.Delete(t.Context(), "delete/n/b"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "delete/n/c", []byte("again")) // in a directory that may be gone
	wantNames(t, s, "delete", "delete/n/c", "delete/m/a")
}

// Many put and delete at once; who reads meanwhile sees all of one of them.
func concurrent(t *testing.T, s, other snapshot.Storage) {
	const size = 300_000
	one, two := content("one", size), content("two", size)
	put(t, s, "many/n/same", one)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 5 {
				name := fmt.Sprintf("many/n-%d/%d", i%4, round)
				if err := errors.Join(s.Put(t.Context(), name, one), other.Delete(t.Context(), name),
					s.Put(t.Context(), "many/n/same", [][]byte{one, two}[i%2])); err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	for range 20 {
		if got, err := get(t, other, "many/n/same"); err != nil || !bytes.Equal(got, one) && !bytes.Equal(got, two) {
			t.Errorf("%d bytes that nobody has put: %v", len(got), err)
		}
	}
	wg.Wait()
}

// A listing is of all names, also where a server gives them in pages.
func manyNames(t *testing.T, s, other snapshot.Storage) {
	var names []string
	var wg sync.WaitGroup
	todo := make(chan string)
	for range 4 {
		wg.Go(func() {
			for name := range todo {
				if err := s.Put(t.Context(), name, nil); err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	for i := range 1100 {
		name := fmt.Sprintf("pages/n/%04d", i)
		names = append(names, name)
		todo <- name
	}
	close(todo)
	wg.Wait()
	wantNames(t, other, "pages", names...)
}
