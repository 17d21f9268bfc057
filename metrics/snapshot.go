package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/geecache/geecache/geecache"
)

// A snapshot turns a node's statistics into metrics.
type snapshot struct {
	descs map[string]*prometheus.Desc
	out   chan<- prometheus.Metric
}

// count sends a counter, whose name must be a family's.
func (s snapshot) count(name string, v int64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.descs[name], prometheus.CounterValue, float64(v), labels...)
}

// gauge sends a gauge, whose name must be a family's.
func (s snapshot) gauge(name string, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, v, labels...)
}

// states are those of a node's life, in order.
var states = [...]string{"starting", "joining", "serving", "draining", "stopped"}

// breakerStates are a breaker's, in the order of the gauge's values.
var breakerStates = [...]string{"closed", "half-open", "open"}

func (s snapshot) node(n *geecache.NodeStats) {
	s.gauge(nodeInfo, 1, n.Cluster, n.ID, string(n.Role), n.Version, n.Epoch)
	for _, state := range states {
		s.gauge(nodeState, oneIf(n.State == state), state)
	}
	if n.State != "" && !slices.Contains(states[:], n.State) {
		s.gauge(nodeState, 1, n.State)
	}
	if !n.Started.IsZero() {
		s.gauge(nodeStartTime, float64(n.Started.UnixMilli())/1e3)
	}
	s.count(viewChangesTotal, n.ViewChanges)
	s.gauge(peerConnections, float64(n.Connections))
	for reason, count := range n.HandshakesRefused {
		s.count(handshakesRefusedTotal, count, string(reason))
	}
	s.count(frameErrorsTotal, n.FrameErrors)
	for _, z := range n.CrossZone {
		s.count(crossZoneBytesTotal, z.BytesIn, n.Zone, z.Zone, "received")
		s.count(crossZoneBytesTotal, z.BytesOut, n.Zone, z.Zone, "sent")
	}
}

func (s snapshot) group(g *geecache.GroupStats) {
	s.count(requestsTotal, g.Gets, g.Name)
	s.count(hitsTotal, g.Hits, g.Name, "main")
	s.count(hitsTotal, g.HotHits, g.Name, "hot")
	s.count(missesTotal, g.Misses, g.Name)
	s.count(notFoundTotal, g.NotFound, g.Name)
	s.count(errorsTotal, g.Errors, g.Name)

	s.count(loadsTotal, g.LoadsOwner, g.Name, "owner")
	s.count(loadsTotal, g.LoadsStandIn, g.Name, "stand_in")
	s.count(loadsTotal, g.LoadsOther, g.Name, "other")
	s.count(sourceQueriesTotal, g.Loads(), g.Name)
	s.count(loadFailuresTotal, g.LoadErrors, g.Name, "error")
	s.count(loadFailuresTotal, g.LoadTimeouts, g.Name, "timeout")
	s.count(loadFailuresTotal, g.LoadsRefused, g.Name, "refused")
	s.count(loadFailuresTotal, g.LoadsAbandoned, g.Name, "abandoned")

	s.count(peerRequestsTotal, g.PeerRequests, g.Name)
	s.count(peerErrorsTotal, g.PeerErrors, g.Name)
	s.count(standInRequestsTotal, g.StandIns, g.Name)
	s.count(hotCopiesTotal, g.HotCopies, g.Name)
	s.count(suppressedTotal, g.LoadFlightJoin, g.Name, "load")
	s.count(suppressedTotal, g.FetchJoin, g.Name, "fetch")
	s.gauge(flights, float64(g.LoadsInFlight), g.Name, "load")
	s.gauge(flights, float64(g.FetchesInFlight), g.Name, "fetch")
	s.gauge(abandonedRunning, float64(g.AbandonedRunning), g.Name)

	s.count(servedTotal, g.Served, g.Name)
	s.count(servedHitsTotal, g.ServedHits, g.Name)
	s.count(epochMismatchesTotal, g.EpochMismatch, g.Name)
	s.count(handoverAsksTotal, g.HandoverAsks, g.Name)
	s.count(handoverHitsTotal, g.HandoverHits, g.Name)
	s.count(hedgesTotal, g.Hedges, g.Name)
	s.count(hedgeHitsTotal, g.HedgeHits, g.Name)
	s.count(hedgesRefusedTotal, g.HedgesRefused, g.Name)
	s.count(copyAsksTotal, g.CopyAsks, g.Name)
	s.count(copyHitsTotal, g.CopyHits, g.Name)
	s.count(extraRequestsTotal, g.ExtraRequests, g.Name)
	s.count(handoffEntriesTotal, g.HandoffAccepted, g.Name, "accepted")
	s.count(handoffEntriesTotal, g.HandoffRefused, g.Name, "refused")
	s.count(handoffBytesTotal, g.HandoffBytes, g.Name)
	s.count(takeoverEntriesTotal, g.TakeoverAccepted, g.Name, "accepted")
	s.count(takeoverEntriesTotal, g.TakeoverRefused, g.Name, "refused")
	s.count(takeoverBytesTotal, g.TakeoverBytes, g.Name)

	s.cache(&g.Main, g.Name, "main")
	s.cache(&g.Hot, g.Name, "hot")
}

func (s snapshot) cache(c *geecache.CacheStats, group, cache string) {
	s.gauge(cacheEntries, float64(c.Entries), group, cache)
	s.gauge(cacheBytes, float64(c.Bytes), group, cache)
	s.gauge(cacheMaxBytes, float64(c.MaxBytes), group, cache)
	s.count(evictionsTotal, c.EvictedCapacity, group, cache, "capacity")
	s.count(evictionsTotal, c.EvictedExpired, group, cache, "expired")
	s.count(evictionsTotal, c.EvictedReplaced, group, cache, "replaced")
	s.count(evictionsTotal, c.EvictedRemoved, group, cache, "removed")
	s.count(cacheRefusedTotal, c.Refused, group, cache)
}

// peers leaves this node out: it does not ask itself.
func (s snapshot) peers(all []geecache.PeerStats) {
	seen := make(map[string]bool, len(all))
	for i := range all {
		p := &all[i]
		id := p.ID
		if id == "" {
			id = p.Addr
		}
		// A view that names a peer twice must not make the scrape fail.
		if p.Self || seen[id] {
			continue
		}
		seen[id] = true
		s.gauge(peerUp, oneIf(p.State == "up"), id)
		s.gauge(peerBreaker, float64(max(slices.Index(breakerStates[:], p.Breaker), 0)), id, p.Protocol)
		for i, n := range [...]int64{p.BreakerClosed, p.BreakerHalfOpened, p.BreakerOpened} {
			s.count(peerBreakerTransitionsTotal, n, id, p.Protocol, breakerStates[i])
		}
		s.gauge(peerSlow, oneIf(p.Slow), id)
		s.gauge(peerRTT, p.RTT.Seconds(), id)
		s.count(peerClientRequestsTotal, p.Requests, id, p.Protocol)
		s.count(peerClientFailuresTotal, p.Failures, id, p.Protocol)
		s.gauge(peerInFlight, float64(p.InFlight), id, p.Protocol)
		s.count(peerReceivedBytesTotal, p.BytesIn, id, p.Protocol)
		s.count(peerSentBytesTotal, p.BytesOut, id, p.Protocol)
	}
}

func (s snapshot) snapshots(n Snapshots) {
	s.gauge(snapshotAge, n.Age.Seconds(), n.Kind)
	s.gauge(snapshotBytes, float64(n.Bytes), n.Kind)
	s.count(snapshotSavesTotal, n.Saves, n.Kind)
	s.count(snapshotSavedTotal, n.Saved, n.Kind)
	s.gauge(snapshotLoadDuration, n.Load.Seconds(), n.Kind)
	s.count(snapshotLoadedTotal, n.Loaded, n.Kind, "loaded")
	s.count(snapshotLoadedTotal, n.Others, n.Kind, "others")
	s.count(snapshotLoadedTotal, n.Expired, n.Kind, "expired")
	s.count(snapshotLoadedTotal, n.Refused, n.Kind, "refused")
	s.count(snapshotRefusedTotal, n.Torn, n.Kind, "torn")
	s.count(snapshotRefusedTotal, n.OtherFormat, n.Kind, "format")
	s.count(snapshotRefusedTotal, n.OtherCluster, n.Kind, "cluster")
	s.count(snapshotErrorsTotal, n.ListErrors, n.Kind, "list")
	s.count(snapshotErrorsTotal, n.ReadErrors, n.Kind, "read")
	s.count(snapshotErrorsTotal, n.WriteErrors, n.Kind, "write")
	s.count(snapshotErrorsTotal, n.DeleteErrors, n.Kind, "delete")
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
