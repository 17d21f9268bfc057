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

func BenchmarkHitParallel(b *testing.B) {
	const n = 1 << 16
	c := newCache(b, lru.Config{MaxBytes: 64 << 20})
	ks, hs := benchKeys(n)
	for i := range ks {
		if err := c.Add(hs[i], ks[i], lru.Item{Value: make([]byte, 100)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
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
}

// BenchmarkAdd adds new keys to a full cache: each evicts another one.
func BenchmarkAdd(b *testing.B) {
	const n = 1 << 17
	c := newCache(b, lru.Config{MaxBytes: 8 << 20})
	ks, hs := benchKeys(n)
	value := make([]byte, 100)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := c.Add(hs[i&(n-1)], ks[i&(n-1)], lru.Item{Value: value}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkReplace(b *testing.B) {
	c := newCache(b, lru.Config{})
	value := make([]byte, 100)
	h := hash("key")
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Add(h, "key", lru.Item{Value: value}); err != nil {
			b.Fatal(err)
		}
	}
}
