package main

// caches tells what the caches hold, and what becomes of it.
func caches() board {
	return board{
		uid: "geecache-caches", title: "GeeCache: caches", what: "What the caches of each group hold, and what it is good for.",
		rows: []row{{"What they hold", []panel{
			{title: "Bytes and budget", what: "Real bytes of all nodes, with keys and bookkeeping.", unit: "bytes",
				prom: []query{
					{"sum by (group, cache) (geecache_cache_bytes{@G})", "{{group}} {{cache}}"},
					{"sum by (group, cache) (geecache_cache_max_bytes{@G})", "{{group}} {{cache}} budget"}},
				cloudwatch: []metric{
					stat("b", "geecache_cache_bytes", "Average", "main, mean of nodes", byGroup, "cache=main"),
					stat("x", "geecache_cache_max_bytes", "Average", "main budget", byGroup, "cache=main")}},
			{title: "Fullest node", what: "Bytes of the budget, of the node where this is most.", unit: "percentunit",
				prom: []query{{"max by (group, cache) (geecache_cache_bytes{@G} / geecache_cache_max_bytes{@G})", "{{group}} {{cache}}"}},
				cloudwatch: []metric{
					{id: "b", name: "geecache_cache_bytes", stat: "Maximum", labels: []string{byGroup, "cache=main"}, hide: true},
					{id: "x", name: "geecache_cache_max_bytes", stat: "Maximum", labels: []string{byGroup, "cache=main"}, hide: true},
					math("f", "b/x", "main (for one group)")}},
			{title: "Entries", what: "Of all nodes.", unit: "short",
				prom:       []query{{"sum by (group, cache) (geecache_cache_entries{@G})", "{{group}} {{cache}}"}},
				cloudwatch: []metric{stat("n", "geecache_cache_entries", "Average", "main, mean of nodes", byGroup, "cache=main")}},
		}}, {"What they are good for", []panel{
			{title: "Hits", what: "Main: values that the node owns. Hot: copies of what other nodes own, kept for hot keys.", unit: "reqps", stacked: true,
				prom: []query{{"sum by (group, cache) (rate(geecache_hits_total{@G}[@R]))", "{{group}} {{cache}}"}},
				cloudwatch: cat(perSecond("m", "geecache_hits_total", "main", byGroup, "cache=main"),
					perSecond("h", "geecache_hits_total", "hot", byGroup, "cache=hot"))},
			{title: "Hot keys", what: "Copies that were made of other nodes' hot values, and the share of Gets that copies answered. geecache top names the keys: no metric does.", unit: "short",
				prom: []query{
					{"sum by (group) (rate(geecache_hot_copies_total{@G}[@R]))", "{{group}} copies a second"},
					{`sum by (group) (rate(geecache_hits_total{@G,cache="hot"}[@R])) / sum by (group) (rate(geecache_requests_total{@G}[@R]))`, "{{group}} share of Gets"}},
				cloudwatch: perSecond("c", "geecache_hot_copies_total", "copies a second", byGroup)},
			{title: "Flights shared", what: "Callers that waited for what another caller had asked for already: loads, or requests to another node.", unit: "reqps", stacked: true,
				prom: []query{{"sum by (group, kind) (rate(geecache_singleflight_suppressed_total{@G}[@R]))", "{{group}} {{kind}}"}},
				cloudwatch: cat(perSecond("l", "geecache_singleflight_suppressed_total", "load", byGroup, "kind=load"),
					perSecond("f", "geecache_singleflight_suppressed_total", "fetch", byGroup, "kind=fetch"))},
			{title: "Flights in progress", what: "Loads and fetches that somebody waits for, and loads that nobody waits for any more (abandoned).", unit: "short",
				prom: []query{
					{"sum by (kind) (geecache_flights{@G})", "{{kind}}"},
					{"sum(geecache_abandoned_loads{@G})", "abandoned"}},
				cloudwatch: []metric{stat("l", "geecache_flights", "Maximum", "load, of the busiest node", byGroup, "kind=load"),
					stat("a", "geecache_abandoned_loads", "Maximum", "abandoned, of the worst node", byGroup)}},
		}}, {"What leaves them", []panel{
			{title: "Evictions", what: "By reason. Capacity: the entry had not expired.", unit: "ops", stacked: true,
				prom: []query{{"sum by (cache, reason) (rate(geecache_evictions_total{@G}[@R]))", "{{cache}} {{reason}}"}},
				cloudwatch: cat(perSecond("c", "geecache_evictions_total", "main capacity", byGroup, "cache=main", "reason=capacity"),
					perSecond("e", "geecache_evictions_total", "main expired", byGroup, "cache=main", "reason=expired"))},
			{title: "Refused values", what: "Too large to be kept: more than an eighth of the budget.", unit: "ops",
				prom: []query{{"sum by (group, cache) (rate(geecache_cache_refused_total{@G}[@R]))", "{{group}} {{cache}}"}}},
			{title: "Handed over", what: "Entries that nodes pushed to their new owners as they left, and what these accepted.", unit: "short",
				prom: []query{
					{"sum by (outcome) (increase(geecache_handoff_entries_total{@G}[@R]))", "pushed, {{outcome}}"},
					{"sum by (outcome) (increase(geecache_takeover_entries_total{@G}[@R]))", "taken, {{outcome}}"}},
				cloudwatch: []metric{stat("t", "geecache_takeover_entries_total", "Sum", "taken, accepted", byGroup, "outcome=accepted")}},
			{title: "Asked of previous owners", what: "Keys that a new owner looked for in the previous owner's memory, and found there.", unit: "reqps",
				prom: []query{
					{"sum(rate(geecache_handover_requests_total{@G}[@R]))", "asked"},
					{"sum(rate(geecache_handover_hits_total{@G}[@R]))", "found"}},
				cloudwatch: perSecond("a", "geecache_handover_requests_total", "asked")},
		}}},
	}
}
