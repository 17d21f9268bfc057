package geecache

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/geecache/geecache/consistenthash"
)

// A placement says who owns which key, as this node sees it. It is immutable
// and swapped whole, so that a request sees one view from its start to its end.
type placement struct {
	// gen grows with each view, and when a peer answers again after trouble.
	// Entries carry it as their tag: an entry with an older one is checked
	// against the ring once more before it is used.
	gen         uint32
	epoch       uint64
	epochHeader []string // epoch as replies over HTTP have it

	ring    *consistenthash.Ring
	members []*member // as ring.Nodes() has them
	clients []*member // members that own nothing
	self    int       // this node's index on the ring; -1 if it owns nothing

	// formers are where keys were before, for the handover: the last one first.
	formers []former
}

// A former is an earlier ring, whose owners are asked until a time of the node's
// clock.
type former struct {
	ring    *consistenthash.Ring
	members []*member // as ring.Nodes() has them
	until   int64
	made    bool // it never was in force here: a newcomer's, of all the others
}

const (
	// formersMost is how many earlier rings are kept: when nodes are replaced one
	// after another, each change of the ring comes before the one before is forgotten.
	formersMost = 6

	// formerAsks is how many nodes a load asks for what they may still have.
	formerAsks = 2
)

// owner returns the owner of the key with the given hash; nil if there is none.
func (p *placement) owner(hash uint64) *member {
	if i := p.ring.Owner(hash); i >= 0 {
		return p.members[i]
	}
	return nil
}

// owns reports whether this node owns the key with the given hash.
func (p *placement) owns(hash uint64) bool {
	return p.self >= 0 && p.ring.Owner(hash) == p.self
}

// handingOver reports whether the ring has changed lately.
func (p *placement) handingOver(now int64) bool {
	return slices.ContainsFunc(p.formers, func(f former) bool { return now < f.until })
}

// previousOwners appends to the members that owned the key in earlier views, if they
// are others and may still be asked: the last one first, each once.
func (p *placement) previousOwners(to []*member, hash uint64, now int64) []*member {
	for i := range p.formers {
		f := &p.formers[i]
		at := f.ring.Owner(hash)
		if now >= f.until || at < 0 || f.members[at].self || slices.Contains(to, f.members[at]) {
			continue
		}
		if to = append(to, f.members[at]); len(to) == formerAsks {
			break
		}
	}
	return to
}

// epochOf hashes what decides where keys are: the owners' IDs and weights, and
// the version of the ring. Clients, zones, addresses and health are not in it.
func epochOf(nodes []consistenthash.Node) uint64 {
	d := xxhash.New()
	var num [8]byte
	binary.LittleEndian.PutUint64(num[:], consistenthash.Version)
	_, _ = d.Write(num[:])
	for _, n := range nodes { // sorted by ID: the ring keeps them so
		_, _ = d.WriteString(n.ID)
		binary.LittleEndian.PutUint64(num[:], math.Float64bits(n.Weight))
		_, _ = d.Write(append(num[:], 0))
	}
	return d.Sum64()
}

// normalise fills in a peer's defaults and checks it.
func (p Peer) normalise() (Peer, error) {
	if p.Addr == "" && p.ID == "" {
		return p, peerErrorf(p, "a peer has neither ID nor Addr: give it the address that it listens on")
	}
	setDefault(&p.ID, p.Addr)
	setDefault(&p.Role, RoleNode)
	setDefault(&p.Weight, 1)
	if p.Role != RoleNode && p.Role != RoleClient {
		return p, peerErrorf(p, "peer %s: role is %q: use %q or %q", p.ID, p.Role, RoleNode, RoleClient)
	}
	if !(p.Weight > 0 && p.Weight <= MaxWeight) {
		return p, peerErrorf(p, "peer %s: weight is %v: use a positive number, at most %v", p.ID, p.Weight, MaxWeight)
	}
	if len(p.ID) > maxIDBytes || strings.ContainsAny(p.ID, " \r\n\t") {
		return p, peerErrorf(p, "peer ID %q: use at most %d bytes without white space", abbreviate(p.ID), maxIDBytes)
	}
	return p, nil
}

// scheme splits an address into its scheme, empty if it has none, and the rest.
func scheme(addr string) (name, rest string) {
	if name, rest, ok := strings.Cut(addr, "://"); ok {
		return name, rest
	}
	return "", addr
}

// normaliseView checks a view and sorts it by ID.
func normaliseView(peers []Peer) ([]Peer, error) {
	out := make([]Peer, 0, len(peers))
	for _, p := range peers {
		p, err := p.normalise()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	for i := 1; i < len(out); i++ {
		if out[i].ID == out[i-1].ID {
			return nil, peerErrorf(out[i], "peer %s is in the view twice: IDs must differ", out[i].ID)
		}
	}
	return out, nil
}

// buildRing makes the ring of a view's members. If they do not fit it, that is the
// fault of the heaviest one, this node aside: without enough of those they will.
func buildRing(members []*member) (*consistenthash.Ring, []*member, error) {
	nodes := make([]consistenthash.Node, 0, len(members))
	byID := make(map[string]*member, len(members))
	for _, m := range members {
		nodes = append(nodes, consistenthash.Node{ID: m.peer.ID, Weight: m.peer.Weight})
		byID[m.peer.ID] = m
	}
	ring, err := consistenthash.New(nodes, consistenthash.Config{})
	if err != nil {
		var worst *member
		for _, m := range members {
			if !m.self && (worst == nil || cmp.Or(cmp.Compare(m.peer.Weight, worst.peer.Weight), strings.Compare(m.peer.ID, worst.peer.ID)) > 0) {
				worst = m
			}
		}
		if worst != nil {
			return nil, nil, peerErrorf(worst.peer, "peer %s, with the weight %v: %w", worst.peer.ID, worst.peer.Weight, err)
		}
		return nil, nil, fmt.Errorf("geecache: view: %w", err)
	}
	ordered := make([]*member, 0, len(members))
	for _, n := range ring.Nodes() {
		ordered = append(ordered, byID[n.ID])
	}
	return ring, ordered, nil
}
