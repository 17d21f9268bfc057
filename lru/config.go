package lru

import (
	"fmt"
	"math/bits"
)

const (
	// DefaultMaxBytes is the budget of a [Config] that names none: 64 MiB.
	DefaultMaxBytes = 64 << 20

	// maxItemShare is the part of the budget that one item may take: 1/8. A
	// larger one would push out too many others for a single key.
	maxItemShare = 8

	// MaxShards is the largest number of shards that a Config may ask for.
	MaxShards = 1024

	maxChosenShards  = 64
	minBytesPerShard = 256 << 10 // of the budget, for each shard that is chosen
)

// A Policy says which entries leave a cache that is full.
type Policy uint8

const (
	// Adaptive keeps what is used often, what is used again soon, or a mixture,
	// whichever has the most hits on the traffic of the moment. It does not let
	// a scan of keys that are used once push out what is in use.
	Adaptive Policy = iota

	// LRU evicts what was not used for longest.
	LRU
)

// A Config says how a [Cache] is set up. The zero Config is valid.
type Config struct {
	// MaxBytes is the budget of all shards together, in bytes of heap: the keys
	// and values, what is kept beside them, and what the allocator adds by
	// rounding up (see [Entry.Size]). Zero means DefaultMaxBytes.
	MaxBytes int64

	// Policy says which entries leave when the budget is exceeded. Zero means
	// Adaptive.
	Policy Policy

	// Shards is the number of parts with a lock of their own, a power of two
	// up to MaxShards. Zero chooses one for each 256 KiB of the budget, at
	// most 64.
	Shards int

	// Now tells the time in nanoseconds since an origin of the caller's choice,
	// to which [Item.Expires] refers. It may be coarse. It is called by many
	// goroutines at once, also with a lock held: it must be fast and must not call
	// the cache. Nil means the wall clock in Unix time.
	Now func() int64

	// OnEvict is called once for each entry that leaves the cache, by the
	// goroutine that caused it, after the entry has left and without any lock
	// held: it may call the cache. Calls for different entries may overlap.
	OnEvict func(e *Entry, r Reason)
}

// Validate returns an error that names the field and the remedy if the Config
// makes no sense.
func (c Config) Validate() error {
	if c.MaxBytes < 0 {
		return fmt.Errorf("lru: Config.MaxBytes is %d: set it to the budget in bytes, or to 0 for the default of %d", c.MaxBytes, int64(DefaultMaxBytes))
	}
	if c.Policy > LRU {
		return fmt.Errorf("lru: Config.Policy is %d: set it to Adaptive or LRU", c.Policy)
	}
	if c.Shards < 0 || c.Shards > MaxShards || c.Shards&(c.Shards-1) != 0 {
		return fmt.Errorf("lru: Config.Shards is %d: set it to a power of two from 1 to %d, or to 0 to have it chosen from the budget", c.Shards, MaxShards)
	}
	return nil
}

// maxBytes returns the budget, the default resolved.
func (c Config) maxBytes() int64 {
	if c.MaxBytes == 0 {
		return DefaultMaxBytes
	}
	return c.MaxBytes
}

// shards returns the number of shards, chosen from the budget if none is named:
// a shard of a small budget would hold a handful of entries, and the choice of
// which to evict would be poor.
func (c Config) shards() int {
	if c.Shards != 0 {
		return c.Shards
	}
	n := c.maxBytes() / minBytesPerShard
	if n >= maxChosenShards {
		return maxChosenShards
	}
	if n < 1 {
		return 1
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}
