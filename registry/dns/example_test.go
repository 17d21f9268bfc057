package dns_test

import (
	"context"
	"log"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/dns"
)

// A node in Kubernetes: a headless service has an A record for each pod.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	node, err := geecache.New(geecache.Config{Listen: ":8000", Addr: "10.1.2.3:8000"}) // the pod's address
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}

	pods, err := dns.New(dns.Config{Name: "cache.default.svc.cluster.local.", Port: 8000})
	if err != nil {
		log.Fatal(err)
	}
	follower := &registry.Follower{Node: node, From: pods}
	follower.Run(ctx) // or in a goroutine
}
