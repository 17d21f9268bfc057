package geecache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How what SetView says and what members say of themselves make one view.

// A memberWorld is a dynamic node whose peers nobody is, so that what counts is
// what it has been told.
type memberWorld struct {
	t *testing.T
	n *Node
}

func newMemberWorld(t *testing.T, dynamic bool) *memberWorld {
	n, err := New(Config{ID: "self", Addr: "self:1", Dynamic: dynamic, Logger: quiet(), Dial: dialChannel(nil)})
	if err != nil {
		t.Fatal(err)
	}
	return &memberWorld{t, n}
}

func memberAt(id string, change ...func(*Peer)) Peer {
	p := Peer{ID: id, Addr: id + ":1", Role: RoleNode, Weight: 1}
	for _, c := range change {
		c(&p)
	}
	return p
}

func (w *memberWorld) setView(ids ...string) {
	w.t.Helper()
	var view []Peer
	for _, id := range ids {
		view = append(view, memberAt(id))
	}
	if err := w.n.SetView(view); err != nil {
		w.t.Fatal(err)
	}
}

func (w *memberWorld) announce(p Peer, run uint64) {
	w.t.Helper()
	if err := w.n.hear(hello{ID: p.ID, Version: ProtocolVersion}, announcement{Peer: p, run: run}, true); err != nil {
		w.t.Fatal(err)
	}
}

// view returns the IDs of the members beside the node itself, once all that is
// pending is in force.
func (w *memberWorld) view() string {
	time.Sleep(2 * announceSettle)
	var ids []string
	for _, m := range w.n.place().members {
		if !m.self {
			ids = append(ids, m.peer.ID)
		}
	}
	return strings.Join(ids, " ")
}

func inBubble(t *testing.T, f func(w *memberWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newMemberWorld(t, true)
		defer w.n.Close()
		f(w)
	})
}

func TestOrderOfTheSourcesDoesNotMatter(t *testing.T) {
	heavy := memberAt("b", func(p *Peer) { p.Weight, p.Zone = 3, "z" })
	steps := []func(w *memberWorld){
		func(w *memberWorld) { w.setView("a", "b") },
		func(w *memberWorld) { w.announce(heavy, 1) },
		func(w *memberWorld) { w.announce(memberAt("c"), 1) },
		func(w *memberWorld) { w.announce(memberAt("d"), 1); w.n.leaves("d") },
		func(w *memberWorld) { w.n.hearOf(announcement{Peer: memberAt("e"), run: 1}) },
	}
	epochs := make(map[uint64]string)
	permute(len(steps), func(order []int) {
		inBubble(t, func(w *memberWorld) {
			for _, i := range order {
				steps[i](w)
			}
			if got := w.view(); got != "a b c e" {
				t.Errorf("in the order %v the view is %s", order, got)
			}
			epochs[w.n.place().epoch] = fmt.Sprint(order)
			for _, m := range w.n.place().members {
				if m.peer.ID == "b" && (m.peer.Weight != 3 || m.peer.Zone != "z") {
					t.Errorf("in the order %v b is %+v", order, m.peer)
				}
			}
		})
	})
	if len(epochs) != 1 {
		t.Errorf("the order decides what the ring is: %v", epochs)
	}
}

// permute calls f with each order of the numbers below n.
func permute(n int, f func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var from func(k int)
	from = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			from(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	from(0)
}

func TestWhoLeavesStaysAwayUntilItIsBack(t *testing.T) {
	for name, back := range map[string]struct {
		step func(w *memberWorld)
		want string
	}{
		"SetView still names it":         {func(w *memberWorld) { w.setView("a", "b") }, "a"},
		"the same run speaks, late":      {func(w *memberWorld) { w.announce(memberAt("b"), 7) }, "a"},
		"another one tells of it":        {func(w *memberWorld) { w.n.hearOf(announcement{Peer: memberAt("b"), run: 8}) }, "a"},
		"it announces itself anew":       {func(w *memberWorld) { w.announce(memberAt("b"), 8) }, "a b"},
		"it is reached anew":             {func(w *memberWorld) { w.n.returned("b") }, "a b"},
		"SetView left it out and has it": {func(w *memberWorld) { w.setView("a"); w.setView("a", "b") }, "a b"},
		"SetView leaves it out":          {func(w *memberWorld) { w.setView("a") }, "a"},
		"a long time has passed":         {func(w *memberWorld) { time.Sleep(leftFor + 2*memberLook) }, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *memberWorld) {
				w.setView("a", "b")
				w.announce(memberAt("b"), 7)
				w.n.leaves("b")
				if got := w.view(); got != "a" {
					t.Fatalf("after b said that it leaves, the view is %s", got)
				}
				back.step(w)
				if got := w.view(); got != back.want {
					t.Errorf("the view is %q, want %q", got, back.want)
				}
			})
		})
	}
}

func TestAnnouncedMemberThatCannotBeReachedIsDropped(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		w.setView("a")
		w.announce(memberAt("b"), 1)
		time.Sleep(unreachableFor / 2)
		if got := w.view(); got != "a b" {
			t.Fatalf("after a moment the view is %s", got)
		}
		time.Sleep(unreachableFor)
		if got := w.view(); got != "a" {
			t.Fatalf("who could not be reached for %v is still there: %s", unreachableFor, got)
		}
		hear := func(first bool) {
			if err := w.n.hear(hello{ID: "b"}, announcement{Peer: memberAt("b"), run: 1}, first); err != nil {
				t.Fatal(err)
			}
		}
		hear(false)
		if got := w.view(); got != "a" {
			t.Errorf("the same connection has brought it back: %s", got)
		}
		hear(true)
		if got := w.view(); got != "a b" {
			t.Errorf("a new connection has not brought it back: %s", got)
		}
	})
}

func TestMemberThatSetViewNamesStaysUnreachableOrNot(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		w.setView("a", "b")
		w.announce(memberAt("b"), 1)
		time.Sleep(2 * unreachableFor)
		if got := w.view(); got != "a b" {
			t.Errorf("the view is %s", got)
		}
	})
}

// A process may come back at its address with another ID, and SetView know the
// address alone.
func TestMemberNamedByItsAddressHasTheIDOfWhoIsThere(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		at := func(id string) Peer { return memberAt(id, func(p *Peer) { p.Addr = "b:1" }) }
		w.setView("a")
		w.announce(at("b0"), 1)
		w.announce(at("b1"), 2)
		time.Sleep(2 * unreachableFor)
		if got := w.view(); got != "a" {
			t.Fatalf("who could not be reached is still there: %s", got)
		}
		w.announce(at("b2"), 3)
		for range 30 { // the order of a map is another one each time
			if err := w.n.SetView([]Peer{memberAt("a"), {Addr: "b:1"}}); err != nil {
				t.Fatal(err)
			}
			if got := w.view(); got != "a b2" {
				t.Fatalf("the view is %s", got)
			}
		}
		w.n.leaves("b2")
		if got := w.view(); got != "a" {
			t.Errorf("who said that it leaves is there again by its address: %s", got)
		}
		w.setView("a")
		if err := w.n.SetView([]Peer{memberAt("a"), {Addr: "b:1"}}); err != nil {
			t.Fatal(err)
		}
		if got := w.view(); got != "a b:1" {
			t.Errorf("after SetView left it out and has it again the view is %s", got)
		}
	})
}

func TestAnnouncementsThatMakeNoSenseAreRefused(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		for name, p := range map[string]Peer{
			"another's name": memberAt("a"),
			"no address":     memberAt("b", func(p *Peer) { p.Addr = "" }),
			"a scheme":       memberAt("b", func(p *Peer) { p.Addr = "http://b:1" }),
			"a client":       memberAt("b", func(p *Peer) { p.Role = RoleClient }),
			"no role":        memberAt("b", func(p *Peer) { p.Role = "king" }),
			"weight":         memberAt("b", func(p *Peer) { p.Weight = -1 }),
			"a huge weight":  memberAt("b", func(p *Peer) { p.Weight = 2 * MaxWeight }),
			"an odd ID":      memberAt("b", func(p *Peer) { p.ID = "b\nb" }),
		} {
			if err := w.n.hear(hello{ID: "b"}, announcement{Peer: p}, true); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		if got := w.view(); got != "" {
			t.Errorf("the view is %s", got)
		}
		w.announce(memberAt("self"), 1) // who claims to be this node changes nothing
		if got := w.view(); got != "" {
			t.Errorf("the view is %s", got)
		}
	})
}

// What one member says of itself must not keep all others from changing the view.
func TestAnnouncementThatCannotBeUsedStopsNobody(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		w.announce(memberAt("b"), 1)
		w.n.mu.Lock()
		w.n.announced["b"].Addr = "pigeon://b:1"
		w.n.mu.Unlock()
		w.announce(memberAt("c"), 1)
		if got := w.view(); got != "c" {
			t.Errorf("the view is %q", got)
		}
		w.setView("a")
		if got := w.view(); got != "a c" {
			t.Errorf("after SetView the view is %q", got)
		}
	})
}

func TestMembersThatDoNotFitTheRingAreTheHeaviest(t *testing.T) {
	members := []*member{{peer: memberAt("self", func(p *Peer) { p.Weight = MaxWeight }), self: true}}
	for i := range 400 {
		members = append(members, &member{peer: memberAt(fmt.Sprintf("n%03d", i), func(p *Peer) { p.Weight = 50 })})
	}
	members[7].peer.Weight = 60
	_, _, err := buildRing(members)
	if wrong := new(PeerError); !errors.As(err, &wrong) || wrong.ID != "n006" {
		t.Errorf("error %v, want one that names n006", err)
	}
}

func TestFixedViewHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMemberWorld(t, false)
		defer w.n.Close()
		w.setView("a")
		w.announce(memberAt("b"), 1)
		w.n.leaves("a")
		if got := w.view(); got != "a" {
			t.Errorf("the view is %s", got)
		}
	})
}

func TestAnnouncementsAtOneMomentAreTwoChanges(t *testing.T) {
	inBubble(t, func(w *memberWorld) {
		before := w.n.Stats().ViewChanges
		for i := range 20 {
			w.announce(memberAt(fmt.Sprint("n", i)), 1)
		}
		_ = w.view()
		wantCount(t, "members", len(w.n.place().members), 21)
		wantCount(t, "changes", w.n.Stats().ViewChanges-before, 2)
	})
}
