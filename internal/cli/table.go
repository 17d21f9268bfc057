package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// onTerminal reports whether w is a terminal, and how high it is in lines.
func onTerminal(w io.Writer) (height int, ok bool) {
	file, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	_, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		height = 0
	}
	return height, true
}

// A palette colours text, or leaves it as it is.
type palette struct{ on bool }

// paletteFor colours on a terminal, unless the user has asked for none.
func paletteFor(w io.Writer) palette {
	_, ok := onTerminal(w)
	return palette{on: ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p palette) paint(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) bold(text string) string   { return p.paint("1", text) }
func (p palette) faint(text string) string  { return p.paint("2", text) }
func (p palette) red(text string) string    { return p.paint("31", text) }
func (p palette) green(text string) string  { return p.paint("32", text) }
func (p palette) yellow(text string) string { return p.paint("33", text) }

// state colours a node's or a connection's state.
func (p palette) state(text string) string {
	switch text {
	case "serving", "up", "self":
		return p.green(text)
	case "starting", "joining", "connecting", "draining":
		return p.yellow(text)
	case "client":
		return text
	}
	return p.red(text)
}

// A table aligns columns. Cells may hold the palette's escapes.
type table struct {
	right map[int]bool // columns that hold numbers
	rows  [][]string
}

func newTable(right ...int) *table {
	t := &table{right: make(map[int]bool)}
	for _, column := range right {
		t.right[column] = true
	}
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// head adds a row of headings.
func (t *table) head(p palette, cells ...string) {
	for i := range cells {
		cells[i] = p.bold(cells[i])
	}
	t.row(cells...)
}

// write appends the table's lines to b. Only what stands before another cell is
// filled up with spaces.
func (t *table) write(b *strings.Builder) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 || t.right[i] {
				widths[i] = max(widths[i], visible(cell))
			}
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", max(widths[i]-visible(cell), 0))
			if i > 0 {
				line.WriteString("  ")
			}
			if t.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// visible returns how many columns a cell takes.
func visible(cell string) int {
	n := utf8.RuneCountInString(cell)
	for rest := cell; ; {
		i := strings.Index(rest, "\x1b[")
		if i < 0 {
			return n
		}
		j := strings.IndexByte(rest[i:], 'm')
		if j < 0 {
			return n
		}
		n -= j + 1
		rest = rest[i+j+1:]
	}
}

// bar draws a share of 0 to 1 as a bar of at most width columns.
func bar(share float64, width int) string {
	const eighths = " ▏▎▍▌▋▊▉"
	n := int(share*float64(8*width) + 0.5)
	n = min(max(n, 0), 8*width)
	text := strings.Repeat("█", n/8)
	if n%8 > 0 {
		text += string([]rune(eighths)[n%8])
	}
	return text
}

// bytesText returns a number of bytes with a binary unit.
func bytesText(n float64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	i := -1
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", n, units[i])
}

// countText returns a number with a space between thousands.
func countText(n int64) string {
	text := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return sign + text
}

// rateText returns a number a second.
func rateText(delta int64, d time.Duration) string {
	if d <= 0 {
		return "0/s"
	}
	rate := float64(delta) / d.Seconds()
	if rate > 0 && rate < 10 {
		return fmt.Sprintf("%.1f/s", rate)
	}
	return countText(int64(rate+0.5)) + "/s"
}

// percentText returns part/whole in percent, "-" for nothing of nothing.
func percentText(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// watch calls draw every so often until ctx ends, and shows what it returns: on
// a terminal in place of what it returned before, else one after the other. An
// error is shown in the same way: a node that restarts does not end the view.
// Only an error of the first call, which is likely the user's, ends it.
func watch(ctx context.Context, out io.Writer, every time.Duration, draw func(context.Context) (string, error)) error {
	if every <= 0 {
		return usagef("--interval: %v: use a positive duration such as 1s", every)
	}
	height, live := onTerminal(out)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	lines := 0
	for first := true; ; first = false {
		text, err := draw(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			text = err.Error() + "\n"
		}
		if live {
			text = clip(text, height)
			if lines > 0 {
				text = fmt.Sprintf("\x1b[%dA\r\x1b[J", lines) + text
			}
			lines = strings.Count(text, "\n")
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// clip cuts text to what fits on the screen, so that it can be redrawn.
func clip(text string, height int) string {
	lines := strings.SplitAfter(text, "\n")
	if height <= 1 || len(lines) <= height {
		return text
	}
	return strings.Join(lines[:height-1], "")
}
