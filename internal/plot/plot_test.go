package plot_test

import (
	"encoding/xml"
	"errors"
	"io"
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
