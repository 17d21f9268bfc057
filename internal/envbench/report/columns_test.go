package report

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// kept writes a results file of local with these tests, so many hours after the first.
func kept(t *testing.T, dir, name string, hours int, change func(*result.File), tests ...result.Test) string {
	t.Helper()
	f := &result.File{
		Format: result.Format, Environment: "local", Begun: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(hours) * time.Hour),
		Versions: map[string]string{"geecache": "v1"}, Deployment: result.Deployment{Nodes: 3}, Tests: tests,
	}
	f.Machine.CPU, f.Machine.CPUs = "old", 2
	if change != nil {
		change(f)
	}
	path := filepath.Join(dir, name)
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// total is a test with the series total, of one value.
func total(id, state string, seconds float64) result.Test {
	one := result.Test{ID: id, State: state}
	if seconds > 0 {
		one.Series = []result.Series{{Name: "total", Unit: "s", Samples: slices.Repeat([]float64{seconds}, 6)}}
	}
	return one
}

// Each test of a column is of the newest run that has it whole, and what is of another run
// than the rest says so.
func TestAColumnOfSeveralRuns(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "a.json", 0, func(f *result.File) { f.Partial = "redeploy: it went wrong" },
		total("deploy", result.Measured, 111), total("redeploy", result.Failed, 0), total("recovery", result.Unsupported, 0), total("logs", result.Measured, 112))
	kept(t, dir, "b.json", 1, func(f *result.File) { f.Machine.CPU, f.Versions["geecache"] = "new", "v2" }, total("redeploy", result.Measured, 222))
	kept(t, dir, "c.json", 2, nil, total("deploy", result.Failed, 0), total("redeploy", result.Partial, 333)) // not whole
	kept(t, dir, "d.json", 3, func(f *result.File) { f.Deployment.Nodes = 5 }, total("deploy", result.Measured, 444))
	kept(t, dir, "e.json", 4, nil) // interrupted before its first test
	columns, err := Newest(dir)
	if err != nil || len(columns) != 1 {
		t.Fatalf("%v, %v: want one column", columns, err)
	}
	d, err := Read(columns, "charts")
	if err != nil {
		t.Fatal(err)
	}
	text := string(d.Markdown)
	for _, want := range []string{
		"| Deployment | 111 s, n=6 |", "| Redeployment after a change | 222 s, n=6 † |",
		"- local is of several runs: of 2026-01-02 04:00, geecache v2, on new, 2 processors, /, kernel are the tests redeploy, marked †; the others are of 2026-01-02 03:00, geecache v1, on old, 2 processors",
		"- d.json is of another deployment than the column local, and not in it: 2026-01-02 06:00",
		"**Not all was measured on one machine**", "**Not all was measured with one version of GeeCache**",
		"|  | local † |", "| local † | 2026-01-02 04:00 |", "`a.json`", "`b.json`",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	for _, not := range []string{"333", "444", "`c.json`", "`e.json`"} {
		if strings.Contains(text, not) {
			t.Errorf("the document has %q, which is of no run that counts", not)
		}
	}
	for _, n := range untraced(string(d.marked)) {
		t.Errorf("line %d: %s comes from nowhere", n.Line, n.Text)
	}
}

// A later whole run takes the place of all of an earlier one, and is not marked.
func TestANewerWholeRunReplacesAll(t *testing.T) {
	dir := t.TempDir()
	kept(t, dir, "a.json", 0, nil, total("deploy", result.Measured, 111), total("redeploy", result.Measured, 112))
	kept(t, dir, "b.json", 1, nil, total("deploy", result.Measured, 221), total("redeploy", result.Measured, 222))
	columns, err := Newest(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Read(columns, "charts")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(d.Markdown); strings.Contains(text, "†") || strings.Contains(text, "111") || strings.Contains(text, "112") || !strings.Contains(text, "221 s, n=6") {
		t.Error("the newer run does not stand alone")
	}
}

// A sentence that compares what is of two machines says so.
func TestAComparisonOfTwoMachinesSaysSo(t *testing.T) {
	dir := t.TempDir()
	paths := []string{
		kept(t, dir, "a.json", 0, nil, total("deploy", result.Measured, 1)),
		kept(t, dir, "b.json", 1, func(f *result.File) { f.Environment, f.Machine.CPU = "docker", "new" }, total("deploy", result.Measured, 3)),
	}
	d, err := Read(Each(paths...), "charts")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(d.Markdown), "local is 3.00 times (3.00 to 3.00) faster than docker (on different machines).") {
		t.Error("the sentence does not say that there were two machines")
	}
}

func TestWhatMakesNoColumn(t *testing.T) {
	dir := t.TempDir()
	empty := kept(t, dir, "empty.json", 0, nil)
	whole := kept(t, dir, "whole.json", 0, nil, total("deploy", result.Measured, 1))
	twin := kept(t, dir, "twin.json", 0, nil, total("deploy", result.Measured, 1))
	twice := kept(t, dir, "twice.json", 0, nil, total("deploy", result.Measured, 2))
	for _, tt := range []struct {
		columns []Column
		want    string
	}{
		{nil, "geecache env bench"},
		{Each(empty), "empty.json has no test in it"},
		{[]Column{{empty, empty}}, "has a test in it: measure anew"},
		{Each(whole, whole), "whole.json is named twice"},
		{Each(whole, twin, twice), "twice.json is of the same environment and minute"},
	} {
		if _, err := Read(tt.columns, "charts"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.columns, err, tt.want)
		}
	}
}
