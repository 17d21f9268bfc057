package loadgen

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestZipfFollowsItsLaw(t *testing.T) {
	for _, s := range []float64{0.5, 0.99, 1, 1.2, 3} {
		const n, draws = 1000, 200_000
		z := newZipf(s, n)
		r := newRand(1, 1)
		counts := make([]float64, n+1)
		for range draws {
			rank := z.rank(r)
			if rank < 1 || rank > n {
				t.Fatalf("s=%v: rank %d is outside 1..%d", s, rank, n)
			}
			counts[rank]++
		}
		var norm float64
		for k := 1; k <= n; k++ {
			norm += math.Pow(float64(k), -s)
		}
		for _, k := range []int{1, 2, 3, 10, 100} {
			want := draws * math.Pow(float64(k), -s) / norm
			// Six standard deviations of a count, and one more for small ones.
			if diff := math.Abs(counts[k] - want); diff > 6*math.Sqrt(want)+1 {
				t.Errorf("s=%v: rank %d came %v times, want about %.0f", s, k, counts[k], want)
			}
		}
	}
}

func TestZipfWithOneKey(t *testing.T) {
	z, r := newZipf(1, 1), newRand(1, 1)
	for range 100 {
		if rank := z.rank(r); rank != 1 {
			t.Fatalf("rank %d of 1", rank)
		}
	}
}

func draw(k Keys, seed uint64, n int) []string {
	next := newKeySet(k.withDefaults()).picker(newRand(seed, streamKeys))
	keys := make([]string, n)
	for i := range keys {
		keys[i], _ = next()
	}
	return keys
}

func TestKeysRepeatWithTheirSeed(t *testing.T) {
	for _, dist := range []Distribution{Uniform, Zipf, Sequential} {
		k := Keys{Dist: dist, N: 50}
		a, b, c := draw(k, 7, 200), draw(k, 7, 200), draw(k, 8, 200)
		if !slices.Equal(a, b) {
			t.Errorf("%s: the same seed gave other keys", dist)
		}
		if dist != Sequential && slices.Equal(a, c) {
			t.Errorf("%s: another seed gave the same keys", dist)
		}
	}
}

func TestKeysUniformCoversAll(t *testing.T) {
	seen := make(map[string]int)
	for _, key := range draw(Keys{N: 10, Format: "k-%03d"}, 1, 10_000) {
		seen[key]++
	}
	if len(seen) != 10 || seen["k-000"] < 800 || seen["k-009"] < 800 {
		t.Errorf("10,000 draws of 10 keys: %v", seen)
	}
}

func TestKeysSequentialStartsAgain(t *testing.T) {
	got := draw(Keys{Dist: Sequential, N: 3, Format: "%d"}, 1, 7)
	if want := strings.Fields("0 1 2 0 1 2 0"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestKeysBeyondTheTable(t *testing.T) {
	got := draw(Keys{Dist: Sequential, N: tableSize + 1}, 1, 2)
	if want := []string{"user:0", "user:1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReadKeysWithWeights(t *testing.T) {
	list, err := ReadKeys(strings.NewReader("a\t3\nb c\n\nd\t0\nx\ty\t2\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []WeightedKey{{"a", 3}, {"b c", 1}, {"", 1}, {"d", 0}, {"x\ty", 2}}
	if !slices.Equal(list, want) {
		t.Fatalf("got %v, want %v", list, want)
	}
	counts := make(map[string]int)
	for _, key := range draw(Keys{List: list}, 1, 70_000) {
		counts[key]++
	}
	for key, weight := range map[string]int{"a": 3, "b c": 1, "": 1, "d": 0, "x\ty": 2} {
		if want := weight * 10_000; math.Abs(float64(counts[key]-want)) > 6*math.Sqrt(float64(want)) {
			t.Errorf("key %q came %d times, want about %d", key, counts[key], want)
		}
	}
}

func TestReadKeysRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":            "no keys",
		"a\nb\tmuch":  `line 2: weight "much"`,
		"a\t-1":       "0 or more",
		"a\tNaN":      "0 or more",
		"a\tInfinity": "0 or more",
	} {
		if _, err := ReadKeys(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
	}
}
