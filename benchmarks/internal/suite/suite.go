// Package suite holds what is measured: one file a suite, each with its
// subjects (ours and the peers') behind one small interface. It takes single
// measurements; who repeats them, and in which order, is package driver's.
package suite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/result"
)

// Ours is the name of our subject in every suite.
const Ours = "geecache"

// TracesVariable is the environment's variable that names the directory of
// recorded traces.
const TracesVariable = "GEECACHE_TRACES"

// A Scale says how thorough a measurement is.
type Scale struct {
	Window time.Duration `json:"window"` // of one timed measurement
	Small  bool          `json:"small"`  // tiny sizes, to see that everything works
	Traces string        `json:"traces"` // directory of recorded traces; empty: none
}

// Full is the scale of results that are kept.
func Full(traces string) Scale { return Scale{Window: 250 * time.Millisecond, Traces: traces} }

// Smoke is the scale of a test.
func Smoke(traces string) Scale {
	return Scale{Window: 5 * time.Millisecond, Small: true, Traces: traces}
}

// pick returns the size for a full measurement or, at a small scale, for a test.
func (s Scale) pick(full, small int) int {
	if s.Small {
		return small
	}
	return full
}

// points returns the points of a curve; at a small scale only the first two.
func (s Scale) points(unit string, ns ...int) []Point {
	if s.Small && len(ns) > 2 {
		ns = ns[:2]
	}
	var ps []Point
	for _, n := range ns {
		ps = append(ps, Point{Name: fmt.Sprintf("%s=%d", unit, n), N: n})
	}
	return ps
}

// A Suite is a list of groups.
type Suite struct {
	Name  string
	Title string
	Notes []string // settings that a reader of the results has to know

	// Servers are the programs of the system that it compares with.
	Servers []string

	// Versions returns those of what else it measures; nil: there is nothing.
	Versions func() []result.Module

	// Ready says why the suite cannot be run here; nil: it always can.
	Ready func() error

	Groups func(Scale) []Group
}

// A Group holds what is compared with each other.
type Group struct {
	Name, Title string
	Axis        string   // what Point.N counts, if the points are a curve
	Units       []string // of the Values; the first one is compared
	Points      []Point
	Subjects    []Subject

	// Fresh: each measurement has a process of its own. Otherwise a subject
	// has one for all points and repetitions.
	Fresh bool

	// Untimed: no clock is read, so that subjects can be measured at once.
	Untimed bool

	// Reps bounds the repetitions of figures that hardly vary; PeerReps those
	// of all subjects but the first. 0: no bound.
	Reps, PeerReps int
}

// A Point is one setting of a group.
type Point struct {
	Name string // empty, if the group has only one
	N    int
}

// one is the points of a group that is no curve.
func one() []Point { return []Point{{}} }

// A Subject is something that is measured.
type Subject struct {
	Name string
	New  func(ctx context.Context, s Scale) (Measurer, error)
}

// A Measurer measures a subject, in a process that others do not share.
type Measurer interface {
	Measure(ctx context.Context, p Point) (Values, error)
	Close() error
}

// Values are what a measurement found, by unit.
type Values map[string]float64

// MeasureFunc is a Measurer that has nothing to close.
type MeasureFunc func(ctx context.Context, p Point) (Values, error)

// Measure calls f.
func (f MeasureFunc) Measure(ctx context.Context, p Point) (Values, error) { return f(ctx, p) }

// Close does nothing.
func (f MeasureFunc) Close() error { return nil }

// All returns every suite, in the order in which they run.
func All() []Suite {
	return []Suite{engine(), group(), hop(), wire(), latency(), api(), heap(), limit(), gc(), ring(), hitRatio(), registrySuite()}
}

// Find returns the suite of a name.
func Find(name string) (Suite, error) {
	all := All()
	i := slices.IndexFunc(all, func(s Suite) bool { return s.Name == name })
	if i < 0 {
		return Suite{}, fmt.Errorf("no suite %q: use %v", name, Names())
	}
	return all[i], nil
}

// Names returns the names of all suites.
func Names() []string {
	var names []string
	for _, s := range All() {
		names = append(names, s.Name)
	}
	return names
}
