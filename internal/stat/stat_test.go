package stat_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/geecache/geecache/internal/stat"
)

func TestQuantiles(t *testing.T) {
	tests := []struct {
		xs   []float64
		q    float64
		want float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{1, 2, 3, 4, 5}, 0.75, 4},
	}
	for _, tt := range tests {
		if got := stat.Quantile(tt.xs, tt.q); got != tt.want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", tt.xs, tt.q, got, tt.want)
		}
	}
	if !math.IsNaN(stat.Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

// The indexes are in every table of the sign test: for 10 samples the second
// and the ninth, for 6 the first and the last.
func TestMedianInterval(t *testing.T) {
	tests := []struct {
		n         int
		low, high float64
		exact     bool
	}{
		{1, 0, 0, false}, {5, 0, 4, false}, {6, 0, 5, true}, {10, 1, 8, true}, {20, 5, 14, true},
	}
	for _, tt := range tests {
		xs := make([]float64, tt.n)
		for i, p := range rand.Perm(tt.n) {
			xs[p] = float64(i)
		}
		iv, exact := stat.MedianInterval(xs)
		if iv.Low != tt.low || iv.High != tt.high || exact != tt.exact {
			t.Errorf("%d samples: %v, %v; want %v to %v, %v", tt.n, iv, exact, tt.low, tt.high, tt.exact)
		}
	}
}

func TestMedianIntervalCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rounds = 4000
	missed := 0
	for range rounds {
		xs := make([]float64, 10)
		for i := range xs {
			xs[i] = r.ExpFloat64()
		}
		if iv, _ := stat.MedianInterval(xs); iv.Low > math.Ln2 || iv.High < math.Ln2 {
			missed++
		}
	}
	if missed > rounds*5/100 {
		t.Errorf("%d of %d intervals miss the median, want at most 5%%", missed, rounds)
	}
}

func TestCompare(t *testing.T) {
	a, b := []float64{10, 20, 30}, []float64{20, 40, 60}
	r := stat.Compare(a, b)
	if r.Value != 0.5 || r.Low != 0.5 || r.High != 0.5 || r.Exact {
		t.Errorf("Compare = %+v", r)
	}
	// A drift that both have does not widen the interval.
	if r := stat.Compare([]float64{1, 2, 4, 8, 16, 32}, []float64{2, 4, 8, 16, 32, 64}); r.Low != 0.5 || r.High != 0.5 || !r.Exact {
		t.Errorf("Compare with a drift = %+v", r)
	}
}
