package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/internal/stat"
)

// A promise is a figure that is to hold.
type promise struct {
	text  string
	suite string
	bound bound
	// measure returns what was measured, and false if it was not.
	measure func(f *result.File) (finding, bool)
}

// A bound is what a figure may be: at least, or at most, a number.
type bound struct {
	atLeast bool
	limit   float64
	unit    string // behind a number: "x", "%"
}

func atLeast(limit float64, unit string) bound { return bound{true, limit, unit} }
func atMost(limit float64, unit string) bound  { return bound{false, limit, unit} }

func (b bound) holds(x float64) bool {
	if b.atLeast {
		return x >= b.limit
	}
	return x <= b.limit
}

func (b bound) String() string {
	word := "at most"
	if b.atLeast {
		word = "at least"
	}
	return word + " " + strconv.FormatFloat(b.limit, 'f', -1, 64) + b.unit
}

// A finding is a figure with the interval in which it lies, and what it is made
// of.
type finding struct {
	value    float64
	interval stat.Interval
	of       string
}

// A cellName names a series.
type cellName struct{ group, point, subject, unit string }

// ratio returns the measurement of a ratio of two series.
func ratio(a, b cellName) func(*result.File) (finding, bool) {
	return func(f *result.File) (finding, bool) {
		x, y := a.samples(f), b.samples(f)
		if len(x) == 0 || len(y) == 0 {
			return finding{}, false
		}
		r := stat.Compare(x, y)
		return finding{r.Value, r.Interval, fmt.Sprintf("%s : %s %s", number(stat.Median(x)), number(stat.Median(y)), a.unit)}, true
	}
}

// figure returns the measurement of a series itself.
func figure(c cellName) func(*result.File) (finding, bool) {
	return func(f *result.File) (finding, bool) {
		x := c.samples(f)
		if len(x) == 0 {
			return finding{}, false
		}
		iv, _ := stat.MedianInterval(x)
		return finding{stat.Median(x), iv, c.unit}, true
	}
}

func (c cellName) samples(f *result.File) []float64 {
	return f.Samples(c.group, c.point, c.subject, c.unit)
}

// verdict says what was measured of a promise, and whether it holds.
func (p promise) verdict(files map[string]*result.File) (measured, of, verdict string) {
	found, ok := p.measure(files[p.suite])
	if !ok {
		return "not measured", "", "not measured"
	}
	measured = number(found.value) + p.bound.unit
	if found.interval.Low != found.interval.High {
		measured += fmt.Sprintf(" (%s to %s)", number(found.interval.Low), number(found.interval.High))
	}
	verdict = "does not hold"
	if p.bound.holds(found.value) {
		verdict = "holds"
	}
	return measured, found.of, verdict
}

// writePromises writes the table of what was promised.
func writePromises(b *strings.Builder, files map[string]*result.File) {
	b.WriteString("## What is promised\n\n| | bound | measured | of | |\n|---|---|---|---|---|\n")
	for _, p := range promises() {
		measured, of, verdict := p.verdict(files)
		if verdict == "does not hold" {
			verdict = "**" + verdict + "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", p.text, p.bound, measured, of, verdict)
	}
}

// Compare prints what was promised beside what was measured.
func Compare(dir string, w io.Writer) error {
	files, err := result.Newest(filepath.Join(dir, "results"))
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, p := range promises() {
		measured, of, verdict := p.verdict(files)
		counts[verdict]++
		if _, err := fmt.Fprintf(w, "%-13s  %s: %s, %s", verdict, p.text, p.bound, measured); err != nil {
			return err
		}
		if of != "" {
			of = " [" + of + "]"
		}
		fmt.Fprintln(w, of)
	}
	_, err = fmt.Fprintf(w, "\n%d hold, %d do not, %d not measured\n", counts["holds"], counts["does not hold"], counts["not measured"])
	return err
}
