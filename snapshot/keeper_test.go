package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
)

// A memory is a storage that the tests look into.
type memory struct {
	mu      sync.Mutex // guards what follows
	objects map[string][]byte
	opened  int
	open    int // at a time, the most
	reading int
	fail    func(what, name string) error // nil: never
}

func newMemory() *memory { return &memory{objects: make(map[string][]byte)} }

func (m *memory) failing(what, name string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(what, name)
}

func (m *memory) List(_ context.Context, dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.objects {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	return names, m.failing("list", dir)
}

func (m *memory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if err := m.failing("open", name); err != nil {
		return nil, err
	}
	m.opened++
	m.reading++
	m.open = max(m.open, m.reading)
	return closer{bytes.NewReader(data), m}, nil
}

type closer struct {
	io.Reader
	m *memory
}

func (c closer) Close() error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.reading--
	return nil
}

func (m *memory) Put(ctx context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(ctx.Err(), m.failing("put", name)); err != nil {
		return err
	}
	m.objects[name] = bytes.Clone(data)
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return m.failing("delete", name)
}

func (m *memory) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// newNode returns a node that stands alone, with the group g.
func newNode(t *testing.T, id string, gc geecache.GroupConfig) *geecache.Node {
	t.Helper()
	n, err := geecache.New(geecache.Config{ID: id, Cluster: "c", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	_, err = n.NewGroup("g", geecache.GetterFunc(func(context.Context, string) (geecache.Value, error) {
		return geecache.Value{}, geecache.ErrNotFound
	}), gc)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func fill(t *testing.T, n *geecache.Node, entries []grouped) {
	t.Helper()
	for _, e := range entries {
		if ok, err := n.Group("g").Restore(e.Entry); !ok || err != nil {
			t.Fatalf("%s: %v, %v", e.Key, ok, err)
		}
	}
}

// entries returns what the node's group holds, by key.
func entries(n *geecache.Node) map[string]geecache.Entry {
	all := make(map[string]geecache.Entry)
	n.Group("g").Hottest(1<<40, func(e geecache.Entry) bool {
		all[e.Key] = e
		return true
	})
	return all
}

func newKeeper(t *testing.T, cfg Config) (*Keeper, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	if cfg.Cluster == "" {
		cfg.Cluster = "c"
	}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.Rand = func() float64 { return 0.5 }
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k, log
}

func save(t *testing.T, k *Keeper) {
	t.Helper()
	if err := k.save(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// What a node saves, its successor with another name has again.
func TestSuccessorHasItAgain(t *testing.T) {
	m := newMemory()
	before := newNode(t, "before", geecache.GroupConfig{})
	fill(t, before, many(60_000)) // several parts
	k, _ := newKeeper(t, Config{Node: before, Storage: m})
	save(t, k)
	if n := len(m.names()); n < 3 {
		t.Fatalf("%d parts", n)
	}
	after := newNode(t, "after", geecache.GroupConfig{})
	k, log := newKeeper(t, Config{Node: after, Storage: m, LoadTime: time.Hour})
	k.load(t.Context())
	got, want := entries(after), entries(before)
	for key, e := range want {
		if g := got[key]; !bytes.Equal(g.Value, e.Value) || g.Version != e.Version || g.TTL != e.TTL {
			t.Fatalf("%s: %+v, want %+v", key, g, e)
		}
	}
	st := k.Status().Load
	if len(got) != 60_000 || st.Entries != 60_000 || st.Snapshots != 1 || st.Torn+st.Refused+st.Expired+st.Others != 0 || st.Cut != "" {
		t.Errorf("%d entries, %+v\n%s", len(got), st, log)
	}
	if m.open > gets || m.reading != 0 {
		t.Errorf("%d parts were read at a time, and %d were not closed", m.open, m.reading)
	}
}

func TestBytesBoundASnapshot(t *testing.T) {
	m := newMemory()
	n := newNode(t, "n", geecache.GroupConfig{})
	fill(t, n, many(10_000))
	k, _ := newKeeper(t, Config{Node: n, Storage: m, Bytes: 100 << 10})
	save(t, k)
	if st := k.Status(); st.Entries < 200 || st.Entries > 500 || st.Bytes > 120<<10 || st.Saves != 1 {
		t.Errorf("%+v", st)
	}
}

// A TTL goes on while nobody runs; a snapshot from the future counts as one of now.
func TestTimePasses(t *testing.T) {
	for _, tt := range []struct {
		away time.Duration
		want map[string]time.Duration
	}{
		{10 * time.Second, map[string]time.Duration{"short": 20 * time.Second, "long": 50 * time.Second, "none": 0}},
		{40 * time.Second, map[string]time.Duration{"long": 20 * time.Second, "none": 0}},
		{59 * time.Minute, map[string]time.Duration{"none": 0}},
		{61 * time.Minute, map[string]time.Duration{}},
		{-time.Hour, map[string]time.Duration{"short": 30 * time.Second, "long": time.Minute, "none": 0}},
	} {
		m := newMemory()
		n := newNode(t, "n", geecache.GroupConfig{})
		fill(t, n, []grouped{
			{"g", geecache.Entry{Key: "short", TTL: 30 * time.Second, Version: 1}}, {"g", geecache.Entry{Key: "long", TTL: time.Minute, Version: 1}},
			{"g", geecache.Entry{Key: "none", Version: 1}},
		})
		k, _ := newKeeper(t, Config{Node: n, Storage: m})
		save(t, k)
		n = newNode(t, "n", geecache.GroupConfig{})
		k, log := newKeeper(t, Config{Node: n, Storage: m, Now: func() time.Time { return time.Now().Add(tt.away) }})
		k.load(t.Context())
		got := entries(n)
		if len(got) != len(tt.want) {
			t.Errorf("after %v: %v, want %v\n%s", tt.away, got, tt.want, log)
		}
		for key, ttl := range tt.want {
			if e := got[key]; e.TTL > ttl || e.TTL < ttl-10*time.Second {
				t.Errorf("after %v: %s has %v left, want %v", tt.away, key, e.TTL, ttl)
			}
		}
	}
}

// rename puts all objects of a cluster under another one's name.
func (m *memory) rename(from, to string) {
	for name, data := range maps.Clone(m.objects) {
		delete(m.objects, name)
		m.objects[strings.Replace(name, from+"/", to+"/", 1)] = data
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spoil   func(m *memory, name string)
		said    string
		count   func(LoadStatus) int64
		entries func(n int) bool
	}{
		{"another cluster", func(m *memory, _ string) { m.rename("c", "d") }, `the snapshot is of cluster \"c\", and this node's cluster is \"d\"`,
			func(s LoadStatus) int64 { return s.OtherCluster }, func(n int) bool { return n == 0 }},
		{"another format", func(m *memory, name string) {
			binary.LittleEndian.PutUint16(m.objects[name][len(magic):], 2)
			m.rename("c", "d")
		},
			"the snapshot has format 2, and this program reads format 1", func(s LoadStatus) int64 { return s.OtherFormat }, func(n int) bool { return n == 0 }},
		{"a torn tail", func(m *memory, name string) { m.objects[name] = m.objects[name][:len(m.objects[name])/2] },
			"snapshot is torn: it ends too early", func(s LoadStatus) int64 { return s.Torn }, func(n int) bool { return n > 1000 && n < 5000 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			n := newNode(t, "n", geecache.GroupConfig{})
			fill(t, n, many(5000))
			k, _ := newKeeper(t, Config{Node: n, Storage: m})
			save(t, k)
			tt.spoil(m, m.names()[0])
			n = newNode(t, "n", geecache.GroupConfig{})
			cluster, _, _ := strings.Cut(m.names()[0], "/")
			k, log := newKeeper(t, Config{Node: n, Storage: m, Cluster: cluster})
			k.load(t.Context())
			if !strings.Contains(log.String(), tt.said) || tt.count(k.Status().Load) != 1 || !tt.entries(len(entries(n))) {
				t.Errorf("%d entries, %+v\n%s", len(entries(n)), k.Status().Load, log)
			}
		})
	}
}

// A cache is not filled to the brim: what was used least is left out, and drives
// nothing else out.
func TestFullCache(t *testing.T) {
	m := newMemory()
	n := newNode(t, "n", geecache.GroupConfig{})
	fill(t, n, many(20_000))
	k, _ := newKeeper(t, Config{Node: n, Storage: m})
	save(t, k)
	n = newNode(t, "n", geecache.GroupConfig{CacheBytes: 2 << 20})
	k, _ = newKeeper(t, Config{Node: n, Storage: m})
	k.load(t.Context())
	s := n.Group("g").Stats().Main
	if st := k.Status().Load; st.Cut != errNoRoom.Error() || s.Bytes < s.MaxBytes/2 {
		t.Errorf("%+v, %+v", st, s)
	}
}

func name(node string, age time.Duration, epoch string, part int, last bool) string {
	return "c/" + partName{node, time.Now().Add(-age), epoch, part, last}.String()
}

// Of each node the newest whole snapshot is read, the parts that were used most first;
// and only the node's own if the ring is the same.
func TestChoose(t *testing.T) {
	n := newNode(t, "n", geecache.GroupConfig{})
	epoch, other := n.Stats().Epoch, "00000000000000ff"
	for what, tt := range map[string]struct{ there, want []string }{
		"nothing":       {},
		"hottest first": {[]string{"a 5 0", "a 5 1 last", "b 3 0", "b 3 1", "b 3 2 last", "x 2 0 last"}, []string{"x 2 0 last", "b 3 0", "a 5 0", "b 3 1", "a 5 1 last", "b 3 2 last"}},
		"newest first":  {[]string{"a 5 0 last", "b 3 0", "b 3 1 last"}, []string{"b 3 0", "b 3 1 last", "a 5 0 last"}},
		"gone by then":  {[]string{"a 20 0 last", "b 4 0 last", "c 19 0 last"}, []string{"b 4 0 last", "c 19 0 last"}},
		"the newest":    {[]string{"a 5 0 last", "a 3 0 last", "a 4 0 last"}, []string{"a 3 0 last"}},
		"the whole one": {[]string{"a 5 0 last", "a 3 0", "a 3 1"}, []string{"a 5 0 last"}},
		"none is whole": {[]string{"a 5 0", "a 3 0", "a 3 1"}, []string{"a 3 0", "a 3 1"}},
		"too old":       {[]string{"a 61 0 last", "b 59 0 last"}, []string{"b 59 0 last"}},
		"its own":       {[]string{"a 5 0 last", "n 6 0", "n 6 1 last"}, []string{"n 6 0", "n 6 1 last"}},
	} {
		t.Run(what, func(t *testing.T) {
			parse := func(text string) string {
				var node, last string
				var age, part int
				_, _ = fmt.Sscan(text, &node, &age, &part, &last)
				return name(node, time.Duration(age)*time.Minute, epoch, part, last != "")
			}
			synctest.Test(t, func(t *testing.T) { // one time for all
				k, _ := newKeeper(t, Config{Node: n, Storage: newMemory()})
				var there []partName
				for _, text := range tt.there {
					p, ok := parseName(strings.TrimPrefix(parse(text), "c/"))
					if !ok {
						t.Fatalf("%s is no name", parse(text))
					}
					there = append(there, p)
				}
				var got, want []string
				for _, p := range k.choose(there) {
					got = append(got, "c/"+p.String())
				}
				for _, text := range tt.want {
					want = append(want, parse(text))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
				for i := range there {
					there[i].epoch = other
				}
				if what == "its own" && len(k.choose(there)) != 3 {
					t.Errorf("with another ring the node's own is taken for enough")
				}
			})
		})
	}
}

// Names tell IDs apart, whatever those are made of, and have nothing in them that a
// storage could take for more than a name.
func TestSegments(t *testing.T) {
	seen := make(map[string]string)
	for _, id := range []string{"a", "A", "n-1", "10.0.0.1:8001", "10.0.0.1_8001", "..", ".", "...", ".a", "a/b", "a\\b", "ü", "", "a%2Fb", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 250)} {
		s := segment(id)
		if len(s) > 64 || strings.HasPrefix(s, ".") || strings.ContainsAny(s, `/\:% `) || s == "" {
			t.Errorf("%q is called %q", id, s)
		}
		if old, ok := seen[s]; ok {
			t.Errorf("%q and %q are both called %q", id, old, s)
		}
		seen[s] = id
	}
}

// A keeper loads, saves at each interval, deletes what is superseded, and saves once
// more at the end.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		n := newNode(t, "n", geecache.GroupConfig{})
		fill(t, n, many(100))
		old := name("gone", 2*time.Hour, "00000000000000ff", 0, true)
		recent := name("other", 20*time.Minute, "00000000000000ff", 0, true)
		m.objects[old], m.objects[recent] = nil, nil
		k, log := newKeeper(t, Config{Node: n, Storage: m})
		ctx, cancel := context.WithCancel(t.Context())
		loaded := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { k.Run(ctx, func() { close(loaded) }) })
		<-loaded
		synctest.Wait()
		if names := m.names(); !slices.Equal(names, []string{recent}) {
			t.Errorf("after the start there are %q", names)
		}
		time.Sleep(21 * time.Minute)
		synctest.Wait()
		if st := k.Status(); st.Saves != 4 || len(m.names()) != keep+1 || time.Since(st.Saved) > 90*time.Second {
			t.Errorf("after 21 minutes: %+v, %q\n%s", st, m.names(), log)
		}
		cancel()
		wg.Wait()
		k.SaveLast(t.Context())
		if st := k.Status(); st.Saves != 5 || st.Entries != 100 {
			t.Errorf("at the end: %+v\n%s", st, log)
		}
		_ = n.Close()
	})
}

// A storage that fails, hangs or has no bucket costs the node nothing but the warmth.
func TestStorageInTrouble(t *testing.T) {
	broken := errors.New("it is broken")
	for what, count := range map[string]func(Status) int64{
		"list": func(s Status) int64 { return s.ListErrors }, "open": func(s Status) int64 { return s.ReadErrors },
		"put": func(s Status) int64 { return s.WriteErrors }, "delete": func(s Status) int64 { return s.DeleteErrors },
	} {
		t.Run(what, func(t *testing.T) {
			m := newMemory()
			n := newNode(t, "n", geecache.GroupConfig{})
			fill(t, n, many(10))
			k, _ := newKeeper(t, Config{Node: n, Storage: m, Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
			save(t, k) // one to delete
			k, _ = newKeeper(t, Config{Node: n, Storage: m})
			save(t, k)
			m.fail = func(failing, _ string) error {
				if failing == what {
					return broken
				}
				return nil
			}
			k, log := newKeeper(t, Config{Node: n, Storage: m})
			k.load(t.Context())
			_ = k.save(t.Context(), false)
			k.prune(t.Context())
			if st := k.Status(); count(st) == 0 || !errors.Is(st.Err, broken) || !strings.Contains(log.String(), "it is broken") {
				t.Errorf("%+v\n%s", st, log)
			}
		})
	}
}

// A snapshot that there is no time for is given up: none of it is taken for whole, and
// the one before is read. Before the loading has ended none is saved.
func TestNoTime(t *testing.T) {
	m := newMemory()
	n := newNode(t, "n", geecache.GroupConfig{})
	fill(t, n, many(60_000))
	k, log := newKeeper(t, Config{Node: n, Storage: m})
	k.SaveLast(t.Context())
	if len(m.names()) > 0 {
		t.Errorf("%q", m.names())
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.fail = func(what, name string) error {
		cancel() // with the first part
		return nil
	}
	if err := k.save(ctx, true); err == nil || !strings.Contains(log.String(), "given up") || k.Status().Saves != 0 {
		t.Errorf("%v\n%s", err, log)
	}
	for _, name := range m.names() {
		if strings.HasSuffix(name, "-last") {
			t.Errorf("%s is taken for whole", name)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	k.load(ctx)
	if k.Status().Load.Entries != 0 {
		t.Errorf("%+v", k.Status().Load)
	}
}

// An empty cache is not worth a snapshot: it would supersede a better one.
func TestNothingToSave(t *testing.T) {
	m := newMemory()
	k, log := newKeeper(t, Config{Node: newNode(t, "n", geecache.GroupConfig{}), Storage: m})
	if err := k.save(t.Context(), false); !errors.Is(err, errNothing) || len(m.names()) > 0 || k.Status().WriteErrors > 0 {
		t.Errorf("%v, %q\n%s", err, m.names(), log)
	}
}

func TestConfigValidate(t *testing.T) {
	n := newNode(t, "n", geecache.GroupConfig{})
	good := Config{Cluster: "c", Node: n, Storage: newMemory()}
	for field, cfg := range map[string]Config{
		"Cluster": {Node: n, Storage: newMemory()}, "Node": {Cluster: "c", Storage: newMemory()}, "Storage": {Cluster: "c", Node: n},
		"Bytes": {Cluster: "c", Node: n, Storage: newMemory(), Bytes: -1}, "MaxAge": {Cluster: "c", Node: n, Storage: newMemory(), MaxAge: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
