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
	m := g.newMany(ctx, len(keys))
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
		m.add(hash, key)
	}
	reusable := m.ask(ctx)
	for _, key := range m.failed {
		delete(m.values, key)
	}
	values, err := m.values, errors.Join(m.errs...)
	if reusable {
		g.putMany(m)
	}
	return values, err
}

// many gathers the answers of one GetMany. It is used again, with its batches: they
// are most of what a GetMany allocates. 100 keys of three peers took 155 us with
// that, and 199 us with new ones each time.
type many struct {
	g       *Group
	p       *placement
	timeout time.Duration
	local   []string // keys that are not asked of a peer
	batches []*batch // by the owner's place on the ring; nil: none was needed yet
	asked   []*batch // those that have keys now
	all     callWaiter
	timer   *time.Timer

	mu     sync.Mutex // guards what follows
	values map[string]ByteView
	errs   []error
	failed []string // the keys of errs
}

// reuseMost bounds the keys of a batch whose memory is kept.
const reuseMost = 1024

func (g *Group) newMany(ctx context.Context, keys int) *many {
	m, _ := g.manys.Get().(*many)
	if m == nil {
		m = &many{g: g}
		m.all.done = make(chan struct{}, 1)
	}
	m.p, m.timeout, m.values = g.node.place(), timeLeft(ctx), make(map[string]ByteView, keys)
	if n := len(m.p.members); n > len(m.batches) {
		m.batches = append(m.batches, make([]*batch, n-len(m.batches))...)
	}
	return m
}

// putMany takes one back that nobody refers to any more.
func (g *Group) putMany(m *many) {
	for _, b := range m.asked {
		b.clear()
	}
	clear(m.asked)
	clear(m.local)
	m.p, m.local, m.asked = nil, m.local[:0], m.asked[:0]
	m.values, m.errs, m.failed = nil, nil, nil
	g.manys.Put(m)
}

// add enters a key that is not in this node's memory.
func (m *many) add(hash uint64, key string) {
	i := m.p.ring.Owner(hash)
	if i < 0 || m.p.members[i].self || !m.p.members[i].fast.Load() || m.g.checkKey(key) != nil {
		m.local = append(m.local, key)
		return
	}
	b := m.batches[i]
	if b == nil {
		b = new(batch)
		b.sent.wait.done = make(chan struct{}, 1)
		m.batches[i] = b
	}
	if len(b.reqs) == 0 {
		b.owner = m.p.members[i]
		m.asked = append(m.asked, b)
	}
	b.reqs = append(b.reqs, PeerRequest{Group: m.g.name, Key: key, Mode: ModeOwner, Epoch: m.p.epoch, Timeout: m.timeout})
	b.hashes = append(b.hashes, hash)
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
	reqs   []PeerRequest
	hashes []uint64
	start  time.Time
	sent   manyCall // has no calls if the batch is yet to be asked for
}

// part returns the keys from one on, up to another.
func (b *batch) part(from, to int) *batch {
	return &batch{owner: b.owner, reqs: b.reqs[from:to], hashes: b.hashes[from:to]}
}

// clear makes the batch empty.
func (b *batch) clear() {
	if cap(b.reqs) > reuseMost {
		b.reqs, b.hashes, b.sent.calls = nil, nil, nil
	}
	clear(b.reqs)
	clear(b.sent.calls)
	b.owner, b.reqs, b.hashes = nil, b.reqs[:0], b.hashes[:0]
	b.sent.conn, b.sent.calls = nil, b.sent.calls[:0]
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
//
// It reports whether nobody else refers to m any more.
func (m *many) ask(ctx context.Context) (reusable bool) {
	m.all.begin(nil)
	for _, b := range m.asked {
		if b.owner.stream != nil && len(b.reqs) <= manyBatch {
			m.begin(b)
			b.owner.beginMany(len(b.reqs))
			b.owner.stream.sendMany(ctx, &b.sent, b.reqs, &m.all)
		} else { // it is not a call of all's, so all do not end
			m.all.left.Add(1)
		}
	}
	m.all.end()
	if len(m.local) == 0 && m.doneWithin(fromMemory) {
		var again []string
		for _, b := range m.asked {
			<-b.sent.wait.done
			again = append(again, m.finish(ctx, b)...)
		}
		m.each(ctx, again)
		return true
	}
	var wg sync.WaitGroup
	for _, b := range m.asked {
		wg.Go(func() {
			if len(b.sent.calls) == 0 {
				m.askInParts(ctx, b)
				return
			}
			b.sent.await(ctx)
			m.each(ctx, m.finish(ctx, b))
		})
	}
	m.each(ctx, m.local)
	wg.Wait()
	return false // who ended a batch may be about to tell all
}

// doneWithin reports whether all batches end within a time.
func (m *many) doneWithin(d time.Duration) bool {
	if m.all.left.Load() == 0 {
		<-m.all.done
		return true
	}
	if m.timer == nil {
		m.timer = time.NewTimer(d)
	} else {
		m.timer.Reset(d)
	}
	defer m.timer.Stop()
	select {
	case <-m.all.done:
		return true
	case <-m.timer.C:
		return false
	}
}

// finish takes in the replies to a batch that was sent, when all are there, and
// returns the keys that end returns.
func (m *many) finish(ctx context.Context, b *batch) (again []string) {
	b.owner.endMany(ctx, b.sent.calls)
	return m.end(ctx, b)
}

// askInParts asks a peer that has no stream, or for very many keys.
func (m *many) askInParts(ctx context.Context, all *batch) {
	for i := 0; i < len(all.reqs); i += manyBatch {
		b := all.part(i, min(i+manyBatch, len(all.reqs)))
		m.begin(b)
		b.sent.calls = b.owner.askMany(ctx, b.reqs)
		m.each(ctx, m.end(ctx, b))
	}
}

// begin counts a batch that is about to be asked for.
func (m *many) begin(b *batch) {
	if m.g.node.cfg.Observer != nil {
		b.start = time.Now()
	}
	m.g.asks[b.hashes[0]%hitShards].peerRequests.Add(int64(len(b.reqs)))
}

// end takes the replies to a batch in. It returns what its owner was in trouble
// for, which stand-ins are to be asked for.
func (m *many) end(ctx context.Context, b *batch) (again []string) {
	g := m.g
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range b.reqs {
		key, k := b.reqs[i].Key, &b.sent.calls[i]
		err := k.err
		if err != nil && ctx.Err() == nil {
			g.peerErrors.Add(1)
			again = append(again, key)
			continue
		}
		var a answer
		if err == nil {
			err = g.received(b.hashes[i], key, &k.reply, b.owner, true, &a)
		}
		if err == nil {
			err = a.err()
		}
		g.observeMiss(ctx, b.start, err)
		m.putLocked(key, &a, err)
	}
	g.asks[b.hashes[0]%hitShards].misses.Add(int64(len(b.reqs) - len(again)))
	return again
}
