package geecache

import (
	"fmt"
	"time"

	"github.com/geecache/geecache/lru"
)

// An Entry is what a group's main cache holds under a key, as it can be kept outside
// of the node: [Group.Hottest] gives it, and [Group.Restore] takes it back, perhaps
// in another process.
type Entry struct {
	Key      string
	Value    []byte
	NotFound bool          // the source had no value
	TTL      time.Duration // what is left of it; 0: no limit; negative: it is over
	Version  uint64        // a hybrid logical clock; the larger one is the newer one
}

// Hottest calls fn for entries of the main cache that have not expired, those first
// that are used most, until fn returns false or they are worth most bytes of the
// cache's budget. The order is rough, and what comes or goes meanwhile may be left out
// or still be given. Some may be other nodes' by now, kept since they were this one's.
//
// An entry's Value is the cache's own, and must not be changed; it may be kept for
// ever. No lock is held during fn, and the memory that this takes does not grow with
// the cache.
func (g *Group) Hottest(most int64, fn func(Entry) bool) {
	g.main.Hottest(most, func(e *lru.Entry) bool {
		return fn(Entry{
			Key: e.Key(), Value: e.Value(), NotFound: e.Flags()&flagNotFound != 0,
			TTL: left(e.Expires(), g.node.clock.exact()), Version: e.Version(),
		})
	})
}

// Restore puts an entry into the main cache for what is left of its time, and reports
// whether it did. It does not if another node answers for the key, as this one sees it
// now, if there is an entry that is as new or newer, or if the TTL is over; and, which
// is an error, while memory is short (ErrOverloaded), when the node drains (ErrDraining) or has
// been closed, or if the entry is too large (ErrTooLarge). It copies key and value.
//
// Nobody asks the source whether the value is still true: how old it may be is for the
// caller to bound.
func (g *Group) Restore(e Entry) (bool, error) {
	n := g.node
	switch state := n.state.Load(); {
	case state == stateStopped:
		return false, ErrClosed
	case state == stateDraining:
		return false, ErrDraining
	case e.TTL < 0:
		return false, nil
	case len(e.Key) > n.cfg.MaxKeyBytes || len(e.Value) > n.cfg.MaxValueBytes:
		return false, fmt.Errorf("%w: an entry with %d bytes of key and %d of value", ErrTooLarge, len(e.Key), len(e.Value))
	}
	place, hash := n.place(), hashOf(e.Key)
	if m := place.heir(hash, ""); m == nil || !m.self {
		return false, nil
	}
	if n.cfg.MemoryShort() {
		return false, fmt.Errorf("%w: memory is short", ErrOverloaded)
	}
	a := answer{value: e.Value, version: e.Version, notFound: e.NotFound}
	a.setTTL(e.TTL, n.clock.exact())
	n.versions.see(e.Version)
	added, err := g.main.AddNewer(hash, e.Key, a.item(a.expires, place.gen))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return added, nil
}
