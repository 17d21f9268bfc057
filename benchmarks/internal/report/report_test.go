package report

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/benchmarks/internal/suite"
)

// RESULTS.md and the plots are what the results generate.
func TestDocumentsAreCurrent(t *testing.T) {
	if err := Write("../..", true); err != nil {
		t.Error(err)
	}
}

// Every promise names series that a suite measures.
func TestPromisesAreMeasured(t *testing.T) {
	files := map[string]*result.File{}
	for _, s := range suite.All() {
		files[s.Name] = pretend(s)
	}
	for _, p := range promises() {
		if _, _, verdict := p.verdict(files); verdict == "not measured" {
			t.Errorf("nothing measures %q", p.text)
		}
	}
}

// pretend returns a result in which everything is 1.
func pretend(s suite.Suite) *result.File {
	f := &result.File{Suite: s.Name, Title: s.Title, Begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Reps: 1}
	for _, g := range s.Groups(suite.Full("recorded")) {
		group := result.Group{Name: g.Name, Title: g.Title, Axis: g.Axis, Units: g.Units}
		for _, p := range g.Points {
			point := result.Point{Name: p.Name, N: float64(p.N)}
			for _, subject := range g.Subjects {
				for _, unit := range g.Units {
					point.Series = append(point.Series, result.Series{Subject: subject.Name, Unit: unit, Samples: []float64{1}})
				}
			}
			group.Points = append(group.Points, point)
		}
		f.Groups = append(f.Groups, group)
	}
	return f
}

func TestWriteAndCheck(t *testing.T) {
	dir := t.TempDir()
	results := filepath.Join(dir, "results")
	if err := os.Mkdir(results, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range suite.All() {
		if err := pretend(s).Write(results); err != nil {
			t.Fatal(err)
		}
	}
	stale := filepath.Join(results, "gone.svg")
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, true); err == nil || !strings.Contains(err.Error(), "RESULTS.md") || !strings.Contains(err.Error(), "gone.svg") {
		t.Errorf("Write(check) of nothing written = %v", err)
	}
	if err := Write(dir, false); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, true); err != nil {
		t.Errorf("Write(check) right after Write = %v", err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plot of no result is still there: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil || !bytes.Contains(text, []byte("2026-01-02 03:04")) || bytes.Contains(text, []byte("NaN")) {
		t.Errorf("RESULTS.md (%v):\n%s", err, text)
	}
	var out bytes.Buffer
	if err := Compare(dir, &out); err != nil || !strings.Contains(out.String(), " 0 not measured") {
		t.Errorf("Compare = %v:\n%s", err, out.String())
	}
}

func TestVerdict(t *testing.T) {
	f := &result.File{Groups: []result.Group{{Name: "g", Units: []string{"u"}, Points: []result.Point{{Series: []result.Series{
		{Subject: "a", Unit: "u", Samples: []float64{10, 12, 11}}, {Subject: "b", Unit: "u", Samples: []float64{20, 24, 22}},
	}}}}}}
	files := map[string]*result.File{"s": f}
	ratio := ratio(cellName{"g", "", "a", "u"}, cellName{"g", "", "b", "u"})
	tests := []struct {
		p    promise
		want string
	}{
		{promise{"t", "s", atMost(0.5, "x"), ratio}, "holds"},
		{promise{"t", "s", atMost(0.49, "x"), ratio}, "does not hold"},
		{promise{"t", "s", atLeast(0.5, "x"), ratio}, "holds"},
		{promise{"t", "s", atLeast(0.51, "x"), ratio}, "does not hold"},
		{promise{"t", "other", atLeast(0.51, "x"), ratio}, "not measured"},
		{promise{"t", "s", atMost(11, ""), figure(cellName{"g", "", "a", "u"})}, "holds"},
		{promise{"t", "s", atMost(11, ""), figure(cellName{"g", "p", "a", "u"})}, "not measured"},
	}
	for _, tt := range tests {
		if measured, _, got := tt.p.verdict(files); got != tt.want {
			t.Errorf("%v: measured %s: %s, want %s", tt.p.bound, measured, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.0001: "0.000", 0.01234: "0.012", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1,234", 1234567: "1,234,570", -5.5: "-5.50",
	} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %q, want %q", x, got, want)
		}
	}
}
