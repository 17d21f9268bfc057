package judge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

const (
	lookupTimes = 500                   // by each method
	joinPause   = 10 * time.Millisecond // between two looks at all rings
	joinWithin  = 30 * time.Second      // after the environment says that it has scaled
)

func discoveryTest() test {
	return test{
		id: "discovery", title: "Finding the nodes",
		method: fmt.Sprintf("%d lookups by each method that there is, one after the other, after one that does not count, by the code that nodes themselves use. "+
			"Then one node more, again and again: from the moment at which the new process says that it began until it is in the ring of every process, "+
			"which are all asked every %v.", lookupTimes, joinPause),
		run: discovery,
	}
}

func discovery(ctx context.Context, s *session, t *result.Test) error {
	d, err := s.begin(ctx, s.Deployment)
	if err != nil {
		return err
	}
	defer d.asker.Close()
	var failed []error
	if l, ok := s.driver.(envbench.Looker); ok {
		s.tell("%d lookups by each method", lookupTimes)
		for _, found := range l.LookUp(ctx, s.Deployment.Name, lookupTimes) {
			if err := ctx.Err(); err != nil { // what it says is not there may be
				return err
			}
			failed = append(failed, addLookup(t, found))
		}
	}
	failed = append(failed, lookAtNode(ctx, s, d.asker, d.now, t), joins(ctx, s, d.asker, t))
	return errors.Join(failed...)
}

// addLookup adds what came of a lookup. What an environment has not is no error.
func addLookup(t *result.Test, l envbench.Lookup) error {
	one := result.Series{Name: "lookup/" + l.Method, Unit: "ms", Warmups: 1, Note: fmt.Sprintf("%s; the answer names %d nodes", l.Mode, l.Nodes)}
	var not *envbench.Unsupported
	switch {
	case errors.As(l.Err, &not):
		t.Series = append(t.Series, result.Series{Name: one.Name, Unit: one.Unit, Unsupported: not.Error()})
		return nil
	case l.Err != nil:
		return fmt.Errorf("lookup by %s: %w", l.Method, l.Err)
	}
	for _, took := range l.Took {
		one.Samples = append(one.Samples, milliseconds(took))
	}
	t.Series = append(t.Series, one)
	return nil
}

// milliseconds returns a duration as a sample.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// lookAtNode asks a node for the members that it knows.
func lookAtNode(ctx context.Context, s *session, a *envbench.Asker, now *envbench.Status, t *result.Test) error {
	i := slices.IndexFunc(now.Members, func(m envbench.Member) bool { return !m.API })
	if i < 0 {
		return errors.New("there is no node to ask for its members")
	}
	node := now.Members[i]
	first, err := a.View(ctx, node.Addr)
	if err != nil {
		return fmt.Errorf("members that node %s knows: %w", node.ID, err)
	}
	name := "members"
	if first.Registry != nil && first.Registry.Kind == "gossip" {
		name = "gossip"
	}
	s.tell("%d times a node's own list of members", lookupTimes)
	var took []float64
	for range lookupTimes {
		begun := time.Now()
		if _, err := a.View(ctx, node.Addr); err != nil {
			return fmt.Errorf("members that node %s knows: %w", node.ID, err)
		}
		took = append(took, milliseconds(time.Since(begun)))
	}
	t.Series = append(t.Series, result.Series{
		Name: "lookup/" + name, Unit: "ms", Samples: took, Warmups: 1,
		Note: "GET /statusz of one node over a connection that is kept: for the node itself its members are in memory, and it asks nobody",
	})
	return nil
}

// joins measures how long it takes until a new node is in every ring.
func joins(ctx context.Context, s *session, a *envbench.Asker, t *result.Test) error {
	nodes := s.Deployment.Nodes
	return s.repeat(ctx, "a node joins", func(ctx context.Context, count bool) error {
		before, err := s.driver.Scale(ctx, s.Deployment.Name, nodes)
		if err != nil {
			return err
		}
		took, err := joined(ctx, s, a, before)
		if err != nil {
			return err
		}
		if count {
			t.Add("join/total", "s", took.Seconds()).Warmups = 1
		}
		_, err = s.driver.Scale(ctx, s.Deployment.Name, nodes)
		return err
	})
}

// joined adds a node, and returns how long after its start it was in every ring.
func joined(ctx context.Context, s *session, a *envbench.Asker, before *envbench.Status) (time.Duration, error) {
	w := watcher{a: a, where: where(s.driver), whole: make(map[string]time.Time), had: make(map[string]bool)}
	nodes := 0
	for _, m := range before.Members {
		w.addrs = append(w.addrs, m.Addr)
		if !m.API {
			w.had[m.ID] = true
			nodes++
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	scaled := make(chan error, 1)
	go func() {
		_, err := s.driver.Scale(ctx, s.Deployment.Name, nodes+1)
		scaled <- err
	}()
	var last <-chan time.Time // nil until the environment is through
	tick := time.NewTicker(joinPause)
	defer tick.Stop()
	for {
		w.look(ctx, nodes+1)
		if last != nil && w.complete() {
			return w.took(), nil
		}
		select {
		case <-tick.C:
		case err := <-scaled:
			if err != nil {
				return 0, err
			}
			last, scaled = time.After(joinWithin), nil
		case <-last:
			return 0, fmt.Errorf("%v after the environment had scaled, %d of %d processes have the new node in their ring", joinWithin, len(w.whole), len(w.addrs))
		case <-ctx.Done():
			if scaled != nil {
				<-scaled // no two calls of a driver at a time
			}
			return 0, ctx.Err()
		}
	}
}

// where returns how this machine reaches what processes call each other.
func where(d envbench.Driver) func(context.Context, string) (string, error) {
	if f, ok := d.(envbench.Finder); ok {
		return f.Where
	}
	return func(_ context.Context, addr string) (string, error) { return addr, nil }
}

// A watcher sees when a node that was not there before is in every ring.
type watcher struct {
	a     *envbench.Asker
	where func(context.Context, string) (string, error)
	had   map[string]bool // IDs of the nodes from before

	addrs   []string             // of all processes, the new one's at last
	whole   map[string]time.Time // by address: since when its ring is known to have the new node and no more
	new     string               // its address, once that is known
	started time.Time            // of the new process, as it says
}

// look asks all processes for their ring, which is to have so many nodes.
func (w *watcher) look(ctx context.Context, want int) {
	views, at := make([]*envbench.NodeView, len(w.addrs)), make([]time.Time, len(w.addrs))
	var wg sync.WaitGroup
	for i, addr := range w.addrs {
		wg.Go(func() {
			if v, err := w.a.View(ctx, addr); err == nil { // who does not answer yet is asked again
				views[i], at[i] = v, time.Now()
			}
		})
	}
	wg.Wait()
	for i, v := range views {
		if v == nil {
			continue
		}
		addr := w.addrs[i]
		if addr == w.new {
			w.started = v.Started
		}
		ids := v.Nodes()
		fresh := slices.IndexFunc(ids, func(id string) bool { return !w.had[id] })
		if fresh < 0 || len(ids) != want {
			delete(w.whole, addr)
			continue
		}
		if w.whole[addr].IsZero() {
			w.whole[addr] = at[i]
		}
		for _, p := range v.Peers {
			if p.ID == ids[fresh] && w.new == "" {
				if reached, err := w.where(ctx, p.Addr); err == nil {
					w.new = reached
					w.addrs = append(w.addrs, reached)
				}
			}
		}
	}
}

// complete reports whether all rings, that of the new node too, have it.
func (w *watcher) complete() bool {
	return w.new != "" && !w.started.IsZero() && len(w.whole) == len(w.addrs)
}

// took returns how long after the start of the new process the last ring had it.
func (w *watcher) took() time.Duration {
	var last time.Time
	for _, at := range w.whole {
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(w.started)
}
