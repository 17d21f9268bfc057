package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/metrics"
)

// A text is written to and read by different goroutines.
type text struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// scrape returns what Prometheus reads, of counters and of histograms' counts, over all
// labels.
func scrape(t *testing.T, body string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for name, f := range families {
		if !strings.HasPrefix(name, "geecache_") {
			continue
		}
		for _, s := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				sums[name] += s.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				sums[name+"_count"] += float64(s.GetHistogram().GetSampleCount())
				sums[name+"_sum"] += s.GetHistogram().GetSampleSum()
			}
		}
	}
	return sums
}

// sumEMF returns what all lines together have of each metric with one value.
func sumEMF(t *testing.T, lines string) map[string]float64 {
	t.Helper()
	sums := make(map[string]float64)
	for line := range strings.Lines(lines) {
		var root map[string]any
		if err := json.Unmarshal([]byte(line), &root); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if root["cluster"] != "c1" || root["node"] != "n1" {
			t.Fatalf("a line of %v and %v", root["cluster"], root["node"])
		}
		for name, v := range root {
			if n, ok := v.(float64); ok {
				sums[name] += n
			}
		}
	}
	return sums
}

// What a node counts, Prometheus and CloudWatch are told alike, up to its last moment.
func TestEMFAgreesWithPrometheus(t *testing.T) {
	var out text
	p := start(t, Config{
		Cluster: "c1", ID: "n1", APIListen: "127.0.0.1:0", Source: "slowdb:?latency=0s", EMF: &out,
		Group: geecache.GroupConfig{CacheBytes: 64 << 10},
	})
	for round := range 3 {
		for i := range 50 {
			fetch(t, fmt.Sprintf("http://%s/api?key=Tom", p.APIAddr()))
			fetch(t, fmt.Sprintf("http://%s/api?key=none%d", p.APIAddr(), 10*round+i))
			fetch(t, fmt.Sprintf("http://%s/_geecache/scores/Jack", p.Node().Addr()))
		}
		if round == 1 { // an interval ends
			if err := p.exports.all[0].meter.Report(p.exports.all[0].send); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, served := fetch(t, "http://"+p.Node().Addr()+"/metrics")
	before := scrape(t, served)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	after, sent := scrape(t, w.Body.String()), sumEMF(t, out.String())
	counted := 0
	for name, want := range after {
		got, there := sent[name]
		if there {
			counted++
		}
		exact := !strings.HasSuffix(name, "_sum")
		if exact && got != want || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: EMF has %v, Prometheus %v", name, got, want)
		}
	}
	for _, name := range []string{"geecache_requests_total", "geecache_hits_total", "geecache_source_queries_total", "geecache_served_total"} {
		if before[name] == 0 || sent[name] != before[name] {
			t.Errorf("%s: EMF has %v, the scrape before the end had %v", name, sent[name], before[name])
		}
	}
	if counted < 8 {
		t.Errorf("only %d counters were told: %v", counted, sent)
	}
}

// told returns the sets of dimensions under which lines of EMF tell a metric.
func told(t *testing.T, lines, name string) (sets [][]string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var root struct {
			AWS struct {
				CloudWatchMetrics []struct {
					Namespace  string
					Dimensions [][]string
					Metrics    []struct{ Name, Unit string }
				}
			} `json:"_aws"`
		}
		if err := json.Unmarshal([]byte(line), &root); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, d := range root.AWS.CloudWatchMetrics {
			for _, m := range d.Metrics {
				if d.Namespace == metrics.Namespace && (m.Name == name || name == "") {
					sets = append(sets, d.Dimensions...)
				}
			}
		}
	}
	return sets
}

// Target tracking takes the average over all that send a metric with the dimensions that
// the policy names. API servers own nothing: were they to send it, as 0, they would pull
// the average down, and nodes that evict would get no help.
func TestScalingFollowsNodesAlone(t *testing.T) {
	policy, err := os.ReadFile("../../aws-terraform/modules/service/scaling.tf")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)customized_metric_specification \{.*`).FindString(string(policy))
	name := regexp.MustCompile(`metric_name\s*=\s*"(\w+)"`).FindStringSubmatch(block)
	var dimensions []string
	for _, m := range regexp.MustCompile(`(?s)dimensions \{\s*name\s*=\s*"(\w+)"`).FindAllStringSubmatch(block, -1) {
		dimensions = append(dimensions, m[1])
	}
	if name == nil || len(dimensions) == 0 {
		t.Fatalf("the policy names no metric, or no dimensions: %s", block)
	}
	var ofNode, ofAPI text
	n := start(t, Config{ID: "n1", EMF: &ofNode})
	api := start(t, Config{ID: "api", Role: geecache.RoleClient, Listen: "127.0.0.1:0", Peers: []geecache.Peer{{ID: "n1", Addr: n.Node().Addr()}}, EMF: &ofAPI})
	for _, p := range []*Process{n, api} {
		x := p.exports.all[0]
		points, err := x.meter.Next(time.Now().Add(time.Minute)) // an interval ends
		if err != nil {
			t.Fatal(err)
		}
		if err := x.send(time.Now(), points); err != nil {
			t.Fatal(err)
		}
	}
	has := func(lines string) bool {
		return slices.ContainsFunc(told(t, lines, name[1]), func(set []string) bool { return slices.Equal(set, dimensions) })
	}
	if !has(ofNode.String()) {
		t.Errorf("the policy follows %s with %v, which a node does not tell: %v", name[1], dimensions, told(t, ofNode.String(), name[1]))
	}
	if sets := told(t, ofAPI.String(), name[1]); len(sets) > 0 || len(told(t, ofAPI.String(), "")) == 0 {
		t.Errorf("an API server tells %s with %v", name[1], sets)
	}
}

// What each node costs is asked for, and no default.
func TestNodesAreToldApartWhenAsked(t *testing.T) {
	for _, dimensions := range []string{"", "cluster", "node"} {
		var out text
		p := start(t, Config{ID: "n1", EMF: &out, CloudWatchDimensions: dimensions, CloudWatchMetrics: []string{"geecache_node_*", "go_goroutines"}})
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := [][]string{{"cluster"}}
		if dimensions == "node" {
			want = append(want, []string{"cluster", "node"})
		}
		if got := told(t, out.String(), "go_goroutines"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, want %v", dimensions, got, want)
		}
		if got := told(t, out.String(), "process_open_fds"); len(got) > 0 {
			t.Errorf("%q: a metric that is not chosen is told", dimensions)
		}
	}
}

// A node that cannot tell how it was has ended well all the same.
func TestACloudWatchThatIsAwayHoldsUpNobody(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "")
	var out text
	p, err := Start(t.Context(), Config{
		ID: "n1", Listen: "127.0.0.1:0", Source: "slowdb:?latency=0s", CloudWatch: "http://127.0.0.1:1",
		Logger: NewLogger(&out, slog.LevelInfo, "", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if s := p.exports.forwarder.Stats(); s.Dropped == 0 || s.Waiting > 0 {
		t.Errorf("what could not be sent: %+v", s)
	}
	if !strings.Contains(out.String(), "the last metrics were not forwarded") {
		t.Errorf("the log: %s", out.String())
	}
}

// Whoever builds dashboards and alarms relies on the list of names.
func TestTheListNamesWhatANodeServes(t *testing.T) {
	p := start(t, Config{APIListen: "127.0.0.1:0", Source: "slowdb:?latency=0s", MemoryLimit: 256 << 20})
	fetch(t, "http://"+p.APIAddr()+"/api?key=Tom")
	known := make(map[string]bool)
	for _, name := range metrics.Names() {
		known[name] = true
	}
	_, served := fetch(t, "http://"+p.Node().Addr()+"/metrics")
	for line := range strings.Lines(served) {
		if name, _, _ := strings.Cut(strings.Fields(line)[0], "{"); line[0] != '#' && !known[name] {
			t.Errorf("%s is served, and not in the list", name)
		}
	}
}

func TestExportsAreChecked(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{Config{EMFInterval: 1}, "--emf-interval is 1ns"},
		{Config{CloudWatchInterval: -1}, "--cloudwatch-interval is -1ns"},
		{Config{CloudWatch: "here"}, "--cloudwatch-endpoint: \"here\""},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v should say %q", err, c.says)
		}
	}
}
