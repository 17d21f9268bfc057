package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
)

const (
	gets = 4 // parts that are read at a time

	// A ring that comes to be while all nodes start is waited for: until it has not
	// changed for settled, or for settleMost.
	settled    = 300 * time.Millisecond
	settleMost = 2 * time.Second
	settleLook = 20 * time.Millisecond

	goneAfter = 3 // intervals without another snapshot

	fullPercent = 90 // of a group's budget: then it gets no more
)

// A loading is the loading of a node's part of snapshots.
type loading struct {
	k      *Keeper
	cancel context.CancelCauseFunc

	mu     sync.Mutex // guards what follows
	status LoadStatus
	read   map[string]bool // snapshots that were read: nodes and times
	told   map[string]bool // what was logged of snapshots
}

var (
	errNoTime = errors.New("the time was over")
	errNoRoom = errors.New("the caches are full")
)

// load puts into the caches what this node answers for, of the newest snapshots of the
// cluster's nodes: the parts that were used most first.
func (k *Keeper) load(ctx context.Context) {
	if k.cfg.LoadTime < 0 {
		return
	}
	begin := time.Now()
	ctx, stop := context.WithTimeoutCause(ctx, k.cfg.LoadTime, errNoTime)
	defer stop()
	if k.cfg.Dynamic {
		k.settle(ctx)
	}
	parts, err := k.list(ctx)
	if err != nil {
		return
	}
	parts = k.choose(parts)
	if len(parts) == 0 {
		k.cfg.Log.Info("there is no snapshot to load: the node starts cold")
		return
	}
	l := &loading{k: k, read: make(map[string]bool), told: make(map[string]bool)}
	ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.cancel(nil)
	l.run(ctx, parts)
	if ctx.Err() != nil {
		l.status.Cut = context.Cause(ctx).Error()
	}
	l.status.Took, l.status.Snapshots = time.Since(begin), len(l.read)
	k.mu.Lock()
	k.status.Load = l.status
	k.mu.Unlock()
	st := &l.status
	k.cfg.Log.Info("snapshots loaded", "entries", st.Entries, "bytes", st.Bytes, "snapshots", st.Snapshots, "others", st.Others,
		"expired", st.Expired, "refused_parts", st.Torn+st.OtherFormat+st.OtherCluster, "refused_entries", st.Refused, "no_room", st.NoRoom, "took", st.Took.Round(time.Millisecond), "cut_because", st.Cut)
}

// settle waits until the ring stays as it is.
func (k *Keeper) settle(ctx context.Context) {
	t := time.NewTicker(settleLook)
	defer t.Stop()
	begin := time.Now()
	since, epoch := begin, k.cfg.Node.Stats().Epoch
	for time.Since(since) < settled && time.Since(begin) < settleMost {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if now := k.cfg.Node.Stats().Epoch; now != epoch {
			since, epoch = time.Now(), now
		}
	}
}

// list returns all parts of the cluster.
func (k *Keeper) list(ctx context.Context) ([]partName, error) {
	names, err := k.cfg.Storage.List(ctx, k.dir)
	if err != nil {
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), errNoTime) {
			k.failed(func(s *Status) *int64 { return &s.ListErrors }, err)
			k.cfg.Log.Error("snapshots cannot be listed", "err", err)
		}
		return nil, err
	}
	var parts []partName
	for _, name := range names {
		if p, ok := parseName(strings.TrimPrefix(name, k.dir+"/")); ok {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// A candidate is a snapshot that may be read.
type candidate struct {
	node    string
	written time.Time
	parts   []partName
	whole   bool
}

// choose returns the parts to read, in order. This node's own snapshot is enough if it
// was written with the ring as it is now. Else those come first that are the newest, as
// many as the ring has nodes: others are of nodes that had gone by then, as a rule, and
// whose successors have saved since; of those that come first, the parts that were used most.
func (k *Keeper) choose(parts []partName) []partName {
	all := k.candidates(parts)
	stats := k.cfg.Node.Stats()
	for _, c := range all {
		if c.node == k.self && c.whole && c.parts[0].epoch == stats.Epoch {
			all = []*candidate{c}
			break
		}
	}
	slices.SortFunc(all, func(a, b *candidate) int {
		return cmp.Or(b.written.Compare(a.written), strings.Compare(a.node, b.node))
	})
	nodes := 0
	for _, p := range stats.Peers {
		if p.Role != geecache.RoleClient {
			nodes++
		}
	}
	first := min(max(nodes, 1), len(all))
	return append(inTurn(all[:first]), inTurn(all[first:])...)
}

// inTurn returns the parts of snapshots: the first ones of all, then the second ones.
func inTurn(all []*candidate) (parts []partName) {
	for _, c := range all {
		parts = append(parts, c.parts...)
	}
	slices.SortStableFunc(parts, func(a, b partName) int { return cmp.Compare(a.part, b.part) })
	return parts
}

// candidates returns of each node the newest snapshot that is whole, or, if none is, the
// newest. Those are left out that are too old, and those whose node saved no other one
// while others saved theirs again: it had gone.
func (k *Keeper) candidates(parts []partName) (all []*candidate) {
	byNode := make(map[string]map[time.Time]*candidate)
	var newest time.Time
	for _, p := range parts {
		if k.cfg.Now().Sub(p.written) > k.cfg.MaxAge {
			continue
		}
		if byNode[p.node] == nil {
			byNode[p.node] = make(map[time.Time]*candidate)
		}
		c := byNode[p.node][p.written]
		if c == nil {
			c = &candidate{node: p.node, written: p.written}
			byNode[p.node][p.written] = c
		}
		c.parts, c.whole = append(c.parts, p), c.whole || p.last
		if p.written.After(newest) {
			newest = p.written
		}
	}
	for _, ofNode := range byNode {
		var best *candidate
		for _, c := range ofNode {
			if best == nil || c.whole && !best.whole || c.whole == best.whole && c.written.After(best.written) {
				best = c
			}
		}
		if newest.Sub(best.written) <= goneAfter*k.cfg.Interval {
			all = append(all, best)
		}
	}
	return all
}

// run reads the parts, several at a time.
func (l *loading) run(ctx context.Context, parts []partName) {
	next := make(chan partName)
	var wg sync.WaitGroup
	for range min(gets, len(parts)) {
		wg.Go(func() {
			for p := range next {
				l.part(ctx, p)
			}
		})
	}
	for _, p := range parts {
		select {
		case next <- p:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
}

// part reads a part, as far as it can be read.
func (l *loading) part(ctx context.Context, p partName) {
	if ctx.Err() != nil {
		return
	}
	err := l.entries(ctx, p)
	if err == nil || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) { // deleted meanwhile: there is a newer one
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var format *FormatError
	var cluster *ClusterError
	kind := "torn"
	switch {
	case errors.As(err, &format):
		kind = "format"
		l.status.OtherFormat++
	case errors.As(err, &cluster):
		kind = "cluster"
		l.status.OtherCluster++
	case errors.Is(err, ErrTorn):
		l.status.Torn++
	default:
		kind = "storage"
		l.k.failed(func(s *Status) *int64 { return &s.ReadErrors }, err)
	}
	if about := p.node + "/" + p.written.String() + kind; !l.told[about] {
		l.told[about] = true
		l.k.cfg.Log.Warn("a snapshot is not loaded, or not to its end", "of", p.node, "part", p.part, "err", err)
	}
}

// entries puts the entries of a part into the caches.
func (l *loading) entries(ctx context.Context, p partName) error {
	body, err := l.k.cfg.Storage.Open(ctx, l.k.dir+"/"+p.String())
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	r, err := newReader(body, l.k.decoder)
	if err != nil {
		return err
	}
	h := r.Header()
	if h.Cluster != l.k.cfg.Cluster {
		return &ClusterError{Got: h.Cluster, Want: l.k.cfg.Cluster}
	}
	// A time that is still to come is another clock's: nothing says how old it is.
	age := max(l.k.cfg.Now().Sub(h.Written), 0)
	if age > l.k.cfg.MaxAge {
		return fmt.Errorf("%w: its name says %v and its header %v", ErrTorn, p.written, h.Written)
	}
	l.mu.Lock()
	l.read[h.Node+" "+h.Written.String()] = true
	l.mu.Unlock()
	for {
		b := blockOf{l: l, age: age}
		err := r.Next(b.take)
		l.count(&b.status)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case l.full():
			l.cancel(errNoRoom)
			return errNoRoom
		}
	}
}

// A blockOf is a block that is being put into the cache of its group.
type blockOf struct {
	l      *loading
	age    time.Duration
	group  *geecache.Group // nil before the first entry, and if there is none
	full   bool            // it gets no more
	status LoadStatus
}

// take takes an entry over.
func (b *blockOf) take(group string, e *geecache.Entry) bool {
	if b.group == nil {
		if b.group = b.l.k.cfg.Node.Group(group); b.group == nil {
			b.status.NoGroup++
			return true
		}
		b.full = full(b.group)
	}
	if b.full {
		b.status.NoRoom++
		return true
	}
	if e.TTL > 0 {
		if e.TTL -= b.age; e.TTL <= 0 {
			b.status.Expired++
			return true
		}
	}
	switch ok, err := b.group.Restore(*e); {
	case errors.Is(err, geecache.ErrDraining), errors.Is(err, geecache.ErrClosed), errors.Is(err, geecache.ErrOverloaded):
		b.l.cancel(err)
		return false
	case err != nil:
		b.status.Refused++
	case !ok:
		b.status.Others++
	default:
		b.status.Entries++
		b.status.Bytes += int64(len(e.Key) + len(e.Value))
	}
	return true
}

// full reports whether no group has room for more.
func (l *loading) full() bool {
	return !slices.ContainsFunc(l.k.cfg.Node.Groups(), func(g *geecache.Group) bool { return !full(g) })
}

// full reports whether a group gets no more: of a snapshot that does not fit, what was
// used least is left out, and it drives nothing else out.
func full(g *geecache.Group) bool {
	s := g.Stats().Main
	return s.Bytes > s.MaxBytes/100*fullPercent
}

func (l *loading) count(s *LoadStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Entries += s.Entries
	l.status.Bytes += s.Bytes
	l.status.Others += s.Others
	l.status.Expired += s.Expired
	l.status.Refused += s.Refused
	l.status.NoGroup += s.NoGroup
	l.status.NoRoom += s.NoRoom
}
