package judge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/internal/envbench/result"
)

// How many nodes are added and taken away, and of how many keys the owners are compared.
const (
	moreNodes = 2
	ringKeys  = 10_000
)

func scaleTest() test {
	return test{
		id: "scale", title: "Scaling out and in under load",
		method: fmt.Sprintf("From the order to have %d nodes more until all have one ring, and from the order to have as many fewer until those have ended and the others "+
			"have one ring, with %d requests a second meanwhile. Of %d keys, the owners before and after are compared, by the ring that nodes have.", moreNodes, loadRate, ringKeys),
		run: scale,
	}
}

// scale measures scaling out and in.
func scale(ctx context.Context, s *session, t *result.Test) error {
	if _, err := s.up(ctx); err != nil {
		return err
	}
	from := s.Deployment.Nodes
	return s.repeat(ctx, "scaling out and in", func(ctx context.Context, count bool) error {
		for _, way := range []struct {
			name  string
			nodes int
		}{{"out", from + moreNodes}, {"in", from}} {
			if err := s.scaleOnce(ctx, t, way.name, way.nodes, count); err != nil {
				return fmt.Errorf("%s to %d nodes: %w", way.name, way.nodes, err)
			}
		}
		return nil
	})
}

// scaleOnce changes the number of nodes once, under load.
func (s *session) scaleOnce(ctx context.Context, t *result.Test, way string, nodes int, count bool) error {
	before, err := s.driver.Status(ctx, s.Deployment.Name)
	if err != nil {
		return err
	}
	load, err := s.startLoad(ctx, before.API)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop() }() // at the latest
	begun := time.Now()
	after, err := s.driver.Scale(ctx, s.Deployment.Name, nodes)
	took := time.Since(begun)
	if err != nil {
		return err
	}
	sent, err := load.stop()
	if err != nil {
		return err
	}
	moved, least, err := keysMoved(before.Nodes(), after.Nodes())
	if err != nil || !count {
		return err
	}
	total := t.Add(way+"/total", "s", took.Seconds())
	total.Warmups = 1
	addLoad(total, sent)
	addStages(t, way+"/stage/", after.Stages)
	t.Add(way+"/keys-moved", "share", moved)
	t.Add(way+"/keys-minimum", "share", least)
	c := t.AddCount(way+"/failed", int(sent.Failed))
	if why := failures(sent); why != "" && c.Note == "" {
		c.Note = why
	}
	return nil
}

// keysMoved returns which share of a fixed set of keys has another owner after than before,
// and the least share that has to: what new nodes get, or what those have had that have
// gone, if every node has the same share. Nodes that are on both sides may keep the rest.
func keysMoved(before, after []string) (moved, least float64, err error) {
	old, err := ringOf(before)
	if err != nil {
		return 0, 0, err
	}
	now, err := ringOf(after)
	if err != nil {
		return 0, 0, err
	}
	n := 0
	for i := range ringKeys {
		key := fmt.Sprintf("user:%d", i)
		if old.Get(key) != now.Get(key) {
			n++
		}
	}
	stay := 0
	for _, id := range before {
		if slices.Contains(after, id) {
			stay++
		}
	}
	return float64(n) / ringKeys, 1 - float64(stay)/float64(max(len(before), len(after), 1)), nil
}

// ringOf returns the ring that nodes of these IDs have, as they compute it.
func ringOf(ids []string) (*consistenthash.Ring, error) {
	var nodes []consistenthash.Node
	for _, id := range ids {
		nodes = append(nodes, consistenthash.Node{ID: id})
	}
	return consistenthash.New(nodes, consistenthash.Config{})
}
