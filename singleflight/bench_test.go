package singleflight_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/singleflight"
)

// BenchmarkFlight is what a flight costs that nobody joins.
func BenchmarkFlight(b *testing.B) {
	fn := func(context.Context) (string, error) { return "v", nil }
	for name, cfg := range map[string]config{"plain": {}, "timeout": {Timeout: time.Second}} {
		b.Run(name, func(b *testing.B) {
			g := singleflight.New[string](cfg)
			h := hash("key")
			b.ReportAllocs()
			for b.Loop() {
				g.Do(b.Context(), h, "key", fn)
			}
		})
	}
}

// BenchmarkParallel is what a call costs when each goroutine has its own key.
func BenchmarkParallel(b *testing.B) {
	g := singleflight.New[string](config{Timeout: time.Second})
	fn := func(context.Context) (string, error) { return "v", nil }
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		key := fmt.Sprint("key-", next.Add(1))
		h := hash(key)
		for pb.Next() {
			g.Do(context.Background(), h, key, fn)
		}
	})
}
