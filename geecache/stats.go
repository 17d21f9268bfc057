package geecache

import "time"

// GroupStats counts what a group has done since it was made. The counters only
// grow; the figures under "Now" are of the moment.
type GroupStats struct {
	Name string `json:"name"`

	// Gets by the callers of this process, and how they ended. A key of a
	// GetMany counts as one Get. Gets = Hits + HotHits + Misses.
	Gets     int64 `json:"gets"`
	Hits     int64 `json:"hits"`     // answered by the main cache
	HotHits  int64 `json:"hot_hits"` // answered by the hot cache
	Misses   int64 `json:"misses"`   // went on to a peer or to the source
	NotFound int64 `json:"not_found"`
	Errors   int64 `json:"errors"` // misses that ended in an error, "not found" and the caller's own end aside

	// Requests to other nodes.
	PeerRequests int64 `json:"peer_requests"` // keys asked of a peer
	PeerErrors   int64 `json:"peer_errors"`   // the peer was in trouble
	StandIns     int64 `json:"stand_ins"`     // keys asked of a stand-in
	HotCopies    int64 `json:"hot_copies"`    // hot copies kept

	// Requests by other nodes and by clients of the peer protocols.
	Served         int64 `json:"served"`          // all
	ServedHits     int64 `json:"served_hits"`     // answered from memory
	EpochMismatch  int64 `json:"epoch_mismatch"`  // the asking node's view differed
	HandoverAsks   int64 `json:"handover_asks"`   // previous owner's memory was asked
	HandoverHits   int64 `json:"handover_hits"`   // ... and had it
	ExtraRequests  int64 `json:"extra_requests"`  // sent because a peer is slow: CopyAsks, and hedges that found nothing
	Hedges         int64 `json:"hedges"`          // keys of slow owners that were looked for in another node's memory
	HedgeHits      int64 `json:"hedge_hits"`      // callers that it answered
	HedgesRefused  int64 `json:"hedges_refused"`  // would have exceeded Config.HedgePercent
	CopyAsks       int64 `json:"copy_asks"`       // keys asked of a slow owner's memory, to be answered for
	CopyHits       int64 `json:"copy_hits"`       // ... and had by it
	LoadFlightJoin int64 `json:"load_suppressed"` // callers that shared another's load
	FetchJoin      int64 `json:"fetch_suppressed"`

	// Entries that this node pushed to their new owners when it left, and entries
	// that other nodes pushed to this one. Bytes are those of accepted keys and
	// values.
	HandoffAccepted  int64 `json:"handoff_accepted"`
	HandoffRefused   int64 `json:"handoff_refused"`
	HandoffBytes     int64 `json:"handoff_bytes"`
	TakeoverAccepted int64 `json:"takeover_accepted"`
	TakeoverRefused  int64 `json:"takeover_refused"` // not this node's key, one is there, or memory is short
	TakeoverBytes    int64 `json:"takeover_bytes"`

	// Calls of the source: as the key's owner, as a stand-in for an owner in
	// trouble, and for a peer whose view differs or because no peer was left.
	LoadsOwner     int64 `json:"loads_owner"`
	LoadsStandIn   int64 `json:"loads_stand_in"`
	LoadsOther     int64 `json:"loads_other"`
	LoadErrors     int64 `json:"load_errors"`
	LoadTimeouts   int64 `json:"load_timeouts"`
	LoadsRefused   int64 `json:"loads_refused"`   // overload
	LoadsAbandoned int64 `json:"loads_abandoned"` // left behind: the source ignored its context

	Main CacheStats `json:"main"`
	Hot  CacheStats `json:"hot"`

	// Now.
	LoadsInFlight    int64 `json:"loads_in_flight"`
	FetchesInFlight  int64 `json:"fetches_in_flight"`
	AbandonedRunning int64 `json:"abandoned_running"`
}

// Loads returns all calls of the source.
func (s GroupStats) Loads() int64 { return s.LoadsOwner + s.LoadsStandIn + s.LoadsOther }

// CacheStats describes one of a group's two caches.
type CacheStats struct {
	Entries  int64 `json:"entries"`
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`

	EvictedCapacity int64 `json:"evicted_capacity"`
	EvictedExpired  int64 `json:"evicted_expired"`
	EvictedReplaced int64 `json:"evicted_replaced"`
	EvictedRemoved  int64 `json:"evicted_removed"`
	Refused         int64 `json:"refused"` // items too large to be kept
}

// PeerStats describes one peer as this node sees it.
type PeerStats struct {
	Peer
	Self      bool   `json:"self,omitempty"`
	State     string `json:"state"` // "up", "connecting", "down", "draining"; "self" for this node
	Protocol  string `json:"protocol"`
	LastError string `json:"last_error,omitempty"`

	// Epoch is that of the peer's view when it was last connected, 16 hexadecimal
	// digits; empty if it has not been, or speaks another protocol than the stream.
	Epoch string `json:"epoch,omitempty"`

	Breaker string        `json:"breaker,omitempty"`     // "closed", "half-open" or "open": what becomes of requests
	Slow    bool          `json:"slow,omitempty"`        // it answers much later than others do
	RTT     time.Duration `json:"rtt_ns,omitempty"`      // of a ping, as a rule; 0: not known
	LastRTT time.Duration `json:"last_rtt_ns,omitempty"` // of the last ping alone; 0: not known

	// How often the breaker came into each state.
	BreakerOpened     int64 `json:"breaker_opened"`
	BreakerHalfOpened int64 `json:"breaker_half_opened"`
	BreakerClosed     int64 `json:"breaker_closed"`

	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"` // requests that found it in trouble
	InFlight int64 `json:"in_flight"`
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// ZoneTraffic is what was exchanged with the nodes of one zone.
type ZoneTraffic struct {
	Zone     string `json:"zone"`
	BytesIn  int64  `json:"bytes_in"`
	BytesOut int64  `json:"bytes_out"`
}

// NodeStats describes a node. It is what /statusz shows.
type NodeStats struct {
	Cluster string    `json:"cluster"`
	ID      string    `json:"id"`
	Addr    string    `json:"addr"`
	Role    Role      `json:"role"`
	Zone    string    `json:"zone,omitempty"`
	State   string    `json:"state"` // "starting", "joining", "serving", "draining", "stopped"
	Version string    `json:"version"`
	Started time.Time `json:"started"`

	Epoch       string `json:"epoch"` // 16 hexadecimal digits
	ViewChanges int64  `json:"view_changes"`

	Connections int64 `json:"connections"` // open peer streams that others opened to this node
	FrameErrors int64 `json:"frame_errors"`

	// HandshakesRefused counts those that this node has refused and those that
	// another one has refused to it, by reason, and each time that the registry
	// began to refuse this node (see [Node.Refuse]).
	HandshakesRefused map[Refusal]int64 `json:"handshakes_refused"`

	// CrossZone is what was exchanged with nodes of other zones, on connections of
	// either side: each end counts all that it has received and sent. What nodes say
	// over the stream is counted byte by byte; of other protocols only keys and values,
	// and only at the asking end. nil if the node does not know its zone.
	CrossZone []ZoneTraffic `json:"cross_zone,omitempty"`

	Peers  []PeerStats  `json:"peers"`
	Groups []GroupStats `json:"groups"`
}

// An Observer is told how long things took. Hits are counted, not timed. Its
// methods are called by many goroutines at once and must return at once.
type Observer interface {
	// ObserveMiss: a Get that found nothing in this node's memory took d.
	ObserveMiss(group string, d time.Duration)
	// ObserveLoad: a call of the source took d and ended with err.
	ObserveLoad(group string, d time.Duration, err error)
	// ObserveServed: a request over a peer protocol ("http", "stream", "grpc")
	// that was not answered from memory took d.
	ObserveServed(group, protocol string, d time.Duration, code Code)
}
