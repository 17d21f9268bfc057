package geecache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/geecache/geecache/consistenthash"
)

// manyLoads bounds the keys of one GetMany that are loaded at a time: more
// would only wait for their turn at the source.
const manyLoads = 64

// manyBatch bounds the keys of one batch to a peer, which are unanswered requests
// of its connection until they have been loaded (Config.MaxStreamRequests).
const manyBatch = 4096

// GetMany returns the values of several keys: all that this node has in memory,
// and the others with one round trip a peer (one for each 4096 keys), in
// parallel. A key that is given twice is asked once.
//
// What could not be answered is missing from the map; the error then joins a
// *KeyError for each such key (errors.Is works on the whole, and a key that does
// not exist is an error that wraps ErrNotFound). The map is the caller's.
func (g *Group) GetMany(ctx context.Context, keys ...string) (map[string]ByteView, error) {
	m := many{g: g, values: make(map[string]ByteView, len(keys))}
	p := g.node.place()
	remote := make(map[*member][]string)
	var local []string
	seen := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		if _, again := seen[key]; again {
			continue
		}
		seen[key] = struct{}{}
		hash := consistenthash.Hash(key)
		if e, from := g.lookup(hash, key); e != nil {
			a := answerOf(e, from, "")
			m.put(key, &a, a.err())
			continue
		}
		owner := p.owner(hash)
		if owner == nil || owner.self || !owner.usable() || g.checkKey(key) != nil {
			local = append(local, key)
		} else {
			remote[owner] = append(remote[owner], key)
		}
	}
	var wg sync.WaitGroup
	for owner, keys := range remote {
		wg.Go(func() {
			for batch := range slices.Chunk(keys, manyBatch) {
				m.fetch(ctx, p, owner, batch)
			}
		})
	}
	m.each(ctx, local)
	wg.Wait()
	return m.values, errors.Join(m.errs...)
}

// many gathers the answers of one GetMany.
type many struct {
	g *Group

	mu     sync.Mutex // guards what follows
	values map[string]ByteView
	errs   []error
}

func (m *many) put(key string, a *answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.errs = append(m.errs, &KeyError{Key: key, Err: err})
		return
	}
	m.values[key] = ByteView{b: a.value}
}

// each resolves keys one by one, several at a time: those that this node loads,
// and those whose owner is in trouble.
func (m *many) each(ctx context.Context, keys []string) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, manyLoads)
	for _, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var a answer
			err := m.g.miss(ctx, consistenthash.Hash(key), key, &a)
			m.put(key, &a, err)
		})
	}
	wg.Wait()
}

// fetch asks the owner of keys for all of them in one round trip. It does not
// join fetch flights: the owner's load flights make one load of a key anyway.
func (m *many) fetch(ctx context.Context, p *placement, owner *member, keys []string) {
	g := m.g
	reqs := make([]PeerRequest, len(keys))
	for i, key := range keys {
		reqs[i] = PeerRequest{Group: g.name, Key: key, Mode: ModeOwner, Epoch: p.epoch, Timeout: timeLeft(ctx)}
	}
	asks := &g.asks[len(keys)%hitShards]
	asks.peerRequests.Add(int64(len(keys)))
	start := time.Now()
	replies, errs := owner.askMany(ctx, reqs)
	var again []string
	for i, key := range keys {
		if errs[i] != nil && ctx.Err() == nil { // the owner is in trouble: its stand-in is asked
			g.peerErrors.Add(1)
			again = append(again, key)
			continue
		}
		asks.misses.Add(1)
		var a answer
		err := errs[i]
		if err == nil {
			err = g.received(consistenthash.Hash(key), key, &replies[i], owner, true, &a)
		}
		if err == nil {
			err = a.err()
		}
		g.observeMiss(ctx, start, err)
		m.put(key, &a, err)
	}
	m.each(ctx, again)
}
