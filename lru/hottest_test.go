package lru_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/geecache/geecache/lru"
)

func TestHottestGivesWhatIsUsedMostFirst(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 16 << 20})
	const entries, hot = 20000, 500
	for i := range entries {
		add(t, c, fmt.Sprint("key", i), "value")
	}
	for range 3 {
		for i := range hot {
			if key := fmt.Sprint("key", i); c.Get(hash(key), key) == nil {
				t.Fatalf("key%d is not there", i)
			}
		}
	}
	size := c.Peek(hash("key0"), "key0").Size()
	rank, found := 0, 0
	seen := make(map[string]bool)
	c.Hottest(16<<20, func(e *lru.Entry) bool {
		if seen[e.Key()] {
			t.Fatalf("%s was given twice", e.Key())
		}
		seen[e.Key()] = true
		var i int
		if _, err := fmt.Sscanf(e.Key(), "key%d", &i); err != nil {
			t.Fatal(err)
		}
		if rank++; i < hot && rank <= hot {
			found++
		}
		return true
	})
	if found != hot || rank != entries {
		t.Errorf("of the first %d entries %d are hot ones; all together %d, want %d", hot, found, rank, entries)
	}

	n := 0
	c.Hottest(100*size, func(*lru.Entry) bool { n++; return true })
	if n != 100 {
		t.Errorf("for the bytes of 100 entries %d were given", n)
	}
	n = 0
	c.Hottest(16<<20, func(*lru.Entry) bool { n++; return n < 7 })
	if n != 7 {
		t.Errorf("told to stop after 7, it gave %d", n)
	}
	c.Hottest(0, func(*lru.Entry) bool { t.Error("an entry for no bytes"); return false })
}

func TestHottestLeavesOutWhatHasExpired(t *testing.T) {
	now := int64(1)
	c := newCache(t, lru.Config{MaxBytes: 1 << 20, Now: func() int64 { return now }})
	for i, key := range []string{"a", "b", "c"} {
		if err := c.Add(hash(key), key, lru.Item{Expires: int64(10 * (i + 1))}); err != nil {
			t.Fatal(err)
		}
	}
	now = 20
	var got []string
	c.Hottest(1<<20, func(e *lru.Entry) bool { got = append(got, e.Key()); return true })
	if fmt.Sprint(got) != "[c]" {
		t.Errorf("got %v, want c alone", got)
	}
}

func TestHottestOfStrictLRUIsWhatWasUsedLast(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 1 << 12, Policy: lru.LRU})
	for _, key := range []string{"a", "b", "c"} {
		add(t, c, key, "")
	}
	c.Get(hash("a"), "a")
	var got []string
	c.Hottest(1<<20, func(e *lru.Entry) bool { got = append(got, e.Key()); return true })
	if fmt.Sprint(got) != "[a c b]" {
		t.Errorf("got %v, want [a c b]", got)
	}
}

func TestHottestWhileOthersChangeTheCache(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 1 << 20})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20000 {
				key := fmt.Sprint(w, "-", i%3000)
				_ = c.Add(hash(key), key, lru.Item{Value: make([]byte, i%200)})
				if i%3 == 0 {
					c.Remove(hash(key), key)
				}
			}
		})
	}
	for range 20 {
		c.Hottest(1<<20, func(e *lru.Entry) bool { return e.Key() != "" })
	}
	wg.Wait()
}

func TestHottestNeedsNoMemoryForEachEntry(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 32 << 20})
	for i := range 50000 {
		add(t, c, fmt.Sprint("key", i), "value")
	}
	if n := testing.AllocsPerRun(3, func() { c.Hottest(32<<20, func(*lru.Entry) bool { return true }) }); n > 1000 {
		t.Errorf("%v allocations for 50000 entries", n)
	}
}

func TestAddNewLeavesWhatIsThere(t *testing.T) {
	now := int64(1)
	c := newCache(t, lru.Config{MaxBytes: 1 << 20, Now: func() int64 { return now }})
	addNew := func(value string, want bool) {
		t.Helper()
		added, err := c.AddNew(hash("k"), "k", lru.Item{Value: []byte(value), Expires: now + 10})
		if added != want || err != nil {
			t.Errorf("AddNew(%q): %v, %v; want %v", value, added, err, want)
		}
	}
	addNew("first", true)
	addNew("second", false)
	if e := c.Peek(hash("k"), "k"); e == nil || string(e.Value()) != "first" {
		t.Errorf("the entry is %v", e)
	}
	now = 11 // it has expired
	addNew("third", true)
	if e := c.Peek(hash("k"), "k"); e == nil || string(e.Value()) != "third" {
		t.Errorf("after the first one has expired, the entry is %v", e)
	}
	if added, err := c.AddNew(hash("k"), "k2", lru.Item{Value: make([]byte, 1<<20)}); added || err == nil {
		t.Errorf("too large: %v, %v", added, err)
	}
}

// Of many who add a key at once, one does; and never is what another has added by
// Add replaced.
func TestAddNewIsAtomic(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 1 << 20})
	for round := range 500 {
		key := fmt.Sprint("key", round)
		var wg sync.WaitGroup
		added := make([]bool, 4)
		for i := range added {
			wg.Go(func() { added[i], _ = c.AddNew(hash(key), key, lru.Item{Value: []byte{byte(i)}}) })
		}
		wg.Go(func() { _ = c.Add(hash(key), key, lru.Item{Value: []byte("add")}) })
		wg.Wait()
		n := 0
		for _, ok := range added {
			if ok {
				n++
			}
		}
		if e := c.Peek(hash(key), key); n > 1 || e == nil || string(e.Value()) != "add" {
			t.Fatalf("round %d: %d were added, and the entry is %q", round, n, e.Value())
		}
	}
}

// AddNewer leaves what is as new or newer, also when both come at once.
func TestAddNewerLeavesWhatIsNewer(t *testing.T) {
	now := int64(1)
	c := newCache(t, lru.Config{MaxBytes: 1 << 20, Now: func() int64 { return now }})
	for i, tt := range []struct {
		version uint64
		want    bool
	}{{5, true}, {5, false}, {4, false}, {6, true}, {5, false}, {7, true}} {
		added, err := c.AddNewer(hash("k"), "k", lru.Item{Value: []byte{byte(i)}, Version: tt.version, Expires: 10})
		if added != tt.want || err != nil {
			t.Errorf("step %d: AddNewer of version %d: %v, %v; want %v", i, tt.version, added, err, tt.want)
		}
	}
	now = 11 // what has expired is in nobody's way
	if added, _ := c.AddNewer(hash("k"), "k", lru.Item{Version: 1}); !added {
		t.Error("an expired entry of a newer version was left")
	}
	if added, err := c.AddNewer(hash("k"), "k", lru.Item{Value: make([]byte, 1<<20), Version: 9}); added || err == nil || c.Peek(hash("k"), "k") == nil {
		t.Errorf("too large: %v, %v; the entry that was there must stay", added, err)
	}
	for round := range 500 {
		key := fmt.Sprint("key", round)
		var wg sync.WaitGroup
		for v := range uint64(4) {
			wg.Go(func() { _, _ = c.AddNewer(hash(key), key, lru.Item{Version: v + 1}) })
		}
		wg.Wait()
		if e := c.Peek(hash(key), key); e == nil || e.Version() != 4 {
			t.Fatalf("round %d: of the versions 1 to 4, %d has stayed", round, e.Version())
		}
	}
}
