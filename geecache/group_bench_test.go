package geecache

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkGroupGetHit: in parallel, over 100,000 keys drawn from a Zipf
// distribution, all in the main cache.
func BenchmarkGroupGetHit(b *testing.B) {
	getter, _ := constant("a value of about one hundred bytes, as caches of rows, sessions and fragments of pages often have them")
	g := localGroup(b, getter, GroupConfig{CacheBytes: 256 << 20})
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
		if _, err := g.Get(b.Context(), keys[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
		zipf := rand.NewZipf(rng, 1.01, 1, uint64(len(keys)-1))
		order := make([]string, 1<<16)
		for i := range order {
			order[i] = keys[zipf.Uint64()]
		}
		for i := 0; pb.Next(); i++ {
			if _, err := g.Get(b.Context(), order[i&(1<<16-1)]); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkPeerHop: a key that a peer owns and the caller does not keep, in one
// process over loopback TCP, by the number of callers.
func BenchmarkPeerHop(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			nodes := startCluster(b, 2, &testSource{}, Config{}, GroupConfig{HotTTL: -1})
			var keys []string
			for i := 0; len(keys) < 1000; i++ {
				if key := fmt.Sprint("k", i); nodes[0].Owners(key, 1)[0].ID == nodes[1].ID() {
					keys = append(keys, key)
				}
			}
			g := nodes[0].Group("g")
			for _, key := range keys {
				mustGet(b, g, key)
			}
			b.ReportAllocs()
			b.SetParallelism((callers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(keys)); pb.Next(); i++ {
					if _, err := g.Get(b.Context(), keys[i%len(keys)]); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
