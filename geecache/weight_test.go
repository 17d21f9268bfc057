package geecache

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How members come to have one ring when their weights differ.

// loggedNode returns a node that nobody reaches, and what it logs.
func loggedNode(t *testing.T, cfg Config) (*Node, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer) // a text handler writes one line at a time
	cfg.Logger, cfg.Dial = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})), dialChannel(nil)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n, log
}

func setView(t *testing.T, n *Node, peers ...Peer) {
	t.Helper()
	if err := n.SetView(peers); err != nil {
		t.Fatal(err)
	}
}

func withWeight(id string, weight float64) Peer {
	return memberAt(id, func(p *Peer) { p.Weight = weight })
}

func TestWeightsOfAFixedListAreEverybodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := loggedNode(t, Config{ID: "a", Addr: "a:1"})
		b, _ := loggedNode(t, Config{ID: "b", Addr: "b:1"})
		c, _ := loggedNode(t, Config{ID: "c", Addr: "c:1", Role: RoleClient})
		for _, weights := range [][2]float64{{2, 3}, {1, 3}, {5, 0}} {
			for _, n := range []*Node{a, b, c} {
				setView(t, n, withWeight("a", weights[0]), withWeight("b", weights[1]))
			}
			if !sameRing(a, b, c) {
				t.Errorf("with the weights %v the rings differ", weights)
			}
			wantCount(t, "a's own weight", a.self(a.place()).Weight, weights[0])
		}
		a.state.Store(stateServing)
		if said, _ := a.announcement(); said.Weight != 5 {
			t.Errorf("a announces %+v", said)
		}
		if log.Len() > 0 {
			t.Errorf("logged: %s", log)
		}
	})
}

func TestOwnWeightThatTheListContradictsIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := loggedNode(t, Config{ID: "a", Addr: "a:1", Weight: 2})
		setView(t, a, withWeight("a", 2), withWeight("b", 1))
		if log.Len() > 0 {
			t.Errorf("logged, though both are the same: %s", log)
		}
		setView(t, a, withWeight("a", 3), withWeight("b", 1))
		setView(t, a, withWeight("a", 3), withWeight("b", 2))
		wantCount(t, "lines", strings.Count(log.String(), "listed=3"), 1)
		wantCount(t, "a's own weight", a.self(a.place()).Weight, 2)
		setView(t, a, memberAt("a", func(p *Peer) { p.Role = RoleClient }))
		wantCount(t, "lines", strings.Count(log.String(), "listed=client"), 1)
	})
}

// A registry that nodes enter themselves in may still have an earlier run's weight.
func TestDynamicNodeKeepsItsOwnWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := loggedNode(t, Config{ID: "a", Addr: "a:1", Dynamic: true})
		setView(t, a, withWeight("a", 3), withWeight("b", 1))
		wantCount(t, "a's own weight", a.self(a.place()).Weight, 1)
		if log.Len() > 0 {
			t.Errorf("logged: %s", log)
		}
	})
}

func TestLastingDisagreementIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := loggedNode(t, Config{ID: "a", Addr: "a:1"})
		setView(t, a, memberAt("b"))
		lines := func() int { return strings.Count(log.String(), "another ring") }
		hear := func(epoch uint64, d time.Duration) {
			t.Helper()
			for range int(d / announceEvery) {
				time.Sleep(announceEvery)
				if err := a.hear(hello{ID: "b"}, announcement{Peer: memberAt("b"), epoch: epoch}, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		hear(7, apartFor)
		hear(a.place().epoch, announceEvery)
		hear(7, apartFor)
		hear(8, apartFor) // it changes all the time
		setView(t, a, memberAt("b"), memberAt("c"))
		hear(8, apartFor)
		wantCount(t, "lines before one has lasted", lines(), 0)
		hear(8, 2*apartFor)
		wantCount(t, "lines", lines(), 1)
	})
}
