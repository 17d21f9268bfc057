package cache

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/golang/groupcache"
)

// Groupcache is the main cache of a golang/groupcache group. It can only be
// filled: a group has no way to ask for what it has in memory alone.
func Groupcache() Kind {
	var number atomic.Int64 // groups are known by name to the whole process
	return Kind{"groupcache", func(b Budget) (Cache, error) {
		g := &groupcacheGroup{}
		name := fmt.Sprintf("bench-%d", number.Add(1))
		g.g = groupcache.NewGroup(name, b.Bytes, groupcache.GetterFunc(func(_ context.Context, _ string, dest groupcache.Sink) error {
			return dest.SetBytes(g.next) // it copies
		}))
		return g, nil
	}, true}
}

type groupcacheGroup struct {
	g    *groupcache.Group
	next []byte // the value that is being set
}

func (g *groupcacheGroup) Set(key string, value []byte) {
	g.next = value
	var v groupcache.ByteView
	// The source is g.next, which cannot fail.
	_ = g.g.Get(context.Background(), key, groupcache.ByteViewSink(&v))
}

func (g *groupcacheGroup) Get(string) ([]byte, bool) { return nil, false }
func (g *groupcacheGroup) Settle()                   {}
func (g *groupcacheGroup) Len() int                  { return int(g.g.CacheStats(groupcache.MainCache).Items) }
func (g *groupcacheGroup) Close()                    {}
