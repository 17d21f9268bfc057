// Package driver repeats measurements: it takes the subjects of a point in
// turns, A B A B, so that what disturbs the machine for a while disturbs them
// all. What a measurement is, it leaves to package suite.
package driver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/benchmarks/internal/suite"
	"github.com/geecache/geecache/internal/machine"
)

// A Config says how a suite is run.
type Config struct {
	Dir   string // of this module, in the repository whose commit is measured
	Scale suite.Scale
	Reps  int
	// Only names the groups to run; empty: all. Results of some groups alone
	// are not fit to be kept.
	Only []string
	// Progress is told what is being measured; nil: nobody.
	Progress func(Step)
}

// A Step is one measurement that is about to be taken.
type Step struct {
	Suite, Group, Point, Subject string
	Done, All                    int // measurements
}

// peers returns the modules whose versions results tell.
func peers() []string {
	return []string{
		"github.com/golang/groupcache", "github.com/maypok86/otter/v2", "github.com/dgraph-io/ristretto/v2",
		"github.com/Yiling-J/theine-go", "github.com/hashicorp/golang-lru/v2", "github.com/coocood/freecache",
		"github.com/redis/rueidis", "github.com/redis/go-redis/v9", "github.com/bradfitz/gomemcache",
	}
}

// ErrNotReady: the machine cannot run the suite.
var ErrNotReady = errors.New("cannot be measured here")

// Run runs a suite.
func Run(ctx context.Context, s suite.Suite, cfg Config) (*result.File, error) {
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			return nil, fmt.Errorf("%s %w: %w", s.Name, ErrNotReady, err)
		}
	}
	f := &result.File{
		Suite: s.Name, Title: s.Title, Begun: time.Now().UTC().Truncate(time.Second), Reps: cfg.Reps,
		Machine: machine.This(), Modules: result.Modules(cfg.Dir, peers()...), Notes: s.Notes,
	}
	for _, program := range s.Servers {
		f.Modules = append(f.Modules, server(program))
	}
	if s.Versions != nil {
		f.Modules = append(f.Modules, s.Versions()...)
	}
	f.Load[0] = machine.LoadAverage()
	begun := time.Now()
	groups := chosen(s.Groups(cfg.Scale), cfg.Only)
	if len(groups) == 0 {
		return nil, fmt.Errorf("suite %s has none of the groups %q", s.Name, cfg.Only)
	}
	r := &run{cfg: cfg, suite: s.Name, all: count(groups, cfg.Reps)}
	for _, g := range groups {
		found, err := r.group(ctx, g)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Name, g.Name, err)
		}
		f.Groups = append(f.Groups, found)
	}
	f.Took = time.Since(begun).Round(time.Millisecond)
	f.Load[1] = machine.LoadAverage()
	return f, nil
}

func server(program string) result.Module {
	if program == "redis-server" {
		return result.Server(program, "--version", "v=")
	}
	return result.Server(program, "--version", "")
}

func chosen(groups []suite.Group, only []string) []suite.Group {
	if len(only) == 0 {
		return groups
	}
	var some []suite.Group
	for _, g := range groups {
		for _, name := range only {
			if g.Name == name {
				some = append(some, g)
			}
		}
	}
	return some
}

// turns returns the repetitions of the i-th subject of a group.
func turns(g suite.Group, i, reps int) int {
	if g.Reps > 0 {
		reps = min(reps, g.Reps)
	}
	if i > 0 && g.PeerReps > 0 {
		reps = min(reps, g.PeerReps)
	}
	return reps
}

func count(groups []suite.Group, reps int) int {
	n := 0
	for _, g := range groups {
		for i := range g.Subjects {
			n += turns(g, i, reps) * len(g.Points)
		}
	}
	return n
}

// A run is a suite that is being run.
type run struct {
	cfg   Config
	suite string
	all   int

	mu   sync.Mutex
	done int // guarded by mu
}

// group measures a group's subjects at all points.
func (r *run) group(ctx context.Context, g suite.Group) (found result.Group, err error) {
	found = result.Group{Name: g.Name, Title: g.Title, Axis: g.Axis, Units: g.Units}
	for _, p := range g.Points {
		point := result.Point{Name: p.Name, N: float64(p.N)}
		for _, s := range g.Subjects {
			for _, unit := range g.Units {
				point.Series = append(point.Series, result.Series{Subject: s.Name, Unit: unit})
			}
		}
		found.Points = append(found.Points, point)
	}
	if g.Untimed {
		return found, r.atOnce(ctx, g, &found)
	}
	workers := make([]*suite.Worker, len(g.Subjects))
	defer func() {
		for _, w := range workers {
			if w != nil {
				err = errors.Join(err, w.Close())
			}
		}
	}()
	for rep := range r.cfg.Reps {
		for p := range g.Points {
			for _, i := range order(len(g.Subjects), rep) {
				if rep >= turns(g, i, r.cfg.Reps) {
					continue
				}
				if err := r.measure(ctx, g, &found, p, i, &workers[i]); err != nil {
					return found, err
				}
			}
		}
	}
	return found, nil
}

// order returns who is measured first, second, ...: in every other repetition
// the last one is, so that nobody always follows the same one.
func order(n, rep int) []int {
	is := make([]int, n)
	for i := range is {
		is[i] = i
		if rep%2 == 1 {
			is[i] = n - 1 - i
		}
	}
	return is
}

// measure takes one measurement, of the i-th subject at the p-th point.
func (r *run) measure(ctx context.Context, g suite.Group, found *result.Group, p, i int, w **suite.Worker) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.step(g, p, i)
	subject := g.Subjects[i].Name
	if *w == nil {
		var err error
		if *w, err = suite.StartWorker(ctx, r.cfg.Scale, r.suite, g.Name, subject); err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
	}
	values, err := (*w).Measure(g.Points[p])
	if err != nil {
		return fmt.Errorf("%s: %s: %w", g.Points[p].Name, subject, err)
	}
	if g.Fresh {
		err := (*w).Close()
		*w = nil
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
	}
	return r.record(found, p, subject, values)
}

func (r *run) record(found *result.Group, p int, subject string, values suite.Values) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for j := range found.Points[p].Series {
		s := &found.Points[p].Series[j]
		if s.Subject != subject {
			continue
		}
		v, ok := values[s.Unit]
		if !ok {
			return fmt.Errorf("%s was measured without %s", subject, s.Unit)
		}
		s.Samples = append(s.Samples, v)
	}
	return nil
}

func (r *run) step(g suite.Group, p, i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg.Progress != nil {
		r.cfg.Progress(Step{r.suite, g.Name, g.Points[p].Name, g.Subjects[i].Name, r.done, r.all})
	}
	r.done++
}

// atOnce measures as many at a time as there are processors.
func (r *run) atOnce(ctx context.Context, g suite.Group, found *result.Group) error {
	type job struct{ p, i int }
	jobs := make(chan job)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				var w *suite.Worker
				if err := r.measure(ctx, g, found, j.p, j.i, &w); err != nil {
					cancel(err)
					continue
				}
				if w != nil {
					if err := w.Close(); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for rep := range r.cfg.Reps {
		for p := range g.Points {
			for i := range g.Subjects {
				if rep < turns(g, i, r.cfg.Reps) && ctx.Err() == nil {
					jobs <- job{p, i}
				}
			}
		}
	}
	close(jobs)
	wg.Wait()
	return context.Cause(ctx)
}
