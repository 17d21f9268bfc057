package plot

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Rows is a chart with a row for each subject: bars made of parts from zero on, or, on a
// logarithmic axis, marks on a line. It grows downwards with its rows, and can be as
// narrow as a telephone.
type Rows struct {
	Title, X string   // what it shows, and what its axis counts, with the unit
	Parts    []string // what bars are made of, or what the marks are, as the legend has them
	Rows     []Row
	Log      bool // marks on a logarithmic axis; else bars
	Width    int  // in pixels; 0: as a Chart
}

// A Row is one subject.
type Row struct {
	Head   string    // written in a line of its own above the row, if it is not empty
	Name   string    // written above the bar
	Values []float64 // by Parts; NaN: there is none
	Text   string    // written behind the bar

	// Low and High are the interval of the whole bar, or of the first mark. NaN: there is none.
	Low, High float64
}

const (
	rowsStyle = `
 .bar { fill: var(--c); stroke: var(--page); stroke-width: 1 } .span { stroke: var(--c); stroke-width: 11; opacity: .35 } .ends { stroke: var(--c); stroke-width: 1.5 }
 .thin { stroke: #8d96a0; stroke-width: 1.5 } .whisker { stroke: var(--ink); stroke-width: 1.5 } .head { font-weight: 600 }
 svg { --page: #ffffff; --ink: #1f2328 } text { paint-order: stroke; stroke: var(--page); stroke-width: 3px }
 @media (prefers-color-scheme: dark) { svg { --page: #0d1117; --ink: #e6edf3 } }
`
	charWidth  = 7.1  // of the font, about; wide enough for most
	bold       = 1.15 // times as wide are titles and heads
	margin     = 16
	rowHeight  = 44
	headHeight = 26
	barHeight  = 14
	tickWidth  = 52.0 // what a label of the axis needs
)

// textWidth is about how many pixels a text takes.
func textWidth(s string) float64 { return charWidth * float64(utf8.RuneCountInString(s)) }

// An axis places values on a Rows.
type axis struct {
	log         bool
	from, to    float64 // values
	left, right float64 // pixels
}

func (a axis) x(v float64) float64 {
	share := (v - a.from) / (a.to - a.from)
	if a.log {
		share = (math.Log(v) - math.Log(a.from)) / (math.Log(a.to) - math.Log(a.from))
	}
	return a.left + (a.right-a.left)*share
}

// ticks returns the values that the axis is labelled with, as many as have room.
func (a axis) ticks() (at []float64) {
	if !a.log {
		by := step(a.to)
		for float64(a.right-a.left)/(a.to/by) < tickWidth {
			by *= 2
		}
		for i := 0; float64(i)*by <= a.to*1.0001; i++ {
			at = append(at, float64(i)*by)
		}
		return at
	}
	factors, by := []float64{1, 2, 5}, 1.0
	if decade := (a.right - a.left) / math.Log10(a.to/a.from); decade < 150 {
		factors, by = []float64{1}, math.Ceil(tickWidth/decade)
	}
	for power := math.Floor(math.Log10(a.from)); power <= math.Ceil(math.Log10(a.to)); power += by {
		for _, f := range factors {
			if v := f * math.Pow(10, power); v >= a.from*0.999 && v <= a.to*1.001 {
				at = append(at, v)
			}
		}
	}
	return at
}

func (c Rows) axis() axis {
	a := axis{log: c.Log, left: margin, right: float64(c.Width) - margin}
	least, most := math.Inf(1), 0.0
	behind := 0.0
	for _, r := range c.Rows {
		sum := 0.0
		for _, v := range append([]float64{r.Low, r.High}, r.Values...) {
			if v > 0 { // and not NaN
				least, most = min(least, v), max(most, v)
			}
		}
		for _, v := range r.Values {
			if v > 0 {
				sum += v
			}
		}
		if !c.Log {
			most = max(most, sum)
		}
		behind = max(behind, textWidth(r.Text))
	}
	a.right -= min(behind+10, float64(c.Width)*0.55)
	switch {
	case most == 0:
		a.log, a.to = false, 1
	case !c.Log:
		a.to = most
	default:
		a.from, a.to = math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
		if a.from == a.to {
			a.to *= 10
		}
	}
	return a
}

// SVG draws the chart.
func (c Rows) SVG() []byte {
	if c.Width == 0 {
		c.Width = width
	}
	var body bytes.Buffer
	y := c.drawHead(&body)
	begin := y
	a := c.axis()
	var rows bytes.Buffer
	for _, r := range c.Rows {
		if r.Head != "" {
			y += headHeight - lineHeight
			for _, line := range wrap(r.Head, c.room()/bold) {
				y += lineHeight
				text(&rows, margin, y-6, "start", "head", line)
			}
		}
		for i, line := range wrap(r.Name, c.room()) {
			if i > 0 {
				y += lineHeight
			}
			text(&rows, margin, y+15, "start", "", line)
		}
		if c.Log {
			c.drawMarks(&rows, a, r, y+29)
		} else {
			c.drawBar(&rows, a, r, y+22)
		}
		y += rowHeight
	}
	for _, v := range a.ticks() {
		fmt.Fprintf(&body, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", a.x(v), begin, a.x(v), y+4)
		text(&body, a.x(v), y+20, "middle", "", Short(v))
	}
	fmt.Fprintf(&body, `<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", a.left, y+4, a.right, y+4)
	body.Write(rows.Bytes())
	y += 40
	for _, line := range wrap(c.X, c.room()) {
		text(&body, margin, y, "start", "", line)
		y += lineHeight
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img">`+"\n", c.Width, y, c.Width, y)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s%s</style>\n", escape(c.Title), style, rowsStyle)
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawHead writes the title and the legend, and returns where the rows begin.
func (c Rows) drawHead(b *bytes.Buffer) (y float64) {
	y = 24
	for _, line := range wrap(c.Title, c.room()/bold) {
		text(b, margin, y, "start", "head", line)
		y += lineHeight + 2
	}
	y += 4
	x := float64(margin)
	for i, part := range c.Parts {
		lines := wrap(part, c.room()-16)
		need := textWidth(lines[0]) + 30
		if x > margin && (x+need > float64(c.Width) || len(lines) > 1) {
			x, y = margin, y+20
		}
		if c.Log {
			mark(b, i, x+5, y-4)
		} else {
			fmt.Fprintf(b, `<rect class="%s bar" x="%.1f" y="%.1f" width="11" height="11"/>`+"\n", colour(i), x, y-10)
		}
		for j, line := range lines {
			if j > 0 {
				y, need = y+lineHeight, float64(c.Width) // the next one begins a line
			}
			text(b, x+16, y, "start", "", line)
		}
		x += need
	}
	return y + 14
}

// room is how many pixels a line of text may take.
func (c Rows) room() float64 { return float64(c.Width - 2*margin) }

func colour(i int) string { return "c" + strconv.Itoa(i%colours) }

// drawBar draws the parts of a row one behind the other.
func (c Rows) drawBar(b *bytes.Buffer, a axis, r Row, y float64) {
	sum := 0.0
	for i, v := range r.Values {
		if v > 0 {
			fmt.Fprintf(b, `<rect class="%s bar" x="%.1f" y="%.1f" width="%.1f" height="%d"/>`+"\n", colour(i), a.x(sum), y, max(a.x(sum+v)-a.x(sum), 0.5), barHeight)
			sum += v
		}
	}
	end := sum
	if !math.IsNaN(r.Low) && r.High > r.Low {
		end = max(end, r.High)
		middle := y + barHeight/2
		fmt.Fprintf(b, `<path class="whisker" d="M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8"/>`+"\n", a.x(r.Low), middle, a.x(r.High), a.x(r.Low), middle-4, a.x(r.High), middle-4)
	}
	text(b, a.x(end)+8, y+11, "start", "", r.Text)
}

// drawMarks draws the values of a row as marks on a line.
func (c Rows) drawMarks(b *bytes.Buffer, a axis, r Row, y float64) {
	least, most := math.Inf(1), math.Inf(-1)
	for _, v := range r.Values {
		if v > 0 {
			least, most = min(least, v), max(most, v)
		}
	}
	if most > 0 {
		fmt.Fprintf(b, `<line class="thin" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", a.x(least), y, a.x(most), y)
	}
	if r.Low > 0 && r.High > r.Low {
		most = max(most, r.High)
		fmt.Fprintf(b, `<line class="c0 span" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", a.x(r.Low), y, a.x(r.High), y)
		// Its ends are higher than the mark, which hides an interval that is narrower.
		fmt.Fprintf(b, `<path class="c0 ends" d="M%.1f %.1fv16M%.1f %.1fv16"/>`+"\n", a.x(r.Low), y-8, a.x(r.High), y-8)
	}
	for i := len(r.Values) - 1; i >= 0; i-- {
		if r.Values[i] > 0 {
			mark(b, i, a.x(r.Values[i]), y)
		}
	}
	at := a.left
	if most > 0 {
		at = a.x(most) + 12
	}
	text(b, at, y+4, "start", "", r.Text)
}

// mark draws the i-th mark: they differ in form as well as in colour.
func mark(b *bytes.Buffer, i int, x, y float64) {
	switch i % 3 {
	case 0:
		fmt.Fprintf(b, `<circle class="%s dot" cx="%.1f" cy="%.1f" r="4.5"/>`+"\n", colour(i), x, y)
	case 1:
		fmt.Fprintf(b, `<path class="%s dot" d="M%.1f %.1fl5 5l-5 5l-5 -5z"/>`+"\n", colour(i), x, y-5)
	default:
		fmt.Fprintf(b, `<rect class="%s dot" x="%.1f" y="%.1f" width="8" height="8"/>`+"\n", colour(i), x-4, y-4)
	}
}

// wrap breaks a text into lines of at most so many pixels: between words, and in a word
// that is longer than a line.
func wrap(s string, most float64) (lines []string) {
	line := ""
	var words []string
	for _, word := range strings.Fields(s) {
		for letters := int(most / charWidth); utf8.RuneCountInString(word) > letters; {
			first := string([]rune(word)[:letters])
			words, word = append(words, first), word[len(first):]
		}
		words = append(words, word)
	}
	for _, word := range words {
		next := word
		if line != "" {
			next = line + " " + next
		}
		if line != "" && textWidth(next) > most {
			lines, next = append(lines, line), word
		}
		line = next
	}
	return append(lines, line)
}
