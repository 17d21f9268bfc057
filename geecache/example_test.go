package geecache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"

	"github.com/geecache/geecache/geecache"
)

// scores stands for a slow database.
var scores = map[string]string{"Tom": "630", "Jack": "589", "Sam": "567"}

func loadScore(_ context.Context, key string) (geecache.Value, error) {
	if v, ok := scores[key]; ok {
		return geecache.Value{Bytes: []byte(v)}, nil
	}
	return geecache.Value{}, fmt.Errorf("%s: %w", key, geecache.ErrNotFound)
}

// A cache in one process: many callers, one load a key.
func Example() {
	node, err := geecache.New(geecache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	group, err := node.NewGroup("scores", geecache.GetterFunc(loadScore), geecache.GroupConfig{CacheBytes: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}

	score, err := group.Get(context.Background(), "Tom")
	fmt.Println(score, err)
	_, err = group.Get(context.Background(), "kkk")
	fmt.Println(errors.Is(err, geecache.ErrNotFound))
	// Output:
	// 630 <nil>
	// true
}

// Two nodes of a cluster, here in one process: each key is loaded by its owner,
// whichever node is asked.
func Example_cluster() {
	ctx := context.Background()
	var listeners []net.Listener
	var view []geecache.Peer
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		listeners = append(listeners, l)
		view = append(view, geecache.Peer{Addr: l.Addr().String()})
	}
	var nodes []*geecache.Node
	for _, l := range listeners {
		node, err := geecache.New(geecache.Config{
			Listener: l, Peers: view, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			log.Fatal(err)
		}
		defer node.Close()
		if _, err := node.NewGroup("scores", geecache.GetterFunc(loadScore), geecache.GroupConfig{}); err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		if err := node.Start(ctx); err != nil {
			log.Fatal(err)
		}
	}

	var loads int64
	for _, node := range nodes {
		score, err := node.Group("scores").Get(ctx, "Jack")
		fmt.Println(score, err)
	}
	for _, node := range nodes {
		loads += node.Group("scores").Stats().Loads()
	}
	fmt.Println("loads:", loads)
	// Output:
	// 589 <nil>
	// 589 <nil>
	// loads: 1
}

// Many keys at once: one round trip a node, and what is missing is named.
func ExampleGroup_GetMany() {
	node, err := geecache.New(geecache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	group, err := node.NewGroup("scores", geecache.GetterFunc(loadScore), geecache.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}

	values, err := group.GetMany(context.Background(), "Tom", "Sam", "kkk")
	fmt.Println(values["Tom"], values["Sam"])
	var missing *geecache.KeyError
	if errors.As(err, &missing) {
		fmt.Println(missing.Key, "is missing:", errors.Is(missing, geecache.ErrNotFound))
	}
	// Output:
	// 630 567
	// kkk is missing: true
}

// Lookup tells where a value came from.
func ExampleGroup_Lookup() {
	node, err := geecache.New(geecache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	group, err := node.NewGroup("scores", geecache.GetterFunc(loadScore), geecache.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		r, err := group.Lookup(context.Background(), "Sam")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Value, "from", r.From)
	}
	// Output:
	// 567 from load
	// 567 from hit
}
