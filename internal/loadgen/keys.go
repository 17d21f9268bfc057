package loadgen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/geecache/geecache/internal/tracefile"
)

// Distribution says how often each key is asked for.
type Distribution string

// The distributions. With Zipf, key 0 (or the first of a list) is the hottest.
// Sequential asks for one after the other and starts again at the end. Weighted
// goes by the weights of a list. Recorded is the order of a trace.
const (
	Uniform    Distribution = "uniform"
	Zipf       Distribution = "zipf"
	Sequential Distribution = "sequential"
	Weighted   Distribution = "weighted"
	Recorded   Distribution = "trace"
)

// tableSize is up to how many keys are formatted in advance.
const tableSize = 1 << 20

// Keys says which keys are asked for, and how often.
type Keys struct {
	// Dist is Uniform by default, Weighted if the weights of List differ, and
	// Recorded with a Trace, which has no other.
	Dist  Distribution
	N     int     // keys 0 to N-1; DefaultKeyCount by default
	ZipfS float64 // Zipf's exponent, more than 0; DefaultZipfS by default

	// Format makes a key of its number; DefaultKeyFormat by default.
	Format string

	// List holds the keys themselves, instead of N and Format.
	List []WeightedKey

	// Trace holds the requests themselves, one after the other, instead of N,
	// Format and List. Those of the warm-up are taken from it too. The run ends
	// with it, unless Repeat lets it start again. It is not changed.
	Trace  *tracefile.Trace
	Repeat bool
}

// A WeightedKey is a key of a list. How often it is asked for is in proportion
// to its weight, if the distribution is Weighted.
type WeightedKey struct {
	Key    string
	Weight float64
}

func (k Keys) withDefaults() Keys {
	if k.Trace != nil {
		setDefault(&k.Dist, Recorded)
		k.N = len(k.Trace.Keys)
	}
	if k.Dist == "" {
		k.Dist = Uniform
		for _, w := range k.List {
			if w.Weight != k.List[0].Weight {
				k.Dist = Weighted
				break
			}
		}
	}
	if len(k.List) > 0 {
		k.N = len(k.List)
	}
	setDefault(&k.N, DefaultKeyCount)
	setDefault(&k.ZipfS, DefaultZipfS)
	setDefault(&k.Format, DefaultKeyFormat)
	return k
}

func (k Keys) validate() error {
	var errs []error
	switch k.Dist {
	case Uniform, Zipf, Sequential:
	case Weighted:
		if len(k.List) == 0 {
			errs = append(errs, errors.New("Keys.Dist: weighted needs a key file or list with weights"))
		}
	case Recorded:
		if k.Trace == nil {
			errs = append(errs, errors.New("Keys.Dist: trace needs a trace"))
		}
	default:
		errs = append(errs, fmt.Errorf("Keys.Dist: %q: use uniform, zipf, sequential or weighted", k.Dist))
	}
	switch {
	case k.Trace == nil && k.Repeat:
		errs = append(errs, errors.New("Keys.Repeat: there is no trace to repeat"))
	case k.Trace == nil:
	case k.Dist != Recorded:
		errs = append(errs, fmt.Errorf("Keys.Dist: %q: a trace has its own order: leave it out", k.Dist))
	case len(k.List) > 0:
		errs = append(errs, errors.New("Keys.List: a trace has its own keys: use one of them"))
	}
	if k.N < 1 {
		errs = append(errs, fmt.Errorf("Keys.N: %d: use 1 or more", k.N))
	}
	if !(k.ZipfS > 0 && k.ZipfS <= 10) {
		errs = append(errs, fmt.Errorf("Keys.ZipfS: %v: use more than 0 and at most 10", k.ZipfS))
	}
	if one := fmt.Sprintf(k.Format, 1); strings.Contains(one, "%!") || one == fmt.Sprintf(k.Format, 2) {
		errs = append(errs, fmt.Errorf("Keys.Format: %q: use exactly one integer verb, as in %q", k.Format, DefaultKeyFormat))
	}
	var sum float64
	for i, w := range k.List {
		if !(w.Weight >= 0) || math.IsInf(w.Weight, 0) {
			errs = append(errs, fmt.Errorf("Keys.List[%d]: weight %v: use a number of 0 or more", i, w.Weight))
			break
		}
		sum += w.Weight
	}
	if k.Dist == Weighted && len(k.List) > 0 && !(sum > 0 && !math.IsInf(sum, 0)) {
		errs = append(errs, fmt.Errorf("Keys.List: the weights add up to %v: give at least one key a weight over 0", sum))
	}
	return errors.Join(errs...)
}

// A keySet is what the pickers of a run share. It is safe for concurrent use.
type keySet struct {
	keys  Keys
	table []string     // the keys by number; nil if there are too many
	sums  []float64    // running sums of the weights; nil unless Weighted
	next  atomic.Int64 // requests that were taken; Sequential and Recorded only
}

func newKeySet(k Keys) *keySet {
	s := &keySet{keys: k}
	switch {
	case k.Trace != nil:
		s.table = k.Trace.Keys
	case len(k.List) > 0:
		s.table = make([]string, len(k.List))
		for i, w := range k.List {
			s.table[i] = w.Key
		}
	case k.N <= tableSize:
		s.table = make([]string, k.N)
		for i := range s.table {
			s.table[i] = fmt.Sprintf(k.Format, i)
		}
	}
	if k.Dist == Weighted {
		var sum float64
		s.sums = make([]float64, len(k.List))
		for i, w := range k.List {
			sum += w.Weight
			s.sums[i] = sum
		}
	}
	return s
}

// picker returns a function that returns the next key to ask for, or false
// after the last one. Each goroutine needs its own.
func (s *keySet) picker(r *rand.Rand) func() (key string, ok bool) {
	if s.keys.Dist == Recorded {
		return s.recorded
	}
	next := s.drawer(r)
	return func() (string, bool) { return next(), true }
}

// recorded returns the trace's next key.
func (s *keySet) recorded() (key string, ok bool) {
	all := s.keys.Trace.Requests
	i := s.next.Add(1) - 1
	if i >= int64(len(all)) {
		if !s.keys.Repeat {
			return "", false
		}
		i %= int64(len(all))
	}
	return s.table[all[i]], true
}

// drawer is picker without a trace: there is always another key.
func (s *keySet) drawer(r *rand.Rand) func() string {
	n := s.keys.N
	switch s.keys.Dist {
	case Zipf:
		z := newZipf(s.keys.ZipfS, n)
		return func() string { return s.key(z.rank(r) - 1) }
	case Sequential:
		return func() string { return s.key(int((s.next.Add(1) - 1) % int64(n))) }
	case Weighted:
		total := s.sums[n-1]
		return func() string {
			x := r.Float64() * total
			// The first sum above x: a key of weight 0 is never chosen.
			return s.key(sort.Search(n-1, func(i int) bool { return s.sums[i] > x }))
		}
	default:
		return func() string { return s.key(r.IntN(n)) }
	}
}

func (s *keySet) key(i int) string {
	if s.table != nil {
		return s.table[i]
	}
	return fmt.Sprintf(s.keys.Format, i)
}

// ReadKeys reads a list of keys, one a line. What follows the last tab of a
// line, if it has one, is the key's weight; otherwise the weight is 1. An empty
// line is the empty key.
func ReadKeys(r io.Reader) ([]WeightedKey, error) {
	var keys []WeightedKey
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		key, weight := lines.Text(), 1.0
		if tab := strings.LastIndexByte(key, '\t'); tab >= 0 {
			var err error
			if weight, err = strconv.ParseFloat(key[tab+1:], 64); err != nil || !(weight >= 0) || math.IsInf(weight, 0) {
				return nil, fmt.Errorf("key file: line %d: weight %q: write KEY<tab>WEIGHT with a number of 0 or more", n, key[tab+1:])
			}
			key = key[:tab]
		}
		keys = append(keys, WeightedKey{Key: key, Weight: weight})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("key file: no keys: write one key a line")
	}
	return keys, nil
}
