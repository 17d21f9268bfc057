package cache_test

import (
	"fmt"
	"testing"

	"github.com/geecache/geecache/benchmarks/internal/cache"
)

// Each adapter stores, finds and stays near its budget.
func TestKinds(t *testing.T) {
	const n = 20_000
	for _, kind := range append([]cache.Kind{cache.Ours()}, cache.Peers()...) {
		t.Run(kind.Name, func(t *testing.T) {
			c, err := kind.New(cache.Budget{Entries: n})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, ok := c.Get("none"); ok {
				t.Error("a key that was never set is there")
			}
			c.Set("key", []byte("value"))
			c.Settle()
			if v, ok := c.Get("key"); !ok || string(v) != "value" {
				t.Errorf("Get = %q, %v", v, ok)
			}
			if c.Len() != 1 {
				t.Errorf("Len = %d after one Set", c.Len())
			}
		})
		if !kind.Bytes {
			continue
		}
		t.Run(kind.Name+" in bytes", func(t *testing.T) {
			const budget = 4 << 20
			c, err := kind.New(cache.Budget{Bytes: budget, MeanBytes: 1000})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range n {
				c.Set(fmt.Sprintf("key-%06d", i), make([]byte, 990))
				if i%100 == 0 {
					c.Settle()
				}
			}
			c.Settle()
			if got := c.Len(); got < budget/1000/4 || got > budget/1000*11/10 {
				t.Errorf("%d entries of 1000 bytes in %d bytes", got, budget)
			}
		})
	}
}

func TestCharge(t *testing.T) {
	small, err := cache.Charge("0123456789abcdef", nil)
	if err != nil {
		t.Fatal(err)
	}
	large, err := cache.Charge("0123456789abcdef", make([]byte, 1024))
	if err != nil {
		t.Fatal(err)
	}
	if small < 16 || large < small+1024 {
		t.Errorf("an entry is charged %d bytes, with a value of 1024 bytes %d", small, large)
	}
}
