// Package plot draws lines into SVG files that can be read on light and on dark
// pages. A Chart knows two kinds of axes: logarithmic ones to the right, and linear
// ones from zero upwards.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// A Chart is a set of lines over one axis.
type Chart struct {
	Title, X, Y string // what it shows, and what its axes count
	Lines       []Line
}

// A Line is what one subject did.
type Line struct {
	Name   string
	Points []Point
}

// A Point is a value with the interval in which it lies.
type Point struct{ X, Y, Low, High float64 }

const (
	width, height            = 760, 420
	left, right, top, bottom = 80, 180, 64, 60
	plotWidth                = width - left - right
	plotHeight               = height - top - bottom
)

// style has the colours of light pages and of dark ones: eight that differ in
// lightness too, for those who do not see all colours.
const style = `
 svg { background: #ffffff; font: 13px system-ui, sans-serif }
 text { fill: #1f2328 } .axis { stroke: #57606a } .grid { stroke: #d0d7de }
 .c0 { --c: #0550ae } .c1 { --c: #cf222e } .c2 { --c: #1a7f37 } .c3 { --c: #8250df }
 .c4 { --c: #bf8700 } .c5 { --c: #0a7d91 } .c6 { --c: #b3478f } .c7 { --c: #6e7781 }
 .line { fill: none; stroke: var(--c); stroke-width: 1.7 } .c0.line { stroke-width: 3 }
 .band { fill: var(--c); opacity: .15 } .dot { fill: var(--c) } .label { fill: var(--c) }
 @media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #e6edf3 } .axis { stroke: #8d96a0 } .grid { stroke: #30363d }
  .c0 { --c: #58a6ff } .c1 { --c: #ff7b72 } .c2 { --c: #3fb950 } .c3 { --c: #bc8cff }
  .c4 { --c: #e3b341 } .c5 { --c: #39c5cf } .c6 { --c: #f778ba } .c7 { --c: #9198a1 }
 }
`

const colours = 8

// SVG draws the chart.
func (c Chart) SVG() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), style)
	text(&b, left, 24, "start", "", c.Title)
	s := c.scale()
	c.drawAxes(&b, s)
	for i, l := range c.Lines {
		drawLine(&b, s, l, "c"+strconv.Itoa(i%colours))
	}
	c.drawLabels(&b, s)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// A scale places values on the page.
type scale struct {
	xs     []float64 // all values of X, in order
	lo, hi float64   // logarithms of the first and last X
	shift  float64   // is added to X before its logarithm is taken: for a curve from 0
	ymax   float64
	ystep  float64
}

func (c Chart) scale() scale {
	var s scale
	for _, l := range c.Lines {
		for _, p := range l.Points {
			s.xs = append(s.xs, p.X)
			s.ymax = max(s.ymax, p.Y, p.High)
		}
	}
	slices.Sort(s.xs)
	s.xs = slices.Compact(s.xs)
	if len(s.xs) > 0 && s.xs[0] == 0 {
		s.shift = 1
		if len(s.xs) > 1 {
			s.shift = s.xs[1] / 4
		}
	}
	if len(s.xs) > 0 {
		s.lo, s.hi = s.log(s.xs[0]), s.log(s.xs[len(s.xs)-1])
	}
	s.ystep = step(s.ymax)
	s.ymax = s.ystep * max(math.Ceil(s.ymax/s.ystep), 1)
	return s
}

func (s scale) log(x float64) float64 { return math.Log(x + s.shift) }

func (s scale) x(x float64) float64 {
	if s.hi == s.lo {
		return left + plotWidth/2
	}
	return left + plotWidth*(s.log(x)-s.lo)/(s.hi-s.lo)
}

func (s scale) y(y float64) float64 { return top + plotHeight*(1-y/s.ymax) }

// step returns a round distance between grid lines, of which most cross the
// plot.
func step(most float64) float64 {
	if most <= 0 {
		return 1
	}
	raw := most / 6
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw {
			return m * power
		}
	}
	return 10 * power
}

func (c Chart) drawAxes(b *bytes.Buffer, s scale) {
	for i := 0; float64(i)*s.ystep <= s.ymax*1.0001; i++ {
		y := float64(i) * s.ystep
		class := "grid"
		if i == 0 {
			class = "axis"
		}
		fmt.Fprintf(b, `<line class="%s" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", class, left, s.y(y), left+plotWidth, s.y(y))
		text(b, left-8, s.y(y)+4, "end", "", Short(y))
	}
	for _, x := range s.xs {
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", s.x(x), top+plotHeight, s.x(x), top+plotHeight+5)
		text(b, s.x(x), top+plotHeight+20, "middle", "", Short(x))
	}
	text(b, left+plotWidth/2, height-14, "middle", "", c.X)
	text(b, left, top-18, "end", "", c.Y)
}

func drawLine(b *bytes.Buffer, s scale, l Line, class string) {
	var line, upper, lower string
	for i, p := range l.Points {
		line += fmt.Sprintf(" %.1f,%.1f", s.x(p.X), s.y(p.Y))
		upper += fmt.Sprintf(" %.1f,%.1f", s.x(p.X), s.y(p.High))
		back := l.Points[len(l.Points)-1-i]
		lower += fmt.Sprintf(" %.1f,%.1f", s.x(back.X), s.y(back.Low))
	}
	if len(l.Points) == 0 {
		return
	}
	fmt.Fprintf(b, `<polygon class="%s band" points="%s"/>`+"\n", class, upper[1:]+lower)
	fmt.Fprintf(b, `<polyline class="%s line" points="%s"/>`+"\n", class, line[1:])
	for _, p := range l.Points {
		fmt.Fprintf(b, `<circle class="%s dot" cx="%.1f" cy="%.1f" r="3"/>`+"\n", class, s.x(p.X), s.y(p.Y))
	}
}

// lineHeight is the least distance between two labels.
const lineHeight = 16

// drawLabels writes each line's name at its right end, and moves those apart
// that would lie on each other.
func (c Chart) drawLabels(b *bytes.Buffer, s scale) {
	type label struct {
		y     float64
		name  string
		class string
	}
	var labels []label
	for i, l := range c.Lines {
		if n := len(l.Points); n > 0 {
			labels = append(labels, label{s.y(l.Points[n-1].Y), l.Name, "c" + strconv.Itoa(i%colours)})
		}
	}
	slices.SortStableFunc(labels, func(a, b label) int {
		switch {
		case a.y < b.y:
			return -1
		case a.y > b.y:
			return 1
		}
		return 0
	})
	for i := range labels {
		if i > 0 {
			labels[i].y = max(labels[i].y, labels[i-1].y+lineHeight)
		}
	}
	// What was pushed over the lower end pushes the others up again.
	for i := len(labels) - 1; i >= 0; i-- {
		floor := float64(top + plotHeight)
		if i+1 < len(labels) {
			floor = labels[i+1].y - lineHeight
		}
		labels[i].y = min(labels[i].y, floor)
	}
	for _, l := range labels {
		text(b, left+plotWidth+10, l.y+4, "start", l.class+" label", l.name)
	}
}

func text(b *bytes.Buffer, x, y float64, anchor, class, s string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(b, `<text%s x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, escape(s))
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// Short writes a number as an axis has it: 1k, 2.5M.
func Short(x float64) string {
	suffix := ""
	switch abs := math.Abs(x); {
	case abs >= 1e6:
		x, suffix = x/1e6, "M"
	case abs >= 1e4:
		x, suffix = x/1e3, "k"
	}
	return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) + suffix
}
