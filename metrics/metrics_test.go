package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/geecache/geecache/geecache"
)

// fixed is a Source that always tells the same.
type fixed geecache.NodeStats

func (f fixed) Stats() geecache.NodeStats { return geecache.NodeStats(f) }

// busy returns statistics in which every figure differs from every other one,
// so that one that stands in another's place is seen.
func busy(id string) geecache.NodeStats {
	next := int64(100)
	s := geecache.NodeStats{
		Cluster: "c", ID: id, Addr: "127.0.0.1:8001", Role: geecache.RoleNode, State: "serving",
		Version: "v1", Started: time.Unix(1000, 500e6), Epoch: "00112233445566ff",
		Peers: []geecache.PeerStats{
			{Peer: geecache.Peer{ID: id}, Self: true, State: "self"},
			{Peer: geecache.Peer{ID: "p1"}, State: "up", Protocol: "stream"},
			{Peer: geecache.Peer{Addr: "p2:1"}, State: "down", Protocol: "grpc", Breaker: "open"},
		},
		Zone:              "a",
		CrossZone:         []geecache.ZoneTraffic{{Zone: "b"}},
		Groups:            []geecache.GroupStats{{Name: "scores"}, {Name: "other"}},
		HandshakesRefused: map[geecache.Refusal]int64{geecache.RefusedSecret: 17, geecache.RefusedNode: 18},
	}
	fill(reflect.ValueOf(&s).Elem(), &next)
	return s
}

// fill numbers every int64 in v.
func fill(v reflect.Value, next *int64) {
	switch v.Kind() {
	case reflect.Int64:
		if v.Type() == reflect.TypeFor[int64]() {
			v.SetInt(*next)
			*next++
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	}
}

// newRegistry returns the registry of a node of which everything was observed.
func newRegistry(t *testing.T, id string) (*prometheus.Registry, *Collector, geecache.NodeStats) {
	t.Helper()
	stats := busy(id)
	c := NewCollector(fixed(stats))
	reg, err := NewRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	c.WatchMemory(func() Memory { return Memory{LimitBytes: 256 << 20, Refused: 3} })
	c.WatchCertificate(func() time.Time { return time.Unix(1893456000, 0) })
	c.WatchRegistry(func() Registry {
		return Registry{Kind: "dns", ViewAge: time.Second, Members: 3, Kept: 1, Refused: 2, Errors: 4}
	})
	c.WatchForwarding(func() Forwarding { return Forwarding{Sent: 900, Dropped: 5, Failures: 6, Waiting: 7} })
	c.WatchSnapshots(func() Snapshots {
		s, next := Snapshots{Kind: "s3", Age: time.Second}, int64(5)
		fill(reflect.ValueOf(&s).Elem(), &next)
		return s
	})
	c.ObserveMiss("scores", time.Millisecond)
	c.ObserveLoad("scores", 50*time.Millisecond, nil)
	c.ObserveServed("scores", "http", time.Microsecond, geecache.CodeOK)
	return reg, c, stats
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// value returns the sample of a family with labels of the form "name=value".
func value(t *testing.T, f *dto.MetricFamily, labels ...string) float64 {
	t.Helper()
	for _, m := range f.GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		if fmt.Sprint(got) == fmt.Sprint(labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Errorf("%s has no sample with %v", f.GetName(), labels)
	return -1
}

func TestFamiliesAreWhatIsGathered(t *testing.T) {
	reg, _, _ := newRegistry(t, "n1")
	got := gather(t, reg)
	for _, f := range Families() {
		g := got[f.Name]
		if g == nil {
			t.Errorf("%s is not gathered", f.Name)
			continue
		}
		if typ := strings.ToLower(g.GetType().String()); typ != f.Type {
			t.Errorf("%s is a %s, the list says %s", f.Name, typ, f.Type)
		}
		var names []string
		for _, l := range g.GetMetric()[0].GetLabel() {
			names = append(names, l.GetName())
		}
		want := map[string]bool{}
		for _, n := range f.Labels {
			want[n] = true
		}
		if len(names) != len(want) {
			t.Errorf("%s has the labels %v, the list says %v", f.Name, names, f.Labels)
		}
		delete(got, f.Name)
	}
	for name := range got {
		if strings.HasPrefix(name, "geecache_") {
			t.Errorf("%s is gathered and not in the list", name)
		}
	}
}

// Every figure of the statistics must be in the metrics. The exceptions are
// sums, which the metrics have as such.
func TestNoFigureIsForgotten(t *testing.T) {
	reg, _, stats := newRegistry(t, "n1")
	seen := make(map[float64]bool)
	for _, f := range gather(t, reg) {
		if !strings.HasPrefix(f.GetName(), "geecache_") {
			continue
		}
		for _, m := range f.GetMetric() {
			seen[m.GetCounter().GetValue()+m.GetGauge().GetValue()] = true
		}
	}
	self := stats.Peers[0]
	stats.Peers = stats.Peers[1:]
	check(t, reflect.ValueOf(stats), "NodeStats", seen)
	if seen[float64(self.Requests)] {
		t.Error("the node counts as a peer of itself")
	}
}

func check(t *testing.T, v reflect.Value, path string, seen map[float64]bool) {
	switch v.Kind() {
	case reflect.Int64:
		if v.Type() == reflect.TypeFor[int64]() && !seen[float64(v.Int())] {
			t.Errorf("%s is in no metric", path)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			check(t, v.Field(i), path+"."+v.Type().Field(i).Name, seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			check(t, v.Index(i), path, seen)
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			check(t, i.Value(), path+"."+i.Key().String(), seen)
		}
	}
}

func TestSamplesStandInTheirPlaces(t *testing.T) {
	reg, _, stats := newRegistry(t, "n1")
	got := gather(t, reg)
	g := stats.Groups[0]
	for _, c := range []struct {
		name   string
		want   int64
		labels []string
	}{
		{"geecache_requests_total", g.Gets, []string{"group=scores"}},
		{"geecache_hits_total", g.Hits, []string{"cache=main", "group=scores"}},
		{"geecache_hits_total", g.HotHits, []string{"cache=hot", "group=scores"}},
		{"geecache_misses_total", g.Misses, []string{"group=scores"}},
		{"geecache_loads_total", g.LoadsOwner, []string{"as=owner", "group=scores"}},
		{"geecache_loads_total", g.LoadsStandIn, []string{"as=stand_in", "group=scores"}},
		{"geecache_loads_total", g.LoadsOther, []string{"as=other", "group=scores"}},
		{"geecache_source_queries_total", g.LoadsOwner + g.LoadsStandIn + g.LoadsOther, []string{"group=scores"}},
		{"geecache_peer_requests_total", g.PeerRequests, []string{"group=scores"}},
		{"geecache_singleflight_suppressed_total", g.LoadFlightJoin, []string{"group=scores", "kind=load"}},
		{"geecache_singleflight_suppressed_total", g.FetchJoin, []string{"group=scores", "kind=fetch"}},
		{"geecache_cache_entries", g.Main.Entries, []string{"cache=main", "group=scores"}},
		{"geecache_cache_bytes", g.Hot.Bytes, []string{"cache=hot", "group=scores"}},
		{"geecache_evictions_total", g.Main.EvictedExpired, []string{"cache=main", "group=scores", "reason=expired"}},
		{"geecache_evictions_total", g.Hot.EvictedCapacity, []string{"cache=hot", "group=scores", "reason=capacity"}},
		{"geecache_cross_zone_bytes_total", stats.CrossZone[0].BytesIn, []string{"direction=received", "peer_zone=b", "zone=a"}},
		{"geecache_cross_zone_bytes_total", stats.CrossZone[0].BytesOut, []string{"direction=sent", "peer_zone=b", "zone=a"}},
		{"geecache_peer_breaker_state", 2, []string{"peer=p2:1", "protocol=grpc"}},
		{"geecache_peer_breaker_state", 0, []string{"peer=p1", "protocol=stream"}},
		{"geecache_peer_breaker_transitions_total", stats.Peers[1].BreakerHalfOpened, []string{"peer=p1", "protocol=stream", "to=half-open"}},
		{"geecache_hedged_requests_total", g.Hedges, []string{"group=scores"}},
		{"geecache_epoch_mismatches_total", g.EpochMismatch, []string{"group=scores"}},
		{"geecache_peer_up", 1, []string{"peer=p1"}},
		{"geecache_peer_up", 0, []string{"peer=p2:1"}},
		{"geecache_peer_received_bytes_total", stats.Peers[1].BytesIn, []string{"peer=p1", "protocol=stream"}},
		{"geecache_peer_client_failures_total", stats.Peers[2].Failures, []string{"peer=p2:1", "protocol=grpc"}},
		{"geecache_handshakes_refused_total", stats.HandshakesRefused[geecache.RefusedSecret], []string{"reason=secret"}},
		{"geecache_node_state", 1, []string{"state=serving"}},
		{"geecache_node_state", 0, []string{"state=draining"}},
		{"geecache_node_info", 1, []string{"cluster=c", "epoch=00112233445566ff", "id=n1", "role=node", "version=v1"}},
	} {
		if v := value(t, got[c.name], c.labels...); v != float64(c.want) {
			t.Errorf("%s%v is %v, want %d", c.name, c.labels, v, c.want)
		}
	}
	if v := value(t, got["geecache_node_start_time_seconds"]); v != 1000.5 {
		t.Errorf("the start time is %v, want 1000.5", v)
	}
}

func TestHistogramsAreClassicAndNative(t *testing.T) {
	reg, c, _ := newRegistry(t, "n1")
	c.ObserveLoad("scores", time.Second, fmt.Errorf("x: %w", geecache.ErrNotFound))
	c.ObserveLoad("scores", time.Second, errors.New("the database is down"))
	c.ObserveLoad("scores", time.Second, context.DeadlineExceeded)
	c.ObserveServed("invented", "http", time.Second, geecache.CodeNoGroup)
	got := gather(t, reg)
	for _, name := range []string{missDuration, loadDuration, servedDuration} {
		h := got[name].GetMetric()[0].GetHistogram()
		if n := len(h.GetBucket()); n == 0 || h.GetBucket()[0].GetUpperBound() != 1e-6 {
			t.Errorf("%s has %d classic buckets, want them to begin at 1 us", name, n)
		}
		if h.Schema == nil || len(h.GetPositiveSpan()) == 0 {
			t.Errorf("%s is no native histogram", name)
		}
	}
	var codes []string
	for _, m := range got[loadDuration].GetMetric() {
		codes = append(codes, m.GetLabel()[0].GetValue())
	}
	if want := []string{"deadline", "not-found", "ok", "source"}; !reflect.DeepEqual(codes, want) {
		t.Errorf("loads ended with %v, want %v", codes, want)
	}
	if n := len(got[servedDuration].GetMetric()); n != 1 {
		t.Errorf("a group that does not exist has a series: there are %d", n)
	}
}

func TestTwoNodesInOneProcess(t *testing.T) {
	for _, id := range []string{"n1", "n2"} {
		reg, _, _ := newRegistry(t, id)
		if v := value(t, gather(t, reg)["geecache_node_info"],
			"cluster=c", "epoch=00112233445566ff", "id="+id, "role=node", "version=v1"); v != 1 {
			t.Errorf("%s: the info is %v", id, v)
		}
	}
}

func TestACollectorBeforeItsNode(t *testing.T) {
	c := NewCollector(nil)
	reg, err := NewRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	if f := gather(t, reg)[requestsTotal]; f != nil {
		t.Errorf("without a node there is %v", f)
	}
	c.Watch(fixed(busy("late")))
	if f := gather(t, reg)[requestsTotal]; len(f.GetMetric()) != 2 {
		t.Errorf("with a node there is %v", f)
	}
}

// What a node says must never make its scrape fail.
func TestOddStatistics(t *testing.T) {
	stats := busy("n1")
	stats.State = "asleep"
	stats.Started = time.Time{}
	stats.Peers = append(stats.Peers, stats.Peers[1])
	reg, err := NewRegistry(NewCollector(fixed(stats)))
	if err != nil {
		t.Fatal(err)
	}
	if v := value(t, gather(t, reg)[nodeState], "state=asleep"); v != 1 {
		t.Errorf("an unknown state is %v, want 1", v)
	}
}

func TestConcurrentUse(t *testing.T) {
	reg, c, _ := newRegistry(t, "n1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				c.ObserveMiss("scores", time.Duration(i))
				c.ObserveServed("scores", "grpc", time.Duration(i), geecache.CodeOK)
			}
		})
		wg.Go(func() {
			for range 5 {
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
				c.Watch(fixed(busy("n1")))
			}
		})
	}
	wg.Wait()
}

func TestHandlerNegotiates(t *testing.T) {
	reg, _, _ := newRegistry(t, "n1")
	h := Handler(reg)
	for accept, want := range map[string]string{
		"":                             "text/plain",
		"application/openmetrics-text": "application/openmetrics-text",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf",
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(got, want) {
			t.Errorf("Accept %q: %d, %q, want %q", accept, w.Code, got, want)
		}
		body, err := io.ReadAll(w.Body)
		if err != nil || !bytes.Contains(body, []byte("geecache_")) {
			t.Errorf("Accept %q: %d bytes, %v", accept, len(body), err)
		}
	}
}

// promtool returns the path of Prometheus's own checker.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err == nil {
		return path
	}
	const remedy = "promtool is not on the PATH: apt-get install prometheus"
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
	return ""
}

func TestPromtoolFindsNothing(t *testing.T) {
	tool := promtool(t)
	reg, _, _ := newRegistry(t, "n1")
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range all {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = &text
	out, err := cmd.CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
