package lru_test

import (
	"fmt"
	"log"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/lru"
)

func Example() {
	cache, err := lru.New(lru.Config{
		MaxBytes: 1 << 20,
		OnEvict:  func(e *lru.Entry, r lru.Reason) { fmt.Println(e.Key(), "left:", r) },
	})
	if err != nil {
		log.Fatal(err)
	}
	hash := xxhash.Sum64String("Tom") // once, for all calls
	err = cache.Add(hash, "Tom", lru.Item{
		Value:   []byte("630"),
		Expires: time.Now().Add(time.Minute).UnixNano(),
	})
	if err != nil {
		log.Fatal(err)
	}
	if e := cache.Get(hash, "Tom"); e != nil {
		fmt.Printf("%s\n", e.Value())
	}
	cache.Remove(hash, "Tom")
	fmt.Println(cache.Get(hash, "Tom") == nil)
	// Output:
	// 630
	// Tom left: removed
	// true
}
