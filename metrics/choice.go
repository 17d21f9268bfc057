package metrics

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Choice is what of a node's metrics CloudWatch gets: each name with a set of
// dimensions is a metric there, and has its price. The zero value is all of them.
type Choice struct {
	// ClusterOnly leaves out the sets that have the dimension node: the figures of a
	// cluster do not cost more when it grows.
	ClusterOnly bool

	// Names are patterns of the names that are sent, such as geecache_hits_total or
	// geecache_load_*; see [path.Match]. Empty: all.
	Names []string
}

// Validate returns an error that says which pattern is wrong, or matches no metric.
func (c Choice) Validate() error {
	all := CloudWatchMetrics()
	for _, pattern := range c.Names {
		matches := func(m CloudWatchMetric) bool { return (Choice{Names: []string{pattern}}).has(m.Name) }
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q is no pattern: use a name such as %s, or a beginning with *", pattern, requestsTotal)
		}
		if !slices.ContainsFunc(all, matches) {
			return fmt.Errorf("%q is the name of no metric: use one such as %s, or a beginning with *", pattern, requestsTotal)
		}
	}
	return nil
}

// has reports whether a metric of this name is sent.
func (c Choice) has(name string) bool {
	return len(c.Names) == 0 || slices.ContainsFunc(c.Names, func(pattern string) bool {
		ok, err := path.Match(strings.TrimSpace(pattern), name)
		return ok && err == nil
	})
}

// sets returns those of sets that are sent.
func (c Choice) sets(sets [][]string) [][]string {
	if !c.ClusterOnly {
		return sets
	}
	return slices.DeleteFunc(slices.Clone(sets), func(set []string) bool { return slices.Contains(set, dimNode) })
}

// Metrics returns those of [CloudWatchMetrics] that are sent. The caller owns the slice.
func (c Choice) Metrics() []CloudWatchMetric {
	all := CloudWatchMetrics()
	for i := range all {
		all[i].Dimensions = c.sets(all[i].Dimensions)
	}
	return slices.DeleteFunc(all, func(m CloudWatchMetric) bool { return !c.has(m.Name) })
}
