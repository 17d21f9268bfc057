package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
)

// enough is how many samples a claim needs at least.
const enough = 5

// A measured is a column that has a quantity.
type measured struct {
	column
	series *result.Series
	run    *run
}

// have returns the columns with samples of a quantity, the least median first.
func (w *writer) have(id, name string) (all []measured) {
	for _, c := range w.columns {
		if s := c.series(id, name); s != nil {
			all = append(all, measured{c, s, c.run(id)})
		}
	}
	slices.SortStableFunc(all, func(a, b measured) int {
		switch x, y := a.series.Median(), b.series.Median(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return all
}

// A verdict is what can be told of two measured quantities.
type verdict int

const (
	cannotTell verdict = iota
	tooFew
	different // deployments, which are not to be compared
	less
)

// tell says whether a is surely less than b: their intervals do not overlap, and both are
// of the same deployment.
func tell(a, b measured) verdict {
	x, _ := a.series.Interval()
	y, _ := b.series.Interval()
	switch {
	case a.file.Deployment.Nodes != b.file.Deployment.Nodes:
		return different
	case len(a.series.Samples) < enough || len(b.series.Samples) < enough:
		return tooFew
	case x.High < y.Low:
		return less
	}
	return cannotTell
}

// ranked says in sentences which environment takes less of a quantity, as far as it can be
// told. what is the subject, such as "Deployment".
func (w *writer) ranked(what, id, name string) string {
	all := w.have(id, name)
	switch len(all) {
	case 0:
		return what + ": not measured in any environment."
	case 1:
		return fmt.Sprintf("%s: measured in %s alone (%s), so nothing can be compared.", what, all[0].name, w.value(all[0].column, all[0].series))
	}
	var parts []string
	for i := range all[1:] {
		parts = append(parts, w.pair(all[i], all[i+1]))
	}
	if last := len(all) - 1; last > 1 {
		parts = append(parts, w.pair(all[0], all[last]))
	}
	return what + ": " + strings.Join(parts, "; ") + "."
}

// pair says of two, of which the first has the smaller median, how much faster it is.
func (w *writer) pair(a, b measured) string {
	switch tell(a, b) {
	case different:
		return fmt.Sprintf("%s and %s ran different numbers of nodes and are not compared", a.name, b.name)
	case tooFew:
		return fmt.Sprintf("%s and %s have too few samples to say which is faster", a.name, b.name)
	case cannotTell:
		return fmt.Sprintf("it cannot be told whether %s or %s is faster, because their intervals overlap", a.name, b.name)
	}
	x, exactX := a.series.Interval()
	y, exactY := b.series.Interval()
	if x.Low <= 0 {
		return fmt.Sprintf("%s is faster than %s, and so fast that it cannot be told how many times", a.name, b.name)
	}
	ratio := w.from(Source(string(a.source)+" and "+string(b.source)),
		fmt.Sprintf("%s times (%s to %s)", number(b.series.Median()/a.series.Median()), number(y.Low/x.High), number(y.High/x.Low)))
	text := fmt.Sprintf("%s is %s faster than %s", a.name, ratio, b.name) + unlike(a.run, b.run)
	if !exactX || !exactY {
		text += " (by the whole range of few samples)"
	}
	return text
}

// fastest returns the columns among which the fastest is: the one with the least median,
// and those of which it cannot be told.
func (w *writer) fastest(id, name string) (best []measured) {
	all := w.have(id, name)
	for i, m := range all {
		if i == 0 || tell(all[0], m) != less {
			best = append(best, m)
		}
	}
	return best
}

// names joins the names of columns: "a", "a and b", "a, b and c".
func names[T any](all []T, name func(T) string) string {
	var s []string
	for _, x := range all {
		s = append(s, name(x))
	}
	if n := len(s); n > 1 {
		return strings.Join(s[:n-1], ", ") + " and " + s[n-1]
	}
	return strings.Join(s, "")
}

func measuredNames(all []measured) string {
	return names(all, func(m measured) string { return m.name })
}
func columnNames(all []column) string { return names(all, func(c column) string { return c.name }) }
