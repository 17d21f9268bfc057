package static

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"
)

// list is a file of members that a test changes.
type list struct {
	path string

	mu      sync.Mutex // guards members
	members []registry.Member
}

func (l *list) change(t *testing.T, change func()) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	text, err := json.Marshal(l.members)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l.path, text)
}

// write replaces a file as a whole.
func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFileKeepsTheContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		l := &list{path: filepath.Join(t.TempDir(), "members")}
		l.change(t, func() { l.members = []registry.Member{} })
		remove := func(m registry.Member) {
			l.members = slices.DeleteFunc(l.members, func(o registry.Member) bool { return o.ID == m.ID })
		}
		move := func(from, to string) func(*testing.T) {
			return func(t *testing.T) {
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
		}
		return registrytest.Harness{
			Open: func(t *testing.T) registrytest.Handle {
				r, err := New(Config{File: l.path, Interval: 50 * time.Millisecond, Backoff: 500 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				return registrytest.Handle{Discoverer: r}
			},
			Enter: func(t *testing.T, m registry.Member) {
				l.change(t, func() { remove(m); l.members = append(l.members, m) })
			},
			Remove: func(t *testing.T, m registry.Member) { l.change(t, func() { remove(m) }) },
			Stop:   move(l.path, l.path+".away"),
			Start:  move(l.path+".away", l.path),
		}
	})
}

func TestListIsToldAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := []geecache.Peer{{Addr: "a:1"}, {ID: "b", Addr: "b:1", Weight: 2}}
		r, err := New(Config{Members: Peers(peers...)})
		if err != nil {
			t.Fatal(err)
		}
		times := 0
		for members, err := range r.Watch(t.Context()) {
			if err != nil || len(members) != 2 || members[0].Peer != peers[0] || members[1].Peer != peers[1] {
				t.Errorf("%+v, %v", members, err)
			}
			members[0].Addr = "belongs to who asked"
			if times++; times == 3 {
				break
			}
		}
	})
}

func TestValidateNamesTheField(t *testing.T) {
	for want, cfg := range map[string]Config{
		"":                     {},
		"Members and File":     {Members: Peers(geecache.Peer{Addr: "a:1"}), File: "x"},
		"Interval":             {Interval: -1},
		"Backoff":              {Backoff: -1},
		"Members 1":            {Members: Peers(geecache.Peer{Addr: "a:1"}, geecache.Peer{ID: "b"})},
		`"a:1" is there twice`: {Members: Peers(geecache.Peer{Addr: "a:1"}, geecache.Peer{ID: "a:1", Addr: "b:1"})},
	} {
		_, err := New(cfg)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []registry.Member
		err  string // part of it; empty for none
	}{
		"empty":    {"", nil, ""},
		"comments": {"# nobody\n\n  # yet\n", nil, ""},
		"lines": {
			"\ufeff# all of them\r\n10.0.0.1:8000\r\n b = http://b.example:80 \r\n[::1]:8000\n",
			Peers(geecache.Peer{ID: "10.0.0.1:8000", Addr: "10.0.0.1:8000"}, geecache.Peer{ID: "b", Addr: "http://b.example:80"}, geecache.Peer{ID: "[::1]:8000", Addr: "[::1]:8000"}),
			"",
		},
		"JSON":                   {` [{"id":"a","addr":"a:1","zone":"z","weight":2,"role":"client"},{"addr":"b:1"}] `, Peers(geecache.Peer{ID: "a", Addr: "a:1", Zone: "z", Weight: 2, Role: geecache.RoleClient}, geecache.Peer{Addr: "b:1"}), ""},
		"JSON of nobody":         {"[]", nil, ""},
		"an address in brackets": {"[::1]:8000", Peers(geecache.Peer{ID: "[::1]:8000", Addr: "[::1]:8000"}), ""},
		"a bracket":              {"[", nil, "array of members"},
		"half of a JSON":         {`[{"id":"a","addr":"a:1"},`, nil, "array of members"},
		"more after JSON":        {`[] []`, nil, "follows"},
		"misspelt field":         {`[{"addr":"a:1","wieght":2}]`, nil, "wieght"},
		"without a port":         {"10.0.0.1:8000\n\n10.0.0.2\n", nil, `line 3 is "10.0.0.2"`},
		"no ID":                  {"=a:1", nil, "line 1"},
		"two on a line":          {"a:1 b:1", nil, "line 1"},
		"something else":         {"<!DOCTYPE html>", nil, "line 1"},
		"an object":              {`{"addr":"a:1"}`, nil, "line 1"},
		"twice":                  {"a:1\nb:1\na=b:1\na=c:1", nil, `"a" is there twice`},
		"without an address":     {`[{"id":"a"}]`, nil, "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			}
			same := func(a, b registry.Member) bool { return a.Peer == b.Peer }
			if err != nil || !slices.EqualFunc(got, tt.want, same) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestFileThatIsNoListIsAnError(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	write(t, large, bytes.Repeat([]byte("#"), maxFile+1))
	for path, want := range map[string]string{large: "more than", dir: dir, filepath.Join(dir, "none"): "none"} {
		r, err := New(Config{File: path})
		if err != nil {
			t.Fatal(err)
		}
		for members, err := range r.Watch(t.Context()) {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "static: ") {
				t.Errorf("%s: %v, %v", path, members, err)
			}
			break
		}
	}
}

// A file that is put right is read with the next look, however long it was wrong.
func TestAFileThatIsPutRightIsReadSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "peers")
		write(t, path, []byte("no address"))
		r, err := New(Config{File: path})
		if err != nil {
			t.Fatal(err)
		}
		begun, right := time.Now(), time.Time{}
		for members, err := range r.Watch(t.Context()) {
			switch {
			case err == nil && len(members) == 1:
				if took := time.Since(right); took > 2*DefaultInterval {
					t.Errorf("it was read after %v", took)
				}
				return
			case err == nil:
				t.Fatalf("got %v", members)
			case right.IsZero() && time.Since(begun) > time.Minute:
				right = time.Now()
				write(t, path, []byte("10.0.0.1:8000"))
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a=b:1\n[::1]:8000"))
	f.Add([]byte(`[{"id":"a","addr":"a:1"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := Parse(text)
		if err != nil {
			return
		}
		for _, m := range members {
			if m.Addr == "" && m.Role != geecache.RoleClient {
				t.Errorf("%q has a member without an address: %+v", text, m)
			}
		}
	})
}
