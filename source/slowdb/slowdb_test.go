package slowdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
)

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wantValue(t *testing.T, s *Source, key, want string) {
	t.Helper()
	v, err := s.Get(t.Context(), key)
	if err != nil || string(v.Bytes) != want {
		t.Errorf("Get(%q) = %q, %v; want %q", key, v.Bytes, err, want)
	}
}

func wantNotFound(t *testing.T, s *Source, key string) {
	t.Helper()
	if v, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get(%q) = %q, %v; want ErrNotFound", key, v.Bytes, err)
	}
}

func TestZeroConfigIsSeededMemory(t *testing.T) {
	s := open(t, Config{})
	wantValue(t, s, "Tom", "630")
	wantValue(t, s, "Jack", "589")
	wantValue(t, s, "Sam", "567")
	wantNotFound(t, s, "kkk")
	if n := s.Queries(); n != 4 {
		t.Errorf("Queries() = %d, want 4", n)
	}
}

func TestMemorySourcesAreSeparate(t *testing.T) {
	a, b := open(t, Config{}), open(t, Config{NoSeed: true})
	if _, err := a.Import(t.Context(), strings.NewReader("only,a\n"), FormatCSV, nil); err != nil {
		t.Fatal(err)
	}
	wantValue(t, a, "only", "a")
	wantNotFound(t, b, "only")
	wantNotFound(t, b, "Tom")
}

func TestMemoryIsSharedByAllConnections(t *testing.T) {
	s := open(t, Config{})
	for range s.db.Stats().MaxOpenConnections - 1 { // the anchor is the other one
		conn, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		var n int
		if err := conn.QueryRowContext(t.Context(), "SELECT count(*) FROM kv").Scan(&n); err != nil || n != len(seed) {
			t.Fatalf("a connection sees %d rows, %v; want %d", n, err, len(seed))
		}
	}
}

func TestRowsForMeasurements(t *testing.T) {
	s := open(t, Config{Rows: 1000, NoSeed: true})
	wantValue(t, s, "user:0", "value-of-user:0")
	wantValue(t, s, "user:999", "value-of-user:999")
	wantNotFound(t, s, "user:1000")
	wantNotFound(t, s, "Tom")
	wantValue(t, open(t, Config{Rows: 1}), "Tom", "630")
}

func TestFileKeepsItsRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%41 ü.db")
	first := open(t, Config{Path: path})
	if _, err := first.Import(t.Context(), strings.NewReader("Tom,1\nnew,2\n"), FormatCSV, nil); err != nil {
		t.Fatal(err)
	}
	second := open(t, Config{Path: path})
	wantValue(t, second, "Tom", "1") // not seeded again
	wantValue(t, second, "new", "2")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantValue(t, second, "new", "2")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file has another name than it was given: %v", err)
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, Config{Path: "rel.db"})
	wantValue(t, s, "Tom", "630")
	if _, err := os.Stat("rel.db"); err != nil {
		t.Error(err)
	}
}

// TestProcess is the other process of TestSeveralProcesses.
func TestProcess(t *testing.T) {
	path := os.Getenv("GEECACHE_SLOWDB_TEST_FILE")
	if path == "" {
		return // not started by TestSeveralProcesses
	}
	s := open(t, Config{Path: path})
	for range 200 {
		wantValue(t, s, "Jack", "589")
	}
}

func TestSeveralProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared.db")
	var wg sync.WaitGroup
	for range 4 { // all open the new file at the same time
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcess$")
		cmd.Env = append(os.Environ(), "GEECACHE_SLOWDB_TEST_FILE="+path)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	s := open(t, Config{Path: path})
	if _, err := s.Import(t.Context(), strings.NewReader("x,y\n"), FormatCSV, nil); err != nil {
		t.Error(err)
	}
	wg.Wait()
	wantValue(t, s, "x", "y")
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Latency: time.Minute})
		defer func() { _ = s.Close() }()
		start := time.Now()
		wantValue(t, s, "Tom", "630")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("Get took %v, want exactly the latency of 1m", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := s.Get(ctx, "Tom"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get past its deadline = %v, want DeadlineExceeded", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Get returned %v after its start, want at its deadline of 1s", took)
		}
		if n := s.Queries(); n != 2 {
			t.Errorf("Queries() = %d, want 2: a query that is given up counts", n)
		}
	})
}

func TestCloseEndsWaitingGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Latency: time.Minute})
		got := make(chan error)
		go func() {
			_, err := s.Get(t.Context(), "Tom")
			got <- err
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("waiting Get = %v, want ErrClosed", err)
		}
		if _, err := s.Import(t.Context(), strings.NewReader(""), FormatCSV, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Import after Close = %v, want ErrClosed", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	s := open(t, Config{Path: foreign})
	for _, statement := range []string{"DROP TABLE kv", "CREATE TABLE kv (key TEXT, value TEXT)"} {
		if _, err := s.db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range map[string]string{
		"a folder":       dir,
		"no such folder": filepath.Join(dir, "none", "x.db"),
		"not a database": text,
		"text keys":      foreign,
	} {
		got, err := Open(t.Context(), Config{Path: path})
		if err == nil {
			_ = got.Close()
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Open = %v, want an error that names %s", name, err, path)
		}
	}
}

func TestReadersDuringImport(t *testing.T) {
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "x.db")} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Path: path})
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							wantValue(t, s, "Sam", "567")
						}
					}
				})
			}
			var in strings.Builder
			const rows = 5_000
			for i := range rows {
				fmt.Fprintf(&in, "key-%d,%d\n", i, i)
			}
			n, err := s.Import(t.Context(), strings.NewReader(in.String()), FormatCSV, nil)
			close(stop)
			wg.Wait()
			if err != nil || n != rows {
				t.Errorf("Import = %d, %v; want %d rows", n, err, rows)
			}
			wantValue(t, s, "key-4999", "4999")
		})
	}
}

func BenchmarkOpenMemory(b *testing.B) {
	for b.Loop() {
		s, err := Open(b.Context(), Config{})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

func BenchmarkOpenFile(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		s, err := Open(b.Context(), Config{Path: filepath.Join(dir, fmt.Sprint(i))})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

func BenchmarkGet(b *testing.B) {
	s, err := Open(b.Context(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Get(b.Context(), "Tom"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
