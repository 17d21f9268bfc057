package etcd

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/geecache/geecache/registry"
)

// errStopped: who watches wants no more.
var errStopped = errors.New("stopped")

// Watch implements [registry.Discoverer].
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return func(yield func([]registry.Member, error) bool) {
		for failed := 0; ctx.Err() == nil; {
			w := &watch{Registry: r, yield: yield}
			err := w.run(ctx)
			switch {
			case ctx.Err() != nil || errors.Is(err, errStopped):
				return
			case errors.Is(err, rpctypes.ErrCompacted):
				// What happened in the meantime is forgotten: begin anew.
			case !yield(nil, err):
				return
			}
			if w.yielded {
				failed = 0
			}
			pause(ctx, failed, rand.Float64())
			failed++
		}
	}
}

// Lookup implements [registry.Looker].
func (r *Registry) Lookup(ctx context.Context) (members []registry.Member, err error) {
	c, err := r.client(ctx)
	if err != nil {
		return nil, errorOf("connect", ctx, err)
	}
	w := &watch{Registry: r, yield: func(all []registry.Member, _ error) bool {
		members = all
		return true
	}}
	return members, w.list(ctx, c)
}

// A watch is one list of all members, and what changes it.
type watch struct {
	*Registry
	yield    func([]registry.Member, error) bool
	yielded  bool
	members  map[string]registry.Member // by key
	revision int64                      // of the last list
}

// run returns when something is wrong, and never nil.
func (w *watch) run(ctx context.Context) error {
	c, err := w.client(ctx)
	if err != nil {
		return errorOf("connect", ctx, err)
	}
	if err := w.list(ctx, c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Watch itself waits for etcd, however long that is down: then confirm finds out.
	var events clientv3.WatchChan
	opened := make(chan clientv3.WatchChan, 1)
	go func() {
		opened <- c.Watch(clientv3.WithRequireLeader(ctx), w.prefix, clientv3.WithPrefix(), clientv3.WithRev(w.revision+1))
	}()
	confirm := time.NewTicker(w.cfg.Interval)
	defer confirm.Stop()
	for {
		select {
		case events = <-opened:
		case change, ok := <-events:
			if !ok {
				return errorOf("watch", ctx, errors.New("it has ended"))
			}
			if err := change.Err(); err != nil {
				return errorOf("watch", ctx, err)
			}
			if err := w.apply(change.Events); err != nil {
				return err
			}
		case <-confirm.C:
			if err := w.list(ctx, c); err != nil {
				return err
			}
		}
	}
}

// list asks for all members, and yields them.
func (w *watch) list(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := w.timeout(ctx)
	defer cancel()
	answer, err := c.Get(ctx, w.prefix, clientv3.WithPrefix())
	if err != nil {
		return errorOf("list the members", ctx, err)
	}
	w.members, w.revision = make(map[string]registry.Member, len(answer.Kvs)), answer.Header.Revision
	for _, kv := range answer.Kvs {
		if m, ok := w.decode(string(kv.Key), kv.Value, kv.ModRevision); ok {
			w.members[string(kv.Key)] = m
		}
	}
	return w.tell()
}

// apply takes in what has changed since the list, and yields the members.
func (w *watch) apply(events []*clientv3.Event) error {
	changed := false
	for _, e := range events {
		if e.Kv.ModRevision <= w.revision {
			continue // a newer list has it already
		}
		changed = true
		key := string(e.Kv.Key)
		delete(w.members, key)
		if e.Type == clientv3.EventTypePut {
			if m, ok := w.decode(key, e.Kv.Value, e.Kv.ModRevision); ok {
				w.members[key] = m
			}
		}
	}
	if !changed {
		return nil
	}
	return w.tell()
}

func (w *watch) tell() error {
	w.yielded = true
	members := make([]registry.Member, 0, len(w.members))
	for _, key := range slices.Sorted(maps.Keys(w.members)) {
		m := w.members[key]
		m.Metadata = maps.Clone(m.Metadata)
		members = append(members, m)
	}
	if !w.yield(members, nil) {
		return errStopped
	}
	return nil
}
