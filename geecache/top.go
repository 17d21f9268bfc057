package geecache

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// A KeyCount is a key with how often it was asked for.
type KeyCount struct {
	Key   string `json:"key"`
	Count int64  `json:"count"` // an estimate, never far below the truth for a hot key
}

const (
	// topSample is how many hits share one look at the key: the others pay
	// only for the counter that they raise anyway.
	topSampleBits = 6
	topSample     = 1 << topSampleBits
	topKeys       = 64 // keys that each shard of the counters follows
	topKeyBytes   = 64 // of a buffer that is used again; a longer key has one of its own
)

// topCounter follows the keys that are asked for most, among a sample of the
// requests, in bounded memory: when a new key comes and there is no room, it
// takes the place, and the count, of the least one (the space-saving sketch).
type topCounter struct {
	mu   sync.Mutex // guards keys
	keys []topKey   // the most asked for first
}

type topKey struct {
	hash  uint64
	count int64
	key   []byte // of the counter's own
}

// add counts key, whose hash is given and which may alias a buffer that is about
// to change.
func (t *topCounter) add(hash uint64, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.keys {
		if k := &t.keys[i]; k.hash == hash && string(k.key) == key {
			t.raiseLocked(i)
			return
		}
	}
	if len(t.keys) < topKeys {
		t.keys = append(t.keys, topKey{})
	}
	last := len(t.keys) - 1
	t.keys[last].set(hash, key)
	t.raiseLocked(last)
}

// raiseLocked counts key number i. It changes places with the first that had the same
// count, so that the order holds; and so those with the least count take turns at
// being last.
func (t *topCounter) raiseLocked(i int) {
	first := i
	for first > 0 && t.keys[first-1].count == t.keys[i].count {
		first--
	}
	t.keys[i], t.keys[first] = t.keys[first], t.keys[i]
	t.keys[first].count++
}

// set puts a copy of a key in the place of another. A buffer is used again, so that
// hits do not allocate; but not one of a long key, which could be very long.
func (k *topKey) set(hash uint64, key string) {
	if cap(k.key) != topKeyBytes || len(key) > topKeyBytes {
		k.key = make([]byte, 0, max(len(key), topKeyBytes))
	}
	k.hash, k.key = hash, append(k.key[:0], key...)
}

// Top returns the keys that were hit most in this node's memory since the group
// was made, at most n of them, most first. It is an estimate from a sample:
// one hit in 64 is looked at.
func (g *Group) Top(n int) []KeyCount {
	counts := make(map[string]int64)
	for i := range g.hits { // a key may be in several: its callers are
		t := &g.hits[i].top
		t.mu.Lock()
		for _, k := range t.keys {
			counts[string(k.key)] += k.count * topSample
		}
		t.mu.Unlock()
	}
	top := make([]KeyCount, 0, len(counts))
	for key, count := range counts {
		top = append(top, KeyCount{Key: key, Count: count})
	}
	slices.SortFunc(top, func(a, b KeyCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
	})
	return top[:min(len(top), max(n, 0))]
}
