package metrics

import "slices"

// A Family is a metric family that a node emits: a name, and what its samples
// are told apart by. No label ever holds a key: there are as many samples as
// groups and peers, and no more.
type Family struct {
	Name   string   // the name that Prometheus stores; of a histogram, without _bucket, _sum and _count
	Type   string   // "counter", "gauge" or "histogram"
	Help   string   // one sentence
	Labels []string // the names of the labels, in order
}

// The types of families.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// Families returns all families of a [Collector], in the order in which
// METRICS_SETUP.md lists them. The caller owns the slice.
func Families() []Family {
	all := slices.Concat(groupFamilies(), cacheFamilies(), nodeFamilies(), peerFamilies(), durationFamilies())
	return all
}

func groupFamilies() []Family {
	return []Family{
		{requestsTotal, counter, "Gets by callers of this process; a key of a GetMany counts as one.", []string{"group"}},
		{hitsTotal, counter, "Gets answered from this node's memory, by cache.", []string{"group", "cache"}},
		{missesTotal, counter, "Gets that went on to a peer or to the source.", []string{"group"}},
		{notFoundTotal, counter, "Gets whose key has no value.", []string{"group"}},
		{errorsTotal, counter, "Misses that ended in an error, not-found and the caller's own end aside.", []string{"group"}},
		{loadsTotal, counter, "Calls of the source, by what this node was to the key: its owner, the stand-in of an owner in trouble, or neither.", []string{"group", "as"}},
		{sourceQueriesTotal, counter, "Calls of the source in all.", []string{"group"}},
		{loadFailuresTotal, counter, "Loads that failed, by reason: error, timeout, refused for overload, or abandoned because the source ignored its context.", []string{"group", "reason"}},
		{peerRequestsTotal, counter, "Keys asked of other nodes.", []string{"group"}},
		{peerErrorsTotal, counter, "Keys asked of other nodes that were in trouble.", []string{"group"}},
		{standInRequestsTotal, counter, "Keys asked of a stand-in, because their owner is in trouble.", []string{"group"}},
		{hotCopiesTotal, counter, "Hot copies of other nodes' values kept.", []string{"group"}},
		{suppressedTotal, counter, "Callers that shared another caller's flight, by kind: load or fetch.", []string{"group", "kind"}},
		{flights, gauge, "Flights in progress, by kind: load or fetch.", []string{"group", "kind"}},
		{abandonedRunning, gauge, "Calls of the source that nobody waits for and that have not returned.", []string{"group"}},
		{servedTotal, counter, "Requests answered for other nodes and for clients of the peer protocols.", []string{"group"}},
		{servedHitsTotal, counter, "Requests of others answered from memory.", []string{"group"}},
		{epochMismatchesTotal, counter, "Requests of nodes whose view of the cluster differed.", []string{"group"}},
		{handoverAsksTotal, counter, "Keys for which the previous owner's memory was asked after a change of the view.", []string{"group"}},
		{handoverHitsTotal, counter, "Keys that the previous owner still had in memory.", []string{"group"}},
		{hedgesTotal, counter, "Keys of slow owners that were looked for in another node's memory first.", []string{"group"}},
		{hedgeHitsTotal, counter, "Requests for keys of slow owners that another node's memory answered.", []string{"group"}},
		{hedgesRefusedTotal, counter, "Requests that would have been sent because a peer is slow, but for the limit of extra requests.", []string{"group"}},
		{copyAsksTotal, counter, "Keys copied, or meant to be copied, from a slow owner's memory to be answered for it.", []string{"group"}},
		{copyHitsTotal, counter, "Keys that were copied from a slow owner's memory.", []string{"group"}},
		{extraRequestsTotal, counter, "Requests between nodes that were sent in addition because a peer is slow.", []string{"group"}},
		{handoffEntriesTotal, counter, "Entries that this node pushed to new owners when it left.", []string{"group", "outcome"}},
		{handoffBytesTotal, counter, "Keys and values of those that were accepted, in bytes.", []string{"group"}},
		{takeoverEntriesTotal, counter, "Entries that nodes which left pushed to this one.", []string{"group", "outcome"}},
		{takeoverBytesTotal, counter, "Keys and values of those that it accepted, in bytes.", []string{"group"}},
	}
}

func cacheFamilies() []Family {
	return []Family{
		{cacheEntries, gauge, "Entries in the cache.", []string{"group", "cache"}},
		{cacheBytes, gauge, "Bytes that the cache's entries take.", []string{"group", "cache"}},
		{cacheMaxBytes, gauge, "The cache's budget in bytes.", []string{"group", "cache"}},
		{evictionsTotal, counter, "Entries that left the cache, by reason: capacity, expired, replaced or removed.", []string{"group", "cache", "reason"}},
		{cacheRefusedTotal, counter, "Values that were too large to be kept.", []string{"group", "cache"}},
	}
}

func nodeFamilies() []Family {
	return []Family{
		{nodeInfo, gauge, "Always 1: which node this is, and the epoch of its view.", []string{"cluster", "id", "role", "version", "epoch"}},
		{nodeState, gauge, "1 for the state that the node is in, 0 for the others.", []string{"state"}},
		{nodeStartTime, gauge, "When the node started, in seconds since 1970.", nil},
		{viewChangesTotal, counter, "Changes of the node's view of the cluster.", nil},
		{peerConnections, gauge, "Open streams that other nodes have opened to this one.", nil},
		{handshakesRefusedTotal, counter, "Handshakes between nodes that either side refused, by reason: secret, cluster, node, version or other.", []string{"reason"}},
		{crossZoneBytesTotal, counter, "Bytes exchanged with nodes of another zone, by this node's zone, theirs, and the direction: received or sent.", []string{"zone", "peer_zone", "direction"}},
		{memoryLimit, gauge, "Bytes of memory that the process may use; absent if nothing bounds it.", nil},
		{memoryRefusedTotal, counter, "Loads and requests to the API that were refused because memory was nearly used up.", nil},
		{certificateExpiry, gauge, "When the process's certificate expires, in Unix seconds; absent without one.", nil},
		{registryViewAge, gauge, "Seconds since the registry confirmed the node's view; absent without a registry.", []string{"registry"}},
		{registryMembers, gauge, "Members in the registry's last good answer.", []string{"registry"}},
		{registryKept, gauge, "Members of the view that the registry does not name any more, and that can be reached.", []string{"registry"}},
		{registryRefused, gauge, "Members that the registry names and that the node cannot use.", []string{"registry"}},
		{registryErrorsTotal, counter, "Answers of the registry that were errors, or empty.", []string{"registry"}},
		{snapshotAge, gauge, "Seconds since the node saved its last snapshot; before the first, since it started; absent without snapshots.", []string{"storage"}},
		{snapshotBytes, gauge, "Size of the last snapshot.", []string{"storage"}},
		{snapshotSavesTotal, counter, "Whole snapshots saved.", []string{"storage"}},
		{snapshotSavedTotal, counter, "Entries saved in them.", []string{"storage"}},
		{snapshotLoadDuration, gauge, "How long the loading of snapshots at the start took, in seconds; 0 while it goes on.", []string{"storage"}},
		{snapshotLoadedTotal, counter, "Entries read from snapshots at the start: loaded; others (another node answers for it, or a newer one was there); expired; refused (no room, too large, no such group).", []string{"storage", "result"}},
		{snapshotRefusedTotal, counter, "Parts of snapshots that were not read to their end: torn, or of another format or cluster.", []string{"storage", "reason"}},
		{snapshotErrorsTotal, counter, "Calls of the snapshots' storage that failed: list, read, write or delete.", []string{"storage", "call"}},
		{frameErrorsTotal, counter, "Broken frames received.", nil},
		{forwardSentTotal, counter, "Metrics that CloudWatch has taken from this process; absent without --cloudwatch-endpoint.", nil},
		{forwardDroppedTotal, counter, "Metrics that were dropped because CloudWatch refuses them, or too many wait.", nil},
		{forwardFailuresTotal, counter, "Requests to CloudWatch that failed, and are repeated.", nil},
		{forwardWaiting, gauge, "Metrics that wait to be sent to CloudWatch.", nil},
	}
}

func peerFamilies() []Family {
	return []Family{
		{peerUp, gauge, "1 if the peer can be asked, 0 if it is being connected to, down or draining.", []string{"peer"}},
		{peerBreaker, gauge, "What becomes of requests to the peer: 0 they are sent (closed), 1 a few are sent (half-open), 2 others are asked (open).", []string{"peer", "protocol"}},
		{peerBreakerTransitionsTotal, counter, "How often the peer's breaker came into a state: closed, half-open or open.", []string{"peer", "protocol", "to"}},
		{peerSlow, gauge, "1 if the peer answers pings much later than others do.", []string{"peer"}},
		{peerRTT, gauge, "How long the peer takes to answer a ping, smoothed, in seconds; 0 if it is not known.", []string{"peer"}},
		{peerClientRequestsTotal, counter, "Requests sent to the peer.", []string{"peer", "protocol"}},
		{peerClientFailuresTotal, counter, "Requests that found the peer in trouble.", []string{"peer", "protocol"}},
		{peerInFlight, gauge, "Requests to the peer that are not answered yet.", []string{"peer", "protocol"}},
		{peerReceivedBytesTotal, counter, "Bytes received from the peer.", []string{"peer", "protocol"}},
		{peerSentBytesTotal, counter, "Bytes sent to the peer.", []string{"peer", "protocol"}},
	}
}

func durationFamilies() []Family {
	return []Family{
		{missDuration, histogram, "How long Gets took that found nothing in this node's memory, in seconds.", []string{"group"}},
		{loadDuration, histogram, "How long calls of the source took, in seconds, by how they ended.", []string{"group", "code"}},
		{servedDuration, histogram, "How long requests of others took that memory did not answer, in seconds.", []string{"group", "protocol", "code"}},
	}
}

const (
	requestsTotal        = "geecache_requests_total"
	hitsTotal            = "geecache_hits_total"
	missesTotal          = "geecache_misses_total"
	notFoundTotal        = "geecache_not_found_total"
	errorsTotal          = "geecache_errors_total"
	loadsTotal           = "geecache_loads_total"
	sourceQueriesTotal   = "geecache_source_queries_total"
	loadFailuresTotal    = "geecache_load_failures_total"
	peerRequestsTotal    = "geecache_peer_requests_total"
	peerErrorsTotal      = "geecache_peer_errors_total"
	standInRequestsTotal = "geecache_stand_in_requests_total"
	hotCopiesTotal       = "geecache_hot_copies_total"
	suppressedTotal      = "geecache_singleflight_suppressed_total"
	flights              = "geecache_flights"
	abandonedRunning     = "geecache_abandoned_loads"
	servedTotal          = "geecache_served_total"
	servedHitsTotal      = "geecache_served_hits_total"
	epochMismatchesTotal = "geecache_epoch_mismatches_total"
	handoverAsksTotal    = "geecache_handover_requests_total"
	handoverHitsTotal    = "geecache_handover_hits_total"
	hedgesTotal          = "geecache_hedged_requests_total"
	hedgeHitsTotal       = "geecache_hedge_hits_total"
	hedgesRefusedTotal   = "geecache_hedges_refused_total"
	copyAsksTotal        = "geecache_slow_owner_copy_requests_total"
	copyHitsTotal        = "geecache_slow_owner_copies_total"
	extraRequestsTotal   = "geecache_extra_requests_total"
	handoffEntriesTotal  = "geecache_handoff_entries_total"
	handoffBytesTotal    = "geecache_handoff_bytes_total"
	takeoverEntriesTotal = "geecache_takeover_entries_total"
	takeoverBytesTotal   = "geecache_takeover_bytes_total"

	cacheEntries      = "geecache_cache_entries"
	cacheBytes        = "geecache_cache_bytes"
	cacheMaxBytes     = "geecache_cache_max_bytes"
	evictionsTotal    = "geecache_evictions_total"
	cacheRefusedTotal = "geecache_cache_refused_total"

	nodeInfo               = "geecache_node_info"
	nodeState              = "geecache_node_state"
	nodeStartTime          = "geecache_node_start_time_seconds"
	viewChangesTotal       = "geecache_view_changes_total"
	peerConnections        = "geecache_peer_connections"
	handshakesRefusedTotal = "geecache_handshakes_refused_total"
	frameErrorsTotal       = "geecache_frame_errors_total"
	crossZoneBytesTotal    = "geecache_cross_zone_bytes_total"
	memoryLimit            = "geecache_memory_limit_bytes"
	memoryRefusedTotal     = "geecache_memory_refused_total"
	certificateExpiry      = "geecache_certificate_expiry_timestamp_seconds"
	registryViewAge        = "geecache_registry_view_age_seconds"
	registryMembers        = "geecache_registry_members"
	registryKept           = "geecache_registry_kept"
	registryRefused        = "geecache_registry_refused"
	registryErrorsTotal    = "geecache_registry_errors_total"
	snapshotAge            = "geecache_snapshot_age_seconds"
	snapshotBytes          = "geecache_snapshot_bytes"
	snapshotSavesTotal     = "geecache_snapshot_saves_total"
	snapshotSavedTotal     = "geecache_snapshot_saved_entries_total"
	snapshotLoadDuration   = "geecache_snapshot_load_seconds"
	snapshotLoadedTotal    = "geecache_snapshot_loaded_entries_total"
	snapshotRefusedTotal   = "geecache_snapshot_refused_parts_total"
	snapshotErrorsTotal    = "geecache_snapshot_storage_errors_total"

	forwardSentTotal     = "geecache_cloudwatch_sent_total"
	forwardDroppedTotal  = "geecache_cloudwatch_dropped_total"
	forwardFailuresTotal = "geecache_cloudwatch_failures_total"
	forwardWaiting       = "geecache_cloudwatch_waiting"

	peerUp                  = "geecache_peer_up"
	peerBreaker             = "geecache_peer_breaker_state"
	peerSlow                = "geecache_peer_slow"
	peerRTT                 = "geecache_peer_rtt_seconds"
	peerClientRequestsTotal = "geecache_peer_client_requests_total"
	peerClientFailuresTotal = "geecache_peer_client_failures_total"
	peerInFlight            = "geecache_peer_client_in_flight"
	peerReceivedBytesTotal  = "geecache_peer_received_bytes_total"
	peerSentBytesTotal      = "geecache_peer_sent_bytes_total"

	peerBreakerTransitionsTotal = "geecache_peer_breaker_transitions_total"

	missDuration   = "geecache_miss_duration_seconds"
	loadDuration   = "geecache_load_duration_seconds"
	servedDuration = "geecache_served_duration_seconds"
)
