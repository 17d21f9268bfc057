package main

// peers tells how nodes get on with each other and with the registry.
func peers() board {
	return board{
		uid: "geecache-peers", title: "GeeCache: peers", what: "How nodes get on with each other, and what the registry says.",
		rows: []row{{"The view", []panel{
			{title: "Views of the ring", what: "How many different views the processes have. 1: all agree.", unit: "short",
				prom: []query{{"count(count by (epoch) (geecache_node_info{@C}))", "views"}}},
			{title: "Requests of nodes with another view", what: "And changes of the view.", unit: "ops",
				prom: []query{
					{"sum(rate(geecache_epoch_mismatches_total{@G}[@R]))", "requests"},
					{"sum(rate(geecache_view_changes_total{@C}[@R]))", "changes"}},
				cloudwatch: perSecond("c", "geecache_view_changes_total", "changes")},
			{title: "Age of the registry's view", what: "Seconds since the registry confirmed the view. The last good view is used as long as it is silent.", unit: "s",
				prom:       []query{{"max by (instance, registry) (geecache_registry_view_age_seconds{@C})", "{{instance}} {{registry}}"}},
				cloudwatch: []metric{stat("a", "geecache_registry_view_age_seconds", "Maximum", "oldest")}},
			{title: "Members", what: "What the registry names; members that it does not name and that are kept because they answer; and those that it names and that cannot be used.", unit: "short",
				prom: []query{
					{"max(geecache_registry_members{@C})", "named"},
					{"max(geecache_registry_kept{@C})", "kept"},
					{"max(geecache_registry_refused{@C})", "refused"}},
				cloudwatch: []metric{
					stat("m", "geecache_registry_members", "Maximum", "named"),
					stat("k", "geecache_registry_kept", "Maximum", "kept"),
					stat("f", "geecache_registry_refused", "Maximum", "refused")}},
			{title: "Errors of the registry", what: "Answers that were errors, or empty.", unit: "ops",
				prom: []query{{"sum by (registry) (rate(geecache_registry_errors_total{@C}[@R]))", "{{registry}}"}}},
			{title: "Handshakes refused", what: "By reason: another secret, cluster, node or version.", unit: "ops",
				prom: []query{{"sum by (reason) (rate(geecache_handshakes_refused_total{@C}[@R]))", "{{reason}}"}}},
		}}, {"Peers in trouble", []panel{
			{title: "Peers that cannot be asked", what: "Pairs of nodes of which one cannot ask the other now.", unit: "short",
				prom: []query{{"count(geecache_peer_up{@C} == 0) or 0 * count(geecache_peer_up{@C})", "pairs"}},
				cloudwatch: []metric{
					{id: "u", name: "geecache_peer_up", stat: "Minimum", hide: true},
					math("d", "1-u", "at least one")}},
			{title: "Breakers", what: "Open: others are asked. Half-open: a few requests are tried.", unit: "short", stacked: true,
				prom: []query{
					{"count(geecache_peer_breaker_state{@C} == 2) or 0 * count(geecache_peer_breaker_state{@C})", "open"},
					{"count(geecache_peer_breaker_state{@C} == 1) or 0 * count(geecache_peer_breaker_state{@C})", "half-open"}},
				cloudwatch: []metric{stat("b", "geecache_peer_breaker_state", "Maximum", "worst (2: open)")}},
			{title: "Requests that found the peer in trouble", what: "And keys that were asked of a stand-in instead.", unit: "ops",
				prom: []query{
					{"sum by (peer) (rate(geecache_peer_client_failures_total{@C}[@R]))", "{{peer}}"},
					{"sum(rate(geecache_peer_errors_total{@G}[@R]))", "keys"},
					{"sum(rate(geecache_stand_in_requests_total{@G}[@R]))", "keys asked of stand-ins"}},
				cloudwatch: cat(perSecond("p", "geecache_peer_errors_total", "keys"),
					perSecond("s", "geecache_stand_in_requests_total", "keys asked of stand-ins"))},
			{title: "Requests around slow peers", what: "Peers that answer pings late; keys looked for elsewhere first, and found there; what the limit refused.", unit: "short",
				prom: []query{
					{"sum(geecache_peer_slow{@C})", "slow pairs"},
					{"sum(rate(geecache_hedged_requests_total{@G}[@R]))", "hedged a second"},
					{"sum(rate(geecache_hedge_hits_total{@G}[@R]))", "answered a second"},
					{"sum(rate(geecache_hedges_refused_total{@G}[@R]))", "refused a second"}},
				cloudwatch: []metric{stat("s", "geecache_peer_slow", "Maximum", "1: there is a slow pair")}},
		}}, {"Between nodes", []panel{
			{title: "Requests", what: "Keys asked of other nodes, and answered for others: in all, and from memory.", unit: "reqps",
				prom: []query{
					{"sum(rate(geecache_peer_requests_total{@G}[@R]))", "asked"},
					{"sum(rate(geecache_served_total{@G}[@R]))", "answered"},
					{"sum(rate(geecache_served_hits_total{@G}[@R]))", "answered from memory"}},
				cloudwatch: cat(perSecond("p", "geecache_peer_requests_total", "asked"), perSecond("s", "geecache_served_total", "answered"),
					perSecond("m", "geecache_served_hits_total", "answered from memory"))},
			{title: "How long answers take", what: "Requests of others that memory did not answer.", unit: "s",
				prom: []query{{quantile("0.99", "geecache_served_duration_seconds", "@G", "protocol"), "p99 {{protocol}}"}},
				cloudwatch: []metric{
					stat("p50", "geecache_served_duration_seconds", "p50", "p50"),
					stat("p99", "geecache_served_duration_seconds", "p99", "p99")}},
			{title: "Round trips", what: "How long a peer takes to answer a ping.", unit: "s",
				prom:       []query{{"max by (peer) (geecache_peer_rtt_seconds{@C})", "{{peer}}"}},
				cloudwatch: []metric{stat("t", "geecache_peer_rtt_seconds", "Maximum", "slowest")}},
			{title: "Bytes", what: "Received from other nodes, by who sent them.", unit: "Bps",
				prom:       []query{{"sum by (peer) (rate(geecache_peer_received_bytes_total{@C}[@R]))", "{{peer}}"}},
				cloudwatch: perSecond("b", "geecache_peer_received_bytes_total", "received")},
			{title: "Bytes between zones", what: "Each end counts what it sent and received; a cloud bills both directions. Absent where nodes have no zone.", unit: "Bps",
				prom: []query{{"sum by (zone, peer_zone, direction) (rate(geecache_cross_zone_bytes_total{@C}[@R]))", "{{zone}}, {{peer_zone}}: {{direction}}"}},
				cloudwatch: cat(perSecond("s", "geecache_cross_zone_bytes_total", "sent", "direction=sent"),
					perSecond("v", "geecache_cross_zone_bytes_total", "received", "direction=received"))},
			{title: "Streams and broken frames", what: "Streams that others have opened to each process. A broken frame is a fault of a network or of a program.", unit: "short",
				prom: []query{
					{"sum(geecache_peer_connections{@C})", "streams"},
					{"sum(rate(geecache_frame_errors_total{@C}[@R]))", "broken frames a second"}},
				cloudwatch: []metric{stat("c", "geecache_peer_connections", "Average", "streams, mean of nodes")}},
		}}},
	}
}
