package metrics

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAChoiceIsWhatIsTold(t *testing.T) {
	reg, _, _ := newRegistry(t, "n1")
	begun := time.Unix(1000, 0)
	all := next(t, NewMeter(reg, begun, Choice{}), begun.Add(time.Minute))
	for _, c := range []struct {
		choice Choice
		names  bool // some are left out
	}{
		{Choice{}, false},
		{Choice{ClusterOnly: true}, false},
		{Choice{ClusterOnly: true, Names: []string{requestsTotal, "geecache_load_*", EvictionsPerSecond}}, true},
	} {
		list := c.choice.Metrics()
		points := next(t, NewMeter(reg, begun, c.choice), begun.Add(time.Minute))
		for _, p := range points {
			i := slices.IndexFunc(list, func(m CloudWatchMetric) bool { return m.Name == p.Name })
			if i < 0 || fmt.Sprint(list[i].Dimensions) != fmt.Sprint(p.Sets) || len(p.Sets) == 0 {
				t.Fatalf("%+v: %s is told with %v, and the list says otherwise", c.choice, p.Name, p.Sets)
			}
			if text := fmt.Sprint(p.Sets); c.choice.ClusterOnly && strings.Contains(text, "node") {
				t.Errorf("%s is told for each node: %v", p.Name, text)
			}
			was := find(all, p.Name)
			if ofUs(p.Name) && !slices.ContainsFunc(was, func(q Point) bool { return slices.Equal(p.Values, q.Values) && slices.Equal(p.Labels, q.Labels) }) {
				t.Errorf("%s is %v, and was %v when all was told", p.Name, p, was)
			}
		}
		if fewer := len(points) < len(all)/2; fewer != c.names {
			t.Errorf("%+v: %d points, and %d of all", c.choice, len(points), len(all))
		}
		if c.names && len(find(points, hitsTotal)) > 0 {
			t.Errorf("%+v: %s is told", c.choice, hitsTotal)
		}
		for _, m := range list {
			if ofUs(m.Name) && len(find(points, m.Name)) == 0 {
				t.Errorf("%+v: %s is not told", c.choice, m.Name)
			}
		}
	}
}

func TestAChoiceOfNothingIsAMistake(t *testing.T) {
	for pattern, want := range map[string]string{
		"geecache_requests_total": "", "geecache_snapshot_*": "", "process_*": "",
		"geecache_request_total": "no metric", "geecache_[": "no pattern", "": "no metric",
	} {
		err := Choice{Names: []string{pattern}}.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

// ofUs reports whether a metric is the source's, and not the running process's.
func ofUs(name string) bool { return strings.HasPrefix(name, "geecache_") }
