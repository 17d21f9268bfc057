package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/geecache/geecache/geecache"
)

// script is a registry that yields what a test sends.
type script chan event

func (s script) Watch(ctx context.Context) iter.Seq2[[]Member, error] {
	return func(yield func([]Member, error) bool) {
		for {
			select {
			case e, ok := <-s:
				if !ok || !yield(e.members, e.err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// fakeNode is a node whose peers are up, unless down says otherwise.
type fakeNode struct {
	mu    sync.Mutex // guards what follows
	views [][]string // the IDs of each view that was set
	peers []geecache.Peer
	state map[string]string // of peers that are not up
	wrong string            // ID of a peer that it cannot use
	err   error             // of SetView

	refusals []geecache.Refusal // what Refuse was told
}

func (n *fakeNode) Refuse(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusals = append(n.refusals, geecache.RefusalOf(err))
}

func (n *fakeNode) SetView(peers []geecache.Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for _, p := range peers {
		if p.ID == n.wrong {
			return fmt.Errorf("view: %w", &geecache.PeerError{ID: p.ID, Err: errors.New("it makes no sense")})
		}
		ids = append(ids, p.ID)
	}
	if n.err != nil {
		return n.err
	}
	slices.Sort(ids)
	n.views, n.peers = append(n.views, ids), peers
	return nil
}

func (n *fakeNode) Stats() geecache.NodeStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := geecache.NodeStats{ID: "self", Peers: []geecache.PeerStats{{Peer: member("self").Peer, Self: true, State: "self"}}}
	for _, p := range n.peers {
		if p.ID == "self" {
			continue
		}
		ps := geecache.PeerStats{Peer: p, State: "up"}
		if state, ok := n.state[p.ID]; ok {
			ps.State = state
		}
		st.Peers = append(st.Peers, ps)
	}
	return st
}

func (n *fakeNode) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *fakeNode) seen() [][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.views)
}

// fixture is a Follower that runs in a bubble of synctest.
type fixture struct {
	*Follower
	t        *testing.T
	node     *fakeNode
	registry script
	logged   *bytes.Buffer
}

func follower(t *testing.T, test func(f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, node: &fakeNode{state: map[string]string{}, wrong: "-"}, registry: script(make(chan event)), logged: new(bytes.Buffer)}
		f.Follower = &Follower{Name: "script", Node: f.node, From: f.registry, Log: slog.New(slog.NewTextHandler(f.logged, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		defer func() { cancel(); <-done }()
		test(f)
	})
}

func (f *fixture) says(ids ...string) {
	var members []Member
	for _, id := range ids {
		members = append(members, member(id))
	}
	f.registry <- event{members, nil}
	synctest.Wait()
}

func (f *fixture) fails(err error) {
	f.registry <- event{nil, err}
	synctest.Wait()
}

func (f *fixture) after(d time.Duration) *fixture {
	time.Sleep(d) // in the bubble
	synctest.Wait()
	return f
}

// wantViews checks the views that the node was given up to now.
func (f *fixture) wantViews(want ...string) {
	f.t.Helper()
	var got []string
	for _, v := range f.node.seen() {
		got = append(got, strings.Join(v, " "))
	}
	if !slices.Equal(got, want) {
		f.t.Fatalf("views %q, want %q", got, want)
	}
}

func TestFirstViewTakesEffectAtOnceAndOthersAreDebounced(t *testing.T) {
	follower(t, func(f *fixture) {
		f.says("b", "a")
		f.wantViews("a b")
		for _, ids := range [][]string{{"a", "b", "c"}, {"a", "b", "c", "d"}, {"e", "d", "c", "b", "a"}} {
			f.after(90 * time.Millisecond).says(ids...)
		}
		f.after(99 * time.Millisecond).wantViews("a b")
		f.after(time.Millisecond).wantViews("a b", "a b c d e")
		f.says("a", "b", "c", "d", "e")
		f.after(time.Minute).wantViews("a b", "a b c d e") // nothing has changed
		if st := f.Status(); st.Answers != 5 || st.Changes != 4 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAChangeIsPutOffTenTimesTheDebounceAtMost(t *testing.T) {
	follower(t, func(f *fixture) {
		f.says("n00")
		ids := []string{"n00"}
		for i := range 30 { // a change each 50 ms: it is never quiet
			ids = append(ids, fmt.Sprintf("n%02d", i+1))
			f.says(ids...)
			f.after(50 * time.Millisecond)
		}
		if n := len(f.node.seen()); n != 2 {
			t.Fatalf("%d views after 1.5 s, want 2", n)
		}
		if v := f.node.seen()[1]; len(v) < 21 || len(v) > 22 {
			t.Errorf("the view of 1 s has %d members: %q", len(v), v)
		}
	})
}

func TestErrorAndEmptyAnswerKeepTheLastView(t *testing.T) {
	follower(t, func(f *fixture) {
		f.fails(errDown)
		f.wantViews()
		if st := f.Status(); !st.Confirmed.IsZero() || st.Err != errDown || st.Failures != 1 {
			t.Errorf("before the first view: %+v", st)
		}
		f.says("a", "b")
		at := time.Now()
		f.after(time.Minute).fails(errDown)
		f.after(time.Minute).fails(errDown)
		if st := f.Status(); !st.Confirmed.Equal(at) || st.Err != errDown || st.Failures != 3 || st.Members != 2 {
			t.Errorf("after errors: %+v", st)
		}
		f.after(time.Minute).says()
		f.after(time.Minute).wantViews("a b")
		if st := f.Status(); !st.Confirmed.Equal(at) || st.Err != ErrEmpty || st.Failures != 4 || st.Members != 2 {
			t.Errorf("after an empty answer: %+v", st)
		}
		f.says("a", "b")
		if st := f.Status(); !st.Confirmed.Equal(time.Now()) || st.Err != nil || st.Answers != 2 || st.Changes != 1 {
			t.Errorf("after a good answer: %+v", st)
		}
		if log := f.logged.String(); strings.Count(log, "no view from the registry") != 2 || strings.Count(log, "answers again") != 2 {
			t.Errorf("the log has not one line a change:\n%s", log)
		}
	})
}

// The first node sees nobody. If the registry then fails, that is another matter, and told.
func TestAnErrorAfterAnEmptyAnswerIsLogged(t *testing.T) {
	follower(t, func(f *fixture) {
		f.says()
		f.fails(errors.New("no route"))
		f.fails(errors.New("no route"))
		f.after(time.Second)
		if log := f.logged.String(); strings.Count(log, "no members yet") != 1 || strings.Count(log, "no route") != 1 {
			t.Errorf("the log:\n%s", log)
		}
	})
}

func TestARefusalIsToldToTheNode(t *testing.T) {
	follower(t, func(f *fixture) {
		f.fails(errors.New("down"))
		f.fails(geecache.NewRefusal(geecache.RefusedSecret, "another one"))
		f.fails(errors.New("down"))
		f.says("a")
		f.fails(geecache.NewRefusal(geecache.RefusedCluster, "another one"))
		f.says("a")
		f.says("a", "b")
		want := []geecache.Refusal{geecache.RefusedSecret, "", geecache.RefusedCluster, ""}
		if !slices.Equal(f.node.refusals, want) {
			t.Errorf("the node was told %q, want %q", f.node.refusals, want)
		}
	})
}

func TestAMissingMemberStaysWhileItCanBeReached(t *testing.T) {
	for state, stays := range map[string]bool{"up": true, "down": false, "connecting": false, "draining": false} {
		t.Run(state, func(t *testing.T) {
			follower(t, func(f *fixture) {
				f.says("a", "b")
				f.node.set(func() { f.node.state["b"] = state })
				f.says("a")
				f.after(100 * time.Millisecond)
				if !stays {
					f.wantViews("a b", "a")
					return
				}
				f.wantViews("a b", "a b")
				if st := f.Status(); st.Kept != 1 || st.Members != 1 {
					t.Errorf("%+v", st)
				}
				if !strings.Contains(f.logged.String(), "it stays") {
					t.Error("nothing is logged")
				}
				f.node.set(func() { f.node.state["b"] = "draining" }) // it says that it leaves, later
				f.after(time.Second)
				if v := f.node.seen(); !slices.Equal(v[len(v)-1], []string{"a"}) {
					t.Errorf("views %q", v)
				}
				if st := f.Status(); st.Kept != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestARestartedMemberIsNotKeptUnderItsOldID(t *testing.T) {
	follower(t, func(f *fixture) {
		f.says("a", "b")
		c := member("c")
		c.Addr = member("b").Addr
		f.registry <- event{[]Member{member("a"), c}, nil}
		f.after(100*time.Millisecond).wantViews("a b", "a c")
	})
}

func TestExactAnswersAreTakenAtTheirWord(t *testing.T) {
	follower(t, func(f *fixture) {
		f.Exact = true
		f.says("a", "b")
		f.says("a")
		f.after(100*time.Millisecond).wantViews("a b", "a")
		f.says()
		f.after(time.Minute).wantViews("a b", "a")
	})
}

func TestAMemberThatMakesNoSenseIsLeftOut(t *testing.T) {
	follower(t, func(f *fixture) {
		f.node.set(func() { f.node.wrong = "b" })
		f.says("a", "b", "c")
		f.wantViews("a c")
		f.says("a", "b", "c", "d")
		f.after(time.Second).wantViews("a c", "a c d")
		if st := f.Status(); st.Refused != 1 || st.Members != 4 {
			t.Errorf("%+v", st)
		}
		if log := f.logged.String(); strings.Count(log, "it is left out") != 1 || !strings.Contains(log, "no sense") {
			t.Errorf("the log:\n%s", log)
		}
		f.node.set(func() { f.node.state = map[string]string{"a": "down", "c": "down", "d": "down"} })
		f.says("b")
		f.after(time.Second).wantViews("a c", "a c d")
		f.node.set(func() { f.node.wrong = "-" })
		f.says("b", "c")
		f.after(time.Second).wantViews("a c", "a c d", "b c")
		if st := f.Status(); st.Refused != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAViewThatCannotBeUsedIsLogged(t *testing.T) {
	follower(t, func(f *fixture) {
		f.node.set(func() { f.node.err = errors.New("too many points") })
		f.says("a")
		if !strings.Contains(f.logged.String(), "too many points") {
			t.Errorf("the log:\n%s", f.logged)
		}
		f.node.set(func() { f.node.err = geecache.ErrClosed })
		before := f.logged.Len()
		f.says("a", "b")
		if f.after(time.Second); f.logged.Len() != before {
			t.Errorf("a closed node is nothing to log:\n%s", f.logged)
		}
	})
}

func TestAWatchThatEndsByItselfIsTold(t *testing.T) {
	follower(t, func(f *fixture) {
		f.says("a")
		close(f.registry)
		synctest.Wait()
		if st := f.Status(); st.Err == nil || st.Failures != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestOfTwoMembersWithOneIDTheLastCounts(t *testing.T) {
	old, now, other := member("a"), member("a"), Member{Peer: geecache.Peer{Addr: "b:1"}}
	now.Weight = 2
	got := peersOf([]Member{other, old, now})
	if want := []geecache.Peer{now.Peer, other.Peer}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSelf(t *testing.T) {
	node, err := geecache.New(geecache.Config{
		ID: "me", Addr: "127.0.0.1:8000", Zone: "z", Weight: 2,
		Peers: []geecache.Peer{{Addr: "127.0.0.1:1"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	self := Self(node.Stats())
	want := geecache.Peer{ID: "me", Addr: "127.0.0.1:8000", Role: geecache.RoleNode, Zone: "z", Weight: 2}
	if self.Peer != want || self.Metadata["protocol"] != node.Stats().Version {
		t.Errorf("%+v", self)
	}
}
