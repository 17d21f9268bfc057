// Package result is the form in which measurements are kept: JSON with every
// sample, and Go benchmark lines that benchstat reads. It computes nothing.
package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/machine"
)

// A File is what one run of one suite found.
type File struct {
	Suite   string        `json:"suite"`
	Title   string        `json:"title"`
	Begun   time.Time     `json:"begun"`
	Took    time.Duration `json:"took_ns"`
	Reps    int           `json:"repetitions"`
	Machine machine.Info  `json:"machine"`
	Modules []Module      `json:"modules"`      // that were measured, ours first
	Load    [2]float64    `json:"load_average"` // of a minute, before and after
	Notes   []string      `json:"settings"`
	Groups  []Group       `json:"groups"`
}

// A Module is one that was compiled in, or a server from the system.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// A Group holds what is compared with each other: each of the subjects at each
// of the points.
type Group struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	Axis   string   `json:"axis,omitempty"` // what Point.N counts; empty: the points are no curve
	Units  []string `json:"units"`          // the first is what is compared
	Points []Point  `json:"points"`
}

// A Point is one setting, and what each subject did there.
type Point struct {
	Name   string   `json:"name,omitempty"` // empty, if the group has only one
	N      float64  `json:"n,omitempty"`
	Series []Series `json:"series"`
}

// A Series holds the samples of one subject, in the order in which they were
// taken.
type Series struct {
	Subject string    `json:"subject"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"`
}

// Samples returns the samples of a subject at a point of a group, or nil.
func (f *File) Samples(group, point, subject, unit string) []float64 {
	if f == nil {
		return nil
	}
	for _, g := range f.Groups {
		if g.Name != group {
			continue
		}
		for _, p := range g.Points {
			if p.Name == point {
				return p.Samples(subject, unit)
			}
		}
	}
	return nil
}

// Samples returns the samples of a subject, or nil.
func (p *Point) Samples(subject, unit string) []float64 {
	for _, s := range p.Series {
		if s.Subject == subject && s.Unit == unit {
			return s.Samples
		}
	}
	return nil
}

// Subjects returns the names of a group's subjects, in order.
func (g *Group) Subjects() []string {
	var names []string
	for _, p := range g.Points {
		for _, s := range p.Series {
			if !slices.Contains(names, s.Subject) {
				names = append(names, s.Subject)
			}
		}
	}
	return names
}

// Name returns the name that the file has, without an extension.
func (f *File) Name() string { return f.Begun.Format(time.DateOnly) + "-" + f.Suite }

// Write writes the file's two forms into a directory, which it makes if need be.
func (f *File) Write(dir string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(f); err != nil {
		return fmt.Errorf("result %s: %w", f.Suite, err)
	}
	base := filepath.Join(dir, f.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(base+".json", joinNumbers(text.Bytes()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".txt", f.benchLines(), 0o644)
}

// numbers are the samples of a series as the encoder indents them.
var numbers = regexp.MustCompile(`\[\n[-+.eE\d\s,]+\]`)

// joinNumbers puts a series' samples onto one line.
func joinNumbers(text []byte) []byte {
	return numbers.ReplaceAllFunc(text, func(list []byte) []byte {
		return bytes.Join(bytes.Fields(list), nil)
	})
}

// benchLines returns the samples as the lines of go test -bench: one for each
// repetition.
func (f *File) benchLines() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/geecache/geecache/benchmarks\ncpu: %s\n", f.Machine.OS, f.Machine.Arch, f.Machine.CPU)
	for _, g := range f.Groups {
		for i := range g.Points {
			p := &g.Points[i]
			for _, subject := range g.Subjects() {
				f.benchSeries(&b, &g, p, subject)
			}
		}
	}
	return b.Bytes()
}

func (f *File) benchSeries(b *bytes.Buffer, g *Group, p *Point, subject string) {
	name := "Benchmark" + strings.ToUpper(f.Suite[:1]) + f.Suite[1:] + "/" + word(g.Name)
	if p.Name != "" {
		name += "/" + word(p.Name)
	}
	name += "/cache=" + word(subject) + "-" + strconv.Itoa(f.Machine.CPUs)
	for i := 0; ; i++ {
		var line strings.Builder
		for _, unit := range g.Units {
			if xs := p.Samples(subject, unit); i < len(xs) {
				fmt.Fprintf(&line, "\t%s %s", strconv.FormatFloat(xs[i], 'g', 6, 64), word(unit))
			}
		}
		if line.Len() == 0 {
			return
		}
		fmt.Fprintf(b, "%s\t1%s\n", name, line.String())
	}
}

// word makes a name fit for a benchmark line.
func word(s string) string { return strings.Join(strings.Fields(s), "-") }

// Read reads a file.
func Read(name string) (*File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f := new(File)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// Newest reads the newest file of each suite in a directory, by suite. A
// directory that is not there holds none.
func Newest(dir string) (map[string]*File, error) {
	names, err := filepath.Glob(filepath.Join(dir, "????-??-??-*.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.Sort(names) // by date, because of their form
	newest := make(map[string]*File)
	for _, name := range names {
		f, err := Read(name)
		if err != nil {
			return nil, err
		}
		newest[f.Suite] = f
	}
	return newest, nil
}
