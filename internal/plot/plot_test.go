package plot_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/plot"
)

func TestSVG(t *testing.T) {
	c := plot.Chart{Title: "a < b & c", X: "entries", Y: "ns/op", Lines: []plot.Line{
		{Name: "ours", Points: []plot.Point{{X: 0, Y: 1, Low: 1, High: 2}, {X: 100, Y: 3, Low: 2, High: 4}, {X: 1000, Y: 3, Low: 2, High: 4}}},
		{Name: "theirs", Points: []plot.Point{{X: 100, Y: 3.01, Low: 3, High: 3.1}, {X: 1000, Y: 3.01, Low: 3, High: 3.1}}},
		{Name: "absent"},
	}}
	svg := string(c.SVG())
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
	}
	for _, want := range []string{"a &lt; b &amp; c", "prefers-color-scheme: dark", ">ours<", ">theirs<", ">entries<", ">1000<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	for _, not := range []string{"NaN", "Inf", ">absent<"} {
		if strings.Contains(svg, not) {
			t.Errorf("the plot has %q", not)
		}
	}
	if again := string(c.SVG()); again != svg {
		t.Error("the same chart is drawn in two ways")
	}
}

func TestEmptyChart(t *testing.T) {
	if svg := string(plot.Chart{}.SVG()); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("%s", svg)
	}
}

func TestShort(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.5: "0.5", 256: "256", 1024: "1024", 65536: "65.536k", 1e6: "1M", 1.25e6: "1.25M"} {
		if got := plot.Short(x); got != want {
			t.Errorf("Short(%v) = %q, want %q", x, got, want)
		}
	}
}

func TestRows(t *testing.T) {
	nan := math.NaN()
	bars := plot.Rows{Title: "a < b", X: "seconds, median", Parts: []string{"build", "start"}, Rows: []plot.Row{
		{Head: "deploy", Name: "local", Values: []float64{1, 2}, Low: 2.5, High: 3.5, Text: "3 s"},
		{Name: "docker", Values: []float64{nan, nan}, Low: nan, High: nan, Text: "not measured"},
	}}
	marks := plot.Rows{Title: "latencies", X: "ms", Log: true, Parts: []string{"p50", "p90", "p99"}, Width: 360, Rows: []plot.Row{
		{Name: "local", Values: []float64{0.2, 3, 40}, Low: 0.1, High: 0.3, Text: "0.2 ms"},
		{Name: "docker", Values: []float64{nan}, Low: nan, High: nan, Text: "not measured"},
	}}
	for name, svg := range map[string]string{
		"bars": string(bars.SVG()), "marks": string(marks.SVG()), "nothing": string(plot.Rows{Title: "t", Rows: []plot.Row{{Name: "x"}}}.SVG()),
		"marks without values": string(plot.Rows{Title: "t", Log: true, Rows: []plot.Row{{Name: "x", Low: nan, High: nan}}}.SVG()),
	} {
		for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: not well-formed: %v\n%s", name, err, svg)
			}
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%s has a place that is no number:\n%s", name, svg)
		}
	}
	for _, want := range []string{"a &lt; b", `class="whisker"`, "seconds, median", ">not measured<", ">build<", ">deploy<", "prefers-color-scheme: dark"} {
		if !strings.Contains(string(bars.SVG()), want) {
			t.Errorf("the bars lack %q", want)
		}
	}
	for _, want := range []string{`class="c0 span"`, `class="c0 ends"`, ">0.1<", ">100<", `width="360"`} {
		if !strings.Contains(string(marks.SVG()), want) {
			t.Errorf("the marks lack %q", want)
		}
	}
}

// However long names are and however far values are apart, on a telephone nothing is cut off,
// and no two labels of the axis lie on each other.
func TestRowsHaveRoom(t *testing.T) {
	const width = 340
	long := strings.Repeat("a-name-without-an-end-", 8)
	c := plot.Rows{Title: long, X: long, Log: true, Parts: []string{long, "p90 " + long, "p99"}, Width: width, Rows: []plot.Row{
		{Head: long, Name: "head " + long, Values: []float64{1e-4, 1, 1e5}, Low: 1e-5, High: 1e-3, Text: "0.0001 ms, n=200"},
	}}
	labels := regexp.MustCompile(`<text[^>]* x="([0-9.]+)" y="([0-9.]+)" text-anchor="(start|middle)">([^<]*)</text>`).FindAllStringSubmatch(string(c.SVG()), -1)
	var ticks []float64
	seen := map[string]bool{}
	for _, l := range labels {
		x, err := strconv.ParseFloat(l[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if l[3] == "middle" {
			ticks = append(ticks, x)
			continue
		}
		if end := x + 6.5*float64(len(l[4])); end > width {
			t.Errorf("%q ends at %v", l[4], end)
		}
		if at := l[1] + "," + l[2]; seen[at] {
			t.Errorf("%q lies on another text", l[4])
		} else {
			seen[at] = true
		}
	}
	if len(ticks) < 3 {
		t.Errorf("the axis has labels at %v only", ticks)
	}
	for i := range ticks[1:] {
		if ticks[i+1]-ticks[i] < 45 {
			t.Errorf("labels of the axis are at %v and %v", ticks[i], ticks[i+1])
		}
	}
}
