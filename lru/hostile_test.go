package lru_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/geecache/geecache/lru"
)

// A key whose hash is zero was taken for one that the adaptation samples before
// there was anything to sample for.
func TestHashZeroFromTheBeginning(t *testing.T) {
	for _, policy := range policies {
		c := newCache(t, lru.Config{Policy: policy})
		for i := range 2000 {
			key := fmt.Sprint(i % 500)
			if err := c.Add(0, key, lru.Item{Value: []byte(key)}); err != nil {
				t.Fatal(err)
			}
			if e := c.Get(0, key); e == nil || string(e.Value()) != key {
				t.Fatalf("Get(%q) = %v", key, e)
			}
		}
		checkSums(t, c)
	}
}

// With a key that fills the entry's allocation to the last byte, the address of an
// empty value is that of the next object, or of none: the garbage collector stops
// the program when it finds such a pointer.
func TestEmptyValueBehindAFullAllocation(t *testing.T) {
	c := newCache(t, lru.Config{MaxBytes: 256 << 20})
	var values [][]byte
	for n := range 600 {
		for i := range 200 {
			key := fmt.Sprintf("%.*d", n, i)
			h := hash(key)
			if err := c.Add(h, key, lru.Item{}); err != nil {
				t.Fatal(err)
			}
			v := c.Get(h, key).Value()
			if len(v) != 0 {
				t.Fatalf("the value of %q is %q", key, v)
			}
			values = append(values, v)
		}
	}
	runtime.GC()
	c.Clear()
	runtime.GC()
	runtime.GC()
	runtime.KeepAlive(values)
}
