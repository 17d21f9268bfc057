package suite

import (
	"context"
	"fmt"
	"slices"
	"time"

	theirs "github.com/golang/groupcache/consistenthash"

	"github.com/geecache/geecache/consistenthash"
)

// ring measures how keys are placed on nodes.
func ring() Suite {
	return Suite{
		Name:  "ring",
		Title: "Ring: balance, lookup, building",
		Notes: []string{
			"Nodes are called 10.0.0.1:8001, 10.0.0.2:8001, ...; keys user:0, user:1, ... Balance: 1,000,000 keys on up to 100 nodes, 1000 for each node beyond; the fullest node's keys divided by the mean.",
			"geecache: 4096 points a node (its default), xxhash64. groupcache: 50 points a node and CRC-32, the defaults of its HTTPPool.",
		},
		Groups: func(s Scale) []Group {
			points := s.points("nodes", 3, 10, 30, 100, 300, 1000)
			subjects := func(measure func(s Scale, nodes []string, build ringBuilder) (Values, error)) []Subject {
				var list []Subject
				for _, r := range []struct {
					name  string
					build ringBuilder
				}{{Ours, buildOurs}, {"groupcache", buildTheirs}} {
					list = append(list, Subject{r.name, func(_ context.Context, s Scale) (Measurer, error) {
						return MeasureFunc(func(_ context.Context, p Point) (Values, error) {
							return measure(s, nodeNames(p.N), r.build)
						}), nil
					}})
				}
				return list
			}
			return []Group{
				{Name: "balance", Title: "Keys of the fullest node : mean", Axis: "nodes", Units: []string{"max/mean"}, Points: points, Subjects: subjects(measureBalance), Untimed: true, Reps: 1},
				{Name: "lookup", Title: "Finding a key's owner", Axis: "nodes", Units: []string{"ns/op"}, Points: points, Subjects: subjects(measureLookup)},
				{Name: "build", Title: "Building the ring", Axis: "nodes", Units: []string{"ms"}, Points: points, Subjects: subjects(measureBuild), Reps: 5},
			}
		},
	}
}

// A ringBuilder builds a ring and returns its lookup.
type ringBuilder func(nodes []string) (owner func(key string) string, err error)

func buildOurs(nodes []string) (func(string) string, error) {
	list := make([]consistenthash.Node, len(nodes))
	for i, id := range nodes {
		list[i].ID = id
	}
	r, err := consistenthash.New(list, consistenthash.Config{})
	if err != nil {
		return nil, err
	}
	return r.Get, nil
}

func buildTheirs(nodes []string) (func(string) string, error) {
	m := theirs.New(50, nil)
	m.Add(nodes...)
	return m.Get, nil
}

func nodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("10.0.%d.%d:8001", i/250, i%250+1)
	}
	return names
}

func userKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	return keys
}

func measureBalance(s Scale, nodes []string, build ringBuilder) (Values, error) {
	owner, err := build(nodes)
	if err != nil {
		return nil, err
	}
	n := s.pick(max(1_000_000, 1000*len(nodes)), 10_000)
	counts := make(map[string]int, len(nodes))
	for i := range n {
		counts[owner(fmt.Sprintf("user:%d", i))]++
	}
	most := 0
	for _, c := range counts {
		most = max(most, c)
	}
	return Values{"max/mean": float64(most) * float64(len(nodes)) / float64(n)}, nil
}

func measureLookup(s Scale, nodes []string, build ringBuilder) (Values, error) {
	owner, err := build(nodes)
	if err != nil {
		return nil, err
	}
	keys := userKeys(s.pick(1<<16, 1<<10))
	rounds, begun, window := 0, time.Now(), s.Window/5
	for time.Since(begun) < window {
		for _, key := range keys {
			owner(key)
		}
		rounds++
	}
	return Values{"ns/op": float64(time.Since(begun).Nanoseconds()) / float64(rounds*len(keys))}, nil
}

func measureBuild(_ Scale, nodes []string, build ringBuilder) (Values, error) {
	var times []time.Duration
	for range 3 {
		begun := time.Now()
		if _, err := build(nodes); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun))
	}
	return Values{"ms": slices.Min(times).Seconds() * 1000}, nil
}
