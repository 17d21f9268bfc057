package registry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
)

// The defaults of a Follower.
const (
	DefaultDebounce = 100 * time.Millisecond
	DefaultRecheck  = time.Second
)

// A Node is what a Follower keeps informed: a [geecache.Node].
type Node interface {
	SetView(peers []geecache.Peer) error
	Refuse(err error)
	Stats() geecache.NodeStats
}

// A Follower keeps a node's view at what a registry says, and does not believe it
// blindly: an error or an empty answer changes nothing, a member that makes no sense
// is left out, and one that is missing stays as long as it can be reached, unless it
// told that it leaves. An error that is a [geecache.ErrRefused] says that the
// cluster does not take the node in, which the node is told. Node and From must be set, all else may be left out. No field
// may be changed once Run was called; Run it once.
type Follower struct {
	Name string // how the log calls the registry
	Node Node
	From Discoverer

	// Exact says that the answers are taken at their word: a missing member is out
	// at once, even if it can be reached. It is for lists that people keep.
	Exact bool

	// Debounce is how long the registry must be quiet before a change takes effect,
	// and a tenth of how long a change can be put off: nodes that start together
	// make one change. The first view takes effect at once. Zero means
	// DefaultDebounce.
	Debounce time.Duration

	// Recheck is how often it is looked whether a missing member can still be
	// reached. Zero means DefaultRecheck.
	Recheck time.Duration

	Log *slog.Logger // default: slog.Default()

	mu     sync.Mutex // guards status
	status Status
}

// Status is what a Follower knows. Its numbers are what metrics are made of.
type Status struct {
	Members int // in the registry's last answer that was good: no error, and not empty
	Kept    int // members of the view that are missing there, and can be reached
	Refused int // members there that the node cannot use

	// Confirmed is when the last good answer came: how old the view is. Zero
	// means never.
	Confirmed time.Time

	Answers  int64 // good ones
	Failures int64 // answers that were errors, or empty
	Changes  int64 // how often the answer differed from the one before

	// Err is what was wrong with the last answer, nil if it was good.
	Err error
}

// Status returns what is known now. It may be called at any time.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// ErrEmpty is the Err of a Status after an answer without members.
var ErrEmpty = errors.New("the registry names no members")

var errEnded = errors.New("the registry's watch has ended by itself")

// An event is what a registry yields.
type event struct {
	members []Member
	err     error
}

// follow is the state of a Run.
type follow struct {
	*Follower
	log     *slog.Logger
	last    []geecache.Peer // the registry's last good answer
	kept    []geecache.Peer // missing there, but reachable
	told    bool            // the node that the cluster does not take it in
	refused []string        // IDs of those there that the node cannot use
	pending bool            // last is not in force yet
	since   time.Time       // when it began to be so
}

// Run follows the registry until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	log := f.Log
	if log == nil {
		log = slog.Default()
	}
	if f.Name != "" {
		log = log.With("registry", f.Name)
	}
	s := &follow{Follower: f, log: log}
	events := make(chan event)
	var wg sync.WaitGroup
	wg.Go(func() { f.listen(ctx, events) })
	defer wg.Wait()

	quiet := time.NewTimer(0)
	quiet.Stop()
	recheck := time.NewTicker(orDefault(f.Recheck, DefaultRecheck))
	defer recheck.Stop()
	debounce := orDefault(f.Debounce, DefaultDebounce)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if first := s.last == nil; !s.note(e) {
				continue
			} else if first {
				s.apply()
				continue
			}
			quiet.Reset(min(debounce, max(0, 10*debounce-time.Since(s.since))))
		case <-quiet.C:
			s.apply()
		case <-recheck.C:
			if len(s.kept) > 0 && !s.pending {
				s.apply()
			}
		}
	}
}

// listen hands on what the registry yields.
func (f *Follower) listen(ctx context.Context, events chan<- event) {
	send := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	for members, err := range f.From.Watch(ctx) {
		if send(event{members, err}); ctx.Err() != nil {
			return
		}
	}
	send(event{nil, errEnded})
}

// note takes an answer in, and reports whether it changes anything.
func (s *follow) note(e event) (changed bool) {
	if e.err == nil && len(e.members) == 0 {
		e.err = ErrEmpty
	}
	peers := peersOf(e.members)
	changed = e.err == nil && !slices.Equal(peers, s.last)

	s.mu.Lock()
	before := s.status.Err
	s.status.Err = e.err
	if e.err != nil {
		s.status.Failures++
	} else {
		s.status.Answers++
		s.status.Members, s.status.Confirmed = len(peers), time.Now()
	}
	if changed {
		s.status.Changes++
	}
	s.mu.Unlock()

	if is := errors.Is(e.err, geecache.ErrRefused); is || s.told && e.err == nil {
		s.Node.Refuse(e.err)
		s.told = is
	}
	empty := errors.Is(e.err, ErrEmpty)
	if e.err != nil && (before == nil || errors.Is(before, ErrEmpty) && !empty) { // the same again would only fill the log
		if first := s.status.Answers == 0; first && empty { // whoever is the first one
			s.log.Info("the registry names no members yet")
		} else {
			s.log.Warn("no view from the registry: the last one stays", "err", e.err)
		}
	} else if e.err == nil && before != nil {
		s.log.Info("the registry answers again", "members", len(peers))
	}
	if !changed {
		return false
	}
	if s.last = peers; !s.pending {
		s.pending, s.since = true, time.Now()
	}
	return true
}

// apply puts the registry's last answer in force, with those who are missing in it
// and can be reached.
func (s *follow) apply() {
	s.pending = false
	kept := s.missing()
	for _, p := range kept {
		if !slices.Contains(s.kept, p) {
			s.log.Info("a member is not in the registry, but can be reached: it stays", "peer", p.ID, "addr", p.Addr)
		}
	}
	s.kept = kept
	refused, err := s.setView(slices.Concat(s.last, kept))
	if err != nil && !errors.Is(err, geecache.ErrClosed) {
		s.log.Error("the registry's view cannot be used: the last one stays", "err", err)
	}
	s.refused = refused
	s.mu.Lock()
	s.status.Kept, s.status.Refused = len(kept), len(refused)
	s.mu.Unlock()
}

// setView gives the node a view, and leaves those out that it cannot use: whoever
// may write to a registry must not be able to stop all changes by one wrong entry.
func (s *follow) setView(view []geecache.Peer) (refused []string, err error) {
	for {
		err = s.Node.SetView(view)
		var wrong *geecache.PeerError
		if !errors.As(err, &wrong) {
			return refused, err
		}
		rest := slices.DeleteFunc(view, func(p geecache.Peer) bool { return idOf(p) == wrong.ID })
		if len(rest) == 0 || len(rest) == len(view) {
			return refused, err
		}
		if view = rest; !slices.Contains(s.refused, wrong.ID) {
			s.log.Warn("a member in the registry cannot be used: it is left out", "err", err)
		}
		refused = append(refused, wrong.ID)
	}
}

// missing returns the members of the node's view that the registry does not name,
// and that can be reached and have not said that they leave. The node itself is in the
// state "self".
func (s *follow) missing() []geecache.Peer {
	if s.Exact {
		return nil
	}
	var missing []geecache.Peer
	for _, p := range s.Node.Stats().Peers {
		named := func(q geecache.Peer) bool { return idOf(q) == p.ID || q.Addr == p.Addr }
		if p.State != "up" || slices.ContainsFunc(s.last, named) {
			continue
		}
		missing = append(missing, p.Peer)
	}
	return missing
}

func idOf(p geecache.Peer) string {
	if p.ID == "" {
		return p.Addr
	}
	return p.ID
}

// peersOf returns the members' peers in an order that does not depend on theirs.
// Of two with one ID, the last one counts: it registered later.
func peersOf(members []Member) []geecache.Peer {
	peers := make([]geecache.Peer, 0, len(members))
	at := make(map[string]int, len(members))
	for _, m := range members {
		if i, ok := at[idOf(m.Peer)]; ok {
			peers[i] = m.Peer
			continue
		}
		at[idOf(m.Peer)] = len(peers)
		peers = append(peers, m.Peer)
	}
	slices.SortFunc(peers, func(a, b geecache.Peer) int { return strings.Compare(idOf(a), idOf(b)) })
	return peers
}
