package lru_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/geecache/geecache/lru"
)

// benchKeys returns n keys and their hashes.
func benchKeys(n int) ([]string, []uint64) {
	ks, hs := make([]string, n), make([]uint64, n)
	for i := range ks {
		ks[i] = fmt.Sprintf("user:%d", i)
		hs[i] = hash(ks[i])
	}
	return ks, hs
}

// eachPolicy runs a benchmark with a cache of each policy.
func eachPolicy(b *testing.B, maxBytes int64, run func(b *testing.B, c *lru.Cache)) {
	for policy, name := range []string{"Adaptive", "LRU"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			run(b, newCache(b, lru.Config{Policy: lru.Policy(policy), MaxBytes: maxBytes}))
		})
	}
}

func BenchmarkHitParallel(b *testing.B) {
	const n = 1 << 16
	ks, hs := benchKeys(n)
	eachPolicy(b, 64<<20, func(b *testing.B, c *lru.Cache) {
		for i := range ks {
			if err := c.Add(hs[i], ks[i], lru.Item{Value: make([]byte, 100)}); err != nil {
				b.Fatal(err)
			}
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			i := rand.IntN(n)
			for pb.Next() {
				if c.Get(hs[i&(n-1)], ks[i&(n-1)]) == nil {
					b.Error("a miss")
				}
				i += 7919
			}
		})
	})
}

func BenchmarkMiss(b *testing.B) {
	eachPolicy(b, 64<<20, func(b *testing.B, c *lru.Cache) {
		ks, hs := benchKeys(1 << 17)
		for i := range 1 << 16 {
			if err := c.Add(hs[i], ks[i], lru.Item{Value: make([]byte, 100)}); err != nil {
				b.Fatal(err)
			}
		}
		i := 0
		for b.Loop() {
			if k := 1<<16 | i&(1<<16-1); c.Get(hs[k], ks[k]) != nil {
				b.Fatal("a hit")
			}
			i++
		}
	})
}

// BenchmarkAdd adds new keys to a full cache: each evicts another one, or itself.
func BenchmarkAdd(b *testing.B) {
	const n = 1 << 17
	ks, hs := benchKeys(n)
	value := make([]byte, 100)
	eachPolicy(b, 8<<20, func(b *testing.B, c *lru.Cache) {
		i := 0
		for b.Loop() {
			if err := c.Add(hs[i&(n-1)], ks[i&(n-1)], lru.Item{Value: value}); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

func BenchmarkReplace(b *testing.B) {
	value := make([]byte, 100)
	h := hash("key")
	eachPolicy(b, 0, func(b *testing.B, c *lru.Cache) {
		for b.Loop() {
			if err := c.Add(h, "key", lru.Item{Value: value}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
