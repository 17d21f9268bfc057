package main

// processes tells what the processes use, and how near they are to their limits.
func processes() board {
	return board{
		uid: "geecache-processes", title: "GeeCache: processes", what: "What the processes use, and how near they are to their limits.",
		rows: []row{{"Memory", []panel{
			{title: "Memory of the limit", what: "Resident memory by the control group's or --memory-limit. Absent where nothing limits it.", unit: "percentunit",
				prom: []query{{"process_resident_memory_bytes{@C} / geecache_memory_limit_bytes{@C}", "{{instance}}"}},
				cloudwatch: []metric{
					{id: "m", name: "process_resident_memory_bytes", stat: "Maximum", hide: true},
					{id: "x", name: "geecache_memory_limit_bytes", stat: "Maximum", hide: true},
					math("f", "m/x", "largest")}},
			{title: "Resident memory", what: "As the system counts it.", unit: "bytes",
				prom: []query{
					{"process_resident_memory_bytes{@C}", "{{instance}}"},
					{"max(geecache_memory_limit_bytes{@C})", "limit"}},
				cloudwatch: []metric{stat("m", "process_resident_memory_bytes", "Maximum", "largest"), stat("x", "geecache_memory_limit_bytes", "Maximum", "limit")}},
			{title: "Heap", what: "In use, and what Go aims at.", unit: "bytes",
				prom: []query{
					{"go_memstats_heap_inuse_bytes{@C}", "{{instance}}"},
					{"max(go_gc_gomemlimit_bytes{@C} < 1e18)", "GOMEMLIMIT"}}},
			{title: "Refused for memory", what: "Loads and requests to the API.", unit: "ops",
				prom: []query{{"sum by (instance) (rate(geecache_memory_refused_total{@C}[@R]))", "{{instance}}"}}},
		}}, {"Processor", []panel{
			{title: "Processor", what: "Of what the control group allows.", unit: "percentunit",
				prom:       []query{{"rate(process_cpu_seconds_total{@C}[@R]) / go_sched_gomaxprocs_threads{@C}", "{{instance}}"}},
				cloudwatch: perSecond("c", "process_cpu_seconds_total", "processors, all nodes")},
			{title: "Garbage collection", what: "The longest pause of each process.", unit: "s",
				prom: []query{{`go_gc_duration_seconds{@C,quantile=~"1|1.0"}`, "{{instance}}"}}},
			{title: "Goroutines", what: "Many that stay are a leak, or callers that wait.", unit: "short",
				prom:       []query{{"go_goroutines{@C}", "{{instance}}"}},
				cloudwatch: []metric{stat("g", "go_goroutines", "Maximum", "most")}},
		}}, {"Life", []panel{
			{title: "Up for", what: "Since the process started.", unit: "s",
				prom: []query{{"time() - geecache_node_start_time_seconds{@C}", "{{instance}}"}}},
			{title: "Versions", what: "Processes of each version.", unit: "short", stacked: true,
				prom: []query{{"count by (version, role) (geecache_node_info{@C})", "{{version}} {{role}}"}}},
			{title: "Open files", what: "Of those that the system allows.", unit: "percentunit",
				prom:       []query{{"process_open_fds{@C} / process_max_fds{@C}", "{{instance}}"}},
				cloudwatch: []metric{stat("f", "process_open_fds", "Maximum", "most")}},
		}}, {"Snapshots and certificate", []panel{
			{title: "Age of snapshots", what: "Seconds since each node saved its last one; before the first, since it started. Absent without --snapshot.", unit: "s",
				prom:       []query{{"max by (instance) (geecache_snapshot_age_seconds{@C})", "{{instance}}"}},
				cloudwatch: []metric{stat("a", "geecache_snapshot_age_seconds", "Maximum", "oldest")}},
			{title: "Entries saved", what: "In whole snapshots, a second, and how large the last one of each node is.", unit: "short",
				prom: []query{
					{"sum(rate(geecache_snapshot_saved_entries_total{@C}[@R]))", "entries a second"},
					{"sum(rate(geecache_snapshot_saves_total{@C}[@R]))", "snapshots a second"},
					{"max(geecache_snapshot_bytes{@C})", "bytes of the largest"}},
				cloudwatch: cat(perSecond("e", "geecache_snapshot_saved_entries_total", "entries a second"),
					[]metric{stat("b", "geecache_snapshot_bytes", "Maximum", "bytes of the largest")})},
			{title: "Snapshots that failed", what: "Calls of their storage that failed, and parts that were refused: torn, or of another format or cluster.", unit: "ops", stacked: true,
				prom: []query{
					{"sum by (call) (rate(geecache_snapshot_storage_errors_total{@C}[@R]))", "{{call}}"},
					{"sum by (reason) (rate(geecache_snapshot_refused_parts_total{@C}[@R]))", "refused: {{reason}}"}},
				cloudwatch: cat(perSecond("f", "geecache_snapshot_storage_errors_total", "storage"),
					perSecond("p", "geecache_snapshot_refused_parts_total", "refused"))},
			{title: "Entries loaded at the start", what: "By what became of them: loaded; others answer for them; expired; refused for want of room or of their group.", unit: "short", stacked: true,
				prom: []query{{"sum by (result) (geecache_snapshot_loaded_entries_total{@C})", "{{result}}"}},
				cloudwatch: []metric{stat("l", "geecache_snapshot_loaded_entries_total", "Sum", "loaded", "result=loaded"),
					stat("o", "geecache_snapshot_loaded_entries_total", "Sum", "others", "result=others")}},
			{title: "How long loading took", what: "At the start of each node; 0 while it goes on.", unit: "s",
				prom:       []query{{"max by (instance) (geecache_snapshot_load_seconds{@C})", "{{instance}}"}},
				cloudwatch: []metric{stat("l", "geecache_snapshot_load_seconds", "Maximum", "longest")}},
			{title: "Certificates end in", what: "Others refuse a process whose certificate has expired. Absent without --tls-cert.", unit: "s",
				prom: []query{{"min by (instance) (geecache_certificate_expiry_timestamp_seconds{@C}) - time()", "{{instance}}"}},
				cloudwatch: []metric{
					{id: "c", name: "geecache_certificate_expiry_timestamp_seconds", stat: "Minimum", hide: true},
					math("l", "c-EPOCH(c)", "soonest")}},
		}}, {"Metrics themselves", []panel{
			{title: "Forwarded to CloudWatch", what: "Metrics that CloudWatch has taken, and those that it did not. Absent without --cloudwatch-endpoint.", unit: "ops",
				prom: []query{
					{"sum(rate(geecache_cloudwatch_sent_total{@C}[@R]))", "sent"},
					{"sum(rate(geecache_cloudwatch_dropped_total{@C}[@R]))", "dropped"},
					{"sum(rate(geecache_cloudwatch_failures_total{@C}[@R]))", "requests that failed"}}},
			{title: "Waiting for CloudWatch", what: "Metrics that are not sent yet: an hour of them are kept.", unit: "short",
				prom: []query{{"sum by (instance) (geecache_cloudwatch_waiting{@C})", "{{instance}}"}}},
		}}},
	}
}
