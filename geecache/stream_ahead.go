package geecache

import (
	"unsafe"

	"github.com/geecache/geecache/lru"
)

const (
	// aheadMost is how many requests are looked at before the first of them is
	// answered. What is read for them has to fit into the processor's first cache.
	aheadMost = 32

	// aheadLeast is how many bytes are worth it: four requests.
	aheadLeast = 4 * (frameHeader + requestFixed)
)

// A keyToucher reads what the answers for keys will be made of, from what may not
// be in the processor's cache yet, and returns some byte of it. There are aheadMost
// keys at most, which it must not keep.
type keyToucher interface {
	touch(keys []string) byte
}

// lookAhead touches what the next requests of a batch are about, if they are of one
// group.
func (c *serverConn) lookAhead() {
	ahead := *c.frames // what it cuts off stays in c.frames
	if ahead.w-ahead.r < aheadLeast {
		return
	}
	var f frame
	var name []byte
	keys := c.ahead[:0]
	for len(keys) < aheadMost {
		if ok, err := ahead.next(&f); !ok || err != nil || f.kind != kindRequest {
			break
		}
		group, key, err := parseRequest(&f, &c.req)
		if err != nil || len(keys) > 0 && string(group) != string(name) {
			break
		}
		name = group
		keys = append(keys, unsafe.String(unsafe.SliceData(key), len(key)))
	}
	if len(keys) == 0 {
		return
	}
	defer clear(keys) // they alias the read buffer
	if t := c.s.cfg.handler.keysOf(c.group(name)); t != nil {
		c.touched += t.touch(keys)
	}
}

// touch brings what peek will find, and its value, into the processor's cache. Each
// step is a loop of its own and as short as can be: then a processor waits for the
// memory of several keys at once. The answer to a request is too much code for it to
// begin with the next one meanwhile.
func (g *Group) touch(keys []string) (sum byte) {
	var hashes [aheadMost]uint64
	var entries [aheadMost]*lru.Entry
	for i, key := range keys {
		hashes[i] = hashOf(key)
	}
	for i, key := range keys {
		entries[i] = g.main.Peek(hashes[i], key)
	}
	for _, e := range entries[:len(keys)] {
		if e == nil {
			continue
		}
		if v := e.Value(); len(v) > 0 {
			sum += v[len(v)-1]
		}
	}
	return sum
}
