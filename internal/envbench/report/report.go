// Package report makes the comparison of environments, as a page of Markdown with charts
// and as a page of HTML, from results files. Each figure in it is from a results file, the
// price table, or the table of what was published in 2025; it measures nothing.
package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
)

// A Source is where figures come from: a results file, the price table, the 2025 report,
// or a constant.
type Source string

// The sources that are no results files.
const (
	ThePrices Source = "internal/prices"
	The2025   Source = "the 2025 report"
	TheMethod Source = "how results are reckoned: internal/stat and this package"
)

// A Document is the comparison.
type Document struct {
	Markdown []byte
	Charts   map[string][]byte // SVG by file name
	Narrow   map[string][]byte // the same, for telephones
	marked   []byte            // the Markdown, with marks around what has a source
}

// Newest returns the newest results file of each environment in a folder, in the order
// in which reports show them. It is an error if one cannot be read.
func Newest(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	newest := make(map[string]string)
	files := make(map[string]*result.File)
	for _, path := range all { // in the order of their names
		f, err := result.Load(path)
		if err != nil {
			return nil, err
		}
		key := columnName(f)
		if old := files[key]; old == nil || !f.Begun.Before(old.Begun) {
			newest[key], files[key] = path, f
		}
	}
	var paths []string
	for _, key := range order(files) {
		paths = append(paths, newest[key])
	}
	return paths, nil
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
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
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

// Read reads results files and makes the comparison of them, a column each. links is the
// folder, as the document sees it, in which its charts will be.
func Read(paths []string, links string) (*Document, error) {
	if len(paths) == 0 {
		return nil, errors.New("there are no results to compare: geecache env bench ENV -o FILE makes some")
	}
	w := &writer{links: links, titles: make(map[string]string), charts: make(map[string]chart)}
	for _, path := range paths {
		f, err := result.Load(path)
		if err != nil {
			return nil, err
		}
		name := columnName(f)
		if slices.ContainsFunc(w.columns, func(c column) bool { return c.name == name }) {
			name += " of " + f.Begun.Format("2006-01-02 15:04")
		}
		w.columns = append(w.columns, column{name: name, file: f, source: Source(filepath.Base(path))})
	}
	w.document()
	d := &Document{Markdown: unmarked(w.text.Bytes()), Charts: map[string][]byte{}, Narrow: map[string][]byte{}, marked: w.text.Bytes()}
	for name, c := range w.charts {
		d.Charts[name], d.Narrow[name] = c.svg(0), c.svg(narrow)
	}
	return d, nil
}

// chartsBeside returns the folder of the charts of a document: beside it, with its name
// in small letters.
func chartsBeside(document string) string {
	name := strings.TrimSuffix(filepath.Base(document), filepath.Ext(document))
	return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

// Write writes the comparison of results files and its charts in a folder beside it. With
// check it changes nothing, and fails if it would.
func Write(document string, paths []string, check bool) error {
	links := chartsBeside(document)
	d, err := Read(paths, links)
	if err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(document), links)
	if !check && len(d.Charts) > 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	errs := []error{put(document, d.Markdown, check)}
	for _, name := range chartNames() {
		path := filepath.Join(dir, name)
		if svg := d.Charts[name]; svg != nil {
			errs = append(errs, put(path, svg, check))
		} else {
			errs = append(errs, drop(path, check))
		}
	}
	return errors.Join(errs...)
}

// put writes a file, or checks that it is as it would be written.
func put(path string, text []byte, check bool) error {
	if !check {
		return os.WriteFile(path, text, 0o644)
	}
	old, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(old, text) {
		return fmt.Errorf("%s is not what the results generate: run make env-report", filepath.Base(path))
	}
	return nil
}

// drop removes a chart that the results do not generate, or checks that there is none.
func drop(path string, check bool) error {
	if !check {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is generated by no result: run make env-report", filepath.Base(path))
	}
	return nil
}
