// Package stat condenses repeated measurements: medians, intervals that hold
// whatever the distribution, and ratios of what was measured side by side. It
// knows nothing of what the numbers mean.
package stat

import (
	"math"
	"slices"
)

// Median returns the median of xs, and NaN of none.
func Median(xs []float64) float64 { return Quantile(xs, 0.5) }

// Quantile returns the q-quantile of xs, interpolated between neighbours, and
// NaN of none.
func Quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(xs))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// confidence is what an Interval covers at least.
const confidence = 0.95

// An Interval is where the median of the population lies with at least 95%
// confidence.
type Interval struct{ Low, High float64 }

// MedianInterval returns the narrowest interval between two of the samples, as
// far from the one end as from the other, that covers the median with 95%
// confidence. It assumes no distribution: each sample is above the median or
// below it, as a coin falls. Fewer than 6 samples cannot say so much: for them
// it is the whole range, and exact is false.
func MedianInterval(xs []float64) (iv Interval, exact bool) {
	n := len(xs)
	if n == 0 {
		return Interval{math.NaN(), math.NaN()}, false
	}
	s := slices.Sorted(slices.Values(xs))
	out := 0.0 // the chance that the median is below s[k] or above s[n-1-k]
	k := -1
	for i := 0; i < n/2; i++ {
		out += 2 * binomial(n, i)
		if out > 1-confidence {
			break
		}
		k = i
	}
	if k < 0 {
		return Interval{s[0], s[n-1]}, false
	}
	return Interval{s[k], s[n-1-k]}, true
}

// binomial returns the chance of k heads in n throws of a fair coin.
func binomial(n, k int) float64 {
	p := math.Pow(0.5, float64(n))
	for i := range k {
		p *= float64(n-i) / float64(i+1)
	}
	return p
}

// A Ratio compares two series whose samples were taken in turns.
type Ratio struct {
	Value    float64 // of the medians
	Interval         // of the ratios of samples that were taken one after the other
	Exact    bool    // the interval covers 95%
}

// Compare returns the ratio of a to b.
func Compare(a, b []float64) Ratio {
	n := min(len(a), len(b))
	pairs := make([]float64, n)
	for i := range pairs {
		pairs[i] = a[i] / b[i]
	}
	iv, exact := MedianInterval(pairs)
	return Ratio{Value: Median(a) / Median(b), Interval: iv, Exact: exact}
}

// Mean returns the arithmetic mean of xs, and NaN of none.
func Mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}
