// Package trace makes and reads sequences of keys: recorded ones from files, and
// synthetic ones from a seed.
package trace

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A Zipf draws numbers below n so that the k-th most frequent is k^s times as
// rare as the first. The ranks are spread over the numbers at random.
type Zipf struct {
	rng   *rand.Rand
	cdf   []float64
	names []int // of each rank
}

// NewZipf returns a Zipf whose sequence the seed decides.
func NewZipf(seed uint64, n int, s float64) *Zipf {
	z := &Zipf{rng: newRand(seed), cdf: make([]float64, n)}
	sum := 0.0
	for k := range z.cdf {
		sum += math.Pow(float64(k+1), -s)
		z.cdf[k] = sum
	}
	z.names = newRand(uint64(n)).Perm(n)
	return z
}

// Next draws a number.
func (z *Zipf) Next() int {
	at, _ := slices.BinarySearch(z.cdf, z.rng.Float64()*z.cdf[len(z.cdf)-1])
	return z.names[min(at, len(z.names)-1)]
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }
