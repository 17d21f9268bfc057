//lint:file-ignore SA1019 releases 10 and 11 of Grafana know the older model alone

package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	gstat "github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// A board is a dashboard: rows of panels, which all ask the data source, the
// environment and the cluster that its variables choose.
type board struct {
	uid, title, what string
	rows             []row
}

type row struct {
	title  string
	panels []panel
}

// A panel says what it shows once for each kind of data source. Grafana hands a panel's
// queries to the one data source that is chosen, and each leaves out what is not its own.
type panel struct {
	title, what string
	unit        string // one of Grafana's
	number      bool   // a single number in place of a graph
	stacked     bool
	bad         float64 // where a number turns red; 0: never
	below       bool    // red is below it
	prom        []query
	cloudwatch  []metric // none: CloudWatch does not have it
}

// boards returns all dashboards.
func boards() []board { return []board{overview(), caches(), peers(), processes()} }

// The UIDs under which monitoring/grafana/provisioning makes the data sources.
const (
	prometheusUID = "geecache-prometheus"
	cloudwatchUID = "geecache-cloudwatch"
)

// schemaVersion is that of Grafana 11; newer releases migrate it.
const schemaVersion = 39

// source is the data source that the variable chooses.
var source = "$source"

func (b board) build() (dashboard.Dashboard, error) {
	d := dashboard.NewDashboardBuilder(b.title).Uid(b.uid).Description(b.what).Tags([]string{"geecache"}).
		Time("now-1h", "now").Refresh("30s").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("GeeCache").Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{"geecache"}).KeepTime(true).IncludeVars(true))
	for _, v := range variables() {
		d.WithVariable(v)
	}
	id := uint32(0)
	for _, r := range b.rows {
		d.WithRow(dashboard.NewRowBuilder(r.title))
		for i, p := range r.panels {
			id++
			d.WithPanel(p.builder(id, width(r.panels, i)))
		}
	}
	built, err := d.Build()
	built.SchemaVersion = schemaVersion
	return built, err
}

// width shares the 24 columns out: numbers stand in one line, graphs two or three.
func width(panels []panel, i int) uint32 {
	n := uint32(len(panels))
	switch {
	case panels[i].number:
		return 24 / n
	case n%3 == 0:
		return 8
	case n%2 == 1 && i == len(panels)-1:
		return 24
	}
	return 12
}

func (p panel) builder(id, width uint32) cog.Builder[dashboard.Panel] {
	what := p.what
	if len(p.cloudwatch) == 0 {
		what += " CloudWatch does not have this."
	}
	ref := common.DataSourceRef{Uid: &source}
	if p.number {
		b := gstat.NewPanelBuilder().Id(id).Title(p.title).Description(what).Datasource(ref).Unit(p.unit).
			Height(4).Span(width).GraphMode(common.BigValueGraphModeArea).ColorMode(common.BigValueColorModeValue).
			Thresholds(p.thresholds()).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
		for _, t := range p.targets() {
			b.WithTarget(t)
		}
		return b
	}
	b := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(what).Datasource(ref).Unit(p.unit).
		Height(8).Span(width).Min(0).LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.stacked {
		b.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	for _, t := range p.targets() {
		b.WithTarget(t)
	}
	return b
}

func (p panel) thresholds() cog.Builder[dashboard.ThresholdsConfig] {
	first, second := "green", "red"
	if p.below {
		first, second = second, first
	}
	steps := []dashboard.Threshold{{Color: first}}
	if p.bad != 0 {
		steps = append(steps, dashboard.Threshold{Value: &p.bad, Color: second})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

// targets returns the queries of both data sources. References of one panel differ.
func (p panel) targets() []cog.Builder[variants.Dataquery] {
	var all []cog.Builder[variants.Dataquery]
	for i, q := range p.prom {
		t := prometheus.NewDataqueryBuilder().RefId(fmt.Sprintf("P%d", i+1)).Expr(q.promQL()).LegendFormat(q.legend)
		all = append(all, t.Range())
	}
	for i, m := range p.cloudwatch {
		all = append(all, built{m.target().build(fmt.Sprintf("C%d", i+1))})
	}
	return all
}

// built is the builder of what is built already.
type built struct{ q variants.Dataquery }

func (b built) Build() (variants.Dataquery, error) { return b.q, nil }

// variables are those of every dashboard. Each query of a variable has the members
// of both data sources, of which each reads its own.
func variables() []cog.Builder[dashboard.VariableModel] {
	choice := func(text, value string) dashboard.VariableOption {
		yes := true
		return dashboard.VariableOption{Selected: &yes, Text: dashboard.StringOrArrayOfString{String: &text}, Value: dashboard.StringOrArrayOfString{String: &value}}
	}
	values := func(s string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &s} }
	asked := func(name, label, series string, dims map[string]any) *dashboard.QueryVariableBuilder {
		q := map[string]any{
			"refId": name, "qryType": 1, "query": "label_values(" + series + ", " + name + ")",
			"queryType": "dimensionValues", "region": "$region", "namespace": namespace,
			"metricName": "geecache_requests_total", "dimensionKey": name, "dimensionFilters": dims, "attributeName": "",
		}
		return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(common.DataSourceRef{Uid: &source}).
			Query(dashboard.StringOrMap{Map: q}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
	}
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewCustomVariableBuilder("source").Label("Data source").
			Values(values("Prometheus : " + prometheusUID + ", CloudWatch : " + cloudwatchUID)).
			Current(choice("Prometheus", prometheusUID)),
		dashboard.NewTextBoxVariableBuilder("region").Label("Region (CloudWatch)").DefaultValue(values("default")),
		asked("environment", "Environment", "geecache_node_info", map[string]any{}).
			IncludeAll(true).AllValue(".*").Current(choice("All", "$__all")),
		asked("cluster", "Cluster", `geecache_node_info{environment=~"$environment"}`, map[string]any{}),
		asked("group", "Group", `geecache_requests_total{environment=~"$environment",cluster="$cluster"}`, map[string]any{"cluster": []string{"$cluster"}}).
			IncludeAll(true).Multi(true).Current(choice("All", "$__all")),
	}
}
