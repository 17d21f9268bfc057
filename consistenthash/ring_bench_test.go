package consistenthash_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/geecache/geecache/consistenthash"
)

// BenchmarkOwner looks up random hashes, so that it includes the cache misses of
// real keys.
func BenchmarkOwner(b *testing.B) {
	for _, n := range []int{3, 10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			r := newRing(b, hostPorts(n), consistenthash.Config{})
			rng := rand.New(rand.NewPCG(1, 2))
			hashes := make([]uint64, 1<<16)
			for i := range hashes {
				hashes[i] = rng.Uint64()
			}
			sum, i := 0, 0
			for b.Loop() {
				sum += r.Owner(hashes[i&(1<<16-1)])
				i++
			}
			_ = sum
		})
	}
}

// BenchmarkGet includes the hash of the key.
func BenchmarkGet(b *testing.B) {
	r := newRing(b, hostPorts(100), consistenthash.Config{})
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	i := 0
	for b.Loop() {
		r.Get(keys[i&(1<<16-1)])
		i++
	}
}

func BenchmarkGetN(b *testing.B) {
	r := newRing(b, hostPorts(100), consistenthash.Config{})
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i += 0x9e3779b97f4a7c15
		r.Successors(i, 3)
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{3, 100} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			nodes := hostPorts(n)
			b.ReportAllocs()
			for b.Loop() {
				newRing(b, nodes, consistenthash.Config{})
			}
		})
	}
}
