package geecache

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// What one node had, its next life has again: as it was, and for what is left of its
// time.
func TestRestoreWhatHottestGave(t *testing.T) {
	src := &testSource{ttl: time.Minute}
	before := newListeningNode(t, src, Config{}, GroupConfig{NotFoundTTL: time.Minute})
	keys := fill(t, before, 100)
	_, err := before.Group("g").Get(t.Context(), "none")
	wantErr(t, err, ErrNotFound)
	keys = append(keys, "none")
	var entries []Entry
	before.Group("g").Hottest(1<<30, func(e Entry) bool {
		entries = append(entries, e)
		return true
	})
	wantCount(t, "entries", len(entries), len(keys))

	after := newListeningNode(t, src, Config{}, GroupConfig{})
	for _, e := range entries {
		if e.TTL <= 50*time.Second || e.TTL > time.Minute || e.Version == 0 {
			t.Fatalf("%s: the TTL is %v and the version %d", e.Key, e.TTL, e.Version)
		}
		e.TTL -= 30 * time.Second // it has been away
		if ok, err := after.Group("g").Restore(e); !ok || err != nil {
			t.Fatalf("%s: %v, %v", e.Key, ok, err)
		}
	}
	for _, key := range keys[:100] {
		r := mustGet(t, after.Group("g"), key)
		wantCount(t, "loads of "+key, src.count(key), 1)
		if i := slices.IndexFunc(entries, func(e Entry) bool { return e.Key == key }); r.Version != entries[i].Version || r.TTL > 30*time.Second {
			t.Errorf("%s: the version is %d and the TTL %v", key, r.Version, r.TTL)
		}
	}
	_, err = after.Group("g").Get(t.Context(), "none")
	wantErr(t, err, ErrNotFound)
	wantCount(t, "loads of none", src.count("none"), 1)
}

func TestRestoreTakesWhatIsItsOwn(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{}, noHotCopies)
	n, other := nodes[0], nodes[1]
	g := n.Group("g")
	mine, held := keyOf(n, n.ID(), "mine"), keyOf(n, n.ID(), "held")
	version := mustGet(t, g, held).Version
	short := false
	n.cfg.MemoryShort = func() bool { return short }
	for _, tt := range []struct {
		name  string
		e     Entry
		short bool
		ok    bool
		err   error
	}{
		{name: "another node's", e: Entry{Key: keyOf(n, other.ID(), "other")}},
		{name: "one that is over", e: Entry{Key: mine, TTL: -1}},
		{name: "one that is older than what is there", e: Entry{Key: held, Version: version - 1}},
		{name: "the same", e: Entry{Key: held, Version: version}},
		{name: "while memory is short", e: Entry{Key: mine}, short: true, err: ErrOverloaded},
		{name: "a key that is too long", e: Entry{Key: strings.Repeat("k", 17<<10)}, err: ErrTooLarge},
		{name: "a value that is too long", e: Entry{Key: mine, Value: make([]byte, 9<<20)}, err: ErrTooLarge},
		{name: "an item too large for the cache", e: Entry{Key: mine, Value: make([]byte, 8<<20)}, err: ErrTooLarge},
		{name: "its own", e: Entry{Key: mine, Version: 5}, ok: true},
		{name: "a newer one", e: Entry{Key: mine, Version: 6, Value: []byte("newer")}, ok: true},
		{name: "one newer than what is there", e: Entry{Key: held, Version: version + 1}, ok: true},
	} {
		short = tt.short
		ok, err := g.Restore(tt.e)
		if ok != tt.ok {
			t.Errorf("%s: %v, want %v", tt.name, ok, tt.ok)
		}
		wantErr(t, err, tt.err)
	}
	if v, err := g.Get(t.Context(), mine); v.String() != "newer" || err != nil {
		t.Errorf("of two, %q has stayed: %v", v, err)
	}
}

// The owner is down: its stand-in keeps what it had, and gives it up later.
func TestRestoreAsAStandIn(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{}, noHotCopies)
	n, dead := nodes[0], nodes[1]
	key := keyOf(n, dead.ID(), "dead's")
	_ = dead.Close()
	waitUntil(t, "the other is down", func() bool { return peersUp(n) == 0 })
	if ok, err := n.Group("g").Restore(Entry{Key: key, Value: []byte("kept")}); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if v, err := n.Group("g").Get(t.Context(), key); v.String() != "kept" || err != nil {
		t.Errorf("the value is %q: %v", v, err)
	}
	wantCount(t, "loads", src.count(key), 0)
}

// Save is called once, when the others have what they get, and memory is still there;
// nothing is restored then.
func TestDrainSaves(t *testing.T) {
	src := &testSource{}
	saved, entries := 0, 0
	cfg := Config{}
	nodes := startNodes(t, src, noHotCopies, cfg, cfg)
	n, other := nodes[0], nodes[1]
	fill(t, n, 100)
	had := n.Group("g").Stats().Main.Entries
	n.cfg.Save = func(context.Context) {
		saved++
		wantCount(t, "handed over", other.Group("g").Stats().TakeoverAccepted, had)
		n.Group("g").Hottest(1<<30, func(Entry) bool { entries++; return true })
		_, err := n.Group("g").Restore(Entry{Key: "k"})
		wantErr(t, err, ErrDraining)
	}
	for range 2 {
		if err := n.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantCount(t, "calls of Save", saved, 1)
	wantCount(t, "entries", int64(entries), had)
	_ = n.Close()
	_, err := n.Group("g").Restore(Entry{Key: "k"})
	wantErr(t, err, ErrClosed)
}
