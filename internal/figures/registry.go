package figures

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/geecache/geecache/internal/prices"
	"github.com/geecache/geecache/internal/stat"
)

// A Registry says where the figures of documents come from.
type Registry struct {
	// Documents are those that are searched, as patterns from the project's folder.
	Documents []string `yaml:"documents"`

	// Layouts are documents that lay down formats: figures in bytes there are no claims.
	Layouts []string `yaml:"layouts"`

	// Generated are what programs write, with tests of their own that fail on drift.
	Generated []Generated `yaml:"generated"`

	Figures []Entry `yaml:"figures"`
}

// Generated is a document, or a block of one, that a test generates anew and compares.
type Generated struct {
	In    string `yaml:"in"`
	Block string `yaml:"block"` // between comments "NAME: begin" and "NAME: end"; empty: the whole document
	Test  string `yaml:"test"`  // the file of that test
	Name  string `yaml:"name"`  // its name
}

// An Entry is where the figures in a piece of a document come from.
type Entry struct {
	In   string   `yaml:"in"`
	Says string   `yaml:"says"` // the words of the document with the figures in them
	From []Source `yaml:"from"`
	Why  string   `yaml:"why"` // if the numbers are not those of the source: how they follow from it
}

// A Source is a constant, a measurement, a price, or somebody else's word.
type Source struct {
	Code string `yaml:"code"` // a file of this project
	Is   string `yaml:"is"`   // what it says there

	Bench *Bench `yaml:"bench"`

	Price prices.Item `yaml:"price"`

	Published string `yaml:"published"` // section of the report of 2025
	Stated    string `yaml:"stated"`    // who says so, and where
}

// A Bench is the median of a series of the newest results of a suite of benchmarks.
type Bench struct {
	Suite   string `yaml:"suite"`
	Group   string `yaml:"group"`
	Point   string `yaml:"point"`
	Subject string `yaml:"subject"`
	Unit    string `yaml:"unit"`
}

// Load reads a registry.
func Load(file string) (*Registry, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Registry
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// Check returns what is wrong with the documents of a project: figures without a source, and
// sources that do not say it.
func (r *Registry) Check(root string) (complaints []string) {
	var names []string
	for _, pattern := range r.Documents {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			complaints = append(complaints, fmt.Sprintf("documents: %s matches nothing", pattern))
		}
		for _, f := range found {
			rel, err := filepath.Rel(root, f)
			if err != nil {
				return append(complaints, err.Error())
			}
			names = append(names, filepath.ToSlash(rel))
		}
	}
	for _, e := range r.Figures {
		if !slices.Contains(names, e.In) {
			complaints = append(complaints, fmt.Sprintf("%q is said to be in %s, which is no document", e.Says, e.In))
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			complaints = append(complaints, err.Error())
			continue
		}
		complaints = append(complaints, r.checkDocument(root, name, string(text))...)
	}
	return complaints
}

// checkDocument returns what is wrong with one document.
func (r *Registry) checkDocument(root, name, markdown string) (complaints []string) {
	complain := func(format string, args ...any) {
		complaints = append(complaints, name+": "+fmt.Sprintf(format, args...))
	}
	for _, g := range r.Generated {
		if g.In != name {
			continue
		}
		test, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(g.Test)))
		if err != nil || !bytes.Contains(test, []byte("func "+g.Name+"(")) {
			complain("there is no test %s in %s that generates it (%v)", g.Name, g.Test, err)
		}
		if g.Block == "" {
			return complaints
		}
		without, ok := cutBlock(markdown, g.Block)
		if !ok {
			complain("there is no block %q", g.Block)
		}
		markdown = without
	}
	if path.Ext(name) == ".svg" {
		markdown = drawn.ReplaceAllStringFunc(markdown, func(tag string) string { return " " + strings.Repeat("\n", strings.Count(tag, "\n")) })
	}
	d := read(markdown)
	found := d.figures()
	if slices.Contains(r.Layouts, name) {
		found = slices.DeleteFunc(found, func(f Figure) bool { return layout.MatchString(f.Text) })
	}
	covered := make([]bool, len(found))
	for _, e := range r.Figures {
		if e.In != name {
			continue
		}
		says := strings.Join(strings.Fields(e.Says), " ")
		at := strings.Index(d.text, says)
		if says == "" || at < 0 {
			complain("it does not say %q any more: take it out of the registry, or mend it", e.Says)
			continue
		}
		var figures []Figure
		for i, f := range found {
			if at <= f.start && f.end <= at+len(says) {
				covered[i] = true
				figures = append(figures, f)
			}
		}
		if len(figures) == 0 {
			complain("there is no figure in %q", e.Says)
		}
		for _, err := range e.check(root, figures) {
			complain("%q: %v", e.Says, err)
		}
	}
	for i, f := range found {
		if !covered[i] {
			complain("line %d: where does %q come from? Name its source in docs/figures.yml, or leave it out", f.Line, f.Text)
		}
	}
	return complaints
}

// cutBlock empties a block of a document, and leaves its lines.
func cutBlock(markdown, block string) (string, bool) {
	before, rest, ok := strings.Cut(markdown, "<!-- "+block+": begin -->")
	inside, after, ok2 := strings.Cut(rest, "<!-- "+block+": end -->")
	return before + strings.Repeat("\n", strings.Count(inside, "\n")) + after, ok && ok2
}

// check looks whether sources say what figures do.
func (e Entry) check(root string, figures []Figure) (errs []error) {
	if len(e.From) == 0 {
		return []error{errors.New("it has no source")}
	}
	var said []string // what the sources say
	for _, s := range e.From {
		text, err := s.read(root, figures)
		if err != nil {
			errs = append(errs, err)
		}
		said = append(said, text)
	}
	if e.Why != "" || len(errs) > 0 {
		return errs
	}
	for _, f := range figures {
		for _, n := range bare.FindAllString(f.Text, -1) {
			if !slices.ContainsFunc(said, func(text string) bool { return slices.Contains(bare.FindAllString(text, -1), n) }) {
				errs = append(errs, fmt.Errorf("%s is not what its source says (%s): mend it, or say why it follows", f.Text, strings.Join(said, "; ")))
			}
		}
	}
	return errs
}

// read returns what a source says.
func (s Source) read(root string, figures []Figure) (string, error) {
	switch {
	case s.Code != "":
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.Code)))
		if err != nil {
			return "", err
		}
		is := strings.Join(strings.Fields(s.Is), " ")
		if is == "" || !strings.Contains(strings.Join(strings.Fields(string(text)), " "), is) {
			return "", fmt.Errorf("%s does not say %q", s.Code, s.Is)
		}
		return is, nil
	case s.Bench != nil:
		median, err := s.Bench.median(root)
		if err != nil {
			return "", err
		}
		var all []string // as precisely as it can be printed
		for _, f := range figures {
			for _, n := range bare.FindAllString(f.Text, -1) {
				_, decimals, _ := strings.Cut(n, ".")
				all = append(all, strconv.FormatFloat(median, 'f', len(decimals), 64))
			}
		}
		return strings.Join(all, " "), nil
	case s.Price != "":
		table, err := prices.In(prices.Regions()[0])
		if err != nil {
			return "", err
		}
		for _, p := range table.All() {
			if p.Item == s.Price {
				return fmt.Sprintf("%g %.2f %.3f", p.Dollar, p.Dollar, p.Dollar), nil
			}
		}
		return "", fmt.Errorf("%q has no price in internal/prices", s.Price)
	case s.Published != "":
		return s.Published, nil
	case s.Stated != "":
		return s.Stated, nil
	}
	return "", errors.New("a source names neither code, bench, price, published nor stated")
}

// median returns the median of the newest results.
func (b Bench) median(root string) (float64, error) {
	files, err := filepath.Glob(filepath.Join(root, "benchmarks", "results", "*-"+b.Suite+".json"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("there are no results of the suite %q", b.Suite)
	}
	newest := slices.Max(files) // names begin with the date
	text, err := os.ReadFile(newest)
	if err != nil {
		return 0, err
	}
	var f struct {
		Groups []struct {
			Name   string
			Points []struct {
				Name   string
				Series []struct {
					Subject, Unit string
					Samples       []float64
				}
			}
		}
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return 0, fmt.Errorf("%s: %w", path.Base(newest), err)
	}
	for _, g := range f.Groups {
		for _, p := range g.Points {
			for _, s := range p.Series {
				if g.Name == b.Group && p.Name == b.Point && s.Subject == b.Subject && s.Unit == b.Unit && len(s.Samples) > 0 {
					return stat.Median(s.Samples), nil
				}
			}
		}
	}
	return 0, fmt.Errorf("%s has no series %+v", path.Base(newest), b)
}
