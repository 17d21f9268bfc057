package consistenthash_test

import (
	"fmt"
	"log"

	"github.com/geecache/geecache/consistenthash"
)

func Example() {
	ring, err := consistenthash.New([]consistenthash.Node{
		{ID: "10.0.0.1:8001"},
		{ID: "10.0.0.2:8001"},
		{ID: "10.0.0.3:8001", Weight: 2}, // twice the share
	}, consistenthash.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("owner of Tom:", ring.Get("Tom"))
	fmt.Println("all, in the order of succession:", ring.GetN("Tom", 3))

	// Hash once where the hash serves other purposes, too.
	hash := consistenthash.Hash("Tom")
	fmt.Println("owner by hash:", ring.Nodes()[ring.Owner(hash)].ID)
	// Output:
	// owner of Tom: 10.0.0.2:8001
	// all, in the order of succession: [10.0.0.2:8001 10.0.0.1:8001 10.0.0.3:8001]
	// owner by hash: 10.0.0.2:8001
}
