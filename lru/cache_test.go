package lru_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/lru"
)

// A clock is a time that the test sets.
type clock struct{ now int64 }

func (c *clock) Now() int64 { return c.now }

// A departure is a call of OnEvict.
type departure struct {
	key, value string
	reason     lru.Reason
}

func newCache(tb testing.TB, cfg lru.Config) *lru.Cache {
	tb.Helper()
	c, err := lru.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// recorded returns a cache of cfg, and what has left it so far.
func recorded(tb testing.TB, cfg lru.Config) (*lru.Cache, *[]departure) {
	tb.Helper()
	left := new([]departure)
	cfg.OnEvict = func(e *lru.Entry, r lru.Reason) {
		*left = append(*left, departure{e.Key(), string(e.Value()), r})
	}
	return newCache(tb, cfg), left
}

var policies = []lru.Policy{lru.Adaptive, lru.LRU}

func hash(key string) uint64 { return xxhash.Sum64String(key) }

// size is what an entry with that many bytes of key and value is charged.
func size(payload int) int64 { return lru.Charge(payload) }

func add(tb testing.TB, c *lru.Cache, key, value string) {
	tb.Helper()
	if err := c.Add(hash(key), key, lru.Item{Value: []byte(value)}); err != nil {
		tb.Fatal(err)
	}
}

func keys(c *lru.Cache) []string {
	var ks []string
	c.Range(func(e *lru.Entry) bool { ks = append(ks, e.Key()); return true })
	return ks
}

func checkKeys(t *testing.T, c *lru.Cache, want ...string) {
	t.Helper()
	if got := keys(c); !slices.Equal(got, want) {
		t.Errorf("the cache holds %q, want %q", got, want)
	}
}

func checkLeft(t *testing.T, left *[]departure, want ...departure) {
	t.Helper()
	if !slices.Equal(*left, want) {
		t.Errorf("%v have left the cache, want %v", *left, want)
	}
	*left = nil
}

// checkSums compares the cache's figures with its entries. No entry may have
// expired.
func checkSums(t *testing.T, c *lru.Cache) {
	t.Helper()
	var entries, bytes int64
	c.Range(func(e *lru.Entry) bool {
		entries++
		bytes += e.Size()
		return true
	})
	st := c.Stats()
	if st.Entries != entries || st.Bytes != bytes {
		t.Errorf("Stats has %d entries, %d bytes; Range %d and %d", st.Entries, st.Bytes, entries, bytes)
	}
	if st.Bytes > st.MaxBytes {
		t.Errorf("%d bytes are over the budget of %d", st.Bytes, st.MaxBytes)
	}
}

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		cfg  lru.Config
		want string // in the error; empty: none
	}{
		{lru.Config{}, ""},
		{lru.Config{MaxBytes: 1, Shards: 1}, ""},
		{lru.Config{Shards: lru.MaxShards}, ""},
		{lru.Config{Policy: lru.LRU}, ""},
		{lru.Config{MaxBytes: -1}, "Config.MaxBytes"},
		{lru.Config{Policy: 2}, "Config.Policy"},
		{lru.Config{Shards: -2}, "Config.Shards"},
		{lru.Config{Shards: 3}, "power of two"},
		{lru.Config{Shards: 2 * lru.MaxShards}, "Config.Shards"},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: Validate = %v, want %q", tt.cfg, err, tt.want)
		}
		if _, newErr := lru.New(tt.cfg); (newErr == nil) != (err == nil) {
			t.Errorf("%+v: New = %v, Validate = %v", tt.cfg, newErr, err)
		}
	}
}

func TestAddGetPeek(t *testing.T) {
	c, left := recorded(t, lru.Config{Shards: 1})
	for _, key := range []string{"", "a", "\x00\xff", strings.Repeat("long", 3000)} {
		for _, value := range []string{"", "v"} {
			it := lru.Item{Value: []byte(value), Expires: 1 << 62, Version: 7, Flags: 3, Tag: 9}
			if err := c.Add(hash(key), key, it); err != nil {
				t.Fatal(err)
			}
			e := c.Get(hash(key), key)
			if e == nil || e != c.Peek(hash(key), key) {
				t.Fatalf("key %q: Get = %v, Peek = %v", key, e, c.Peek(hash(key), key))
			}
			if e.Key() != key || string(e.Value()) != value || e.Expires() != 1<<62 || e.Version() != 7 || e.Flags() != 3 || e.Tag() != 9 {
				t.Errorf("key %q, value %q: got %+v", key, value, e)
			}
			e.SetTag(10)
			if e.Tag() != 10 {
				t.Errorf("the tag is %d after SetTag(10)", e.Tag())
			}
		}
	}
	if c.Get(hash("none"), "none") != nil || c.Peek(hash("none"), "none") != nil {
		t.Error("a key that was never added is there")
	}
	st := c.Stats()
	if st.Entries != 4 || st.MaxBytes != lru.DefaultMaxBytes || len(*left) != 4 {
		t.Errorf("Stats = %+v, left %v", st, left)
	}
	checkSums(t, c)
}

func TestKeyAndValueAreCopied(t *testing.T) {
	c := newCache(t, lru.Config{})
	key, v := []byte("key"), []byte("value")
	if err := c.Add(1, unsafe.String(&key[0], len(key)), lru.Item{Value: v}); err != nil {
		t.Fatal(err)
	}
	key[0], v[0] = 'x', 'x'
	e := c.Get(1, "key")
	if e == nil || e.Key() != "key" || string(e.Value()) != "value" {
		t.Fatalf("after the caller has changed both, the entry is %v", e)
	}
	if got := append(e.Value(), "more"...); &got[0] == &e.Value()[0] {
		t.Error("append to a value writes behind it")
	}
}

func TestKeysOfOneHash(t *testing.T) {
	c := newCache(t, lru.Config{})
	for _, key := range []string{"a", "b", "c"} {
		if err := c.Add(5, key, lru.Item{Value: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		if e := c.Get(5, key); e == nil || string(e.Value()) != key {
			t.Errorf("Get(%q) = %v", key, e)
		}
	}
}

func TestEvictsTheLeastRecentlyUsed(t *testing.T) {
	c, left := recorded(t, lru.Config{Policy: lru.LRU, MaxBytes: 10 * size(2), Shards: 1})
	for i := range 10 {
		add(t, c, fmt.Sprint(i), "v")
	}
	c.Get(hash("0"), "0")
	c.Get(hash("0"), "0") // at the head already
	c.Peek(hash("1"), "1")
	add(t, c, "3", "w")
	checkLeft(t, left, departure{"3", "v", lru.Replaced})
	add(t, c, "x", "v")
	checkLeft(t, left, departure{"1", "v", lru.Capacity})
	checkKeys(t, c, "x", "3", "0", "9", "8", "7", "6", "5", "4", "2")
	add(t, c, "larger", "v12")
	if size(9) <= size(2) {
		t.Fatalf("an entry of 9 bytes is charged for %d bytes, and one of 2 for %d", size(9), size(2))
	}
	checkLeft(t, left, departure{"2", "v", lru.Capacity}, departure{"4", "v", lru.Capacity})
	checkSums(t, c)
}

func TestAddNeverEvictsWhatItAdds(t *testing.T) {
	for _, shards := range []int{1, 4} {
		c := newCache(t, lru.Config{Policy: lru.LRU, MaxBytes: 8 * size(4), Shards: shards})
		for i := range 200 {
			key := string(rune(i))
			if err := c.Add(uint64(i), key, lru.Item{Value: []byte{}}); err != nil {
				t.Fatal(err)
			}
			if c.Peek(uint64(i), key) == nil {
				t.Fatalf("%d shards: key %d is gone after Add", shards, i)
			}
			checkSums(t, c)
		}
	}
}

// A shard that is empty but for the new entry takes room from the others.
func TestBudgetIsOneForAllShards(t *testing.T) {
	c, left := recorded(t, lru.Config{Policy: lru.LRU, MaxBytes: 8 * size(1), Shards: 8})
	for i := range 8 { // all of them into shard 3
		if err := c.Add(3, fmt.Sprint(i), lru.Item{}); err != nil {
			t.Fatal(err)
		}
	}
	checkLeft(t, left)
	if err := c.Add(4, "x", lru.Item{}); err != nil {
		t.Fatal(err)
	}
	checkLeft(t, left, departure{"0", "", lru.Capacity})
	if err := c.Add(4, "y", lru.Item{}); err != nil {
		t.Fatal(err)
	}
	checkLeft(t, left, departure{"x", "", lru.Capacity}) // its own shard's first
	checkSums(t, c)
}

// In the field: one oversize item evicted everything, and was then not kept.
func TestOversizeItemEvictsNothing(t *testing.T) {
	const most = 900 // of key and value; one byte more is another class
	payload := most
	for size(payload+1) == size(payload) {
		payload++
	}
	for _, policy := range policies {
		c, left := recorded(t, lru.Config{Policy: policy, MaxBytes: 8 * size(payload), Shards: 1})
		for _, key := range []string{"a", "b", "c"} {
			add(t, c, key, "v")
		}
		held := keys(c)
		err := c.Add(hash("d"), "d", lru.Item{Value: make([]byte, payload)})
		if !errors.Is(err, lru.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(size(payload+1), " bytes")) || !strings.Contains(err.Error(), fmt.Sprint("take ", size(payload))) {
			t.Errorf("Add of an item of %d bytes: %v, want ErrTooLarge with both sizes", size(payload+1), err)
		}
		checkLeft(t, left)
		checkKeys(t, c, held...)

		// It supersedes an older entry of its key all the same.
		err = c.Add(hash("b"), "b", lru.Item{Value: make([]byte, 1<<20)})
		if !errors.Is(err, lru.ErrTooLarge) {
			t.Errorf("Add = %v, want ErrTooLarge", err)
		}
		checkLeft(t, left, departure{"b", "v", lru.Replaced})
		checkKeys(t, c, slices.DeleteFunc(held, func(k string) bool { return k == "b" })...)
		if st := c.Stats(); st.Refused != 2 {
			t.Errorf("Refused = %d, want 2", st.Refused)
		}
		checkSums(t, c)

		if err := c.Add(hash("d"), "d", lru.Item{Value: make([]byte, payload-1)}); err != nil {
			t.Errorf("Add of an item of an eighth of the budget: %v", err)
		}
		checkSums(t, c)
	}
}

// In the field: overwriting a key kept the old expiry, and its bytes were counted
// twice or lost.
func TestOverwriteKeepsAccountingAndTakesTheNewExpiry(t *testing.T) {
	now := &clock{now: 1000}
	c, left := recorded(t, lru.Config{Shards: 1, Now: now.Now})
	put := func(n int, expires int64) {
		t.Helper()
		if err := c.Add(1, "k", lru.Item{Value: make([]byte, n), Expires: expires}); err != nil {
			t.Fatal(err)
		}
		if st := c.Stats(); st.Entries != 1 || st.Bytes != size(1+n) {
			t.Errorf("after a value of %d bytes: %+v", n, st)
		}
	}
	put(10, 1100)
	put(5000, 1200)
	now.now = 1150
	if c.Get(1, "k") == nil {
		t.Error("the entry has expired at its old time")
	}
	put(0, 0)
	now.now = 1 << 62
	if c.Get(1, "k") == nil {
		t.Error("the entry has expired, but the last one was for ever")
	}
	put(7, now.now+1)
	now.now++
	if c.Get(1, "k") != nil {
		t.Error("the entry has not expired, but the last one was to")
	}
	if st := c.Stats(); st.Bytes != 0 || st.Entries != 0 || st.Evicted[lru.Replaced] != 3 || st.Evicted[lru.Expired] != 1 {
		t.Errorf("at the end: %+v", st)
	}
	if len(*left) != 4 {
		t.Errorf("%d calls of OnEvict, want 4", len(*left))
	}
}

func TestExpiry(t *testing.T) {
	now := &clock{now: 100}
	c, left := recorded(t, lru.Config{Policy: lru.LRU, Shards: 1, Now: now.Now, MaxBytes: 10 * size(1)})
	for i, expires := range []int64{0, 200, 300, -1} {
		key := fmt.Sprint(i)
		if err := c.Add(hash(key), key, lru.Item{Expires: expires}); err != nil {
			t.Fatal(err)
		}
	}
	checkKeys(t, c, "2", "1", "0")
	now.now = 199
	if c.Get(hash("1"), "1") == nil {
		t.Error("expired one nanosecond too early")
	}
	now.now = 200
	if c.Peek(hash("1"), "1") != nil {
		t.Error("Peek returns an expired entry")
	}
	checkLeft(t, left)
	for range 2 {
		if c.Get(hash("1"), "1") != nil {
			t.Error("Get returns an expired entry")
		}
	}
	checkLeft(t, left, departure{"1", "", lru.Expired})
	if st := c.Stats(); st.Evicted[lru.Expired] != 1 || st.Entries != 3 {
		t.Errorf("Stats = %+v", st)
	}
	// One that is evicted for its bytes after its time has expired.
	now.now = 300
	for i := range 10 {
		add(t, c, string(rune('a'+i)), "")
	}
	checkLeft(t, left, departure{"0", "", lru.Capacity}, departure{"2", "", lru.Expired}, departure{"3", "", lru.Expired})
	if !c.Remove(hash("a"), "a") || c.Remove(hash("a"), "a") {
		t.Error("Remove does not report whether there was an entry")
	}
}

func TestWallClockIsTheDefault(t *testing.T) {
	c := newCache(t, lru.Config{})
	if err := c.Add(1, "past", lru.Item{Expires: 1_600_000_000e9}); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(2, "future", lru.Item{Expires: 1 << 62}); err != nil {
		t.Fatal(err)
	}
	if c.Get(1, "past") != nil || c.Get(2, "future") == nil {
		t.Error("expiry does not go by Unix time in nanoseconds")
	}
}

func TestRemoveEntryRemovesOnlyThatOne(t *testing.T) {
	c, left := recorded(t, lru.Config{})
	add(t, c, "k", "old")
	old := c.Get(hash("k"), "k")
	add(t, c, "k", "new")
	checkLeft(t, left, departure{"k", "old", lru.Replaced})
	if c.RemoveEntry(hash("k"), old) {
		t.Error("RemoveEntry removes the successor of the entry")
	}
	current := c.Get(hash("k"), "k")
	if !c.RemoveEntry(hash("k"), current) || c.RemoveEntry(hash("k"), current) {
		t.Error("RemoveEntry does not report whether the entry was there")
	}
	checkLeft(t, left, departure{"k", "new", lru.Removed})
	checkSums(t, c)
}

func TestClear(t *testing.T) {
	c, left := recorded(t, lru.Config{Shards: 4})
	for i := range 100 {
		add(t, c, fmt.Sprint(i), "v")
	}
	c.Clear()
	checkKeys(t, c)
	if len(*left) != 100 || (*left)[0].reason != lru.Removed {
		t.Errorf("%d entries have left, want 100: %v", len(*left), *left)
	}
	checkSums(t, c)
	add(t, c, "again", "v")
	checkKeys(t, c, "again")
}

func TestRangeTakesTurnsAndStops(t *testing.T) {
	c := newCache(t, lru.Config{Policy: lru.LRU, Shards: 2})
	for i := range 6 {
		if err := c.Add(uint64(i%2), fmt.Sprint(i), lru.Item{}); err != nil {
			t.Fatal(err)
		}
	}
	checkKeys(t, c, "4", "5", "2", "3", "0", "1")
	n := 0
	c.Range(func(*lru.Entry) bool { n++; return n < 3 })
	if n != 3 {
		t.Errorf("Range calls its function %d times, want 3", n)
	}
	// No lock is held.
	c.Range(func(e *lru.Entry) bool { return c.Remove(uint64(e.Key()[0]-'0')%2, e.Key()) })
	checkKeys(t, c)
}

// An entry that a reader keeps must keep nothing else alive.
func TestKeptEntryKeepsNoNeighbours(t *testing.T) {
	c := newCache(t, lru.Config{Shards: 1})
	add(t, c, "a", "v")
	add(t, c, "b", "v")
	kept := c.Get(hash("b"), "b")
	add(t, c, "c", "v")
	freed := make(chan struct{})
	runtime.AddCleanup(c.Peek(hash("a"), "a"), func(struct{}) { close(freed) }, struct{}{})
	c.Remove(hash("b"), "b")
	c.Clear()
	deadline := time.Now().Add(20 * time.Second)
	for done := false; !done; {
		runtime.GC()
		select {
		case <-freed:
			done = true
		default:
			if time.Now().After(deadline) {
				t.Fatal("the neighbour of a kept entry is never freed")
			}
			runtime.Gosched()
		}
	}
	if string(kept.Value()) != "v" {
		t.Error("the kept entry has changed")
	}
	runtime.KeepAlive(c)
}

func TestReasonString(t *testing.T) {
	for r, want := range map[lru.Reason]string{lru.Capacity: "capacity", lru.Expired: "expired", lru.Replaced: "replaced", lru.Removed: "removed", 77: "Reason(77)"} {
		if got := r.String(); got != want {
			t.Errorf("Reason %d: %q, want %q", uint8(r), got, want)
		}
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	c := newCache(t, lru.Config{})
	add(t, c, "a", "v")
	if err := c.Add(hash("b"), "b", lru.Item{Expires: 1 << 62}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if c.Get(hash("a"), "a") == nil || c.Get(hash("b"), "b") == nil || c.Get(hash("none"), "none") != nil {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("two hits and a miss allocate %v times", n)
	}
}
