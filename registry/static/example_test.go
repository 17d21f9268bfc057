package static_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/static"
)

// A node whose cluster is a list of addresses.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	node, err := geecache.New(geecache.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}

	list, err := static.New(static.Config{Members: static.Peers(geecache.Peer{Addr: "127.0.0.1:7001"}, geecache.Peer{Addr: "127.0.0.1:7002"})})
	if err != nil {
		log.Fatal(err)
	}
	follower := &registry.Follower{Node: node, From: list, Exact: true}
	go follower.Run(ctx)

	for follower.Status().Members == 0 { // only the example waits: a node need not
		time.Sleep(time.Millisecond)
	}
	fmt.Println(follower.Status().Members, "members in the list")
	// Output: 2 members in the list
}
