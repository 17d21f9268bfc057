// Package lru is a byte-budgeted cache of immutable entries that forgets what
// was not used for longest. It does not load, copy or compress values, starts no
// goroutines, and never keeps an entry that would take more than an eighth of
// the budget.
//
// A cache is split into shards, each with a lock of its own, so that goroutines
// rarely wait for one another. The budget is one for all of them: a shard may
// hold as much of it as its keys need. Recency is exact within a shard; with
// one shard the cache is an exact LRU.
package lru
