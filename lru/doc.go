// Package lru is a byte-budgeted cache of immutable entries that keeps those that
// are worth their bytes. It does not load or compress values, starts no
// goroutines, and never keeps an entry that would take more than an eighth of
// the budget.
//
// What is worth keeping is for the [Policy] to say: [Adaptive] finds out from the
// traffic how much use in the past and how much recent use counts, and [LRU] evicts
// what was not used for longest.
//
// The budget is in bytes of heap: an entry is one allocation without pointers, which
// is charged with what the allocator sets aside for it and with its part of what the
// cache keeps beside the entries.
//
// A cache is split into shards, each with a lock of its own. A Get does not take
// it, unless the policy is LRU or the entry has expired. The budget is one for all
// shards: each may hold as much of it as its keys need. The policy works within a
// shard; with one shard and the policy LRU the cache is an exact LRU.
package lru
