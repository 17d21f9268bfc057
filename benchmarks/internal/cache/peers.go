package cache

import (
	"math"

	"github.com/Yiling-J/theine-go"
	"github.com/coocood/freecache"
	"github.com/dgraph-io/ristretto/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"
)

type otterCache struct {
	c *otter.Cache[string, []byte]
	b Budget
}

func newOtter(b Budget) (Cache, error) {
	opts := &otter.Options[string, []byte]{MaximumSize: b.Entries}
	if b.Bytes != 0 {
		opts.MaximumSize = 0
		opts.MaximumWeight = uint64(b.Bytes)
		opts.Weigher = func(key string, value []byte) uint32 {
			return uint32(min(b.weigh(key, value), math.MaxUint32))
		}
	}
	c, err := otter.New(opts)
	return otterCache{c, b}, err
}

func (o otterCache) Get(key string) ([]byte, bool) { return o.c.GetIfPresent(key) }
func (o otterCache) Set(key string, value []byte)  { o.c.Set(key, o.b.kept(value)) }
func (o otterCache) Settle()                       { o.c.CleanUp() }
func (o otterCache) Len() int                      { return o.c.EstimatedSize() }
func (o otterCache) Close()                        { o.c.StopAllGoroutines() }

type theineCache struct {
	c *theine.Cache[string, []byte]
	b Budget
}

func newTheine(b Budget) (Cache, error) {
	c, err := theine.NewBuilder[string, []byte](b.limit()).Build()
	return theineCache{c, b}, err
}

func (t theineCache) Get(key string) ([]byte, bool) { return t.c.Get(key) }
func (t theineCache) Settle()                       { t.c.Wait() }
func (t theineCache) Len() int                      { return t.c.Len() }
func (t theineCache) Close()                        { t.c.Close() }

func (t theineCache) Set(key string, value []byte) {
	t.c.Set(key, t.b.kept(value), t.b.weigh(key, value))
}

type ristrettoCache struct {
	c *ristretto.Cache[string, []byte]
	b Budget
}

// newRistretto takes 10 counters for each entry and buffers of 64, as the
// documentation advises. The cost of what it keeps beside the value is counted,
// but where the budget is of entries, or values share one slice (Given).
func newRistretto(b Budget) (Cache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters: 10 * b.entries(), MaxCost: b.limit(), BufferItems: 64,
		IgnoreInternalCost: b.Bytes == 0 || b.Given, Metrics: true,
	})
	return ristrettoCache{c, b}, err
}

func (r ristrettoCache) Get(key string) ([]byte, bool) { return r.c.Get(key) }
func (r ristrettoCache) Settle()                       { r.c.Wait() }
func (r ristrettoCache) Close()                        { r.c.Close() }

func (r ristrettoCache) Set(key string, value []byte) {
	r.c.Set(key, r.b.kept(value), r.b.weigh(key, value))
}

func (r ristrettoCache) Len() int {
	return int(r.c.Metrics.KeysAdded() - r.c.Metrics.KeysEvicted())
}

type golangLRU struct {
	c *lru.Cache[string, []byte]
	b Budget
}

func newGolangLRU(b Budget) (Cache, error) {
	c, err := lru.New[string, []byte](int(b.entries()))
	return golangLRU{c, b}, err
}

func (g golangLRU) Get(key string) ([]byte, bool) { return g.c.Get(key) }
func (g golangLRU) Set(key string, value []byte)  { g.c.Add(key, g.b.kept(value)) }
func (golangLRU) Settle()                         {}
func (g golangLRU) Len() int                      { return g.c.Len() }
func (golangLRU) Close()                          {}

type freeCache struct{ c *freecache.Cache }

// newFreecache takes a budget in bytes, all of which it allocates at once. One
// in entries is given twice what they take, so that it need not evict.
func newFreecache(b Budget) (Cache, error) {
	if b.Bytes != 0 {
		return freeCache{freecache.NewCache(int(b.Bytes))}, nil
	}
	return freeCache{freecache.NewCache(b.Entries * int(b.charge()))}, nil
}

func (f freeCache) Get(key string) ([]byte, bool) {
	value, err := f.c.Get([]byte(key)) // the one error is "not found"
	return value, err == nil
}

func (f freeCache) Set(key string, value []byte) {
	// One that is too large to be kept is a miss the next time.
	_ = f.c.Set([]byte(key), value, 0)
}

func (freeCache) Settle()    {}
func (f freeCache) Len() int { return int(f.c.EntryCount()) }
func (freeCache) Close()     {}
