package cloudwatch

import (
	"slices"
	"time"

	"github.com/geecache/geecache/metrics"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// What a request may hold. The bytes are estimated, as they are in a form, and far
// from the limit of 1 MB.
const (
	maxMetrics = 1000
	maxBytes   = 700_000
)

// A request is the metrics of one call of PutMetricData.
type request []types.MetricDatum

// requestsOf returns the points as metrics: one for each set of dimensions, as
// CloudWatch makes them of a line of EMF.
func requestsOf(cluster, node string, at time.Time, points []metrics.Point) []request {
	var all []request
	var open request
	size := 0
	for _, p := range points {
		for _, set := range p.Sets {
			d := datum(cluster, node, at, p, set)
			bytes := sizeOf(d)
			if len(open) == maxMetrics || size+bytes > maxBytes {
				all, open, size = append(all, open), nil, 0
			}
			open, size = append(open, d), size+bytes
		}
	}
	if len(open) > 0 {
		all = append(all, open)
	}
	return all
}

func datum(cluster, node string, at time.Time, p metrics.Point, set []string) types.MetricDatum {
	d := types.MetricDatum{MetricName: aws.String(p.Name), Unit: types.StandardUnit(p.Unit), Timestamp: aws.Time(at)}
	for _, name := range set {
		value := ""
		switch name {
		case "cluster":
			value = metrics.DimensionValue(cluster)
		case "node":
			value = metrics.DimensionValue(node)
		default:
			value = p.Labels[slices.IndexFunc(p.Labels, func(l metrics.Label) bool { return l.Name == name })].Value
		}
		d.Dimensions = append(d.Dimensions, types.Dimension{Name: aws.String(name), Value: aws.String(value)})
	}
	if len(p.Values) == 1 {
		d.Value = aws.Float64(p.Values[0])
		return d
	}
	for _, v := range p.Values {
		if i := slices.Index(d.Values, v); i >= 0 {
			d.Counts[i]++
			continue
		}
		d.Values, d.Counts = append(d.Values, v), append(d.Counts, 1)
	}
	return d
}

// sizeOf estimates the bytes of a metric from above.
func sizeOf(d types.MetricDatum) int {
	n := 300 + len(*d.MetricName)
	for _, dim := range d.Dimensions {
		n += 120 + len(*dim.Name) + 3*len(*dim.Value)
	}
	return n + 130*len(d.Values)
}
