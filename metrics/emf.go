package metrics

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a line may hold. CloudWatch allows more than the bytes, but Docker's log
// drivers cut lines beyond 16 KiB, and not every one puts them together again.
const (
	maxLineMetrics = 100
	maxLineBytes   = 16<<10 - 256
)

// An EMF writes points as lines of CloudWatch's embedded metric format, for a log
// driver to bring to CloudWatch: no agent is needed. It is safe for concurrent use.
type EMF struct {
	mu            sync.Mutex // guards w
	w             io.Writer
	cluster, node string
}

// NewEMF returns what writes the points of a node to w, each line with one Write.
func NewEMF(w io.Writer, cluster, node string) *EMF {
	return &EMF{w: w, cluster: DimensionValue(cluster), node: DimensionValue(node)}
}

// Send writes the points of the interval that ended at a time.
func (e *EMF) Send(at time.Time, points []Point) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range linesOf(points) {
		if err := e.write(at, line); err != nil {
			return err
		}
	}
	return nil
}

// linesOf shares points out: those of one line have the same labels, and each a name
// of its own.
func linesOf(points []Point) [][]Point {
	var lines [][]Point
	open := make(map[string][]int) // the lines of the same labels
	for _, p := range points {
		var labels strings.Builder
		for _, l := range p.Labels {
			labels.WriteString(l.Name + "\xff" + l.Value + "\xff")
		}
		key := labels.String()
		i := slices.IndexFunc(open[key], func(i int) bool {
			return len(lines[i]) < maxLineMetrics && !slices.ContainsFunc(lines[i], func(q Point) bool { return q.Name == p.Name })
		})
		if i < 0 {
			open[key] = append(open[key], len(lines))
			lines = append(lines, []Point{p})
			continue
		}
		at := open[key][i]
		lines[at] = append(lines[at], p)
	}
	return lines
}

// A directive says which members of a line are metrics, and what their dimensions are.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

type definition struct{ Name, Unit string }

// write writes points as one line, or as two if that is too long.
func (e *EMF) write(at time.Time, points []Point) error {
	root := map[string]any{dimCluster: e.cluster, dimNode: e.node}
	for _, l := range points[0].Labels {
		root[l.Name] = l.Value
	}
	var directives []directive
	for _, p := range points {
		i := slices.IndexFunc(directives, func(d directive) bool {
			return slices.EqualFunc(d.Dimensions, p.Sets, slices.Equal[[]string])
		})
		if i < 0 {
			i = len(directives)
			directives = append(directives, directive{Namespace: Namespace, Dimensions: p.Sets})
		}
		directives[i].Metrics = append(directives[i].Metrics, definition{p.Name, p.Unit})
		if root[p.Name] = p.Values; len(p.Values) == 1 {
			root[p.Name] = p.Values[0]
		}
	}
	root["_aws"] = map[string]any{"Timestamp": at.UnixMilli(), "CloudWatchMetrics": directives}
	line, err := json.Marshal(root)
	if err != nil {
		return err
	}
	if half := len(points) / 2; len(line) > maxLineBytes && half > 0 {
		if err := e.write(at, points[:half]); err != nil {
			return err
		}
		return e.write(at, points[half:])
	}
	_, err = e.w.Write(append(line, '\n'))
	return err
}
