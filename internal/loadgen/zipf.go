package loadgen

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks from 1 to n with a probability in proportion to rank^-s, for
// any s > 0 (math/rand/v2's needs s > 1, while caches are usually measured just
// below and at 1). It is the rejection-inversion method of W. Hörmann and
// G. Derflinger, "Rejection-inversion to generate variates from monotone
// discrete distributions" (1996): no table, constant time.
type zipf struct {
	s    float64
	n    float64
	low  float64 // area(1.5) - 1, where the inverted area starts
	high float64 // area(n + 0.5)
	near float64 // a rank so close to its x is accepted without a look
}

func newZipf(s float64, n int) *zipf {
	z := &zipf{s: s, n: float64(n)}
	z.low = z.area(1.5) - 1
	z.high = z.area(z.n + 0.5)
	z.near = 2 - z.inverse(z.area(2.5)-z.density(2))
	return z
}

// rank returns a number from 1 to n.
func (z *zipf) rank(r *rand.Rand) int {
	for {
		u := z.high + r.Float64()*(z.low-z.high)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), z.n)
		if k-x <= z.near || u >= z.area(k+0.5)-z.density(k) {
			return int(k)
		}
	}
}

func (z *zipf) density(x float64) float64 { return math.Exp(-z.s * math.Log(x)) }

// area is an antiderivative of density: (x^(1-s) - 1) / (1-s), and log x where
// s is 1, written so that it is exact near 1 too.
func (z *zipf) area(x float64) float64 {
	l := math.Log(x)
	t := (1 - z.s) * l
	if math.Abs(t) < 1e-8 {
		return l * (1 + t/2)
	}
	return l * math.Expm1(t) / t
}

// inverse is the inverse of area.
func (z *zipf) inverse(u float64) float64 {
	t := max(u*(1-z.s), -1)
	if math.Abs(t) < 1e-8 {
		return math.Exp(u * (1 - t/2))
	}
	return math.Exp(u * math.Log1p(t) / t)
}
