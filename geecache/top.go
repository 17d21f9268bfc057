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
)

// topCounter follows the keys that are asked for most, among a sample of the
// requests, in bounded memory: when a new key comes and there is no room, it
// takes the place, and the count, of the least one (the space-saving sketch).
type topCounter struct {
	mu     sync.Mutex // guards counts
	counts map[string]*int64
}

// add counts key, which may alias a buffer that is about to change.
func (t *topCounter) add(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.counts[key]; n != nil {
		*n++ // not t.counts[key] = ..., which would keep this key, and its bytes may change
		return
	}
	if t.counts == nil {
		t.counts = make(map[string]*int64, topKeys)
	}
	n := int64(0)
	if len(t.counts) >= topKeys {
		var least string
		n = -1
		for k, c := range t.counts {
			if n < 0 || *c < n {
				least, n = k, *c
			}
		}
		delete(t.counts, least)
	}
	n++
	t.counts[strings.Clone(key)] = &n
}

// Top returns the keys that were hit most in this node's memory since the group
// was made, at most n of them, most first. It is an estimate from a sample:
// one hit in 64 is looked at.
func (g *Group) Top(n int) []KeyCount {
	counts := make(map[string]int64)
	for i := range g.hits { // a key may be in several: its callers are
		t := &g.hits[i].top
		t.mu.Lock()
		for key, count := range t.counts {
			counts[key] += *count * topSample
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
