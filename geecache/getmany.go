package geecache

import (
	"context"
	"errors"
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
	m := many{g: g, p: g.node.place(), values: make(map[string]ByteView, len(keys))}
	remote := make(map[*member]*batch)
	var local []string
	for _, key := range keys {
		if _, again := m.values[key]; again {
			continue
		}
		m.values[key] = ByteView{} // until it is put
		hash := consistenthash.Hash(key)
		if e, from := g.lookup(hash, key); e != nil {
			a := answerOf(e, from, "")
			if a.notFound {
				g.notFound.Add(1)
			}
			m.putLocked(key, &a, a.err())
			continue
		}
		owner := m.p.owner(hash)
		if owner == nil || owner.self || !owner.fast.Load() || g.checkKey(key) != nil {
			local = append(local, key)
			continue
		}
		b := remote[owner]
		if b == nil {
			b = &batch{owner: owner}
			remote[owner] = b
		}
		b.add(hash, key)
	}
	m.ask(ctx, remote, local)
	for _, key := range m.failed {
		delete(m.values, key)
	}
	return m.values, errors.Join(m.errs...)
}

// many gathers the answers of one GetMany.
type many struct {
	g *Group
	p *placement

	mu     sync.Mutex // guards what follows
	values map[string]ByteView
	errs   []error
	failed []string // the keys of errs
}

func (m *many) put(key string, a *answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.putLocked(key, a, err)
}

func (m *many) putLocked(key string, a *answer, err error) {
	if err != nil {
		m.errs, m.failed = append(m.errs, &KeyError{Key: key, Err: err}), append(m.failed, key)
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

// A batch is the keys that one peer owns.
type batch struct {
	owner  *member
	keys   []string
	hashes []uint64
	start  time.Time
	sent   *manyCall // nil: it is yet to be asked for
}

func (b *batch) add(hash uint64, key string) {
	b.keys, b.hashes = append(b.keys, key), append(b.hashes, hash)
}

// part returns the keys from one on, up to another.
func (b *batch) part(from, to int) *batch {
	return &batch{owner: b.owner, keys: b.keys[from:to], hashes: b.hashes[from:to]}
}

// fromMemory is how long a peer may take to answer a batch from its memory. After
// it each batch gets a goroutine of its own.
const fromMemory = time.Millisecond

// ask asks the peers for what they own, and resolves the other keys, all at
// the same time. It does not join fetch flights: the owner's load flights make one
// load of a key anyway.
//
// As a rule all peers have their values in memory, and all answers are there before
// a goroutine for each would have begun. So this one sends, waits for them all
// together for a moment, and only then makes goroutines: what one peer fails to
// answer is asked of its stand-in at once, however long another one takes.
func (m *many) ask(ctx context.Context, remote map[*member]*batch, local []string) {
	all := newCallWaiter(nil)
	for owner, b := range remote {
		if owner.stream != nil && len(b.keys) <= manyBatch {
			reqs := m.begin(ctx, b)
			owner.beginMany(len(reqs))
			b.sent = owner.stream.sendMany(ctx, reqs, all)
		} else { // it is not a call of all's, so all do not end
			all.left.Add(1)
		}
	}
	all.end()
	if len(local) == 0 && all.doneWithin(fromMemory) {
		var again []string
		for _, b := range remote {
			again = append(again, m.finish(ctx, b)...)
		}
		m.each(ctx, again)
		return
	}
	var wg sync.WaitGroup
	for _, b := range remote {
		wg.Go(func() {
			if b.sent == nil {
				m.askInParts(ctx, b)
				return
			}
			b.sent.await(ctx)
			m.each(ctx, m.finish(ctx, b))
		})
	}
	m.each(ctx, local)
	wg.Wait()
}

// finish takes in the replies to a batch that was sent, when all are there, and
// returns the keys that end returns.
func (m *many) finish(ctx context.Context, b *batch) (again []string) {
	replies, errs := b.sent.results()
	b.owner.endMany(ctx, replies, errs)
	return m.end(ctx, b, replies, errs)
}

// askInParts asks a peer that has no stream, or for very many keys.
func (m *many) askInParts(ctx context.Context, all *batch) {
	for i := 0; i < len(all.keys); i += manyBatch {
		b := all.part(i, min(i+manyBatch, len(all.keys)))
		replies, errs := b.owner.askMany(ctx, m.begin(ctx, b))
		m.each(ctx, m.end(ctx, b, replies, errs))
	}
}

// begin returns the requests of a batch, and counts them.
func (m *many) begin(ctx context.Context, b *batch) []PeerRequest {
	reqs := make([]PeerRequest, len(b.keys))
	timeout := timeLeft(ctx)
	for i, key := range b.keys {
		reqs[i] = PeerRequest{Group: m.g.name, Key: key, Mode: ModeOwner, Epoch: m.p.epoch, Timeout: timeout}
	}
	b.start = time.Now()
	m.g.asks[b.hashes[0]%hitShards].peerRequests.Add(int64(len(reqs)))
	return reqs
}

// end takes the replies to a batch in. It returns what its owner was in trouble
// for, which stand-ins are to be asked for.
func (m *many) end(ctx context.Context, b *batch, replies []PeerReply, errs []error) (again []string) {
	g := m.g
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, key := range b.keys {
		err := errs[i]
		if err != nil && ctx.Err() == nil {
			g.peerErrors.Add(1)
			again = append(again, key)
			continue
		}
		g.asks[b.hashes[i]%hitShards].misses.Add(1)
		var a answer
		if err == nil {
			err = g.received(b.hashes[i], key, &replies[i], b.owner, true, &a)
		}
		if err == nil {
			err = a.err()
		}
		g.observeMiss(ctx, b.start, err)
		m.putLocked(key, &a, err)
	}
	return again
}
