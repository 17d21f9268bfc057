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
	Stats() geecache.NodeStats
}

// A Follower keeps a node's view at what a registry says, and does not believe it
// blindly: an error or an empty answer changes nothing, and a member that is missing
// stays as long as it can be reached, unless it told that it leaves. It is safe
// for concurrent use. Run it once.
type Follower struct {
	// Name is how the log calls the registry. Node and From must be set; all else may
	// be left out. None of the fields may be changed once Run was called.
	Name string
	Node Node
	From Discoverer

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

// Status is what a Follower knows.
type Status struct {
	Members   int       // in the registry's last answer that was not empty
	Kept      int       // that are missing there, and can be reached
	Confirmed time.Time // when the registry gave that answer; zero: never
	Err       error     // of the last answer; nil if it was a good one
	Failures  int64     // answers that were errors, or empty
}

// Status returns what is known now.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// ErrEmpty is the Err of a Status after an answer without members.
var ErrEmpty = errors.New("the registry names no members")

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
	pending bool            // last is not in force yet
	since   time.Time       // when it began to be so
}

// Run follows the registry until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	log := f.Log
	if log == nil {
		log = slog.Default()
	}
	s := &follow{Follower: f, log: log.With("registry", f.Name)}
	events := make(chan event)
	var wg sync.WaitGroup
	wg.Go(func() {
		for members, err := range f.From.Watch(ctx) {
			select {
			case events <- event{members, err}:
			case <-ctx.Done():
				return
			}
		}
	})
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

// note takes an answer in, and reports whether it changes anything.
func (s *follow) note(e event) (changed bool) {
	if e.err == nil && len(e.members) == 0 {
		e.err = ErrEmpty
	}
	s.mu.Lock()
	before := s.status.Err
	s.status.Err = e.err
	if e.err != nil {
		s.status.Failures++
	} else {
		s.status.Members, s.status.Confirmed = len(e.members), time.Now()
	}
	s.mu.Unlock()
	switch {
	case e.err != nil:
		if before == nil { // the same again would only fill the log
			s.log.Warn("no view from the registry: the last one stays", "err", e.err)
		}
		return false
	case before != nil:
		s.log.Info("the registry answers again")
	}
	peers := peersOf(e.members)
	if slices.Equal(peers, s.last) {
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
	view := slices.Concat(s.last, kept)
	for _, p := range kept {
		if !slices.Contains(s.kept, p) {
			s.log.Info("a member is not in the registry, but can be reached: it stays", "peer", p.ID, "addr", p.Addr)
		}
	}
	s.kept = kept
	s.mu.Lock()
	s.status.Kept = len(kept)
	s.mu.Unlock()
	if err := s.Node.SetView(view); err != nil && !errors.Is(err, geecache.ErrClosed) {
		s.log.Error("the registry's view cannot be used: the last one stays", "err", err)
	}
}

// missing returns the members of the node's view that the registry does not name,
// and that can be reached and have not said that they leave.
func (s *follow) missing() []geecache.Peer {
	var missing []geecache.Peer
	st := s.Node.Stats()
	for _, p := range st.Peers {
		named := func(q geecache.Peer) bool { return idOf(q) == p.ID || q.Addr == p.Addr }
		if p.ID == st.ID || p.State != "up" || slices.ContainsFunc(s.last, named) {
			continue
		}
		missing = append(missing, geecache.Peer{ID: p.ID, Addr: p.Addr, Role: p.Role, Zone: p.Zone, Weight: p.Weight})
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
