package metrics

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/geecache/geecache/geecache"
)

// A changing Source tells what it holds.
type changing struct {
	atomic.Pointer[geecache.NodeStats]
}

func (c *changing) Stats() geecache.NodeStats { return *c.Load() }

// withGets returns the statistics of a node whose group has had so many gets.
func withGets(n int64) *geecache.NodeStats {
	return &geecache.NodeStats{
		Cluster: "c", ID: "n1", Role: geecache.RoleNode, State: "serving",
		Groups: []geecache.GroupStats{{Name: "scores", Gets: n, Main: geecache.CacheStats{EvictedCapacity: 10 * n, EvictedExpired: 7}}},
	}
}

func newChanging(t *testing.T, first *geecache.NodeStats) (*changing, *Collector, *prometheus.Registry) {
	t.Helper()
	var source changing
	source.Store(first)
	c := NewCollector(&source)
	reg, err := NewRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	return &source, c, reg
}

// find returns the points of a name and of labels such as "group=scores".
func find(points []Point, name string, labels ...string) []Point {
	return slices.DeleteFunc(slices.Clone(points), func(p Point) bool {
		var has []string
		for _, l := range p.Labels {
			has = append(has, l.Name+"="+l.Value)
		}
		return p.Name != name || labels != nil && !slices.Equal(has, labels)
	})
}

func valueOf(t *testing.T, points []Point, name string, labels ...string) float64 {
	t.Helper()
	found := find(points, name, labels...)
	if len(found) != 1 || len(found[0].Values) != 1 {
		t.Fatalf("%s%v: %v", name, labels, found)
	}
	return found[0].Values[0]
}

func next(t *testing.T, m *Meter, now time.Time) []Point {
	t.Helper()
	points, err := m.Next(now)
	if err != nil {
		t.Fatal(err)
	}
	return points
}

func TestAMeterTellsWhatCountersHaveGrownBy(t *testing.T) {
	source, _, reg := newChanging(t, withGets(0))
	begun := time.Unix(1000, 0)
	m := NewMeter(reg, begun, Choice{})
	if found := find(next(t, m, begun.Add(time.Minute)), requestsTotal); len(found) > 0 {
		t.Errorf("a counter that has never counted is told: %v", found)
	}
	for i, c := range []struct{ total, want float64 }{{5, 5}, {5, 0}, {12, 7}, {4, 4}, {0, 0}, {3, 3}} {
		source.Store(withGets(int64(c.total)))
		points := next(t, m, begun.Add(time.Duration(i+2)*time.Minute))
		if c.total == 0 { // it has begun anew, and has never counted
			continue
		}
		if got := valueOf(t, points, requestsTotal, "group=scores"); got != c.want {
			t.Errorf("step %d: %v, want %v", i, got, c.want)
		}
		if got := valueOf(t, points, EvictionsPerSecond); got != 10*c.want/60 {
			t.Errorf("step %d: %v evictions a second, want %v", i, got, 10*c.want/60)
		}
	}
}

func TestNoRateOfAMoment(t *testing.T) {
	source, _, reg := newChanging(t, withGets(1))
	m := NewMeter(reg, time.Unix(1000, 0), Choice{})
	if found := find(next(t, m, time.Unix(1000, 5e8)), EvictionsPerSecond); len(found) > 0 {
		t.Errorf("half a second has a rate: %v", found)
	}
	client := withGets(2)
	client.Role = geecache.RoleClient
	source.Store(client)
	if found := find(next(t, m, time.Unix(1060, 0)), EvictionsPerSecond); len(found) > 0 {
		t.Errorf("a client, which owns nothing, has a rate: %v", found)
	}
}

// Whatever happens between the intervals, their sums are what Prometheus has.
func TestSumsAreWhatPrometheusHas(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	stats := busy("n1")
	source, c, reg := newChanging(t, &stats)
	c.WatchMemory(func() Memory { return Memory{Refused: 3} })
	m := NewMeter(reg, time.Now(), Choice{})
	sums := make(map[string]float64)
	for range 20 {
		grown := *source.Load()
		grown.ViewChanges += rng.Int64N(3)
		grown.Groups = slices.Clone(grown.Groups)
		grown.Groups[1].Hits += rng.Int64N(1e6)
		grown.Peers = slices.Clone(grown.Peers)
		grown.Peers[1+rng.IntN(2)].BytesIn += rng.Int64N(1e9)
		source.Store(&grown)
		for range rng.IntN(300) {
			c.ObserveLoad("scores", time.Duration(rng.ExpFloat64()*1e6), []error{nil, errors.New("x")}[rng.IntN(2)])
			c.ObserveServed("other", []string{"http", "grpc"}[rng.IntN(2)], time.Duration(rng.Int64N(1e9)), geecache.CodeOK)
		}
		for _, p := range next(t, m, time.Now()) {
			sums[p.Name] += p.Values[0]
		}
	}
	checked := 0
	for name, f := range gather(t, reg) {
		var want, count, sum float64
		for _, s := range f.GetMetric() {
			want += s.GetCounter().GetValue()
			count += float64(s.GetHistogram().GetSampleCount())
			sum += s.GetHistogram().GetSampleSum()
		}
		if !strings.HasPrefix(name, "geecache_") || name == nodeInfo {
			continue
		}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			checked++
			if sums[name] != want {
				t.Errorf("%s: %v in the intervals, %v in Prometheus (seed %d)", name, sums[name], want, seed)
			}
		case dto.MetricType_HISTOGRAM:
			checked++
			if got := sums[name+"_count"]; got != count || math.Abs(sums[name+"_sum"]-sum) > 1e-9*sum {
				t.Errorf("%s: %v of %v s in the intervals, %v of %v s in Prometheus (seed %d)", name, got, sums[name+"_sum"], count, sum, seed)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d families were compared", checked)
	}
}

func TestASampleStandsForItsHistogram(t *testing.T) {
	_, c, reg := newChanging(t, withGets(0))
	m := NewMeter(reg, time.Now(), Choice{})
	for i := range 10 {
		c.ObserveMiss("scores", time.Duration(i+1)*time.Millisecond)
	}
	few := find(next(t, m, time.Now()), missDuration)[0].Values
	mean := 0.0
	for _, v := range few {
		mean += v / float64(len(few))
	}
	if len(few) != 10 || math.Abs(mean-0.0055) > 1e-9 {
		t.Errorf("10 observations of 5.5 ms on average are %v, %v on average", few, mean)
	}
	for i := range 1000 {
		d := time.Millisecond
		if i >= 950 { // the upper 5%
			d = time.Second
		}
		c.ObserveMiss("scores", d)
	}
	many := find(next(t, m, time.Now()), missDuration)[0].Values
	if len(many) != MaxValues || !slices.IsSorted(many) {
		t.Fatalf("%d values, want %d in order", len(many), MaxValues)
	}
	if many[94] > 0.0011 || many[95] < 0.5 || many[99] > 1.05 {
		t.Errorf("the 95th and 96th percentile and the largest are %v, %v and %v", many[94], many[95], many[99])
	}
	c.ObserveMiss("scores", time.Hour) // beyond the last bucket
	if v := find(next(t, m, time.Now()), missDuration)[0].Values; len(v) != 1 || v[0] < 33 {
		t.Errorf("an hour is %v", v)
	}
	if found := find(next(t, m, time.Now()), missDuration); len(found) > 0 {
		t.Errorf("nothing was observed, and there is %v", found)
	}
}

// There may be hundreds of peers, and each metric costs money.
func TestPeersAreValuesOfOneMetric(t *testing.T) {
	stats := withGets(1)
	for i := range 150 {
		stats.Peers = append(stats.Peers, geecache.PeerStats{Peer: geecache.Peer{ID: fmt.Sprint("p", i)}, State: "up", Protocol: "stream", Requests: 2})
	}
	_, _, reg := newChanging(t, stats)
	points := next(t, NewMeter(reg, time.Now(), Choice{}), time.Now())
	up := find(points, peerUp)
	if len(up) != 2 || len(up[0].Values) != 100 || len(up[1].Values) != 50 {
		t.Errorf("150 peers that are up are %v", up)
	}
	if got := valueOf(t, points, peerClientRequestsTotal); got != 300 {
		t.Errorf("150 peers were asked %v times, want 300", got)
	}
	if got := valueOf(t, points, nodeState); got != 1 {
		t.Errorf("the state is %v", got)
	}
}

func TestPointsAreInTheList(t *testing.T) {
	reg, _, _ := newRegistry(t, "n1")
	all := CloudWatchMetrics()
	told := make(map[string]bool)
	begun := time.Unix(1000, 0)
	for _, p := range next(t, NewMeter(reg, begun, Choice{}), begun.Add(time.Minute)) {
		i := slices.IndexFunc(all, func(m CloudWatchMetric) bool { return m.Name == p.Name })
		if i < 0 {
			t.Fatalf("%s is told, and not in the list", p.Name)
		}
		if all[i].Unit != p.Unit || fmt.Sprint(all[i].Dimensions) != fmt.Sprint(p.Sets) {
			t.Errorf("%s is told as %v, the list says %v", p.Name, p, all[i])
		}
		told[p.Name] = true
	}
	for _, m := range all {
		if !told[m.Name] {
			t.Errorf("%s is in the list, and not told", m.Name)
		}
	}
}

func TestDimensionValues(t *testing.T) {
	for in, want := range map[string]string{
		"scores": "scores", "": "-", "  ": "-", "a b": "a b", "Größe": "Gr%C3%B6%C3%9Fe", "a\nb": "a%0Ab",
	} {
		if got := DimensionValue(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if n := len(DimensionValue(strings.Repeat("ö", 5000))); n > 1024 {
		t.Errorf("a value of %d letters", n)
	}
}

func TestAMeterRunsUntilItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, _, reg := newChanging(t, withGets(1))
		m, done, ended := NewMeter(reg, time.Now(), Choice{}), make(chan struct{}), make(chan struct{})
		begun := time.Now()
		var at []time.Duration
		sum := 0.0
		send := func(now time.Time, points []Point) error {
			at = append(at, now.Sub(begun))
			sum += valueOf(t, points, requestsTotal)
			return errors.New("closed")
		}
		failures := 0
		go func() {
			defer close(ended)
			m.Run(done, time.Minute, send, func(error) { failures++ })
		}()
		time.Sleep(150 * time.Second)
		source.Store(withGets(42))
		close(done)
		<-ended
		if err := m.Report(send); err == nil || failures != 2 {
			t.Errorf("what cannot be sent is not told: %v, %d failures", err, failures)
		}
		if fmt.Sprint(at) != "[1m0s 2m0s 2m30s]" || sum != 42 {
			t.Errorf("%v was sent at %v", sum, at)
		}
	})
}
