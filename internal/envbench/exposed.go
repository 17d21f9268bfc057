package envbench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// exposedPlace is what is called the metrics that nodes themselves show.
const exposedPlace = "/metrics of the nodes"

// exposed returns the names of the metrics that the processes of a deployment show.
func exposed(ctx context.Context, d Driver, name string) (map[string][]string, error) {
	s, err := d.Status(ctx, name)
	if err != nil {
		return nil, err
	}
	a, err := NewAsker(ctx, d, name)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var names []string
	for _, m := range s.Members {
		if m.API {
			continue
		}
		text, err := a.Metrics(ctx, m.Addr)
		if err != nil {
			return nil, fmt.Errorf("/metrics of %s: %w", m.ID, err)
		}
		names = append(names, families(string(text))...)
	}
	slices.Sort(names)
	return map[string][]string{exposedPlace: slices.Compact(names)}, nil
}

// families returns the names of metrics in what Prometheus reads.
func families(text string) (names []string) {
	for line := range strings.Lines(text) {
		if rest, is := strings.CutPrefix(line, "# TYPE "); is {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	return names
}
