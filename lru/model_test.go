package lru_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/geecache/geecache/lru"
)

// A model is the cache written as plainly as can be: a slice in order of use.
type model struct {
	max     int64
	now     int64
	entries []modelEntry // the most recently used first
	left    []departure
	refused int64
}

type modelEntry struct {
	key, value string
	expires    int64
}

func (e modelEntry) size() int64 { return size(len(e.key) + len(e.value)) }

func (e modelEntry) expired(now int64) bool { return e.expires != 0 && e.expires <= now }

func (m *model) bytes() (n int64) {
	for _, e := range m.entries {
		n += e.size()
	}
	return n
}

func (m *model) drop(i int, r lru.Reason) {
	e := m.entries[i]
	m.entries = slices.Delete(m.entries, i, i+1)
	m.left = append(m.left, departure{e.key, e.value, r})
}

func (m *model) find(key string) int {
	return slices.IndexFunc(m.entries, func(e modelEntry) bool { return e.key == key })
}

func (m *model) add(e modelEntry) bool {
	if i := m.find(e.key); i >= 0 {
		m.drop(i, lru.Replaced)
	}
	if e.size() > m.max/8 {
		m.refused++
		return false
	}
	m.entries = slices.Insert(m.entries, 0, e)
	for m.bytes() > m.max {
		last := len(m.entries) - 1
		r := lru.Capacity
		if m.entries[last].expired(m.now) {
			r = lru.Expired
		}
		m.drop(last, r)
	}
	return true
}

func (m *model) get(key string) (string, bool) {
	i := m.find(key)
	if i < 0 {
		return "", false
	}
	e := m.entries[i]
	if e.expired(m.now) {
		m.drop(i, lru.Expired)
		return "", false
	}
	m.entries = slices.Insert(slices.Delete(m.entries, i, i+1), 0, e)
	return e.value, true
}

func (m *model) remove(key string) bool {
	i := m.find(key)
	if i >= 0 {
		m.drop(i, lru.Removed)
	}
	return i >= 0
}

// An op is one step of a fuzzed history, read from two bytes. A history has at
// most 300, so that the fuzzer tries many.
type op struct{ code, key, arg byte }

func ops(data []byte) (list []op) {
	for ; len(data) >= 2 && len(list) < 300; data = data[2:] {
		list = append(list, op{data[0] % 8, data[0] / 8, data[1]})
	}
	return list
}

// item returns what an op of code 0 to 2 adds: about one in eight is too large,
// and half of them expire.
func (o op) item(i int, now, budget int64) (key, value string, expires int64) {
	key = fmt.Sprintf("%.*d", o.key%3, o.key) // "", and equal lengths and different ones
	if o.key%4 == 1 {
		key = fmt.Sprint(o.key)
	}
	most := budget / 8 * int64(o.arg%37) / 32
	b := make([]byte, max(most-size(0), 0))
	copy(b, fmt.Sprint(i))
	if o.arg%2 == 1 {
		expires = now + int64(o.arg%5)*3
	}
	return key, string(b), expires
}

func seeds(f *testing.F) {
	f.Add([]byte("\x00\x10\x08\x20\x04\x00\x0c\x00"), uint16(2000))
	rng := rand.New(rand.NewPCG(5, 6))
	for _, budget := range []uint16{0, 300, 3000, 8000} {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b, budget)
	}
}

// FuzzAgainstModel compares a cache of one shard with the model: after every
// step the same entries in the same order, the same bytes, and the same
// departures for the same reasons.
func FuzzAgainstModel(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, budget uint16) {
		m := &model{max: int64(budget%8192) + 1, now: 100}
		c, left := recorded(t, lru.Config{MaxBytes: m.max, Policy: lru.LRU, Shards: 1, Now: func() int64 { return m.now }})
		for i, o := range ops(data) {
			key, value, expires := o.item(i, m.now, m.max)
			h := hash(key)
			switch o.code {
			case 0, 1, 2:
				err := c.Add(h, key, lru.Item{Value: []byte(value), Expires: expires})
				if ok := m.add(modelEntry{key, value, expires}); ok != (err == nil) || err != nil && !errors.Is(err, lru.ErrTooLarge) {
					t.Fatalf("step %d: Add = %v, the model says %v", i, err, ok)
				}
			case 3, 4:
				want, ok := m.get(key)
				e := c.Get(h, key)
				if ok != (e != nil) || ok && string(e.Value()) != want {
					t.Fatalf("step %d: Get(%q) = %v, the model says %q, %v", i, key, e, want, ok)
				}
			case 5:
				if got, want := c.Remove(h, key), m.remove(key); got != want {
					t.Fatalf("step %d: Remove(%q) = %v, the model says %v", i, key, got, want)
				}
			case 6:
				j := m.find(key)
				want := j >= 0 && !m.entries[j].expired(m.now)
				if got := c.Peek(h, key); (got != nil) != want {
					t.Fatalf("step %d: Peek(%q) = %v, the model says %v", i, key, got, want)
				}
			case 7:
				m.now += int64(o.arg % 8)
			}
			compare(t, i, c, left, m)
		}
	})
}

func compare(t *testing.T, step int, c *lru.Cache, left *[]departure, m *model) {
	t.Helper()
	if !slices.Equal(*left, m.left) {
		t.Fatalf("step %d: %v have left, the model says %v", step, *left, m.left)
	}
	*left, m.left = nil, nil
	var got, want []modelEntry
	c.Range(func(e *lru.Entry) bool {
		got = append(got, modelEntry{e.Key(), string(e.Value()), e.Expires()})
		return true
	})
	for _, e := range m.entries {
		if !e.expired(m.now) {
			want = append(want, e)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("step %d: the cache holds %v, the model %v", step, got, want)
	}
	st := c.Stats()
	if st.Entries != int64(len(m.entries)) || st.Bytes != m.bytes() || st.Refused != m.refused {
		t.Fatalf("step %d: Stats = %+v, the model has %d entries of %d bytes, %d refused",
			step, st, len(m.entries), m.bytes(), m.refused)
	}
}

// FuzzShards checks what holds for both policies and any number of shards: no more
// than the budget, the newest value or none, each entry that was added is either
// there or has left once, and a new one is there unless the policy had to choose.
func FuzzShards(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, budget uint16) {
		now := int64(100)
		maxBytes := int64(budget%8192) + 1
		policy := policies[len(data)/5%2]
		c, left := recorded(t, lru.Config{MaxBytes: maxBytes, Policy: policy, Shards: 1 << (len(data) % 5), Now: func() int64 { return now }})
		newest := map[string]modelEntry{}
		added := 0
		for i, o := range ops(data) {
			key, value, expires := o.item(i, now, maxBytes)
			switch o.code {
			case 0, 1, 2:
				newest[key] = modelEntry{key, value, expires}
				evicted := c.Stats().Evicted
				if err := c.Add(hash(key), key, lru.Item{Value: []byte(value), Expires: expires}); err != nil {
					delete(newest, key)
					break
				}
				added++
				st := c.Stats()
				full := st.Evicted[lru.Capacity]+st.Evicted[lru.Expired] > evicted[lru.Capacity]+evicted[lru.Expired]
				if (policy == lru.LRU || !full) && expires == 0 && c.Peek(hash(key), key) == nil {
					t.Fatalf("step %d: %q is gone after Add", i, key)
				}
			case 3, 4:
				e := c.Get(hash(key), key)
				if want, ok := newest[key]; e != nil && (!ok || string(e.Value()) != want.value || want.expired(now)) {
					t.Fatalf("step %d: Get(%q) = %v, the newest is %v (%v)", i, key, e, want, ok)
				}
			case 5:
				c.Remove(hash(key), key)
				delete(newest, key)
			case 6:
				if e := c.Get(hash(key), key); e != nil && !c.RemoveEntry(hash(key), e) {
					t.Fatalf("step %d: RemoveEntry(%q) = false", i, key)
				}
			case 7:
				now += int64(o.arg % 8)
			}
			if st := c.Stats(); st.Bytes > st.MaxBytes || int(st.Entries)+len(*left) != added {
				t.Fatalf("step %d: %+v, %d have left of %d", i, st, len(*left), added)
			}
		}
		now = -1 << 62 // nothing has expired any more: Range shows all
		checkSums(t, c)
		c.Clear()
		if st := c.Stats(); st.Bytes != 0 || st.Entries != 0 || len(*left) != added {
			t.Fatalf("after Clear: %+v, %d have left of %d", st, len(*left), added)
		}
	})
}
