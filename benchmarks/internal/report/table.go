// Package report makes documents of results: tables, plots, and the list of
// what was promised beside what was measured.
package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/internal/stat"
)

// Tables writes a result's tables in Markdown: a row a point and a column a
// subject, or a row a subject where there is only one point.
func Tables(w io.Writer, f *result.File) error {
	var b strings.Builder
	for i := range f.Groups {
		writeGroup(&b, &f.Groups[i])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeGroup(b *strings.Builder, g *result.Group) {
	fmt.Fprintf(b, "**%s** (%s)\n\n", g.Title, strings.Join(g.Units, ", "))
	if len(g.Points) == 1 {
		writeSubjects(b, g)
	} else {
		writePoints(b, g)
	}
	b.WriteString("\n")
}

// writeSubjects writes a row a subject.
func writeSubjects(b *strings.Builder, g *result.Group) {
	p := &g.Points[0]
	subjects := g.Subjects()
	beside, line := " "+subjects[0]+" : it |", "---|"
	if len(subjects) == 1 {
		beside, line = "", ""
	}
	fmt.Fprintf(b, "| | %s |%s\n|---|%s%s\n", strings.Join(g.Units, " | "), beside, strings.Repeat("---|", len(g.Units)), line)
	for _, subject := range subjects {
		fmt.Fprintf(b, "| %s |", subject)
		for _, unit := range g.Units {
			fmt.Fprintf(b, " %s |", cell(p.Samples(subject, unit)))
		}
		if len(subjects) > 1 {
			fmt.Fprintf(b, " %s |", ratioCell(p, g.Units[0], subjects[0], subject))
		}
		b.WriteString("\n")
	}
}

// writePoints writes a row a point, and a table a unit.
func writePoints(b *strings.Builder, g *result.Group) {
	subjects := g.Subjects()
	for i, unit := range g.Units {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", unit, strings.Join(subjects, " | "), strings.Repeat("---|", len(subjects)))
		for j := range g.Points {
			p := &g.Points[j]
			fmt.Fprintf(b, "| %s |", p.Name)
			for _, subject := range subjects {
				fmt.Fprintf(b, " %s |", cell(p.Samples(subject, unit)))
			}
			b.WriteString("\n")
		}
	}
}

// cell returns a median and its interval.
func cell(samples []float64) string {
	if len(samples) == 0 {
		return "not measured"
	}
	median := stat.Median(samples)
	iv, _ := stat.MedianInterval(samples)
	if iv.Low == iv.High {
		return number(median)
	}
	return fmt.Sprintf("%s (%s to %s)", number(median), number(iv.Low), number(iv.High))
}

func ratioCell(p *result.Point, unit, ours, theirs string) string {
	a, b := p.Samples(ours, unit), p.Samples(theirs, unit)
	if ours == theirs || len(a) == 0 || len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", stat.Compare(a, b).Value)
}

// number returns three significant digits, and thousands with a comma.
func number(x float64) string {
	abs := math.Abs(x)
	switch {
	case x == 0:
		return "0"
	case abs < 0.0005:
		return "0.000"
	case abs < 1:
		return strconv.FormatFloat(x, 'f', 3, 64)
	case abs < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case abs < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(abs, 'f', 0, 64)
	if abs >= 10_000 {
		digits = strconv.FormatFloat(math.Round(abs/10)*10, 'f', 0, 64)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if x < 0 {
		return "-" + digits
	}
	return digits
}
