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
				if d.readStatus(ctx, &again) == nil && again.status != nil {
					p.status = again.status
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
	inside := slices.DeleteFunc(slices.Clone(well), func(p *patient) bool { return p.outside })
	return append(findings, lookAtRing(inside)...)
}

// lookAtRing says who has another ring than most.
func lookAtRing(well []*patient) []finding {
	if len(well) == 0 {
		return nil
	}
	by := make(map[string][]*patient)
	for _, p := range well {
		by[p.status.Epoch] = append(by[p.status.Epoch], p)
	}
	epochs := slices.Sorted(maps.Keys(by))
	most := slices.MaxFunc(epochs, func(a, b string) int { return len(by[a]) - len(by[b]) })
	if len(epochs) == 1 {
		return []finding{{"ring", "", findOK, fmt.Sprintf("%d nodes, and all agree (epoch %s)", len(nodesOf(&by[most][0].status.memberStatus)), most), ""}}
	}
	var findings []finding
	theirs := nodesOf(&by[most][0].status.memberStatus)
	for _, epoch := range epochs {
		if epoch == most {
			continue
		}
		for _, p := range by[epoch] {
			var differs []string
			own := nodesOf(&p.status.memberStatus)
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
			findings = append(findings, finding{"ring", p.id, findFault,
				fmt.Sprintf("its ring is not that of %s: %s", by[most][0].id, strings.Join(differs, ", ")),
				"give all nodes the same --peers, or the same --registry"})
		}
	}
	return findings
}

// lookAtLinks says who does not reach whom, of those that this machine reaches.
func lookAtLinks(well []*patient) (findings []finding) {
	known := make(map[string]bool)
	for _, p := range well {
		known[p.id] = true
	}
	for _, p := range well {
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

// oldView is how old a view may be. Registries confirm theirs every few seconds.
const oldView = 30 * time.Second

// lookAtRegistry says what is wrong with the nodes' registry, once for all of them.
func (d *doctor) lookAtRegistry(well []*patient) (findings []finding) {
	if slices.ContainsFunc(d.findings, func(f finding) bool { return f.Check == "registry" && f.Status == findFault }) {
		return nil // it has been told
	}
	failing := make(map[string][]*patient)
	var fine []string
	for _, p := range well {
		r := p.status.Registry
		switch {
		case r == nil:
		case r.Error != "" && !(r.Error == registry.ErrEmpty.Error() && len(well) == 1): // one alone in a gossip
			failing[r.URL] = append(failing[r.URL], p)
		case r.AgeSeconds > oldView.Seconds():
			r.Error = fmt.Sprintf("its last answer is %.0f s old", r.AgeSeconds)
			failing[r.URL] = append(failing[r.URL], p)
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
