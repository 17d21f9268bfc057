package main

// The expressions that several dashboards show.
const (
	hitRatio = "sum(rate(geecache_hits_total{@G}[@R])) / sum(rate(geecache_requests_total{@G}[@R]))"
	live     = `geecache_evictions_total{@G,cache="main",reason="capacity"}`
)

func hitRatioMetrics() []metric {
	return []metric{sum("h", "geecache_hits_total"), sum("r", "geecache_requests_total"), math("hr", "h/r", "hit ratio")}
}

// overview tells whether a cluster is well.
func overview() board {
	return board{
		uid: "geecache-overview", title: "GeeCache: overview", what: "Whether a cluster is well, and where to look if it is not.",
		rows: []row{{"Now", []panel{
			{title: "Serving", what: "Nodes and API servers that serve.", unit: "short", number: true,
				prom:       []query{{`sum(geecache_node_state{@C,state="serving"})`, "serving"}},
				cloudwatch: []metric{stat("n", "geecache_node_state", "SampleCount", "serving", "state=serving")}},
			{title: "Views of the ring", what: "1: all nodes agree. More for a moment while the cluster changes.", unit: "short", number: true, bad: 2,
				prom: []query{{"count(count by (epoch) (geecache_node_info{@C}))", "views"}}},
			{title: "Hit ratio", what: "Gets that were answered from memory.", unit: "percentunit", number: true,
				prom: []query{{hitRatio, "hit ratio"}}, cloudwatch: hitRatioMetrics()},
			{title: "Gets", what: "Gets by callers, a second.", unit: "reqps", number: true,
				prom:       []query{{"sum(rate(geecache_requests_total{@G}[@R]))", "gets"}},
				cloudwatch: perSecond("r", "geecache_requests_total", "gets")},
			{title: "Errors", what: "Gets that ended in an error. The objective is 0.1 %.", unit: "percentunit", number: true, bad: 0.001,
				prom:       []query{{"sum(rate(geecache_errors_total{@G}[@R])) / sum(rate(geecache_requests_total{@G}[@R]))", "errors"}},
				cloudwatch: []metric{sum("e", "geecache_errors_total"), sum("r", "geecache_requests_total"), math("er", "e/r", "errors")}},
			{title: "Alerts", what: "Alerts that fire.", unit: "short", number: true, bad: 1,
				prom: []query{{`count(ALERTS{alertname=~"GeeCache.*",alertstate="firing",cluster=~"$cluster|"}) or vector(0)`, "firing"}}},
		}}, {"Callers", []panel{
			{title: "Gets by result", what: "Hits in values that the node owns (main) and in copies of others' (hot), misses, and misses that ended in an error or not found.", unit: "reqps",
				prom: []query{
					{"sum by (cache) (rate(geecache_hits_total{@G}[@R]))", "hit {{cache}}"},
					{"sum(rate(geecache_misses_total{@G}[@R]))", "miss"},
					{"sum(rate(geecache_not_found_total{@G}[@R]))", "not found"},
					{"sum(rate(geecache_errors_total{@G}[@R]))", "error"}},
				cloudwatch: cat(perSecond("h", "geecache_hits_total", "hit"), perSecond("m", "geecache_misses_total", "miss"),
					perSecond("n", "geecache_not_found_total", "not found"), perSecond("e", "geecache_errors_total", "error"))},
			{title: "Hit ratio by group", what: "Gets that were answered from memory. With CloudWatch: of the whole cluster.", unit: "percentunit",
				prom:       []query{{"sum by (group) (rate(geecache_hits_total{@G}[@R])) / sum by (group) (rate(geecache_requests_total{@G}[@R]))", "{{group}}"}},
				cloudwatch: hitRatioMetrics()},
			{title: "How long misses take", what: "Gets that found nothing in the memory of the node that was asked. Hits are counted, not timed.", unit: "s",
				prom: []query{
					{quantile("0.5", "geecache_miss_duration_seconds", "@G", ""), "p50"},
					{quantile("0.99", "geecache_miss_duration_seconds", "@G", ""), "p99"}},
				cloudwatch: []metric{
					stat("p50", "geecache_miss_duration_seconds", "p50", "p50"),
					stat("p99", "geecache_miss_duration_seconds", "p99", "p99")}},
			{title: "How long loads take", what: "Calls of the source.", unit: "s",
				prom: []query{
					{quantile("0.5", "geecache_load_duration_seconds", "@G", ""), "p50"},
					{quantile("0.99", "geecache_load_duration_seconds", "@G", ""), "p99"}},
				cloudwatch: []metric{
					stat("p50", "geecache_load_duration_seconds", "p50", "p50"),
					stat("p99", "geecache_load_duration_seconds", "p99", "p99")}},
		}}, {"Source and memory", []panel{
			{title: "Loads", what: "Calls of the source by what the node was to the key. Without faults only owners load.", unit: "reqps", stacked: true,
				prom: []query{{"sum by (as) (rate(geecache_loads_total{@G}[@R]))", "{{as}}"}},
				cloudwatch: cat(perSecond("o", "geecache_loads_total", "owner", byGroup, "as=owner"),
					perSecond("s", "geecache_loads_total", "stand_in", byGroup, "as=stand_in"),
					perSecond("t", "geecache_loads_total", "other", byGroup, "as=other"))},
			{title: "Loads that failed", what: "By reason; refused: --max-loads was reached.", unit: "reqps", stacked: true,
				prom:       []query{{"sum by (reason) (rate(geecache_load_failures_total{@G}[@R]))", "{{reason}}"}},
				cloudwatch: perSecond("f", "geecache_load_failures_total", "failed")},
			{title: "Live evictions", what: "Entries that had not expired and had to make room. Many, with a low hit ratio: the caches are too small.", unit: "ops",
				prom:       []query{{"sum by (group) (rate(" + live + "[@R]))", "{{group}}"}},
				cloudwatch: perSecond("v", "geecache_evictions_total", "evicted", byGroup, "cache=main", "reason=capacity")},
		}}},
	}
}
