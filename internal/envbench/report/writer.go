package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/stat"
)

// A column is what the results of one environment say.
type column struct {
	name   string
	file   *result.File // with tests of several runs, if there are
	source Source       // the names of all its files

	main *run            // the run that the rest of file is of
	runs []*run          // of which something is in it, the newest first
	of   map[string]*run // by test
	left []*run          // newer ones that are of another deployment
}

// real reports whether the column is of AWS itself.
func (c column) real() bool { return c.name == "aws" || strings.HasPrefix(c.name, "aws of ") }

// A writer writes the document, and marks in it what has a source.
type writer struct {
	columns []column
	links   string
	text    bytes.Buffer
	charts  map[string]chart
	titles  map[string]string
}

// printf writes text. What has figures in it must come from one of the methods below.
func (w *writer) printf(format string, args ...any) { fmt.Fprintf(&w.text, format, args...) }

// What has a source stands between marks until the document is finished.
const (
	beginMark = "\x02"
	endMark   = "\x03"
)

// from returns a piece of text whose figures come from a source, between marks. Without a
// source there are none.
func (w *writer) from(s Source, text string) string {
	if s == "" {
		return text
	}
	return beginMark + text + endMark
}

// unmarked returns text without marks.
func unmarked(text []byte) []byte {
	return slices.DeleteFunc(slices.Clone(text), func(c byte) bool { return c == beginMark[0] || c == endMark[0] })
}

// sentence returns text with one full stop at its end.
func sentence(text string) string {
	inner := strings.TrimRight(text, endMark)
	return strings.TrimSuffix(inner, ".") + text[len(inner):] + "."
}

// quoted returns what a results file says in words, fit for Markdown.
func (w *writer) quoted(c column, text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	return w.from(c.source, strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "'").Replace(text))
}

// evidence returns why something is not supported, without saying so once more.
func (w *writer) evidence(c column, text string) string {
	if _, why, ok := strings.Cut(text, " is "+notSupported+": "); ok {
		text = why
	}
	return w.quoted(c, text)
}

// row writes a line of a table.
func (w *writer) row(cells ...string) { w.printf("| %s |\n", strings.Join(cells, " | ")) }

// head writes the head of a table.
func (w *writer) head(cells ...string) {
	w.row(cells...)
	w.printf("|%s\n", strings.Repeat("---|", len(cells)))
}

// number returns three significant digits, and thousands with a comma.
func number(x float64) string {
	abs := math.Abs(x)
	switch {
	case math.IsNaN(x), math.IsInf(x, 0):
		return notMeasured
	case x == 0:
		return "0"
	case abs < 1:
		return strconv.FormatFloat(x, 'f', min(2-int(math.Floor(math.Log10(abs))), 6), 64)
	case abs < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case abs < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(abs, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if x < 0 {
		return "-" + digits
	}
	return digits
}

// interval returns where a median lies, in brackets; empty if that says nothing more.
func interval(samples []float64) string {
	iv, _ := stat.MedianInterval(samples)
	if len(samples) < 2 || iv.Low == iv.High {
		return ""
	}
	return fmt.Sprintf(" (%s to %s)", number(iv.Low), number(iv.High))
}

// many is from how many samples on a cell says more than the median.
const many = 50

// money reports whether a unit is one of costs, which are reckoned and not sampled.
func money(unit string) bool { return strings.HasPrefix(unit, "USD") }

// value returns a series as a table's cell has it.
func (w *writer) value(c column, s *result.Series) string {
	if s.Unsupported != "" {
		return notSupported
	}
	if len(s.Samples) == 0 {
		return notMeasured
	}
	text := number(s.Median())
	if s.Unit == "share" {
		text = number(100*s.Median()) + "%"
		if len(s.Samples) > 1 {
			iv, _ := s.Interval()
			text += fmt.Sprintf(" (%s%% to %s%%)", number(100*iv.Low), number(100*iv.High))
		}
	} else {
		text += " " + strings.ReplaceAll(s.Unit, "1/s", "a second") + interval(s.Samples)
	}
	if len(s.Samples) >= many {
		text += fmt.Sprintf(", p90 %s, p99 %s", number(s.Quantile(0.9)), number(s.Quantile(0.99)))
	}
	if !money(s.Unit) {
		text += fmt.Sprintf(", n=%d", len(s.Samples))
	}
	if s.Load != nil && s.Load.AtLeast {
		text = "at least " + text
	}
	if s.Load != nil && s.Load.Saturated {
		text += ", generator saturated"
	}
	return w.from(c.source, text)
}

// counts returns a count as a table's cell has it.
func (w *writer) counts(c column, n *result.Count) string {
	if len(n.Values) == 0 {
		return notMeasured
	}
	least, most := slices.Min(n.Values), slices.Max(n.Values)
	text := strconv.Itoa(least)
	if least != most {
		sum := make([]float64, len(n.Values))
		for i, v := range n.Values {
			sum[i] = float64(v)
		}
		text = fmt.Sprintf("%s (%d to %d)", number(stat.Median(sum)), least, most)
	}
	if len(n.Values) > 1 {
		text += fmt.Sprintf(", n=%d", len(n.Values))
	}
	return w.from(c.source, text)
}

// What cells say where there is no figure.
const (
	notMeasured  = "not measured"
	notSupported = "not supported here"
	nothing      = "–"
)

// state says why a test has no figures, or returns nothing if it may have some.
func state(t *result.Test) string {
	switch {
	case t == nil:
		return notMeasured
	case t.State == result.Unsupported:
		return notSupported
	case t.State == result.Failed:
		return "failed"
	}
	return ""
}

// cell returns what a column says of a quantity of a test.
func (w *writer) cell(c column, id, name string) string {
	t := c.file.Test(id)
	if s := state(t); s != "" {
		return s
	}
	if s := t.Find(name); s != nil {
		return w.value(c, s)
	}
	if n := t.Count(name); n != nil {
		return w.counts(c, n)
	}
	return notMeasured
}

// series returns a series of a test that has samples, or nil.
func (c column) series(id, name string) *result.Series {
	t := c.file.Test(id)
	if state(t) != "" {
		return nil
	}
	if s := t.Find(name); s != nil && len(s.Samples) > 0 {
		return s
	}
	return nil
}

// fact returns the verdict of a test's fact, and whether there is one.
func (c column) fact(id, name string) (result.Fact, bool) {
	t := c.file.Test(id)
	if t == nil {
		return result.Fact{}, false
	}
	for _, f := range t.Facts {
		if f.Name == name {
			return f, true
		}
	}
	return result.Fact{}, false
}
