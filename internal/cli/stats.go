package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
)

const statsLong = `stats shows what each node has counted, and the whole cluster together. It finds
all nodes through the one that it asks.

REQUESTS are gets by callers of a node and requests by other nodes; HIT is the
share of them that its memory answered. A request through the API server that a
cache node answers is so counted at both. In the last line, HIT is the share of
the gets from outside the cluster that took no call of the source, by those of
the cluster's members that answer now.

Where nodes follow a registry, a line says how old the oldest of their views is.

--watch repeats it, with what happened a second in place of the counters.`

const statsExample = `  geecache stats
  geecache stats --watch
  geecache stats --addr 127.0.0.1:8001 --group scores --json`

type statsFlags struct {
	clientFlags
	group    string
	watch    bool
	interval time.Duration
}

// newStatsCommand returns `geecache stats`.
func newStatsCommand() *cobra.Command {
	var f statsFlags
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Show what each node has counted: hits, loads, requests, bytes",
		Long:    statsLong,
		Example: statsExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(f.run(cmd.Context(), cmd.OutOrStdout()))
		},
	}
	f.register(cmd, 5*time.Second)
	cmd.Flags().StringVar(&f.group, "group", "", "only this group (default all together)")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "repeat until Ctrl-C, with rates")
	cmd.Flags().DurationVar(&f.interval, "interval", time.Second, "time between two looks of --watch")
	return cmd
}

func (f *statsFlags) run(ctx context.Context, out io.Writer) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	p := paletteFor(out)
	var before *clusterStats
	draw := func(ctx context.Context) (string, error) {
		reports, err := c.cluster(ctx)
		if err != nil {
			return "", err
		}
		now, err := newClusterStats(reports, f.group, time.Now())
		if err != nil {
			return "", err
		}
		defer func() { before = now }()
		if f.json {
			text, err := json.Marshal(now)
			return string(text) + "\n", err
		}
		return now.text(p, before), nil
	}
	if f.watch {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return watch(ctx, out, f.interval, draw)
	}
	text, err := draw(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// nodeCounts are the counters of a node's groups, or of one of them.
type nodeCounts struct {
	Requests     int64 `json:"requests"`
	Hits         int64 `json:"hits"`
	Misses       int64 `json:"misses"`
	NotFound     int64 `json:"not_found"`
	Errors       int64 `json:"errors"`
	Loads        int64 `json:"loads"`
	LoadErrors   int64 `json:"load_errors"`
	Suppressed   int64 `json:"suppressed"`
	PeerRequests int64 `json:"peer_requests"` // for keys, and for what a previous owner has in memory
	PeerErrors   int64 `json:"peer_errors"`
	Entries      int64 `json:"entries"`
	Bytes        int64 `json:"bytes"`
	MaxBytes     int64 `json:"max_bytes"`
	Evicted      int64 `json:"evicted"` // for want of room, or because they had expired
}

func (n *nodeCounts) addGroup(g *geecache.GroupStats) {
	hits := g.Hits + g.HotHits + g.ServedHits
	misses := g.Misses + g.Served - g.ServedHits
	n.add(&nodeCounts{
		Requests: hits + misses, Hits: hits, Misses: misses,
		NotFound: g.NotFound, Errors: g.Errors,
		Loads: g.Loads(), LoadErrors: g.LoadErrors, Suppressed: g.LoadFlightJoin + g.FetchJoin,
		PeerRequests: g.PeerRequests + g.HandoverAsks, PeerErrors: g.PeerErrors,
		Entries:  g.Main.Entries + g.Hot.Entries,
		Bytes:    g.Main.Bytes + g.Hot.Bytes,
		MaxBytes: g.Main.MaxBytes + g.Hot.MaxBytes,
		Evicted:  g.Main.EvictedCapacity + g.Main.EvictedExpired + g.Hot.EvictedCapacity + g.Hot.EvictedExpired,
	})
}

func (n *nodeCounts) add(o *nodeCounts) {
	n.Requests += o.Requests
	n.Hits += o.Hits
	n.Misses += o.Misses
	n.NotFound += o.NotFound
	n.Errors += o.Errors
	n.Loads += o.Loads
	n.LoadErrors += o.LoadErrors
	n.Suppressed += o.Suppressed
	n.PeerRequests += o.PeerRequests
	n.PeerErrors += o.PeerErrors
	n.Entries += o.Entries
	n.Bytes += o.Bytes
	n.MaxBytes += o.MaxBytes
	n.Evicted += o.Evicted
}

// outside returns how many requests came from outside the cluster: what nodes
// asked of each other was also counted where it was answered.
func (n *nodeCounts) outside() int64 { return max(n.Requests-n.PeerRequests, 0) }

// hitsOutside returns how many of them took no call of the source.
func (n *nodeCounts) hitsOutside() int64 { return max(n.outside()-n.Loads, 0) }

// nodeStats is what one member has counted.
type nodeStats struct {
	nodeReport
	Counts nodeCounts `json:"counts"`
}

// clusterStats is what all members have counted.
type clusterStats struct {
	Time  time.Time   `json:"time"`
	Group string      `json:"group,omitempty"`
	Nodes []nodeStats `json:"nodes"`
	Total nodeCounts  `json:"total"`
}

func newClusterStats(reports []nodeReport, group string, now time.Time) (*clusterStats, error) {
	s := &clusterStats{Time: now, Group: group}
	found := group == ""
	var names []string
	for _, r := range reports {
		n := nodeStats{nodeReport: r}
		if r.Status != nil {
			for i := range r.Status.Groups {
				g := &r.Status.Groups[i]
				names = append(names, g.Name)
				if group == "" || group == g.Name {
					found = true
					n.Counts.addGroup(g)
				}
			}
		}
		s.Total.add(&n.Counts)
		s.Nodes = append(s.Nodes, n)
	}
	if !found {
		return nil, usagef("--group: no node has a group %q; there are: %s", group, strings.Join(distinct(names), ", "))
	}
	return s, nil
}

// distinct drops repeated names and keeps the order.
func distinct(names []string) []string {
	seen := make(map[string]bool, len(names))
	var out []string
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// text draws a table; of rates, if there is an earlier look.
func (s *clusterStats) text(p palette, before *clusterStats) string {
	var b strings.Builder
	t := newTable(2, 3, 4, 5, 6, 7, 8, 9, 10)
	t.head(p, "NODE", "STATE", "REQUESTS", "HIT", "MISSES", "LOADS", "TO PEERS", "ERRORS", "ENTRIES", "BYTES", "EVICTED")
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Status == nil {
			t.row(n.ID, p.red(n.Error))
			continue
		}
		t.row(append([]string{n.ID, p.state(n.Status.State)}, countCells(n.Counts, before.of(n), s.since(before), false)...)...)
	}
	var old *nodeCounts
	if before != nil {
		old = before.answered(s)
	}
	t.row(append([]string{p.bold("total"), ""}, countCells(s.Total, old, s.since(before), true)...)...)
	t.write(&b)
	s.registry(&b)
	for i := range s.Nodes {
		s.Nodes[i].troubles(&b, p)
	}
	return b.String()
}

// registry tells, where nodes follow one, how old the oldest of their views is.
func (s *clusterStats) registry(b *strings.Builder) {
	var kinds []string
	var oldest time.Duration
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Status != nil && n.Status.Registry != nil {
			kinds = append(kinds, n.Status.Registry.Kind)
			oldest = max(oldest, time.Duration(n.Status.Registry.AgeSeconds*float64(time.Second)))
		}
	}
	if kinds != nil {
		fmt.Fprintf(b, "registry %s: the oldest view is of %v ago\n", strings.Join(distinct(kinds), ", "), shortDuration(oldest.Round(time.Millisecond)))
	}
}

// troubles tells of the peers that a node keeps away from, or finds slow, and of a
// registry that fails.
func (n *nodeStats) troubles(b *strings.Builder, p palette) {
	if n.Status == nil {
		return
	}
	if r := n.Status.Registry; r != nil && r.Error != "" {
		fmt.Fprintf(b, "%s: %s\n", n.ID, p.red("registry "+r.Kind+": "+r.Error))
	}
	for _, peer := range n.Status.Peers {
		if peer.Breaker == "open" || peer.Breaker == "half-open" {
			fmt.Fprintf(b, "%s: %s\n", n.ID, p.red(fmt.Sprintf("breaker of %s is %s: %s", peer.ID, peer.Breaker, peer.LastError)))
		}
		if peer.Slow {
			fmt.Fprintf(b, "%s: %s\n", n.ID, p.red(fmt.Sprintf("%s is slow: it answers a ping after %v", peer.ID, peer.RTT.Round(time.Millisecond))))
		}
	}
}

func (s *clusterStats) since(before *clusterStats) time.Duration {
	if before == nil {
		return 0
	}
	return s.Time.Sub(before.Time)
}

// of returns an earlier look at a node; nil if there is none of the same life.
func (s *clusterStats) of(n *nodeStats) *nodeCounts {
	if s == nil {
		return nil
	}
	for i := range s.Nodes {
		o := &s.Nodes[i]
		if o.ID == n.ID && o.Status != nil && n.Status != nil && o.Status.Started.Equal(n.Status.Started) {
			return &o.Counts
		}
	}
	return nil
}

// answered adds up the earlier looks at those nodes that answer in now, so that
// a node that went away makes no negative rate. A node that is new in now, or
// began anew, counts with what it has done since.
func (s *clusterStats) answered(now *clusterStats) *nodeCounts {
	var sum nodeCounts
	for i := range now.Nodes {
		if old := s.of(&now.Nodes[i]); old != nil {
			sum.add(old)
		}
	}
	return &sum
}

// countCells are the table's columns of numbers: the counters, or, with an
// earlier look, what happened a second since.
func countCells(n nodeCounts, old *nodeCounts, d time.Duration, total bool) []string {
	num := func(now, before int64) string { return countText(now) }
	diff := n
	if old != nil {
		num = func(now, before int64) string { return rateText(now-before, d) }
		diff.Requests -= old.Requests
		diff.Hits -= old.Hits
		diff.Loads -= old.Loads
		diff.PeerRequests -= old.PeerRequests
	} else {
		old = &nodeCounts{}
	}
	hit := percentText(diff.Hits, diff.Requests)
	if total {
		hit = percentText(diff.hitsOutside(), diff.outside())
	}
	return []string{
		num(n.Requests, old.Requests), hit, num(n.Misses, old.Misses), num(n.Loads, old.Loads),
		num(n.PeerRequests, old.PeerRequests), num(n.Errors+n.PeerErrors, old.Errors+old.PeerErrors),
		countText(n.Entries), bytesText(float64(n.Bytes)), num(n.Evicted, old.Evicted),
	}
}
