package gossip

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// said is what a member says of itself. Names are short, because the gossip
// carries 512 bytes at most.
type said struct {
	Cluster  string            `json:"c"`
	ID       string            `json:"i,omitempty"` // empty: it only listens
	Addr     string            `json:"a,omitempty"` // left out if it is the ID
	Role     geecache.Role     `json:"r,omitempty"`
	Zone     string            `json:"z,omitempty"`
	Weight   float64           `json:"w,omitempty"`
	Metadata map[string]string `json:"m,omitempty"`
	Begun    string            `json:"b"` // the gossip's own name, which begins with the time that it began
}

// encode returns what the gossip carries of a member.
func encode(cluster string, m registry.Member, begun string) ([]byte, error) {
	s := said{Cluster: cluster, ID: m.ID, Addr: m.Addr, Role: m.Role, Zone: m.Zone, Weight: m.Weight, Metadata: m.Metadata, Begun: begun}
	if s.ID == "" {
		s.ID = m.Addr
	}
	if s.Addr == s.ID {
		s.Addr = ""
	}
	if s.Role == geecache.RoleNode {
		s.Role = ""
	}
	if s.Weight == 1 {
		s.Weight = 0
	}
	texts := []string{cluster, m.ID, m.Addr, string(m.Role), m.Zone}
	texts = slices.AppendSeq(texts, maps.Keys(m.Metadata))
	texts = slices.AppendSeq(texts, maps.Values(m.Metadata))
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("gossip: the member's %q is not UTF-8: use text", text)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // "<" would take six bytes
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("gossip: the member %q: %w", m.ID, err)
	}
	meta := bytes.TrimSpace(b.Bytes())
	if len(meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip: the member %.40q takes %d bytes, and the gossip carries %d: shorten its ID, zone or metadata",
			m.ID, len(meta), memberlist.MetaMaxSize)
	}
	return meta, nil
}

// decode reads what encode made, or what somebody claims to be that.
func decode(meta []byte) (said, error) {
	var s said
	err := json.Unmarshal(meta, &s)
	return s, err
}

func (s said) member() registry.Member {
	p := geecache.Peer{ID: s.ID, Addr: cmp.Or(s.Addr, s.ID), Role: cmp.Or(s.Role, geecache.RoleNode), Zone: s.Zone, Weight: cmp.Or(s.Weight, 1)}
	return registry.Member{Peer: p, Metadata: s.Metadata}
}

// compare orders by ID, and by when a member began.
func (s said) compare(o said) int {
	return cmp.Or(strings.Compare(s.ID, o.ID), strings.Compare(s.Begun, o.Begun))
}
