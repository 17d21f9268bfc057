package geecache

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// zonesMost bounds the zones that are told apart among nodes that have connected
// to this one; what comes from others is not counted by zone.
const zonesMost = 64

// zoneBytes counts what was exchanged with the nodes of a zone.
type zoneBytes struct{ in, out atomic.Int64 }

// A zoneTable counts bytes by zone. The zone "" is that of nodes that do not say
// where they are.
type zoneTable struct {
	mu    sync.Mutex // guards zones
	zones map[string]*zoneBytes
}

// of returns the counters of a zone.
func (t *zoneTable) of(zone string) *zoneBytes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.zones == nil {
		t.zones = make(map[string]*zoneBytes)
	}
	if t.zones[zone] == nil && len(t.zones) >= zonesMost {
		zone = ""
	}
	b := t.zones[zone]
	if b == nil {
		b = new(zoneBytes)
		t.zones[zone] = b
	}
	return b
}

// add adds what the table holds to sums.
func (t *zoneTable) add(sums map[string]ZoneTraffic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for zone, b := range t.zones {
		addZone(sums, zone, b.in.Load(), b.out.Load())
	}
}

// total returns what was exchanged with all zones.
func (t *zoneTable) total() (in, out int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.zones {
		in, out = in+b.in.Load(), out+b.out.Load()
	}
	return in, out
}

func addZone(sums map[string]ZoneTraffic, zone string, in, out int64) {
	z := sums[zone]
	sums[zone] = ZoneTraffic{Zone: zone, BytesIn: z.BytesIn + in, BytesOut: z.BytesOut + out}
}

// zone returns where the member is: as the view has it, or as it said itself.
func (m *member) zone() string {
	if m.peer.Zone == "" && m.stream != nil {
		return m.stream.current.Load().remote.Zone
	}
	return m.peer.Zone
}

// traffic returns the bytes exchanged with the member on connections that this
// node has made.
func (m *member) traffic() (in, out int64) {
	in, out = m.bytesIn.Load(), m.bytesOut.Load()
	if m.stream != nil {
		in, out = in+m.stream.bytesIn.Load(), out+m.stream.bytesOut.Load()
	}
	return in, out
}

// forgetLocked keeps what has been counted of a member that is asked no more.
func (n *Node) forgetLocked(m *member) {
	b := n.zones.of(m.zone())
	in, out := m.traffic()
	b.in.Add(in)
	b.out.Add(out)
}

// crossZone returns what this node has exchanged with nodes of other zones. A node
// that does not know its own zone cannot tell.
func (n *Node) crossZone() []ZoneTraffic {
	if n.cfg.Zone == "" {
		return nil
	}
	sums := make(map[string]ZoneTraffic)
	n.mu.Lock()
	n.zones.add(sums)
	for _, m := range slices.AppendSeq(slices.Clone(n.retired), maps.Values(n.members)) {
		if m.client != nil {
			in, out := m.traffic()
			addZone(sums, m.zone(), in, out)
		}
	}
	n.mu.Unlock()
	n.streams.zones.add(sums)
	delete(sums, "")
	delete(sums, n.cfg.Zone)
	return slices.SortedFunc(maps.Values(sums), func(a, b ZoneTraffic) int { return strings.Compare(a.Zone, b.Zone) })
}
