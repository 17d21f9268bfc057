package singleflight_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/singleflight"
)

func Example() {
	group := singleflight.New[string](singleflight.Config{Timeout: 5 * time.Second})
	gate := make(chan struct{})
	load := func(ctx context.Context) (string, error) { // a slow query, say
		<-gate
		return "630", nil
	}

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			v, _, err := group.Do(context.Background(), xxhash.Sum64String("Tom"), "Tom", load)
			fmt.Println(v, err)
		})
	}
	for group.Stats().Suppressed < 2 { // until all have come
		time.Sleep(time.Millisecond)
	}
	close(gate)
	wg.Wait()
	fmt.Println("calls:", group.Stats().Flights)
	// Output:
	// 630 <nil>
	// 630 <nil>
	// 630 <nil>
	// calls: 1
}
