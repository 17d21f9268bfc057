package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/geecache/geecache/geecache"
)

const (
	partBytes = 4 << 20 // a part is closed when it is as long
	puts      = 4       // parts on their way at a time
	keep      = 2       // whole snapshots of a node
)

// A saving is a snapshot that is being saved.
type saving struct {
	k      *Keeper
	whole  context.Context // of all of it
	ctx    context.Context // ends when a part fails
	puts   *errgroup.Group
	name   partName // of the part that is being made
	header Header
	w      *writer
	begun  time.Time // of the block that is being filled
	gentle bool      // pause after each block for as long as it took
	err    error

	entries int64
	bytes   atomic.Int64
}

// save saves a snapshot of what the groups use most. What takes longer than ctx is
// given up. It logs what goes wrong.
func (k *Keeper) save(ctx context.Context, gentle bool) error {
	k.saving.Lock()
	defer k.saving.Unlock()
	begin := k.cfg.Now()
	s, err := k.begin(ctx, begin, gentle)
	if err == nil {
		err = s.run()
	}
	took := k.cfg.Now().Sub(begin).Round(time.Millisecond)
	switch {
	case errors.Is(err, errNothing):
		return err
	case err != nil && ctx.Err() != nil:
		k.cfg.Log.Warn("the snapshot was given up: there was no more time", "took", took, "parts", s.name.part)
		return err
	case err != nil:
		k.failed(func(s *Status) *int64 { return &s.WriteErrors }, err)
		k.cfg.Log.Error("no snapshot was saved", "err", err)
		return err
	}
	k.mu.Lock()
	k.status.Saves++
	k.status.Saved, k.status.Bytes, k.status.Entries = k.cfg.Now(), s.bytes.Load(), s.entries
	k.status.SavedTotal += s.entries
	k.mu.Unlock()
	k.cfg.Log.Info("snapshot saved", "entries", s.entries, "bytes", s.bytes.Load(), "parts", s.name.part+1, "took", took)
	return nil
}

// errNothing says that the caches are empty: that is not worth a snapshot.
var errNothing = errors.New("snapshot: there is nothing to save")

func (k *Keeper) begin(ctx context.Context, now time.Time, gentle bool) (*saving, error) {
	k.mu.Lock()
	epoch := k.epoch
	k.mu.Unlock()
	if epoch == "" {
		epoch = k.cfg.Node.Stats().Epoch
	}
	s := &saving{
		k: k, whole: ctx, name: partName{node: k.self, written: now, epoch: epoch}, gentle: gentle, begun: time.Now(),
		header: Header{Cluster: k.cfg.Cluster, Node: k.cfg.Node.ID(), Written: now.UTC()},
	}
	s.puts, s.ctx = errgroup.WithContext(ctx)
	s.puts.SetLimit(puts)
	return s, s.next()
}

// next begins a part.
func (s *saving) next() (err error) {
	s.w, err = newWriter(s.k.encoder, s.header)
	return err
}

func (s *saving) run() error {
	groups := s.k.cfg.Node.Groups()
	shares, total := make([]int64, len(groups)), int64(0)
	for i, g := range groups {
		shares[i] = g.Stats().Main.Bytes
		total += shares[i]
	}
	for i, g := range groups {
		share := float64(s.k.cfg.Bytes) * (float64(shares[i]) / float64(max(total, 1)))
		g.Hottest(int64(share), func(e geecache.Entry) bool { return s.add(g.Name(), &e) })
	}
	if s.err == nil && s.entries == 0 {
		s.err = errNothing
	}
	if err := s.puts.Wait(); err != nil { // what it says is why s.err is
		return err
	}
	if s.err != nil {
		return s.err
	}
	s.name.last = true // only now: it says that all others are there
	data, err := s.w.finish()
	if err != nil {
		return err
	}
	return s.put(s.whole, s.name, data)
}

// add adds an entry, and reports whether more may follow.
func (s *saving) add(group string, e *geecache.Entry) bool {
	// The TTL is what was left when the snapshot was begun: then the header's time is.
	if e.TTL > 0 {
		e.TTL += s.k.cfg.Now().Sub(s.header.Written)
	}
	before := s.w.entries
	closed := s.w.add(group, e)
	s.entries += int64(s.w.entries - before)
	if !closed {
		return true
	}
	if len(s.w.out) >= partBytes {
		s.err = s.close()
	}
	if s.gentle {
		pause(s.ctx, time.Since(s.begun))
		s.begun = time.Now()
	}
	if s.err == nil {
		s.err = context.Cause(s.ctx)
	}
	return s.err == nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// close sends a full part on its way, and begins the next one.
func (s *saving) close() error {
	data, err := s.w.finish()
	if err != nil {
		return err
	}
	name := s.name
	s.puts.Go(func() error { return s.put(s.ctx, name, data) })
	if s.name.part++; s.name.part == mostParts {
		return fmt.Errorf("snapshot: there are more than %d parts: lower Config.Bytes (--snapshot-bytes)", mostParts)
	}
	return s.next()
}

func (s *saving) put(ctx context.Context, name partName, data []byte) error {
	if err := s.k.cfg.Storage.Put(ctx, s.k.dir+"/"+name.String(), data); err != nil {
		return err
	}
	s.bytes.Add(int64(len(data)))
	return nil
}

// prune deletes what nobody will read any more: of this node, all before the last whole
// snapshots; of all nodes, what is too old.
func (k *Keeper) prune(ctx context.Context) {
	parts, err := k.list(ctx)
	if err != nil {
		return
	}
	var whole []time.Time // of this node, the newest first
	for _, p := range parts {
		if p.node == k.self && p.last {
			whole = append(whole, p.written)
		}
	}
	slices.SortFunc(whole, func(a, b time.Time) int { return b.Compare(a) })
	deleted := 0
	for _, p := range parts {
		old := k.cfg.Now().Sub(p.written) > k.cfg.MaxAge
		if p.node == k.self && len(whole) > 0 {
			old = old || p.written.Before(whole[min(keep, len(whole))-1])
		}
		if !old || ctx.Err() != nil {
			continue
		}
		if err := k.cfg.Storage.Delete(ctx, k.dir+"/"+p.String()); err != nil {
			k.failed(func(s *Status) *int64 { return &s.DeleteErrors }, err)
			k.cfg.Log.Warn("old snapshots are not deleted", "err", err)
			return
		}
		deleted++
	}
	if deleted > 0 {
		k.cfg.Log.Debug("old snapshots deleted", "parts", deleted)
	}
}
