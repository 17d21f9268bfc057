package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
	"github.com/geecache/geecache/registry"
)

// examineViews looks whether the nodes agree on the ring, reach each other, and
// follow a registry that answers. What is not so at once may still become so.
func (d *doctor) examineViews(ctx context.Context, well []*patient) {
	var findings []finding
	for deadline := time.Now().Add(settleWithin); ; {
		findings = d.lookAtViews(well)
		wrong := slices.ContainsFunc(findings, func(f finding) bool { return f.Status != findOK })
		if !wrong || time.Now().After(deadline) {
			break
		}
		t := time.NewTimer(10 * lookEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		var wg sync.WaitGroup
		for _, p := range well {
			wg.Go(func() {
				again := *p
				look := d.readStatus
				if p.status == nil {
					look = d.shakeHands
				}
				if look(ctx, &again) == nil {
					p.status, p.epoch = again.status, again.epoch
				}
			})
		}
		wg.Wait()
	}
	for _, f := range findings {
		d.find(f)
	}
}

// lookAtViews compares what the nodes say now.
func (d *doctor) lookAtViews(well []*patient) []finding {
	findings := append(d.lookAtRegistry(well), lookAtLinks(well)...)
	inside := slices.DeleteFunc(slices.Clone(well), func(p *patient) bool { return p.outside || p.epoch == "" })
	rings := lookAtRing(inside)
	if len(rings) == 1 && rings[0].Status == findOK {
		if f := d.wanted.compare(inside); f != nil {
			rings = append(rings, *f)
		}
	}
	return append(findings, rings...)
}

// A wantedRing is the ring of a list of peers in a node's flags.
type wantedRing struct {
	id    string // of the node
	nodes map[string]bool
}

func newWantedRing(cfg *node.Config) *wantedRing {
	if len(cfg.Peers) == 0 {
		return nil
	}
	w := &wantedRing{id: cfg.ID, nodes: map[string]bool{cfg.ID: cfg.Role == geecache.RoleNode}}
	for _, p := range cfg.Peers {
		if p.ID != cfg.ID {
			w.nodes[p.ID] = true
		}
	}
	return w
}

// compare says what the node would have different from those that run, which agree.
func (w *wantedRing) compare(well []*patient) *finding {
	i := slices.IndexFunc(well, func(p *patient) bool { return p.status != nil })
	if w == nil || i < 0 {
		return nil
	}
	theirs := nodesOf(&well[i].status.memberStatus)
	var differs []string
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		if !w.nodes[id] {
			differs = append(differs, id+" is missing")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		if w.nodes[id] && theirs[id] == nil {
			differs = append(differs, id+" is there besides")
		}
	}
	if differs == nil {
		return nil
	}
	return &finding{"ring", w.id, findFault, fmt.Sprintf("the ring of these --peers is not that of %s: %s", well[i].id, strings.Join(differs, ", ")),
		"give all nodes the same --peers, or the same --registry"}
}

// lookAtRing says who has another ring than most.
func lookAtRing(well []*patient) []finding {
	if len(well) == 0 {
		return nil
	}
	by := make(map[string][]*patient)
	for _, p := range well {
		by[p.epoch] = append(by[p.epoch], p)
	}
	epochs := slices.Sorted(maps.Keys(by))
	most := slices.MaxFunc(epochs, func(a, b string) int { return len(by[a]) - len(by[b]) })
	told := func(p *patient) bool { return p.status != nil }
	like := by[most][0] // who shows what the ring of most is, if anybody does
	if i := slices.IndexFunc(by[most], told); i >= 0 {
		like = by[most][i]
	}
	if len(epochs) == 1 {
		text := fmt.Sprintf("all agree (epoch %s)", most)
		if told(like) {
			text = fmt.Sprintf("%d nodes, and %s", len(nodesOf(&like.status.memberStatus)), text)
		}
		return []finding{{"ring", "", findOK, text, ""}}
	}
	var findings []finding
	for _, epoch := range epochs {
		if epoch == most {
			continue
		}
		for _, p := range by[epoch] {
			differs := fmt.Sprintf("its epoch is %s, not %s", epoch, most)
			if told(p) && told(like) {
				differs = differences(nodesOf(&p.status.memberStatus), nodesOf(&like.status.memberStatus))
			}
			findings = append(findings, finding{"ring", p.id, findFault, fmt.Sprintf("its ring is not that of %s: %s", like.id, differs),
				"give all nodes the same --peers, or the same --registry"})
		}
	}
	return findings
}

// differences says what one ring has different from another.
func differences(own, theirs map[string]*geecache.PeerStats) string {
	var differs []string
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		if own[id] == nil {
			differs = append(differs, id+" is missing")
		} else if own[id].Weight != theirs[id].Weight {
			differs = append(differs, id+" has another weight")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(own)) {
		if theirs[id] == nil {
			differs = append(differs, id+" is there besides")
		}
	}
	return strings.Join(differs, ", ")
}

// lookAtLinks says who does not reach whom, of those that this machine reaches.
func lookAtLinks(well []*patient) (findings []finding) {
	known := make(map[string]bool)
	for _, p := range well {
		known[p.id] = true
	}
	for _, p := range well {
		if p.status == nil {
			continue
		}
		for id, peer := range nodesOf(&p.status.memberStatus) {
			if !known[id] || id == p.id || peer.State == "up" || peer.State == "self" {
				continue
			}
			findings = append(findings, finding{"link", p.id, findFault,
				fmt.Sprintf("it does not reach %s (%s): %s", id, peer.State, peer.LastError),
				"open the way between the two machines; compare their secrets and cluster IDs"})
		}
	}
	slices.SortFunc(findings, func(a, b finding) int { return strings.Compare(a.Subject+a.Text, b.Subject+b.Text) })
	return findings
}

// How old a view may be. Registries confirm theirs every few seconds, unless they are
// told to take longer: a view of lateView may come of either, one of oldView is a fault.
const (
	lateView = 10 * time.Second
	oldView  = 30 * time.Second
)

// lookAtRegistry says what is wrong with the nodes' registry, once for all of them.
func (d *doctor) lookAtRegistry(well []*patient) (findings []finding) {
	if slices.ContainsFunc(d.findings, func(f finding) bool { return f.Check == "registry" && f.Status == findFault }) {
		return nil // it has been told
	}
	failing := make(map[string][]*patient)
	var fine []string
	for _, p := range well {
		if p.status == nil {
			continue
		}
		r := p.status.Registry
		switch {
		case r == nil:
		case r.Error != "" && !(r.Error == registry.ErrEmpty.Error() && len(well) == 1): // one alone in a gossip
			failing[r.URL] = append(failing[r.URL], p)
		case r.AgeSeconds > oldView.Seconds():
			r.Error = fmt.Sprintf("its last answer is %.0f s old", r.AgeSeconds)
			failing[r.URL] = append(failing[r.URL], p)
		case r.AgeSeconds > lateView.Seconds():
			findings = append(findings, finding{"registry", p.id, findUnknown, fmt.Sprintf("the last answer of %s is %.0f s old", r.URL, r.AgeSeconds),
				"see whether it hangs; if it is only asked so seldom (?interval=), all is well"})
		case !r.Registered && p.status.Role == geecache.RoleNode && slices.Contains([]string{"etcd", "gossip", "cloudmap"}, r.Kind):
			findings = append(findings, finding{"registry", p.id, findFault, "it has not entered itself in " + r.URL + ": others do not find it",
				"see its log: it may lack the right to write"})
		default:
			fine = append(fine, p.id)
		}
	}
	for _, url := range slices.Sorted(maps.Keys(failing)) {
		var ids []string
		for _, p := range failing[url] {
			ids = append(ids, p.id)
		}
		text, remedy := failing[url][0].status.Registry.Error, "start it, or open the way to it; the nodes keep the view that they have"
		if isPermission(fmt.Errorf("%s", text)) {
			remedy = "give the nodes the right to read and to enter members, or correct their credentials"
		}
		findings = append(findings, finding{"registry", url, findFault, fmt.Sprintf("%s get no answer: %s", strings.Join(ids, ", "), text), remedy})
	}
	if len(fine) > 0 && len(failing) == 0 {
		findings = append(findings, finding{"registry", "", findOK, fmt.Sprintf("it answers %d nodes", len(fine)), ""})
	}
	return findings
}
