package judge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// counted fails unless a count has just this value.
func counted(t *testing.T, one *result.Test, name string, want int) {
	t.Helper()
	if c := one.Count(name); c == nil || !slices.Equal(c.Values, []int{want}) {
		t.Errorf("%s is %+v, want %d once", name, c, want)
	}
}

// sampled fails unless a series has so many samples, all positive.
func sampled(t *testing.T, one *result.Test, name string, want int) {
	t.Helper()
	s := one.Find(name)
	if s == nil || len(s.Samples) < want || slices.Min(s.Samples) <= 0 {
		t.Errorf("%s is %+v, want %d samples", name, s, want)
	}
}

func TestDiscovery(t *testing.T) {
	f := newFake(t)
	f.lookups = []envbench.Lookup{
		{Method: "dns", Mode: "a fake", Nodes: 3, Took: []time.Duration{time.Millisecond, 2 * time.Millisecond}},
		{Method: "etcd", Err: &envbench.Unsupported{What: "etcd", Evidence: "none runs"}},
	}
	var one result.Test
	if err := discovery(t.Context(), newSession(f), &one); err != nil {
		t.Fatal(err)
	}
	if s := one.Find("lookup/dns"); s == nil || !slices.Equal(s.Samples, []float64{1, 2}) || s.Unit != "ms" || !strings.Contains(s.Note, "names 3 nodes") {
		t.Errorf("lookups by DNS are %+v", s)
	}
	if s := one.Find("lookup/etcd"); s == nil || len(s.Samples) != 0 || !strings.Contains(s.Unsupported, "none runs") {
		t.Errorf("lookups by etcd are %+v", s)
	}
	sampled(t, &one, "lookup/members", lookupTimes)
	sampled(t, &one, "join/total", 1)
	if took := one.Find("join/total").Median(); took < fakeJoin.Seconds() || took > 5 {
		t.Errorf("a node that is in the others' rings after %v has joined after %v s", fakeJoin, took)
	}
	if n := f.status().Desired; n != envbench.DefaultNodes {
		t.Errorf("%d nodes are left", n)
	}

	f.lookups = []envbench.Lookup{{Method: "dns", Err: errors.New("the name server is silent")}}
	if err := discovery(t.Context(), newSession(f), &one); err == nil || !strings.Contains(err.Error(), "lookup by dns: the name server is silent") {
		t.Errorf("a name server that is silent: %v", err)
	}
}

func TestLogs(t *testing.T) {
	f := newFake(t)
	var one result.Test
	if err := logs(t.Context(), newSession(f), &one); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"nodes": 3, "nodes-found": 3, "api": 1, "api-found": 1, "events": 4, "streams/node": 3, "streams/api": 1} {
		counted(t, &one, name, want)
	}
	sampled(t, &one, "found-after", 1)
}

func TestLogsThatArriveNowhere(t *testing.T) {
	f := newFake(t)
	f.lost = true
	d, err := newSession(f).begin(t.Context(), envbench.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.asker.Close()
	found, err := seekMarkers(t.Context(), f, d.asker, d.now, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	var one result.Test
	found.add(&one)
	counted(t, &one, "nodes", 3)
	counted(t, &one, "nodes-found", 0)
	if one.Find("found-after") != nil {
		t.Error("nothing was found, and it took a time")
	}
}

func TestMetricsWithoutCloudWatch(t *testing.T) {
	f := newFake(t)
	f.variety = map[string][]string{"/metrics of the nodes": {"a", "b"}}
	var one result.Test
	if err := listMetrics(t.Context(), newSession(f), &one); err != nil {
		t.Fatal(err)
	}
	counted(t, &one, "/metrics of the nodes", 2)
	if len(one.Facts) != 3 || one.Facts[0].Verdict != result.Done || one.Facts[1].Verdict != result.Unknown || one.Facts[2].Verdict != result.Unknown {
		t.Errorf("the facts are %+v", one.Facts)
	}
	if f.vars["GEECACHE_EMF"] != "true" {
		t.Errorf("nodes have the variables %v", f.vars)
	}
}

func TestMetricsInCloudWatch(t *testing.T) {
	f := newFake(t)
	f.variety = map[string][]string{placeOwn: {"a"}, placeInsights: {"b", "c"}}
	var one result.Test
	if err := listMetrics(t.Context(), newSession(watched{f}), &one); err != nil {
		t.Fatal(err)
	}
	for _, fact := range one.Facts {
		if want := map[bool]string{true: result.Unknown, false: result.Done}[fact.Name == forwardedFact]; fact.Verdict != want {
			t.Errorf("%+v", fact)
		}
	}
	f.variety = nil
	if own, waited, err := awaitMetrics(t.Context(), newSession(f), f, 0); err != nil || len(own) != 0 || waited != 0 {
		t.Errorf("what arrives nowhere: %v after %v, %v", own, waited, err)
	}
}

// A forwardee takes metrics that nodes send.
type forwardee struct {
	watched
	log bool // out of the log, too
}

func (forwardee) ForwardTo(context.Context, string) (string, error) { return "http://cloudwatch", nil }

func (f forwardee) NodeMetrics(context.Context, string) ([]string, error) {
	byLog := f.log && f.vars["GEECACHE_EMF"] != ""
	if f.vars["GEECACHE_CLOUDWATCH_DIMENSIONS"] != "node" || f.vars["GEECACHE_CLOUDWATCH_ENDPOINT"] == "" && !byLog {
		return nil, nil
	}
	return []string{"a", "b"}, nil
}

func TestMetricsThatNodesSend(t *testing.T) {
	f := newFake(t)
	f.variety = map[string][]string{placeOwn: {"of an earlier one"}, placeInsights: {"c"}}
	var one result.Test
	if err := listMetrics(t.Context(), newSession(forwardee{watched{f}, true}), &one); err != nil {
		t.Fatal(err)
	}
	sampled(t, &one, "found-after/forwarder", 1)
	sampled(t, &one, "found-after/log", 1)
	counted(t, &one, "own metrics/forwarder", 2)
	counted(t, &one, placeOwn, 1)
	var names []string
	for _, fact := range one.Facts {
		names = append(names, fact.Name)
		if fact.Verdict != result.Done {
			t.Errorf("%+v", fact)
		}
	}
	if want := []string{"own metrics", forwardedFact, "Container Insights"}; !slices.Equal(names, want) {
		t.Errorf("the facts are %q, want %q", names, want)
	}
	if f.vars["GEECACHE_EMF"] != "" || f.vars["GEECACHE_CLOUDWATCH_ENDPOINT"] != "http://cloudwatch" {
		t.Errorf("the way by the forwarder had the variables %v", f.vars)
	}

	// Metrics that do not come are a finding, and are waited for once.
	one = result.Test{}
	deaf := forwardee{watched{f}, false}
	s := newSession(deaf)
	s.Times = 5
	a, err := s.arrive(t.Context(), &one, deaf, "log", 0, func(string) map[string]string { return map[string]string{"GEECACHE_EMF": "true"} })
	if err != nil || a.Verdict != result.Accepted || a.Times != 1 || !strings.Contains(a.Evidence, "names 0 metrics in GeeCache of 0 of 3 new nodes") {
		t.Errorf("what does not come: %+v, %v", a, err)
	}
	if s := one.Find("found-after/log"); s == nil || s.Unsupported == "" || len(s.Samples) != 0 {
		t.Errorf("found-after is %+v", s)
	}
}

func TestNetwork(t *testing.T) {
	f := newFake(t)
	var one result.Test
	if err := network(t.Context(), newSession(f), &one); err != nil {
		t.Fatal(err)
	}
	sampled(t, &one, "node-to-node", pingTimes)
	sampled(t, &one, "client-to-api", apiTimes)
	if s := one.Find("node-to-node"); slices.Min(s.Samples) < 1 || slices.Max(s.Samples) > 2 {
		t.Errorf("round trips of 1 ms and a little are %v to %v", slices.Min(s.Samples), slices.Max(s.Samples))
	}
}

// bench returns what asks a fake deployment for keys.
func bench(t *testing.T, f *fake) *cacheBench {
	t.Helper()
	up, err := newSession(f).begin(t.Context(), envbench.Deployment{Source: cacheSource})
	if err != nil {
		t.Fatal(err)
	}
	b := &cacheBench{deployment: up, one: newCaller(up.now.API, 1), fresh: hotKeys}
	t.Cleanup(func() {
		up.asker.Close()
		b.one.close()
	})
	return b
}

func TestCacheCountsQueries(t *testing.T) {
	for _, want := range []int{1, 2} {
		f := newFake(t)
		f.double = want == 2
		b := bench(t, f)
		var one result.Test
		if err := errors.Join(b.stampedes(t.Context(), &one), b.hits(t.Context(), &one), b.misses(t.Context(), &one)); err != nil {
			t.Fatal(err)
		}
		counted(t, &one, "stampede/callers", stampeders)
		counted(t, &one, "stampede/queries", want)
		counted(t, &one, "stampede/queries-at-nodes", want)
		sampled(t, &one, "hit", hitTimes)
		sampled(t, &one, "miss", missTimes)
		if note := one.Find("miss").Note; !strings.HasSuffix(note, "from the source 200 times") {
			t.Errorf("misses were answered: %s", note)
		}
	}
}

func TestCacheNeedsItsSource(t *testing.T) {
	f := newFake(t)
	var not *envbench.Unsupported
	var one result.Test
	if err := cacheWork(t.Context(), newSession(sourceless{f}), &one); !errors.As(err, &not) || !strings.Contains(not.Evidence, cacheSource) {
		t.Errorf("a deployment whose source stays as it is: %v", err)
	}
}

// A sourceless environment does not change what it deploys.
type sourceless struct{ *fake }

func (s sourceless) Up(ctx context.Context, _ envbench.Deployment) (*envbench.Status, error) {
	return s.fake.Up(ctx, envbench.Deployment{})
}

func TestWrongValuesAreNoFigures(t *testing.T) {
	b := bench(t, newFake(t))
	if _, err := b.ask(t.Context(), b.one, "Tom"); err == nil || !strings.Contains(err.Error(), `Tom is "630"`) {
		t.Errorf("a wrong value: %v", err)
	}
}

// An API that cannot answer in time has no rate, which is a finding.
func TestNoRateIsAFinding(t *testing.T) {
	f := newFake(t)
	b := bench(t, f)
	b.now.API += "/" // as below a path
	f.source = ""    // nothing is answered rightly any more
	var one result.Test
	if err := b.maxRate(t.Context(), &one); err != nil {
		t.Fatal(err)
	}
	if s := one.Find("max-rate"); s == nil || len(s.Samples) != 0 || !strings.Contains(s.Unsupported, "not one of 20 requests was answered rightly") {
		t.Errorf("the highest rate is %+v", s)
	}
}
