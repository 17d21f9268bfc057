package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/geecache"
)

const ringLong = `ring shows the consistent-hash ring as a node sees it: who is on it, in what
state, and with which share of the keys. For each KEY it names the owner, and
the stand-ins that answer in their order while the owner cannot.

It asks every node for its view: while their epochs differ, they do not agree
on who owns what, and the exit status is 1.`

const ringExample = `  geecache ring
  geecache ring Tom Jack Sam
  geecache ring --addr 127.0.0.1:8001 --json`

// ringSamples is how many places of the ring are looked at to measure shares.
const ringSamples = 1 << 18

// ringStandIns is how many stand-ins of a key are named.
const ringStandIns = 2

// newRingCommand returns `geecache ring`.
func newRingCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "ring [KEY...]",
		Short:   "Show who is on the ring, and who owns which key",
		Long:    ringLong,
		Example: ringExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRing(cmd.Context(), &f, args, cmd.OutOrStdout())
		},
	}
	f.register(cmd, 5*time.Second)
	return cmd
}

// A ringView is the ring as one node sees it, with what the others say.
type ringView struct {
	Asked string     `json:"asked"` // the node whose view it is
	Epoch string     `json:"epoch"`
	Agree bool       `json:"agree"` // all that answer have the same epoch
	Nodes []ringNode `json:"nodes"`
	Keys  []ringKey  `json:"keys,omitempty"`
}

// A ringNode is one member of the cluster.
type ringNode struct {
	ID     string        `json:"id"`
	Addr   string        `json:"addr"`
	Role   geecache.Role `json:"role"`
	Zone   string        `json:"zone,omitempty"`
	Weight float64       `json:"weight,omitempty"`
	Link   string        `json:"link"`            // of the asked node to this one
	State  string        `json:"state,omitempty"` // as it says itself
	Epoch  string        `json:"epoch,omitempty"` // as it says itself
	Share  float64       `json:"share"`           // of the keys, 0 to 1
	Error  string        `json:"error,omitempty"`
}

// A ringKey is a key with who answers for it.
type ringKey struct {
	Key       string   `json:"key"`
	KeyBase64 []byte   `json:"key_base64,omitempty"`
	Owner     string   `json:"owner"`
	StandIns  []string `json:"stand_ins"`
}

func runRing(ctx context.Context, f *clientFlags, keys []string, out io.Writer) error {
	c, err := f.client()
	if err != nil {
		return failed(err)
	}
	reports, err := c.cluster(ctx)
	if err != nil {
		return failed(err)
	}
	v, err := newRingView(reports, keys)
	if err != nil {
		return failed(err)
	}
	if f.json {
		err = json.NewEncoder(out).Encode(v)
	} else {
		_, err = io.WriteString(out, v.text(paletteFor(out)))
	}
	if err != nil {
		return failed(err)
	}
	if !v.Agree {
		return &clientError{err: errors.New("the nodes do not agree on the ring: their epochs differ"), code: 1}
	}
	return nil
}

// newRingView makes the ring of the first report's view.
func newRingView(reports []nodeReport, keys []string) (*ringView, error) {
	self := reports[0].Status
	v := &ringView{Asked: self.ID, Epoch: self.Epoch, Agree: true}
	said := make(map[string]*nodeReport, len(reports))
	for i := range reports {
		r := &reports[i]
		said[r.ID] = r
		if r.Status != nil && r.Status.Epoch != self.Epoch {
			v.Agree = false
		}
	}
	ring, err := ringOf(&self.NodeStats)
	if err != nil {
		return nil, err
	}
	shares := sharesOf(ring)
	addSelf := true
	for i := range self.Peers {
		p := &self.Peers[i]
		addSelf = addSelf && p.ID != self.ID
		v.Nodes = append(v.Nodes, newRingNode(p.Peer, p.State, said[p.ID], shares[p.ID]))
	}
	if addSelf {
		me := geecache.Peer{ID: self.ID, Addr: self.Addr, Role: self.Role}
		v.Nodes = append(v.Nodes, newRingNode(me, "self", said[self.ID], 0))
	}
	for _, key := range keys {
		v.Keys = append(v.Keys, newRingKey(ring, key))
	}
	return v, nil
}

// ringOf makes the ring that a node has made of its view.
func ringOf(s *geecache.NodeStats) (*consistenthash.Ring, error) {
	var nodes []consistenthash.Node
	for i := range s.Peers {
		if p := &s.Peers[i]; p.Role != geecache.RoleClient {
			nodes = append(nodes, consistenthash.Node{ID: p.ID, Weight: p.Weight})
		}
	}
	ring, err := consistenthash.New(nodes, consistenthash.Config{})
	if err != nil {
		return nil, fmt.Errorf("the view of %s makes no ring: %w", s.ID, err)
	}
	return ring, nil
}

// sharesOf measures each node's share of the keys, by looking at many places at
// the same distance.
func sharesOf(ring *consistenthash.Ring) map[string]float64 {
	shares := make(map[string]float64, ring.Len())
	if ring.Len() == 0 {
		return shares
	}
	counts := make([]int, ring.Len())
	const step = math.MaxUint64/ringSamples + 1
	for i := range uint64(ringSamples) {
		counts[ring.Owner(i*step+step/2)]++
	}
	for i, n := range ring.Nodes() {
		shares[n.ID] = float64(counts[i]) / ringSamples
	}
	return shares
}

func newRingNode(p geecache.Peer, link string, r *nodeReport, share float64) ringNode {
	n := ringNode{ID: p.ID, Addr: p.Addr, Role: p.Role, Zone: p.Zone, Weight: p.Weight, Link: link, Share: share}
	switch {
	case r == nil:
	case r.Status == nil:
		n.Error = r.Error
	default:
		n.State, n.Epoch = r.Status.State, r.Status.Epoch
	}
	return n
}

func newRingKey(ring *consistenthash.Ring, key string) ringKey {
	k := ringKey{Key: key, StandIns: []string{}}
	if !utf8.ValidString(key) {
		k.KeyBase64 = []byte(key)
	}
	if names := ring.GetN(key, 1+ringStandIns); len(names) > 0 {
		k.Owner, k.StandIns = names[0], names[1:]
	}
	return k
}

// text draws the view.
func (v *ringView) text(p palette) string {
	var b strings.Builder
	t := newTable(3)
	t.head(p, "NODE", "ROLE", "STATE", "SHARE", "")
	var others []string
	for i := range v.Nodes {
		n := &v.Nodes[i]
		share, bars := "-", ""
		if n.Role != geecache.RoleClient {
			share, bars = fmt.Sprintf("%.1f%%", 100*n.Share), bar(n.Share, 30)
		}
		t.row(n.name(), string(n.Role), n.stateText(p), share, bars)
		if n.Epoch != "" && n.Epoch != v.Epoch {
			others = append(others, fmt.Sprintf("%s has %s", n.ID, n.Epoch))
		}
	}
	t.write(&b)
	fmt.Fprintf(&b, "\nepoch %s, as %s sees it: ", v.Epoch, v.Asked)
	if v.Agree {
		b.WriteString(p.green("all that answer agree") + "\n")
	} else {
		b.WriteString(p.red("the nodes do not agree") + ": " + strings.Join(others, ", ") + "\n")
	}
	if len(v.Keys) > 0 {
		b.WriteString("\n")
		keys := newTable()
		keys.head(p, "KEY", "OWNER", "STAND-INS")
		for i := range v.Keys {
			k := &v.Keys[i]
			keys.row(keyText(k.Key), k.Owner, strings.Join(k.StandIns, ", "))
		}
		keys.write(&b)
	}
	return b.String()
}

// name is the node's ID, with its address if that is another.
func (n *ringNode) name() string {
	if n.Addr == "" || n.Addr == n.ID {
		return n.ID
	}
	return n.ID + " (" + n.Addr + ")"
}

// stateText tells the node's own state, and what the asked node makes of it
// where that differs.
func (n *ringNode) stateText(p palette) string {
	if n.Error != "" {
		return p.red(n.Error)
	}
	text := p.state(n.State)
	switch n.Link {
	case "up", "self", "client", "":
	default:
		text += " (" + p.state(n.Link) + ")"
	}
	return text
}
