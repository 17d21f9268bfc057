package metrics

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// MaxValues is the most values that a [Point] has: what EMF allows.
const MaxValues = 100

// A Label tells a point from others of its name.
type Label struct{ Name, Value string }

// A Point is what CloudWatch is told of one metric for one interval.
type Point struct {
	Name   string
	Unit   string    // one of CloudWatch's
	Labels []Label   // without cluster and node
	Values []float64 // from 1 to MaxValues
	// Sets are the sets of dimensions to count it under: cluster, node and names
	// of Labels. They are shared, and must not be changed.
	Sets [][]string
}

// A Meter makes of what Prometheus gathers what CloudWatch takes: of a counter, what
// was counted in an interval. Each receiver has one of its own, which is used by one
// goroutine at a time.
//
// A counter that has never counted is left out, since each metric has its price in
// CloudWatch. After that it is told in each interval, be it 0. The sum of all that
// was told is at each moment what the last gathering had.
type Meter struct {
	from     prometheus.Gatherer
	choice   Choice
	families map[string]Family
	sets     map[string][][]string
	counted  map[string]float64 // by series, at the last Next
	buckets  map[string][]float64
	at       time.Time
}

// NewMeter returns a meter of what is chosen, whose first interval begins with the
// process, or now if only the rates are asked.
func NewMeter(from prometheus.Gatherer, now time.Time, choice Choice) *Meter {
	m := &Meter{
		from: from, at: now, choice: choice, families: make(map[string]Family), sets: make(map[string][][]string),
		counted: make(map[string]float64), buckets: make(map[string][]float64),
	}
	for _, f := range append(Families(), processFamilies()...) {
		m.families[f.Name], m.sets[f.Name] = f, choice.sets(dimensionSets(f))
	}
	return m
}

// Next returns the points of the interval that ends now. With an error there are
// those that could be gathered; what is missing is told the next time.
func (m *Meter) Next(now time.Time) ([]Point, error) {
	all, err := m.from.Gather()
	elapsed := now.Sub(m.at).Seconds()
	m.at = now
	var points []Point
	owns, evicted := false, 0.0
	for _, f := range all {
		family, known := m.families[f.GetName()]
		if !known || family.Name == nodeStartTime {
			continue
		}
		if family.Name == nodeInfo {
			owns = labelOf(f.GetMetric()[0], "role") == "node"
		}
		p := &pile{meter: m, family: family, labels: keptLabels(family), at: make(map[string]int)}
		for _, s := range f.GetMetric() {
			counted := p.add(s)
			if family.Name == evictionsTotal && labelOf(s, "cache") == "main" && labelOf(s, "reason") == "capacity" {
				evicted += counted
			}
		}
		points = append(points, p.points()...)
	}
	// The last interval of a process may be too short for a rate.
	if owns && elapsed >= 1 && m.choice.has(EvictionsPerSecond) {
		points = append(points, Point{
			Name: EvictionsPerSecond, Unit: "Count/Second", Values: []float64{evicted / elapsed},
			Sets: m.choice.sets([][]string{{dimCluster}, {dimCluster, dimNode}}),
		})
	}
	return points, err
}

// A pile gathers the samples of one family that CloudWatch does not tell apart.
type pile struct {
	meter  *Meter
	family Family
	labels []string
	all    []heap
	at     map[string]int // index in all, by labels
}

// A heap is what becomes one metric, or three of a histogram.
type heap struct {
	labels  []Label
	values  []float64 // of gauges; of a counter one, the sum
	seen    bool      // the counter has counted
	bounds  []float64 // of a histogram
	buckets []float64
	sum     float64
}

// add adds a sample, and returns what a counter has counted.
func (p *pile) add(s *dto.Metric) float64 {
	var key, series strings.Builder
	series.WriteString(p.family.Name)
	for _, l := range s.GetLabel() { // sorted by name
		series.WriteString("\xff" + l.GetName() + "\xff" + l.GetValue())
	}
	labels := make([]Label, len(p.labels))
	for i, name := range p.labels {
		labels[i] = Label{name, DimensionValue(labelOf(s, name))}
		key.WriteString(labels[i].Value + "\xff")
	}
	i, ok := p.at[key.String()]
	if !ok {
		i = len(p.all)
		p.at[key.String()] = i
		p.all = append(p.all, heap{labels: labels})
	}
	h := &p.all[i]
	switch p.family.Type {
	case gauge:
		v := s.GetGauge().GetValue()
		if p.family.Name != nodeState || v != 0 { // the others are the states it is not in
			h.values = append(h.values, v)
		}
	case counter:
		v := s.GetCounter().GetValue()
		counted := p.meter.since(series.String(), v)
		h.seen = h.seen || v != 0
		if len(h.values) == 0 {
			h.values = []float64{0}
		}
		h.values[0] += counted
		return counted
	case histogram:
		p.meter.addBuckets(h, series.String(), s.GetHistogram())
	}
	return 0
}

// since returns how much a counter has grown. One that is smaller than before has
// begun anew.
func (m *Meter) since(series string, v float64) float64 {
	before := m.counted[series]
	m.counted[series] = v
	if v < before {
		before = 0
	}
	return v - before
}

// addBuckets adds what a histogram has grown by.
func (m *Meter) addBuckets(h *heap, series string, d *dto.Histogram) {
	n := len(d.GetBucket()) + 1 // with the one that has no bound
	now, before := make([]float64, n), m.buckets[series]
	if len(before) != n || float64(d.GetSampleCount()) < before[n-1] {
		before = make([]float64, n)
		m.counted[series] = 0 // its sum begins anew, too
	}
	if h.buckets == nil {
		h.buckets, h.bounds = make([]float64, n), make([]float64, n-1)
	}
	below, belowBefore := 0.0, 0.0
	for i := range n {
		now[i] = float64(d.GetSampleCount())
		if i < n-1 {
			now[i] = float64(d.GetBucket()[i].GetCumulativeCount())
			h.bounds[i] = d.GetBucket()[i].GetUpperBound()
		}
		h.buckets[i] += (now[i] - below) - (before[i] - belowBefore)
		below, belowBefore = now[i], before[i]
	}
	m.buckets[series] = now
	h.sum += m.since(series, d.GetSampleSum())
	h.seen = h.seen || d.GetSampleCount() > 0
}

// points returns what the pile has come to.
func (p *pile) points() []Point {
	var points []Point
	add := func(name string, h heap, values ...float64) {
		if !p.meter.choice.has(name) {
			return
		}
		for part := range slices.Chunk(values, MaxValues) {
			if !slices.ContainsFunc(part, notFinite) {
				points = append(points, Point{name, unitOf(name), h.labels, part, p.meter.sets[p.family.Name]})
			}
		}
	}
	for _, h := range p.all {
		switch {
		case p.family.Type != gauge && !h.seen:
		case p.family.Type != histogram:
			add(p.family.Name, h, h.values...)
		default:
			count := 0.0
			for _, n := range h.buckets {
				count += n
			}
			add(p.family.Name+"_count", h, count)
			add(p.family.Name+"_sum", h, h.sum)
			add(p.family.Name, h, sampleOf(h.bounds, h.buckets, h.sum)...)
		}
	}
	return points
}

func notFinite(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// sampleOf returns values that stand for a histogram: one for each observation or, if
// there are more than MaxValues, one for each of as many equal shares. Each lies in its
// bucket, all at the same height, which makes the mean of all observations right.
func sampleOf(bounds, buckets []float64, sum float64) []float64 {
	var count, least, widths float64
	edges := func(i int) (low, width float64) {
		switch {
		case i == 0:
			return 0, bounds[0]
		case i < len(bounds):
			return bounds[i-1], bounds[i] - bounds[i-1]
		}
		return bounds[i-1], bounds[i-1] // of the last one nobody knows
	}
	for i, n := range buckets {
		low, width := edges(i)
		count, least, widths = count+n, least+n*low, widths+n*width
	}
	if count == 0 {
		return nil
	}
	height := min(max((sum-least)/widths, 0), 1)
	total := int(min(count, MaxValues))
	values := make([]float64, 0, total)
	bucket, below := 0, buckets[0]
	for i := range total {
		rank := (float64(i) + 0.5) * count / float64(total)
		for below < rank && bucket < len(buckets)-1 {
			bucket++
			below += buckets[bucket]
		}
		low, width := edges(bucket)
		values = append(values, low+height*width)
	}
	return values
}

func labelOf(s *dto.Metric, name string) string {
	for _, l := range s.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// DimensionValue returns a label's value as a dimension may have it: at most 1024
// printable letters of ASCII, and not only spaces. Others are written as in a URL.
func DimensionValue(s string) string {
	const hex, most = "0123456789ABCDEF", 1024
	if strings.Trim(s, " ") == "" {
		return "-"
	}
	var b strings.Builder
	for i := 0; i < len(s) && b.Len()+3 <= most; i++ {
		if c := s[i]; c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// Run gives send the points of each interval until done is closed. The last interval
// is left to whoever closes it: see [Meter.Report].
func (m *Meter) Run(done <-chan struct{}, every time.Duration, send func(time.Time, []Point) error, failed func(error)) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			if err := m.Report(send); err != nil {
				failed(err)
			}
		}
	}
}

// Report gives send the points up to now.
func (m *Meter) Report(send func(time.Time, []Point) error) error {
	now := time.Now()
	points, err := m.Next(now)
	return errors.Join(err, send(now, points))
}
