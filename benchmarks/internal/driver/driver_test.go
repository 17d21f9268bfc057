package driver_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/geecache/geecache/benchmarks/internal/driver"
	"github.com/geecache/geecache/benchmarks/internal/process"
	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/benchmarks/internal/suite"
)

func TestMain(m *testing.M) {
	process.Main(suite.Roles())
	os.Exit(m.Run())
}

// Every suite runs, and finds something for each subject at each point.
func TestEverySuite(t *testing.T) {
	for _, s := range suite.All() {
		t.Run(s.Name, func(t *testing.T) {
			steps := 0
			f, err := driver.Run(t.Context(), s, driver.Config{
				Scale: suite.Smoke(os.Getenv(suite.TracesVariable)), Reps: 1, Progress: func(driver.Step) { steps++ },
			})
			if errors.Is(err, process.ErrNotInstalled) && os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
				t.Fatalf("the servers are required here: %v", err)
			}
			if errors.Is(err, driver.ErrNotReady) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Suite != s.Name || f.Machine.CPUs == 0 || len(f.Notes) == 0 || steps == 0 {
				t.Errorf("%d steps, result %+v", steps, f)
			}
			for _, g := range f.Groups {
				for _, p := range g.Points {
					for _, series := range p.Series {
						if len(series.Samples) != 1 {
							t.Errorf("%s %s %s: %d samples of %s, want 1", g.Name, p.Name, series.Subject, len(series.Samples), series.Unit)
						}
					}
				}
			}
			named := s.Servers
			if s.Versions != nil {
				for _, m := range s.Versions() {
					named = append(slices.Clone(named), m.Path)
				}
			}
			for _, name := range named {
				if i := slices.IndexFunc(f.Modules, func(m result.Module) bool { return m.Path == name }); i < 0 || f.Modules[i].Version == "" {
					t.Errorf("the result does not tell the version of %s: %+v", name, f.Modules)
				}
			}
		})
	}
}

// The sizes of full runs make sense too: names differ, and a group's first
// subject is compared with others.
func TestSuitesAreWellFormed(t *testing.T) {
	for _, s := range suite.All() {
		groups := map[string]bool{}
		for _, g := range s.Groups(suite.Full("")) {
			if groups[g.Name] || len(g.Units) == 0 || len(g.Points) == 0 || len(g.Subjects) == 0 || g.Title == "" {
				t.Errorf("%s: group %q is incomplete, or there are two", s.Name, g.Name)
			}
			groups[g.Name] = true
			names := map[string]bool{}
			for _, subject := range g.Subjects {
				if names[subject.Name] {
					t.Errorf("%s: %s: two subjects are called %q", s.Name, g.Name, subject.Name)
				}
				names[subject.Name] = true
			}
			for _, p := range g.Points {
				if names[p.Name] || len(g.Points) > 1 && p.Name == "" {
					t.Errorf("%s: %s: two points are called %q, or one has no name", s.Name, g.Name, p.Name)
				}
				names[p.Name] = true
			}
		}
	}
}
