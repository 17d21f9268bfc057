package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/plot"
)

// The files of charts.
const (
	deployChart  = "deploy.svg"
	againChart   = "redeploy.svg"
	scaleChart   = "scale.svg"
	latencyChart = "latencies.svg"
	costChart    = "cost.svg"
)

// chartNames returns all names that a chart's file can have.
func chartNames() []string {
	return []string{deployChart, againChart, scaleChart, latencyChart, costChart}
}

// narrow is the width of charts for telephones.
const narrow = 340

// A chart is one that can be drawn in any width.
type chart plot.Rows

func (c chart) svg(width int) []byte {
	c.Width = width
	return plot.Rows(c).SVG()
}

// draw draws all charts for which there is something.
func (w *writer) draw() {
	w.stages(deployChart, "First deployment, by stages", []bars{{"", "deploy", "", "total"}})
	w.stages(againChart, "Redeployment after a change, by stages", []bars{{"", "redeploy", "", "total"}})
	w.stages(scaleChart, "Scaling, by stages", []bars{
		{"From 3 to 5 nodes", "scale", "out/", "out/total"}, {"From 5 to 3 nodes", "scale", "in/", "in/total"},
	})
	w.latencies()
	w.costs()
}

// keep takes a chart into the document.
func (w *writer) keep(name string, c plot.Rows) {
	if len(c.Rows) == 0 {
		return
	}
	w.charts[name], w.titles[name] = chart(c), c.Title
}

// Bars are one group of rows of a chart of stages.
type bars struct{ head, test, prefix, total string }

// firstStages are the stages in the order in which they pass.
func firstStages() []string {
	return []string{"build", "image", "control-plane", "scheduling", "stop", "start", "agreement", "first-answer"}
}

// stagesOf returns the stages of a group of rows by name: those at the first level only.
func stagesOf(t *result.Test, prefix string) map[string]float64 {
	found := make(map[string]float64)
	if state(t) != "" {
		return found
	}
	for i := range t.Series {
		s := &t.Series[i]
		if name, ok := strings.CutPrefix(s.Name, prefix+"stage/"); ok && !strings.Contains(name, "/") && len(s.Samples) > 0 {
			found[name] = s.Median()
		}
	}
	return found
}

// stages draws bars that are made of the medians of stages.
func (w *writer) stages(name, title string, groups []bars) {
	parts := []string{}
	for _, stage := range firstStages() {
		if slices.ContainsFunc(w.columns, func(c column) bool {
			return slices.ContainsFunc(groups, func(g bars) bool { _, ok := stagesOf(c.file.Test(g.test), g.prefix)[stage]; return ok })
		}) {
			parts = append(parts, stage)
		}
	}
	for _, c := range w.columns {
		for _, g := range groups {
			for _, stage := range slices.Sorted(maps.Keys(stagesOf(c.file.Test(g.test), g.prefix))) {
				if !slices.Contains(parts, stage) {
					parts = append(parts, stage)
				}
			}
		}
	}
	const whole = "whole (without stages)"
	chart := plot.Rows{Title: title, X: "seconds: medians of stages; the whisker is where the median of the whole lies, with 95% confidence (of fewer than 6 samples: their range)"}
	bare := false
	for _, g := range groups {
		if len(w.have(g.test, g.total)) == 0 {
			continue
		}
		head := g.head
		for _, c := range w.columns {
			row := plot.Row{Head: head, Name: c.name + c.mark(g.test), Values: make([]float64, len(parts)+1), Low: math.NaN(), High: math.NaN(), Text: orNotMeasured(state(c.file.Test(g.test)))}
			head = ""
			if s := c.series(g.test, g.total); s != nil {
				stages := stagesOf(c.file.Test(g.test), g.prefix)
				for i, part := range parts {
					row.Values[i] = stages[part]
				}
				if len(stages) == 0 {
					row.Values[len(parts)], bare = s.Median(), true
				}
				iv, _ := s.Interval()
				row.Low, row.High = iv.Low, iv.High
				row.Text = fmt.Sprintf("%s s, n=%d", number(s.Median()), len(s.Samples))
			}
			chart.Rows = append(chart.Rows, row)
		}
	}
	chart.Parts = parts
	if bare {
		chart.Parts = append(chart.Parts, whole)
	}
	w.keep(name, chart)
}

func orNotMeasured(s string) string {
	if s == "" {
		return notMeasured
	}
	return s
}

// latencies draws quantiles of everything that was timed in milliseconds.
func (w *writer) latencies() {
	chart := plot.Rows{Title: "Latencies", Log: true, Parts: []string{"p50, between brackets where it lies with 95% confidence", "p90", "p99"}, X: "milliseconds, on a logarithmic axis"}
	for _, g := range []struct{ id, head string }{{"discovery", "Discovery: "}, {"network", "Network: "}, {"cache", "Cache: "}} {
		for _, name := range w.all(g.id) {
			head := g.head + label(name)
			for _, c := range w.columns {
				s := c.series(g.id, name)
				if s == nil || s.Unit != "ms" {
					continue
				}
				iv, _ := s.Interval()
				chart.Rows = append(chart.Rows, plot.Row{
					Head: head, Name: c.name + c.mark(g.id), Values: []float64{s.Median(), s.Quantile(0.9), s.Quantile(0.99)}, Low: iv.Low, High: iv.High,
					Text: fmt.Sprintf("%s ms, n=%d", number(s.Median()), len(s.Samples)),
				})
				head = ""
			}
		}
	}
	w.keep(latencyChart, chart)
}

// mostItems is how many items of costs have colours of their own.
const mostItems = 7

// A priced is a row of the chart of costs.
type priced struct {
	name   string
	column column
	prefix string // of its series
}

// costs draws what an hour costs, item by item: where it ran, and where AWS did not run, as
// it would be there.
func (w *writer) costs() {
	var all []priced
	for _, c := range w.columns {
		if c.series("cost", "total") != nil {
			all = append(all, priced{c.name, c, ""})
		}
	}
	if _, ok := w.aws(); !ok {
		for _, c := range w.columns {
			if c.series("cost", "aws/total") != nil {
				all = append(all, priced{"AWS, reckoned for the deployment of " + c.name, c, "aws/"})
				break
			}
		}
	}
	most := make(map[string]float64)
	for _, p := range all {
		for name, dollars := range p.items() {
			most[name] = max(most[name], dollars)
		}
	}
	items := slices.SortedFunc(maps.Keys(most), func(a, b string) int {
		return cmp.Or(cmp.Compare(most[b], most[a]), strings.Compare(a, b))
	})
	parts := slices.Clone(items[:min(len(items), mostItems)])
	if len(items) > mostItems {
		parts = append(parts, "all other items")
	}
	chart := plot.Rows{Title: "Cost of the deployment, by items", X: "USD an hour, from the price table; prices have no interval", Parts: parts}
	for _, p := range all {
		row := plot.Row{Name: p.name, Values: make([]float64, len(parts)), Low: math.NaN(), High: math.NaN()}
		row.Text = number(p.column.series("cost", p.prefix+"total").Median()) + " USD/hour"
		found := p.items()
		for i, item := range items {
			row.Values[min(i, mostItems)] += found[item]
		}
		chart.Rows = append(chart.Rows, row)
	}
	if len(items) > 0 {
		w.keep(costChart, chart)
	}
}

// items returns what an hour of each item costs, without what costs nothing.
func (p priced) items() map[string]float64 {
	found := make(map[string]float64)
	for i := range p.column.file.Test("cost").Series {
		s := &p.column.file.Test("cost").Series[i]
		if name, ok := strings.CutPrefix(s.Name, p.prefix+"item/"); ok && s.Median() > 0 {
			found[name] = s.Median()
		}
	}
	return found
}
