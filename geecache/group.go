package geecache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/internal/plain"
	"github.com/geecache/geecache/lru"
	"github.com/geecache/geecache/singleflight"
)

// A Group is a named key space with one source. Make it with [Node.NewGroup].
// It is safe for concurrent use.
type Group struct {
	name   string
	node   *Node
	getter Getter
	cfg    GroupConfig

	main cache // keys that this node answers for
	hot  cache // short-lived copies of what other nodes own

	// The two kinds of flight never wait on each other's kind: a load waits
	// only on the source (or a peer's memory), a fetch only on a peer. So nodes
	// whose views differ cannot deadlock.
	loads *singleflight.Group[answer]
	// Most fetches are flights of a stream's own (streamClient.fetch). These two
	// are for all others: owners in trouble, and other protocols. fetches ask only
	// peers that never forward; plain is for the others, and callers that may be
	// such a peer never join it.
	fetches, plain *singleflight.Group[answer]

	manys sync.Pool // of *many

	turn chan struct{} // holds a token for each call of the source
	wait atomic.Int64  // loads that wait for their turn

	hedger *hedger

	hits [hitShards]hitCounters
	asks [hitShards]askCounters
	counters
}

// hitShards spreads the counters of hits, so that two processors that both hit
// do not fight for one cache line.
const (
	hitShardBits = 5
	hitShards    = 1 << hitShardBits
	minStack     = 2 << 10 // bytes: no two goroutines share as much
)

// hitCounters returns where to count a hit, chosen by where the goroutine's
// stack is. A key's hash would do too, but two processors that hit the same keys
// would meet at the counters of the hot ones: 36 ns instead of 30 for a hit, with
// two processors and keys of a Zipf distribution.
func (g *Group) hitCounters() *hitCounters {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) / minStack
	return &g.hits[stack*0x9e3779b97f4a7c15>>(64-hitShardBits)]
}

type hitCounters struct {
	main, hot, served atomic.Int64
	top               topCounter
	_                 [72]byte // to two cache lines: adjacent lines are fetched together
}

// askCounters are what each miss on a peer's key counts, spread like hits.
type askCounters struct {
	misses, peerRequests, fetchJoins atomic.Int64
	_                                [104]byte // to two cache lines
}

// counters are a group's other counters; GroupStats says what each counts.
type counters struct {
	notFound, failed                     atomic.Int64
	peerErrors, standIns                 atomic.Int64
	hotCopies                            atomic.Int64
	servedOther, epochMismatch           atomic.Int64
	handoverAsks, handoverHits           atomic.Int64
	hedgeHits, hedgesRefused             atomic.Int64
	hedgeMisses                          atomic.Int64
	copyAsks, copyHits                   atomic.Int64
	loadsOwner, loadsStandIn, loadsOther atomic.Int64
	loadErrors, loadsRefused             atomic.Int64
	loadsRunning                         atomic.Int64

	handoffAccepted, handoffRefused, handoffBytes    atomic.Int64
	takeoverAccepted, takeoverRefused, takeoverBytes atomic.Int64
}

func newGroup(n *Node, name string, getter Getter, cfg GroupConfig) (*Group, error) {
	if err := checkGroupName(name); err != nil {
		return nil, err
	}
	if getter == nil && n.cfg.Role != RoleClient {
		return nil, fmt.Errorf("geecache: group %q: getter is nil: only a client can do without a source", name)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults(n.cfg.Role)
	g := &Group{name: name, node: n, getter: getter, cfg: cfg, turn: make(chan struct{}, cfg.MaxLoads), hedger: newHedger(n.cfg.HedgePercent)}
	var err error
	if g.main, err = newCache(cfg.CacheBytes, n.clock.now); err != nil {
		return nil, fmt.Errorf("geecache: group %q: GroupConfig.CacheBytes: %w", name, err)
	}
	if g.hot, err = newCache(cfg.HotBytes, n.clock.now); err != nil {
		return nil, fmt.Errorf("geecache: group %q: GroupConfig.HotBytes: %w", name, err)
	}
	g.loads = singleflight.New[answer](singleflight.Config{
		Timeout: cfg.LoadTimeout, MaxAbandoned: cfg.MaxAbandoned, Grace: abandonGrace,
	})
	fetch := singleflight.Config{Timeout: g.fetchTimeout(), MaxAbandoned: 1 << 20}
	g.fetches = singleflight.New[answer](fetch)
	g.plain = singleflight.New[answer](fetch)
	return g, nil
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Get returns the value of key: from this node's memory, from the node that
// owns the key, or from the source. A hit neither copies nor allocates.
//
// The error wraps ErrNotFound if the source has no value for the key, ctx's
// error if ctx ended first, and otherwise one of this package's errors. A
// caller whose ctx ends leaves alone: others who wait for the same key go on.
func (g *Group) Get(ctx context.Context, key string) (ByteView, error) {
	hash := consistenthash.Hash(key)
	if e, _ := g.lookup(hash, key); e != nil {
		if e.Flags()&flagNotFound != 0 {
			g.notFound.Add(1)
			return ByteView{}, ErrNotFound
		}
		return ByteView{b: e.Value()}, nil
	}
	var a answer
	if err := g.miss(ctx, hash, key, &a); err != nil {
		return ByteView{}, err
	}
	return ByteView{b: a.value}, nil
}

// A Result is a value with where it came from.
type Result struct {
	Value ByteView

	// From is where this node had the value from: FromMain, FromHot, FromPeer
	// or FromLoad. Node is the ID of the node whose memory or source gave it,
	// and PeerFrom, with FromPeer, where that node had it from.
	From     Origin
	Node     string
	PeerFrom Origin

	TTL     time.Duration // what is left of it; 0: no limit; negative: not kept
	Version uint64        // of the entry: a hybrid logical clock

	// Steps tells the way of the request, in order.
	Steps []Step
}

// A Step is one step of a request's way.
type Step struct {
	Node string        `json:"node"` // where it happened
	What string        `json:"what"` // e.g. "main cache: miss"
	Took time.Duration `json:"took_ns"`
}

// Lookup is Get with the story: it tells where the value came from, and, also
// when it fails, each step on the way. It costs a few allocations more.
func (g *Group) Lookup(ctx context.Context, key string) (Result, error) {
	self := g.node.cfg.ID
	hash := consistenthash.Hash(key)
	if ctx == plain.OnlyMemory {
		return g.lookupPlain(hash, key)
	}
	start := time.Now()
	if e, from := g.lookup(hash, key); e != nil {
		a := answerOf(e, from, self)
		if a.notFound {
			g.notFound.Add(1)
		}
		r := g.result(&a)
		r.Steps = []Step{{self, cacheStep(from), time.Since(start)}}
		return r, a.err()
	}
	steps := []Step{{self, "main cache: miss, hot cache: miss", time.Since(start)}}
	if m := g.node.place().owner(hash); m != nil {
		steps = append(steps, Step{self, "ring: the owner is " + m.peer.ID, 0})
	}
	asked := time.Now()
	var a answer
	err := g.miss(ctx, hash, key, &a)
	r := g.result(&a)
	r.Steps = append(append(steps, a.steps...), g.lastSteps(&a, err, time.Since(asked))...)
	return r, err
}

func cacheStep(from Origin) string {
	if from == FromHot {
		return "main cache: miss, hot cache: hit"
	}
	return "main cache: hit"
}

// lastSteps tells how a miss ended.
func (g *Group) lastSteps(a *answer, err error, took time.Duration) []Step {
	self := g.node.cfg.ID
	switch {
	case a.from == FromPeer:
		what := map[Origin]string{
			FromMain: "main cache: hit", FromHot: "hot cache: hit", FromLoad: "load from the source",
		}[a.peer]
		if what == "" {
			what = "answer"
		}
		return []Step{{a.node, what, a.took}, {self, "fetch from " + a.node, took}}
	case a.from == FromLoad:
		return []Step{{self, "load from the source", took}}
	case err != nil && !errors.Is(err, ErrNotFound):
		return []Step{{self, "error: " + err.Error(), took}}
	}
	return []Step{{self, a.from.String(), took}}
}

func (g *Group) result(a *answer) Result {
	r := Result{
		Value: ByteView{b: a.value}, From: a.from, Node: a.node, PeerFrom: a.peer, Version: a.version,
	}
	switch {
	case !a.keep:
		r.TTL = -1
	case a.expires != 0:
		r.TTL = left(a.expires, g.node.clock.exact())
	}
	return r
}

// lookup looks into this node's memory, main cache first, and counts a hit.
func (g *Group) lookup(hash uint64, key string) (*lru.Entry, Origin) {
	e, from := g.peek(hash, key)
	if e == nil {
		return nil, from
	}
	g.countHit(from, hash, key)
	return e, from
}

func (g *Group) countHit(from Origin, hash uint64, key string) {
	c := g.hitCounters()
	count := &c.main
	if from == FromHot {
		count = &c.hot
	}
	c.count(count, hash, key)
}

// lookupPlain is Lookup for answers that are given before net/http sees the
// request: what it does not find is looked for, and counted, later.
func (g *Group) lookupPlain(hash uint64, key string) (Result, error) {
	e, from := g.peekPlain(hash, key)
	if e == nil {
		return Result{}, plain.ErrElsewhere
	}
	g.countHit(from, hash, key)
	a := answerOf(e, from, g.node.cfg.ID)
	return g.result(&a), nil
}

// peekPlain is peek for what may be answered plainly.
func (g *Group) peekPlain(hash uint64, key string) (*lru.Entry, Origin) {
	e, from := g.peek(hash, key)
	if e == nil || e.Flags()&flagNotFound != 0 || len(e.Value()) > plain.MaxBody {
		return nil, FromNone
	}
	return e, from
}

// count counts a hit, and looks at the key of one in topSample, at changing
// distances: keys may well come in a rhythm.
func (c *hitCounters) count(hits *atomic.Int64, hash uint64, key string) {
	if uint64(hits.Add(1))*0x9e3779b97f4a7c15>>(64-topSampleBits) == 0 {
		c.top.add(hash, key)
	}
}

// peek is lookup without counting.
func (g *Group) peek(hash uint64, key string) (*lru.Entry, Origin) {
	if e := g.main.Get(hash, key); e != nil {
		if p := g.node.place(); e.Tag() == p.gen || g.confirm(p, hash, e) {
			return e, FromMain
		}
		return e, FromHot
	}
	if e := g.hot.Get(hash, key); e != nil {
		return e, FromHot
	}
	return nil, FromNone
}

// confirm checks an entry of the main cache once per generation: is it still
// this node that answers for the key? If its owner is another node and in no
// trouble, the entry becomes a hot copy: it may be used for a little longer.
func (g *Group) confirm(p *placement, hash uint64, e *lru.Entry) bool {
	owner := p.owner(hash)
	if owner == nil || !owner.self && !owner.inTrouble() {
		if owner != nil && e.Tag() == unsettled && ageOf(e.Version()) < settleWithin {
			return true
		}
		if g.main.RemoveEntry(hash, e) {
			a := answerOf(e, FromHot, "")
			g.keepHot(hash, e.Key(), &a)
		}
		return false
	}
	e.SetTag(p.gen)
	return true
}

// unsettled is the tag of an entry that this node loaded as a stand-in while it
// knew of no trouble of the owner. It is checked at each hit: either the trouble
// shows here too within settleWithin, or the entry becomes a hot copy.
const (
	unsettled    uint32 = 0 // no placement's generation
	settleWithin        = 5 * time.Second
)

// keepHot stores a short-lived copy.
func (g *Group) keepHot(hash uint64, key string, a *answer) {
	ttl := g.cfg.HotTTL
	if ttl < 0 {
		ttl = defaultHotTTL // what changed hands is kept a moment even so
	}
	expires := sooner(a.expires, after(g.node.clock.now(), ttl))
	if g.hot.Add(hash, key, a.item(expires, 0)) == nil {
		g.hotCopies.Add(1)
	}
}

// miss answers a caller of this process whose key is not in its memory. a tells,
// also with an error, what happened on the way. (An answer is large: handed back by
// four functions it took a tenth of a fetch.)
func (g *Group) miss(ctx context.Context, hash uint64, key string, a *answer) error {
	g.asks[hash%hitShards].misses.Add(1)
	var start time.Time
	if g.node.cfg.Observer != nil {
		start = time.Now()
	}
	err := g.resolve(ctx, hash, key, false, a)
	g.observeMiss(ctx, start, err)
	return err
}

// observeMiss counts how a miss ended, and tells the observer how long it took.
func (g *Group) observeMiss(ctx context.Context, start time.Time, err error) {
	if o := g.node.cfg.Observer; o != nil {
		o.ObserveMiss(g.name, time.Since(start))
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		g.notFound.Add(1)
	case ctx.Err() == nil:
		g.failed.Add(1)
	}
}

// errLoadHere ends a fetch flight whose callers are to join the load flight of
// this node: the fetch flight itself must not wait for it.
var errLoadHere = errors.New("load here")

// resolve answers for a key from a peer or from the source. unmarked says that
// the request may come from a peer that forwards (rule 6 of the read path).
func (g *Group) resolve(ctx context.Context, hash uint64, key string, unmarked bool, a *answer) error {
	p := g.node.place()
	owner := p.owner(hash)
	if owner == nil || !owner.fast.Load() || owner.stream == nil ||
		len(key) > g.node.cfg.MaxKeyBytes || g.node.closedErr() != nil {
		return g.resolveSlowly(ctx, p, owner, hash, key, unmarked, a)
	}
	err := g.fetch(ctx, p, owner, hash, key, a)
	if err != nil && errors.Is(err, ErrPeerTrouble) && ctx.Err() == nil {
		return g.fetchSlowly(ctx, p, owner, hash, key, err, a)
	}
	return err
}

// resolveSlowly is resolve for all but an owner whose stream is up.
func (g *Group) resolveSlowly(ctx context.Context, p *placement, owner *member, hash uint64, key string, unmarked bool, a *answer) (err error) {
	if err := g.checkKey(key); err != nil {
		return err
	}
	if err := g.node.closedErr(); err != nil {
		return err
	}
	if owner == nil || owner.self || unmarked && !owner.marked {
		*a, err = g.load(ctx, hash, key, ModeOwner)
		return err
	}
	if owner.slow.Load() && owner.breaker.lastError() == nil {
		if err = g.fetchAround(ctx, p, owner, hash, key, a); !errors.Is(err, ErrPeerTrouble) || ctx.Err() != nil {
			return err
		}
	}
	return g.fetchSlowly(ctx, p, owner, hash, key, err, a)
}

func (g *Group) checkKey(key string) error {
	if most := g.node.cfg.MaxKeyBytes; len(key) > most {
		return fmt.Errorf("%w: key of %d bytes, the limit is %d (Config.MaxKeyBytes)", ErrTooLarge, len(key), most)
	}
	return nil
}

// flightErr turns what a flight adds of its own into this package's errors.
func (g *Group) flightErr(err error) error {
	var panicked *singleflight.PanicError
	switch {
	case errors.Is(err, singleflight.ErrTimeout), errors.Is(err, errNoReply):
		return fmt.Errorf("%w: no answer within %v (GroupConfig.LoadTimeout)", ErrLoadTimeout, g.cfg.LoadTimeout)
	case errors.Is(err, singleflight.ErrTooManyAbandoned):
		return fmt.Errorf("%w: %d calls of the source ignore that nobody waits for them any more (GroupConfig.MaxAbandoned)",
			ErrOverloaded, g.cfg.MaxAbandoned)
	case errors.As(err, &panicked), errors.Is(err, singleflight.ErrGoexit):
		return &sourceError{err}
	}
	return err
}

// Stats returns what the group has counted.
func (g *Group) Stats() GroupStats {
	s := GroupStats{
		Name:          g.name,
		NotFound:      g.notFound.Load(),
		Errors:        g.failed.Load(),
		PeerErrors:    g.peerErrors.Load(),
		StandIns:      g.standIns.Load(),
		HotCopies:     g.hotCopies.Load(),
		EpochMismatch: g.epochMismatch.Load(),
		HandoverAsks:  g.handoverAsks.Load(),
		HandoverHits:  g.handoverHits.Load(),

		HandoffAccepted:  g.handoffAccepted.Load(),
		HandoffRefused:   g.handoffRefused.Load(),
		HandoffBytes:     g.handoffBytes.Load(),
		TakeoverAccepted: g.takeoverAccepted.Load(),
		TakeoverRefused:  g.takeoverRefused.Load(),
		TakeoverBytes:    g.takeoverBytes.Load(),

		LoadsOwner:    g.loadsOwner.Load(),
		LoadsStandIn:  g.loadsStandIn.Load(),
		LoadsOther:    g.loadsOther.Load(),
		LoadErrors:    g.loadErrors.Load(),
		LoadsRefused:  g.loadsRefused.Load(),
		LoadsInFlight: g.loadsRunning.Load(),
		Hedges:        g.hedger.asks.peerRequests.Load(),
		HedgeHits:     g.hedgeHits.Load(),
		HedgesRefused: g.hedgesRefused.Load(),
		CopyAsks:      g.copyAsks.Load(),
		CopyHits:      g.copyHits.Load(),
		ExtraRequests: g.copyAsks.Load() + g.hedgeMisses.Load(),
		Main:          g.main.stats(),
		Hot:           g.hot.stats(),
	}
	for i := range g.hits {
		s.Hits += g.hits[i].main.Load()
		s.HotHits += g.hits[i].hot.Load()
		s.ServedHits += g.hits[i].served.Load()
	}
	for i := range g.asks {
		s.Misses += g.asks[i].misses.Load()
		s.PeerRequests += g.asks[i].peerRequests.Load()
		s.FetchJoin += g.asks[i].fetchJoins.Load()
	}
	for _, m := range g.node.asked() {
		if m.stream != nil {
			s.FetchesInFlight += m.stream.fetchesOf(g.name)
		}
	}
	s.Gets = s.Hits + s.HotHits + s.Misses
	s.Served = s.ServedHits + g.servedOther.Load()
	loads := g.loads.Stats()
	s.LoadFlightJoin = int64(loads.Suppressed)
	s.LoadsAbandoned = int64(loads.Abandoned)
	s.LoadTimeouts = int64(loads.Timeouts)
	s.AbandonedRunning = int64(loads.AbandonedRunning)
	for _, f := range []*singleflight.Group[answer]{g.fetches, g.plain} {
		st := f.Stats()
		s.FetchJoin += int64(st.Suppressed)
		s.FetchesInFlight += int64(st.InFlight)
	}
	return s
}
