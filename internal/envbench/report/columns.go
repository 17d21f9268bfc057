package report

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
)

// A Column names the results files of one column of the comparison: of several, each test
// is from the newest that has it whole.
type Column []string

// Each returns a column for each results file.
func Each(paths ...string) (all []Column) {
	for _, path := range paths {
		all = append(all, Column{path})
	}
	return all
}

// Newest returns a column of all results files in a folder for each environment, in the
// order in which reports show them. It is an error if one cannot be read.
func Newest(dir string) (columns []Column, err error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	files, of := make(map[string]*result.File), make(map[string]Column)
	for _, path := range all { // in the order of their names
		f, err := result.Load(path)
		if err != nil {
			return nil, err
		}
		key := columnName(f)
		files[key], of[key] = f, append(of[key], path)
	}
	for _, key := range order(files) {
		columns = append(columns, of[key])
	}
	return columns, nil
}

// order returns the names of columns: environments from the nearest to the farthest.
func order(files map[string]*result.File) (names []string) {
	rank := func(name string) int {
		return slices.Index([]string{"local", "docker", "emulator", "aws"}, files[name].Environment)
	}
	for name := range files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
	return names
}

// columnName is what a file's column is called. What ran against an emulator is never
// called AWS.
func columnName(f *result.File) string {
	if f.Environment == "aws" && f.Versions["emulator"] != "" {
		return "aws driver on an emulator"
	}
	return f.Environment
}

// A run is one results file, and what of it is in a column.
type run struct {
	file   *result.File
	source Source
	tests  []string // IDs
}

// readColumn reads the files of one column: a run of some tests alone replaces these, and
// nothing else.
func readColumn(paths Column) (c column, err error) {
	var runs []*run
	for _, path := range paths {
		f, err := result.Load(path)
		if err != nil {
			return c, err
		}
		if len(f.Tests) == 0 {
			if len(paths) > 1 {
				continue // it was interrupted before the first
			}
			return c, fmt.Errorf("%s has no test in it, and would be an empty column: measure anew", path)
		}
		runs = append(runs, &run{file: f, source: Source(filepath.Base(path))})
	}
	if len(runs) == 0 {
		return c, fmt.Errorf("none of %s has a test in it: measure anew", strings.Join(paths, ", "))
	}
	slices.SortStableFunc(runs, func(a, b *run) int { return b.file.Begun.Compare(a.file.Begun) }) // the newest first
	fullest := runs[0]
	for _, r := range runs {
		if wholes(r.file) > wholes(fullest.file) {
			fullest = r
		}
	}
	c.left = leave(&runs, fullest.file)
	c.take(runs)
	c.name = columnName(c.file)
	return c, nil
}

func wholes(f *result.File) (n int) {
	for i := range f.Tests {
		if f.Tests[i].Whole() {
			n++
		}
	}
	return n
}

// leave removes the runs of another deployment than that of a file, whose figures do not
// go into one column with it, and returns those that are newer.
func leave(runs *[]*run, f *result.File) (newer []*run) {
	shape := func(f *result.File) result.Deployment {
		d := f.Deployment
		d.Image = "" // another build, which its version tells
		return d
	}
	*runs = slices.DeleteFunc(*runs, func(r *run) bool {
		other := shape(r.file) != shape(f)
		if other && r.file.Begun.After(f.Begun) {
			newer = append(newer, r)
		}
		return other
	})
	return newer
}

// take takes each test from the newest run that has it whole, or else from the newest
// that has it at all. The main run is that of which most are.
func (c *column) take(runs []*run) {
	var tests []result.Test
	c.of = make(map[string]*run)
	complete := true
	for _, s := range sections() {
		var from *run
		for _, r := range runs {
			if t := r.file.Test(s.id); t != nil && (from == nil || t.Whole() && !from.file.Test(s.id).Whole()) {
				from = r
			}
		}
		if from == nil {
			complete = false
			continue
		}
		tests = append(tests, *from.file.Test(s.id))
		complete = complete && from.file.Test(s.id).Whole()
		c.of[s.id] = from
		from.tests = append(from.tests, s.id)
	}
	var names []string
	c.main = runs[0]
	for _, r := range runs {
		if len(r.tests) > 0 {
			c.runs = append(c.runs, r)
			names = append(names, string(r.source))
		}
		if len(r.tests) > len(c.main.tests) {
			c.main = r
		}
	}
	c.source = Source(strings.Join(names, " and "))
	f := *c.main.file
	f.Tests = tests
	if complete {
		f.Partial = "" // what its main run lacks is of others
	}
	c.file = &f
}

// run returns the run that a test of the column is from.
func (c column) run(id string) *run { return cmp.Or(c.of[id], c.main) }

// other is the mark of what is of another run than most of its column.
const other = " †"

// mark returns the mark of a test's figures; empty: they are of the column's main run.
func (c column) mark(id string) string {
	if c.run(id) == c.main {
		return ""
	}
	return other
}

// described says when, with what and where a run was.
func (r *run) described() string {
	return fmt.Sprintf("%s, geecache %s, on %s", r.file.Begun.Format("2006-01-02 15:04"), cmp.Or(r.file.Versions["geecache"], "of an unknown version"),
		strings.Join(result.Machines([]*result.File{r.file}), ""))
}

// mixed says which tests are of which run, where a column has several, and which newer ones
// are in none.
func (w *writer) mixed() (lines []string) {
	for _, c := range w.columns {
		for _, r := range c.runs {
			if r != c.main {
				lines = append(lines, fmt.Sprintf("%s is of several runs: of %s are the tests %s, marked%s; the others are of %s.", c.name,
					w.quoted(c, r.described()), strings.Join(r.tests, ", "), other, w.quoted(c, c.main.described())))
			}
		}
		for _, r := range c.left {
			lines = append(lines, fmt.Sprintf("%s is of another deployment than the column %s, and not in it: %s.", w.from(r.source, string(r.source)), c.name,
				w.quoted(c, r.described())))
		}
	}
	return lines
}

// differing says where runs are of different machines or versions.
func (w *writer) differing() (lines []string) {
	var machines, versions []string
	for _, c := range w.columns {
		for _, r := range c.runs {
			machine := result.Machines([]*result.File{r.file})[0]
			version := cmp.Or(r.file.Versions["geecache"], "of an unknown version")
			if !slices.Contains(machines, machine) {
				machines = append(machines, machine)
			}
			if !slices.Contains(versions, version) {
				versions = append(versions, version)
			}
		}
	}
	if len(machines) > 1 {
		lines = append(lines, "**Not all was measured on one machine**: a difference may be that of the machines. The last chapter has them.")
	}
	if len(versions) > 1 {
		lines = append(lines, "**Not all was measured with one version of GeeCache**: a difference may be that of the versions. The last chapter has them.")
	}
	return lines
}

// unlike says in brackets whether two tests are of different machines or versions; empty:
// they are not.
func unlike(a, b *run) string {
	machines := len(result.Machines([]*result.File{a.file, b.file})) > 1
	versions := a.file.Versions["geecache"] != b.file.Versions["geecache"]
	switch {
	case machines && versions:
		return " (on different machines, with different versions)"
	case machines:
		return " (on different machines)"
	case versions:
		return " (with different versions)"
	}
	return ""
}
