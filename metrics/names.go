package metrics

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Names returns the names under which Prometheus can be asked for what a node
// serves at /metrics, sorted: those of Families, and what Go, the operating system
// and the endpoint itself add on this system. A histogram has four names: its own
// for the native form, and those with _bucket, _sum and _count. The caller owns
// the slice.
func Names() []string {
	var names []string
	for _, f := range Families() {
		names = append(names, f.Name)
		if f.Type == histogram {
			names = append(names, f.Name+"_bucket", f.Name+"_sum", f.Name+"_count")
		}
	}
	reg, err := NewRegistry(NewCollector(nil))
	if err != nil {
		panic(err) // a new registry takes each of its collectors
	}
	Handler(reg)
	all, _ := reg.Gather() // what cannot be gathered is not served
	for _, f := range all {
		names = append(names, f.GetName())
		switch f.GetType() {
		case dto.MetricType_HISTOGRAM:
			names = append(names, f.GetName()+"_bucket", f.GetName()+"_sum", f.GetName()+"_count")
		case dto.MetricType_SUMMARY:
			names = append(names, f.GetName()+"_sum", f.GetName()+"_count")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Namespace is that of a node's metrics in CloudWatch.
const Namespace = "GeeCache"

// EvictionsPerSecond is a metric that only CloudWatch has: entries that left the
// main caches of a node though they had not expired, because others were worth more
// within the budget, a second. Its average over a cluster tells whether the nodes
// are too few. Prometheus makes it of a counter:
//
//	sum by (instance) (rate(geecache_evictions_total{cache="main",reason="capacity"}[1m]))
const EvictionsPerSecond = "geecache_evictions_live_per_second"

// The dimensions that CloudWatch's metrics have beside the labels.
const (
	dimCluster = "cluster"
	dimNode    = "node"
)

// A CloudWatchMetric is a metric as CloudWatch has it.
type CloudWatchMetric struct {
	Name       string
	Unit       string     // one of CloudWatch's
	Dimensions [][]string // each set is a metric to ask for
}

// CloudWatchMetrics returns all metrics that a node sends to CloudWatch, in the
// order of Families. A counter's value is what was counted in an interval. A
// histogram has three: its counters with _count and _sum, and under its own name at
// most 100 values, whose percentiles are its. The caller owns the slice.
func CloudWatchMetrics() []CloudWatchMetric {
	var all []CloudWatchMetric
	for _, f := range append(Families(), processFamilies()...) {
		if f.Name == nodeStartTime {
			continue
		}
		sets := dimensionSets(f)
		all = append(all, CloudWatchMetric{f.Name, unitOf(f.Name), sets})
		if f.Type == histogram {
			for _, suffix := range []string{"_count", "_sum"} {
				all = append(all, CloudWatchMetric{f.Name + suffix, unitOf(f.Name + suffix), sets})
			}
		}
	}
	return append(all, CloudWatchMetric{EvictionsPerSecond, "Count/Second", [][]string{{dimCluster}, {dimCluster, dimNode}}})
}

// processFamilies are those of Prometheus's own collectors that CloudWatch gets
// too: each metric there has its price.
func processFamilies() []Family {
	return []Family{
		{"process_cpu_seconds_total", counter, "", nil},
		{"process_resident_memory_bytes", gauge, "", nil},
		{"process_open_fds", gauge, "", nil},
		{"go_goroutines", gauge, "", nil},
	}
}

// unitOf returns CloudWatch's unit for a name of Prometheus.
func unitOf(name string) string {
	base := strings.TrimSuffix(strings.TrimSuffix(name, "_total"), "_sum")
	switch {
	case strings.HasSuffix(base, "_bytes"):
		return "Bytes"
	case strings.HasSuffix(base, "_seconds"):
		return "Seconds"
	case base != name, strings.HasSuffix(name, "_count"):
		return "Count"
	}
	return "None"
}

// merged are the labels that CloudWatch does without: their samples are added up
// if they count, and are the values of one metric if they do not. Whoever needs a
// figure for each peer has Prometheus.
var merged = []string{"peer", "protocol", "registry", "storage", "zone", "peer_zone", "cluster", "id", "role", "version", "epoch"}

// keptLabels returns a family's labels that are dimensions.
func keptLabels(f Family) []string {
	return slices.DeleteFunc(slices.Clone(f.Labels), func(l string) bool { return slices.Contains(merged, l) })
}

// dimensionSets returns the sets of a family. What counts can be added up, so there
// are sums for the cluster, each node and each group. A gauge cannot: it has all its
// labels always. A node's state is told of the cluster alone.
func dimensionSets(f Family) [][]string {
	labels := keptLabels(f)
	if f.Type == gauge {
		sets := [][]string{append([]string{dimCluster}, labels...)}
		if f.Name != nodeState {
			sets = append(sets, append([]string{dimCluster, dimNode}, labels...))
		}
		return sets
	}
	sets := [][]string{{dimCluster}, {dimCluster, dimNode}}
	if slices.Contains(labels, "group") {
		sets = append(sets, []string{dimCluster, "group"})
	}
	if len(labels) > 0 && !slices.Equal(labels, []string{"group"}) {
		sets = append(sets, append([]string{dimCluster}, labels...))
	}
	return sets
}
