package cache

import (
	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/lru"
)

// Ours is the engine as it comes.
func Ours() Kind { return Kind{"geecache", newOurs(lru.Config{}), true} }

// Strict is the engine as a plain LRU cache.
func Strict() Kind { return Kind{"geecache-lru", newOurs(lru.Config{Policy: lru.LRU}), true} }

// newOurs returns the constructor of an engine that differs from cfg in its
// budget alone.
func newOurs(cfg lru.Config) func(Budget) (Cache, error) {
	return func(b Budget) (Cache, error) {
		cfg.MaxBytes = b.Bytes
		if b.Bytes == 0 {
			cfg.MaxBytes = int64(b.Entries) * b.charge()
		}
		c, err := lru.New(cfg)
		return ours{c}, err
	}
}

// usualCharge is room for an entry of a short key and 100 bytes, with much to
// spare: for budgets that nothing has to be evicted from.
const usualCharge = 1 << 10

func (b Budget) charge() int64 {
	if b.Charge == 0 {
		return usualCharge
	}
	return b.Charge
}

// Charge returns what our engine charges for an entry.
func Charge(key string, value []byte) (int64, error) {
	c, err := lru.New(lru.Config{MaxBytes: 64 * int64(len(key)+len(value)+usualCharge)})
	if err != nil {
		return 0, err
	}
	if err := c.Add(xxhash.Sum64String(key), key, lru.Item{Value: value}); err != nil {
		return 0, err
	}
	return c.Stats().Bytes, nil
}

type ours struct{ c *lru.Cache }

func (o ours) Get(key string) ([]byte, bool) {
	e := o.c.Get(xxhash.Sum64String(key), key)
	if e == nil {
		return nil, false
	}
	return e.Value(), true
}

func (o ours) Set(key string, value []byte) {
	// One that is too large to be kept is a miss the next time.
	_ = o.c.Add(xxhash.Sum64String(key), key, lru.Item{Value: value})
}

func (ours) Settle()    {}
func (o ours) Len() int { return int(o.c.Stats().Entries) }
func (ours) Close()     {}
