package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cloudwatch"
)

// A query is one line of a panel in Prometheus. In expr, @C stands for the selectors
// of the environment and cluster that the variables choose, @G for these and the
// group, and @R for the range of a rate.
type query struct {
	expr   string
	legend string // Grafana's: {{label}}
}

var selectors = strings.NewReplacer(
	"@C", `environment=~"$environment",cluster="$cluster"`,
	"@G", `environment=~"$environment",cluster="$cluster",group=~"$group"`,
	"@R", "$__rate_interval",
)

// promQL returns the expression as Prometheus gets it from Grafana, but for the variables.
func (q query) promQL() string { return selectors.Replace(q.expr) }

// quantile is the quantile of a histogram's rate, told apart by labels. Servers keep
// classic buckets or the native histogram, as they are configured: it takes what is there.
func quantile(q, family, matchers, by string) string {
	le := "le"
	if by != "" {
		le += ", " + by
	}
	classic := "histogram_quantile(" + q + ", sum by (" + le + ") (rate(" + family + "_bucket{" + matchers + "}[@R])))"
	native := "histogram_quantile(" + q + ", sum by (" + by + ") (rate(" + family + "{" + matchers + "}[@R])))"
	return classic + " or " + native
}

// A metric is one metric of CloudWatch, or an expression over metrics of the panel.
type metric struct {
	id     string // for expressions; lower case
	name   string // in the namespace GeeCache
	stat   string
	labels []string // dimensions beside the cluster, as name=value
	expr   string   // in place of name and stat
	label  string
	hide   bool
}

const (
	namespace = "GeeCache"
	// period is what CloudWatch adds up over, in seconds: the interval in which nodes
	// send unless they are told otherwise.
	period = "60"
)

// sum is what a counter has counted.
func sum(id, name string, labels ...string) metric {
	return metric{id: id, name: name, stat: "Sum", labels: labels, hide: true}
}

// stat is a statistic of a metric that is shown as it is.
func stat(id, name, stat, label string, labels ...string) metric {
	return metric{id: id, name: name, stat: stat, labels: labels, label: label}
}

// math is an expression over the metrics before it.
func math(id, expr, label string) metric { return metric{id: id, expr: expr, label: label} }

// perSecond are two: what a counter has counted, hidden, and that a second.
func perSecond(id, name, label string, labels ...string) []metric {
	return []metric{sum(id, name, labels...), math(id+"s", id+"/"+period, label)}
}

// byGroup is the dimension of a group, or of all that the variable chooses.
const byGroup = "group=$group"

// cat puts metrics together.
func cat(all ...[]metric) []metric {
	var out []metric
	for _, m := range all {
		out = append(out, m...)
	}
	return out
}

// A target is a metric as the panel has it.
type target cloudwatch.MetricsQuery

// Build implements cog.Builder.
func (t target) build(ref string) cloudwatch.MetricsQueryOrLogsQueryOrAnnotationQuery {
	q := cloudwatch.MetricsQuery(t)
	q.RefId = &ref
	return cloudwatch.MetricsQueryOrLogsQueryOrAnnotationQuery{MetricsQuery: &q}
}

func (m metric) target() target {
	search, mode, all, per := cloudwatch.MetricQueryTypeSearch, cloudwatch.MetricEditorModeBuilder, true, period
	q := cloudwatch.MetricsQuery{
		QueryMode: cloudwatch.QueryModeMetrics, MetricQueryType: &search, MetricEditorMode: &mode,
		Id: m.id, Region: "$region", Namespace: namespace, Label: &m.label, Period: &per,
	}
	if m.hide {
		q.Hide = &m.hide
	}
	if m.expr != "" {
		code := cloudwatch.MetricEditorModeCode
		q.MetricEditorMode, q.Expression = &code, &m.expr
		return target(q)
	}
	dims := cloudwatch.Dimensions{"cluster": {ArrayOfString: []string{"$cluster"}}}
	for _, l := range m.labels {
		name, value, _ := strings.Cut(l, "=")
		dims[name] = cloudwatch.StringOrArrayOfString{ArrayOfString: []string{value}}
	}
	q.MetricName, q.Statistic, q.Dimensions, q.MatchExact = &m.name, &m.stat, &dims, &all
	return target(q)
}
