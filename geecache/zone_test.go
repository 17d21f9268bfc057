package geecache

import (
	"fmt"
	"testing"
)

func TestCrossZoneBytesAreThoseBothWays(t *testing.T) {
	src := &testSource{}
	peer := func(n *Node) Peer { return Peer{ID: n.ID(), Addr: n.Addr(), Zone: n.cfg.Zone} }
	a := runNode(t, src, Config{Zone: "a"}, GroupConfig{HotTTL: -1})
	near := runNode(t, src, Config{Zone: "a"}, GroupConfig{HotTTL: -1})
	far := runNode(t, src, Config{Zone: "b"}, GroupConfig{HotTTL: -1})
	silent := runNode(t, src, Config{}, GroupConfig{HotTTL: -1})
	nodes := []*Node{a, near, far, silent}
	view := []Peer{peer(a), peer(near), {ID: far.ID(), Addr: far.Addr()}, peer(silent)} // far says itself where it is
	for _, n := range nodes {
		if err := n.SetView(view); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		waitUntil(t, "all peers are up", func() bool { return peersUp(n) == 3 })
	}
	zone := func(n *Node) ZoneTraffic {
		t.Helper()
		all := n.Stats().CrossZone
		if len(all) != 1 {
			t.Fatalf("%s has exchanged bytes with %+v, want one zone", n.cfg.Zone, all)
		}
		return all[0]
	}
	before, farBefore := zone(a), zone(far)
	wantCount(t, "the other zone", before.Zone, "b")
	const times, overhead = 50, 200
	key := keyOf(a, far.ID(), "k")
	for range times {
		mustGet(t, a.Group("g"), key)
	}
	least := int64(times * len("value of "+key))
	got, farGot := zone(a), zone(far)
	in, out := got.BytesIn-before.BytesIn, farGot.BytesOut-farBefore.BytesOut
	if in < least || in > least+times*overhead {
		t.Errorf("%d bytes received for %d values, want about %d", in, times, least)
	}
	if out < least || got.BytesOut <= before.BytesOut {
		t.Errorf("the other end has sent %d, want %d at least; this one %d", out, least, got.BytesOut-before.BytesOut)
	}
	if s := silent.Stats().CrossZone; s != nil {
		t.Errorf("a node that does not know its zone tells of %+v", s)
	}

	// What has been counted stays, whoever leaves.
	if err := a.SetView([]Peer{peer(near)}); err != nil {
		t.Fatal(err)
	}
	if now := zone(a); now.BytesIn < got.BytesIn {
		t.Errorf("the counter went back: %+v, then %+v", got, now)
	}
}

func TestZonesOfStrangersAreBounded(t *testing.T) {
	var table zoneTable
	for i := range 3 * zonesMost {
		table.of(fmt.Sprint("zone", i)).in.Add(1)
	}
	wantCount(t, "zones", len(table.zones) <= zonesMost+1, true)
	in, _ := table.total()
	wantCount(t, "bytes", in, 3*zonesMost)
}
