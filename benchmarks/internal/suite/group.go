package suite

import (
	"context"
	"fmt"
	"runtime"

	"github.com/golang/groupcache"

	"github.com/geecache/geecache/geecache"
)

// group measures a hit through Group.Get, with all that stands above the engine.
func group() Suite {
	return Suite{
		Name:  "group",
		Title: "Group.Get: a hit",
		Notes: []string{
			"100,000 keys of 16 bytes, drawn from a Zipf distribution (exponent 0.99), values of 100 bytes, all resident; as many goroutines as processors.",
			"golang/groupcache answers into an AllocatingByteSliceSink, as its README has it, which copies the value; and into a ByteViewSink, which does not.",
			"Each measurement has a process of its own.",
		},
		Groups: func(s Scale) []Group {
			return []Group{{
				Name: "hit", Title: "Group.Get, parallel, every one a hit", Units: []string{"ns/op", "allocs/op"},
				Points: one(), Fresh: true,
				Subjects: []Subject{{Ours, newGroupHit(ourGroup)}, {"groupcache", newGroupHit(theirGroup)}, {"groupcache ByteView", newGroupHit(theirGroupView)}},
			}}
		},
	}
}

// A groupGet gets a key from a group.
type groupGet func(ctx context.Context, key string) error

func newGroupHit(open func(value []byte) (groupGet, error)) func(context.Context, Scale) (Measurer, error) {
	return func(_ context.Context, s Scale) (Measurer, error) {
		get, err := open(make([]byte, engineValue))
		if err != nil {
			return nil, err
		}
		return MeasureFunc(func(ctx context.Context, _ Point) (Values, error) { return measureHits(ctx, get, s) }), nil
	}
}

func ourGroup(value []byte) (groupGet, error) {
	n, err := geecache.New(geecache.Config{Logger: quietLogger()})
	if err != nil {
		return nil, err
	}
	g, err := n.NewGroup("hits", geecache.GetterFunc(func(context.Context, string) (geecache.Value, error) {
		return geecache.Value{Bytes: append([]byte(nil), value...)}, nil
	}), geecache.GroupConfig{CacheBytes: 256 << 20})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) error {
		_, err := g.Get(ctx, key)
		return err
	}, nil
}

func theirGroup(value []byte) (groupGet, error) {
	g := newTheirGroup(value)
	return func(ctx context.Context, key string) error {
		var b []byte
		return g.Get(ctx, key, groupcache.AllocatingByteSliceSink(&b))
	}, nil
}

func theirGroupView(value []byte) (groupGet, error) {
	g := newTheirGroup(value)
	return func(ctx context.Context, key string) error {
		var v groupcache.ByteView
		return g.Get(ctx, key, groupcache.ByteViewSink(&v))
	}, nil
}

func newTheirGroup(value []byte) *groupcache.Group {
	return groupcache.NewGroup("hits", 256<<20, groupcache.GetterFunc(func(_ context.Context, _ string, dest groupcache.Sink) error {
		return dest.SetBytes(value)
	}))
}

func measureHits(ctx context.Context, get groupGet, s Scale) (Values, error) {
	keys := make([]string, s.pick(engineKeys, 1000))
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%012d", i)
		if err := get(ctx, keys[i]); err != nil {
			return nil, err
		}
	}
	callers := runtime.GOMAXPROCS(0)
	seqs := sequences(callers, keys, engineZipf, s.pick(sequenceLen, 1<<10))
	runtime.GC()
	r, err := closedLoop(ctx, callers, s.Window, fastBatch, func(caller int) opFunc {
		seq := seqs[caller]
		return func(from, n int) error {
			for i := from; i < from+n; i++ {
				if err := get(ctx, seq[i&(len(seq)-1)]); err != nil {
					return err
				}
			}
			return nil
		}
	})
	return Values{"ns/op": r.nsPerOp(), "allocs/op": r.allocs}, err
}
