package registrytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// suite is one case that runs.
type suite struct {
	*testing.T
	Harness
	in map[string]entered // by ID
}

// entered is a member that is in the registry, with the handle that it is by.
type entered struct {
	registry.Member
	handle Handle
}

func madeUp(i int) registry.Member {
	return registry.Member{
		Peer:     geecache.Peer{ID: fmt.Sprintf("node-%d", i), Addr: fmt.Sprintf("10.1.2.%d:8000", i), Zone: "a", Weight: 1 + float64(i%4)/2},
		Metadata: map[string]string{"started": "today"},
	}
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// open opens a handle that is closed when the case ends.
func (s *suite) open() Handle {
	s.Helper()
	h := s.Open(s.T)
	s.Cleanup(func() { s.close(h) })
	return h
}

func (s *suite) close(h Handle) {
	if h.Close == nil {
		return
	}
	if err := h.Close(); err != nil {
		s.Errorf("Close = %v", err)
	}
}

// enter puts a member into the registry, until the case ends or leave.
func (s *suite) enter(m registry.Member) {
	s.Helper()
	e, again := s.in[m.ID]
	if e.Member = m; s.Enter == nil && !again {
		e.handle = s.open()
	}
	s.in[m.ID] = e
	if !again {
		s.Cleanup(func() { s.leave(m.ID) })
	}
	if s.Enter != nil {
		s.Enter(s.T, m)
		return
	}
	ctx, cancel := within(patience)
	defer cancel()
	if err := e.handle.Register(ctx, m); err != nil {
		s.Fatalf("Register(%+v) = %v", m, err)
	}
}

// leave takes a member out of the registry; nothing if it is not there.
func (s *suite) leave(id string) {
	s.Helper()
	e, ok := s.in[id]
	if !ok {
		return
	}
	delete(s.in, id)
	if s.Remove != nil {
		s.Remove(s.T, e.Member)
		return
	}
	ctx, cancel := within(patience)
	defer cancel()
	if err := e.handle.Leave(ctx); err != nil {
		s.Errorf("Leave of %s = %v", id, err)
	}
}

// told returns what the registry tells of a member, with the defaults filled in.
func (s *suite) told(m registry.Member) registry.Member { return filled(s.Tells(m)) }

func filled(m registry.Member) registry.Member {
	if m.ID == "" {
		m.ID = m.Addr
	}
	if m.Role == "" {
		m.Role = geecache.RoleNode
	}
	if m.Weight == 0 {
		m.Weight = 1
	}
	return m
}

// A view is what a registry yielded, by ID.
type view map[string]registry.Member

// has reports whether the view has the member as the registry can tell it.
func (s *suite) has(v view, m registry.Member) bool {
	want := s.told(m)
	got, ok := v[want.ID]
	return ok && got.Peer == want.Peer && maps.Equal(got.Metadata, want.Metadata)
}

// lacks reports whether nothing of the member is in the view.
func (s *suite) lacks(v view, m registry.Member) bool { _, ok := v[s.told(m).ID]; return !ok }

// A watcher collects what a Watch yields.
type watcher struct {
	s      *suite
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	changed chan struct{}
	last    view
	lastErr error
	views   int
	errs    int
	before  int // errors before the first view
}

// watch watches until the case ends, or stop.
func (s *suite) watch(d registry.Discoverer) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{s: s, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(w.done)
		for members, err := range d.Watch(ctx) {
			w.note(members, err)
		}
	}()
	s.Cleanup(w.stop)
	return w
}

func (w *watcher) note(members []registry.Member, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs, w.lastErr = w.errs+1, err
		if w.views == 0 {
			w.before++
		}
	} else {
		w.views++
		w.last = view{}
		for _, m := range members {
			m = filled(m)
			w.last[m.ID] = m
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// stop ends the watch, which must be prompt.
func (w *watcher) stop() {
	w.s.Helper()
	w.cancel()
	select {
	case <-w.done:
	case <-time.After(promptly):
		w.s.Errorf("Watch has not ended %v after its context", promptly)
		<-w.done
	}
}

// seen is what a watcher has seen up to now.
type seen struct {
	view
	views, errs int
	before      int // errors before the first view
}

// until waits until what was seen is as ok says, and returns how long that took.
func (w *watcher) until(what string, ok func(seen) bool) time.Duration {
	w.s.Helper()
	start := time.Now()
	timeout := time.After(patience)
	for {
		w.mu.Lock()
		now, changed, lastErr := seen{w.last, w.views, w.errs, w.before}, w.changed, w.lastErr
		w.mu.Unlock()
		if ok(now) {
			return time.Since(start)
		}
		select {
		case <-changed:
		case <-w.done:
			w.s.Fatalf("Watch has ended by itself, before %s; last error: %v", what, lastErr)
		case <-timeout:
			w.s.Fatalf("not within %v: %s; %d views, the last is %s; %d errors, the last is %v", patience, what, now.views, now.view, now.errs, lastErr)
		}
	}
}

func (w *watcher) untilHas(members ...registry.Member) time.Duration {
	w.s.Helper()
	return w.until(fmt.Sprintf("the view has %s", names(members)), func(now seen) bool {
		return !slices.ContainsFunc(members, func(m registry.Member) bool { return !w.s.has(now.view, m) })
	})
}

func (w *watcher) untilLacks(members ...registry.Member) time.Duration {
	w.s.Helper()
	return w.until(fmt.Sprintf("the view has not %s", names(members)), func(now seen) bool {
		return !slices.ContainsFunc(members, func(m registry.Member) bool { return !w.s.lacks(now.view, m) })
	})
}

// now returns what was seen.
func (w *watcher) now() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return seen{w.last, w.views, w.errs, w.before}
}

func names(members []registry.Member) string {
	if len(members) == 1 {
		return fmt.Sprintf("%+v", members[0])
	}
	return fmt.Sprintf("%d members", len(members))
}

func (v view) String() string {
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, fmt.Sprintf("%+v", v[id]))
	}
	return fmt.Sprintf("%d members: %s", len(v), strings.Join(parts, " "))
}
