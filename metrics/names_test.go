package metrics

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestNamesAreWhatIsServed(t *testing.T) {
	reg, _, _ := newRegistry(t, "n1")
	h := Handler(reg)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	names := Names()
	served := make(map[string]bool)
	for line := range strings.Lines(w.Body.String()) {
		if line[0] == '#' {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		served[name] = true
		if !slices.Contains(names, name) {
			t.Errorf("%s is served, and not in the list", name)
		}
	}
	for _, name := range names {
		if !served[name] && !served[name+"_bucket"] && !served[name+"_sum"] {
			t.Errorf("%s is in the list, and not served", name)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("the names are not sorted")
	}
}

func TestCloudWatchMetricsKeepItsBounds(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range CloudWatchMetrics() {
		if seen[m.Name] {
			t.Errorf("%s is there twice", m.Name)
		}
		seen[m.Name] = true
		for i, set := range m.Dimensions {
			if len(set) > 30 || set[0] != "cluster" {
				t.Errorf("%s: dimensions %v", m.Name, set)
			}
			for _, other := range m.Dimensions[:i] {
				if slices.Equal(set, other) {
					t.Errorf("%s is counted twice for %v", m.Name, set)
				}
			}
		}
	}
	for name, want := range map[string]CloudWatchMetric{
		"geecache_requests_total":              {Unit: "Count", Dimensions: [][]string{{"cluster"}, {"cluster", "node"}, {"cluster", "group"}}},
		"geecache_cache_bytes":                 {Unit: "Bytes", Dimensions: [][]string{{"cluster", "group", "cache"}, {"cluster", "node", "group", "cache"}}},
		"geecache_load_duration_seconds_count": {Unit: "Count", Dimensions: [][]string{{"cluster"}, {"cluster", "node"}, {"cluster", "group"}, {"cluster", "group", "code"}}},
		"geecache_peer_up":                     {Unit: "None", Dimensions: [][]string{{"cluster"}, {"cluster", "node"}}},
		"geecache_load_duration_seconds_sum":   {Unit: "Seconds", Dimensions: [][]string{{"cluster"}, {"cluster", "node"}, {"cluster", "group"}, {"cluster", "group", "code"}}},
		EvictionsPerSecond:                     {Unit: "Count/Second", Dimensions: [][]string{{"cluster"}, {"cluster", "node"}}},
	} {
		i := slices.IndexFunc(CloudWatchMetrics(), func(m CloudWatchMetric) bool { return m.Name == name })
		if i < 0 {
			t.Errorf("there is no %s", name)
			continue
		}
		got := CloudWatchMetrics()[i]
		if got.Unit != want.Unit || !slices.EqualFunc(got.Dimensions, want.Dimensions, slices.Equal[[]string]) {
			t.Errorf("%s has %s and %v, want %s and %v", name, got.Unit, got.Dimensions, want.Unit, want.Dimensions)
		}
	}
}
