package geecache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 7 of the read path: peers in trouble, and who stands in for them.

func TestRule7WhatIsTroubleAndWhatIsNot(t *testing.T) {
	trouble := fmt.Errorf("%w: connection refused", ErrPeerTrouble)
	refused := fmt.Errorf("%w: %w", ErrPeerTrouble, ErrRefused)
	tests := []struct {
		name    string
		fail    error
		reply   *PeerReply
		standIn bool
		want    error
	}{
		{name: "connection refused", fail: trouble, standIn: true},
		{name: "handshake refused", fail: refused, standIn: true},
		{name: "unknown failure to ask", fail: errors.New("broken pipe"), standIn: true},
		{name: "draining", reply: &PeerReply{Code: CodeDraining}, standIn: true},
		{name: "source failed", reply: &PeerReply{Code: CodeSource, Message: "disk on fire"}, want: ErrSource},
		{name: "not found", reply: &PeerReply{Code: CodeNotFound}, want: ErrNotFound},
		{name: "load timeout", reply: &PeerReply{Code: CodeLoadTimeout}, want: ErrLoadTimeout},
		{name: "overloaded", reply: &PeerReply{Code: CodeOverloaded}, want: ErrOverloaded},
		{name: "too large", reply: &PeerReply{Code: CodeTooLarge}, want: ErrTooLarge},
		{name: "no such group there", reply: &PeerReply{Code: CodeNoGroup}, want: ErrNoGroup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestCluster(t, 3, GroupConfig{NotFoundTTL: -1})
			defer c.close()
			key := c.keyOwnedBy("n1", "n2")
			c.net.setFail("n1", tt.fail)
			c.net.hook = func(to string, _ *PeerRequest) *PeerReply {
				if to == "n1" {
					return tt.reply
				}
				return nil
			}
			v, err := c.g(0).Get(t.Context(), key)
			if tt.standIn {
				if err != nil || v.String() != "value of "+key {
					t.Fatalf("Get = %q, %v", v, err)
				}
				wantCount(t, "asked by", fmt.Sprint(c.src.askedBy(key)), "[n2]")
				wantCount(t, "stand-ins", c.g(0).Stats().StandIns, 1)
				wantCount(t, "loads as stand-in", c.g(2).Stats().LoadsStandIn, 1)
				return
			}
			wantErr(t, err, tt.want)
			wantCount(t, "loads elsewhere", c.src.total(), 0)
			wantCount(t, "stand-ins", c.g(0).Stats().StandIns, 0)
		})
	}
}

func TestRule7CallersOwnDeadlineIsNotTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, GroupConfig{})
		defer c.close()
		c.src.delay = 5 * time.Second
		key := c.keyOwnedBy("n1", "n2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.g(0).Get(ctx, key)
		wantErr(t, err, context.DeadlineExceeded)
		wantCount(t, "requests to a stand-in", c.net.askedOf("n2"), 0)
		if r := mustGet(t, c.g(0), key); r.Node != "n1" {
			t.Errorf("answered by %s: the owner was taken to be in trouble", r.Node)
		}
	})
}

func TestRule7StandInKeepsUntilTheOwnerAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, GroupConfig{})
		defer c.close()
		key := c.keyOwnedBy("n1", "n2")
		other := "x"
		for i := 0; c.nodes[0].Owners(other, 1)[0].ID != "n1"; i++ {
			other = fmt.Sprint("x", i)
		}
		c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
		for range 5 { // far longer than a hot copy would live
			wantCount(t, "answered by", mustGet(t, c.g(2), key).Node, "n2")
			wantCount(t, "answered by", mustGet(t, c.g(0), key).Node, "n2")
			time.Sleep(10 * time.Second)
		}
		wantCount(t, "loads", c.src.count(key), 1)
		wantCount(t, "requests that tried the dead owner", c.net.askedOf("n1") < 20, true)

		c.net.setFail("n1", nil)
		time.Sleep(2 * time.Second)
		mustGet(t, c.g(0), other) // the owner has answered n0
		mustGet(t, c.g(2), other) // ... and n2, which then gives the key back
		wantCount(t, "asked for again at", mustGet(t, c.g(2), key).From, FromHot)
		time.Sleep(defaultHotTTL + tick)
		wantCount(t, "answered by", mustGet(t, c.g(2), key).Node, "n1")
		wantCount(t, "loads", fmt.Sprint(c.src.askedBy(key)), "[n2 n1]")
	})
}

// One node cannot reach the owner, and its stand-in can.
func TestRule7StandInOfAnOwnerThatOthersReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 0, GroupConfig{})
		defer c.close()
		for _, self := range memPeers(3) {
			cfg := c.config(self, memPeers(3))
			cfg.Handover = 0 // the default
			c.addConfig(cfg)
		}
		key := c.keyOwnedBy("n1", "n2")
		mustGet(t, c.g(1), key)
		c.net.setFail("n0>n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
		for range 20 { // the stand-in gives its copies back all the time
			mustGet(t, c.g(0), key)
			time.Sleep(defaultHotTTL + tick)
		}
		wantCount(t, "loads", fmt.Sprint(c.src.askedBy(key)), "[n1 n2]")
	})
}

func TestRule7ThisNodeIsTheLastStandIn(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "n2")
	c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
	c.net.setFail("n2", fmt.Errorf("%w: gone", ErrPeerTrouble))
	wantCount(t, "origin", mustGet(t, c.g(0), key).From, FromLoad)
	wantCount(t, "loads as stand-in", c.g(0).Stats().LoadsStandIn, 1)
	wantCount(t, "origin of the next", mustGet(t, c.g(0), key).From, FromMain)
}

func TestRule7ClientHasNoStandInOfItsOwn(t *testing.T) {
	synctest.Test(t, testClientHasNoStandInOfItsOwn)
}

func testClientHasNoStandInOfItsOwn(t *testing.T) {
	c := newTestCluster(t, 2, GroupConfig{})
	defer c.close()
	c.add(Peer{ID: "api", Addr: "mem://api", Role: RoleClient}, memPeers(2))
	key := c.keyOwnedBy("n1", "n0")
	wantCount(t, "answered by", mustGet(t, c.g(2), key).Node, "n1")
	c.net.setFail("n0", fmt.Errorf("%w: gone", ErrPeerTrouble))
	c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
	_, err := c.g(2).Get(t.Context(), key)
	wantErr(t, err, ErrUnavailable)
	wantCount(t, "loads by the client", c.g(2).Stats().Loads(), 0)
}

func TestRule7HealthNeverChangesTheEpoch(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	before := c.nodes[0].Stats().Epoch
	c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
	key := c.keyOwnedBy("n1", "n2")
	mustGet(t, c.g(0), key)
	wantCount(t, "epoch", c.nodes[0].Stats().Epoch, before)
	wantCount(t, "owner", c.nodes[0].Owners(key, 1)[0].ID, "n1")
}

// All peers are in trouble at the same moment, and well again soon: as on a machine
// that has too much to do.
func TestRule7CallersOfAClientWaitAMomentWhenAllPeersAreLost(t *testing.T) {
	lost := fmt.Errorf("%w: no sign of life", ErrPeerTrouble)
	cluster := func(t *testing.T) (c *testCluster, key string) {
		c = newTestCluster(t, 2, GroupConfig{})
		c.add(Peer{ID: "api", Addr: "mem://api", Role: RoleClient}, memPeers(2))
		key = c.keyOwnedBy("n1", "n0")
		c.net.setFail("n0", lost)
		c.net.setFail("n1", lost)
		return c, key
	}
	t.Run("one comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, key := cluster(t)
			defer c.close()
			time.AfterFunc(500*time.Millisecond, func() { c.net.setFail("n0", nil) })
			var v ByteView
			var err error
			took := elapsed(func() { v, err = c.g(2).Get(t.Context(), key) })
			if err != nil || v.String() != "value of "+key || took < 500*time.Millisecond || took > cutOffMost {
				t.Errorf("after %v: %q, %v", took, v, err)
			}
			wantCount(t, "asked by", fmt.Sprint(c.src.askedBy(key)), "[n0]")
		})
	})
	t.Run("many keys", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, key := cluster(t)
			defer c.close()
			time.AfterFunc(500*time.Millisecond, func() { c.net.setFail("n1", nil) })
			values, err := c.g(2).GetMany(t.Context(), key, "a", "b", "c")
			if err != nil || len(values) != 4 {
				t.Errorf("%v, %v", values, err)
			}
		})
	})
	t.Run("others take their place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, key := cluster(t)
			defer c.close()
			next := Peer{ID: "n9", Addr: "mem://n9"}
			c.add(next, []Peer{next})
			time.AfterFunc(500*time.Millisecond, func() {
				if err := c.nodes[2].SetView([]Peer{next}); err != nil {
					t.Error(err)
				}
			})
			if _, err := c.g(2).Get(t.Context(), key); err != nil {
				t.Error(err)
			}
			wantCount(t, "asked by", fmt.Sprint(c.src.askedBy(key)), "[n9]")
			wantCount(t, "loads as stand-in", c.g(3).Stats().LoadsStandIn, 0)
		})
	})
	t.Run("none comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, key := cluster(t)
			defer c.close()
			get := func(ctx context.Context) (err error) {
				_, err = c.g(2).Get(ctx, key)
				return err
			}
			short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			wantErr(t, get(short), context.DeadlineExceeded)
			took := elapsed(func() { wantErr(t, get(t.Context()), ErrUnavailable) })
			wantCount(t, "waited at first", took.Round(time.Millisecond), cutOffMost-100*time.Millisecond)
			for range 50 { // breakers let a few requests through all the time
				if took := elapsed(func() { wantErr(t, get(t.Context()), ErrUnavailable) }); took != 0 {
					t.Fatalf("waited %v in an outage", took)
				}
				time.Sleep(100 * time.Millisecond)
			}
			c.net.setFail("n1", nil)
			time.Sleep(2 * time.Second)
			if err := get(t.Context()); err != nil {
				t.Error(err)
			}
			c.net.setFail("n0", lost)
			c.net.setFail("n1", lost)
			time.Sleep(2 * healthEvery)
			took = elapsed(func() { wantErr(t, get(t.Context()), ErrUnavailable) })
			wantCount(t, "waited at the next outage", took, cutOffMost)
		})
	})
}
