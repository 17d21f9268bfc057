package trace

import "fmt"

// Synthetic returns the names of the synthetic traces.
func Synthetic() []string {
	return []string{"zipf-0.7", "zipf-0.9", "zipf-1.1", "loops", "shift", "mix"}
}

// Make makes a synthetic trace over about keys keys from a seed: 20 requests a
// key.
//
//   - zipf-S: a Zipf distribution with the exponent S
//   - loops: over a third of the keys, then over all of them, and again
//   - shift: a Zipf distribution over a twentieth of the keys, which moves on by
//     half of that
//   - mix: shift, loops and keys that come once, in turns of a few thousand requests
func Make(name string, seed uint64, keys int) (*Trace, error) {
	n := newNumberer(name)
	length := 20 * keys
	switch name {
	case "zipf-0.7", "zipf-0.9", "zipf-1.1":
		var s float64
		if _, err := fmt.Sscanf(name, "zipf-%g", &s); err != nil {
			return nil, err
		}
		z := NewZipf(seed, keys, s)
		for range length {
			n.add(uint64(z.Next()))
		}
	case "loops":
		for loop := 0; len(n.t.Requests) < length; loop++ {
			span := keys
			if loop%2 == 0 {
				span = keys / 3
			}
			for i := range span {
				n.add(uint64(i))
			}
		}
	case "shift":
		next := shifting(seed, keys, length)
		for range length {
			n.add(next())
		}
	case "mix":
		addMix(n, seed, keys, length)
	default:
		return nil, fmt.Errorf("no synthetic trace %q: use one of %v", name, Synthetic())
	}
	return n.trace(), nil
}

// shifting returns a function that draws from a window that has moved over all
// keys after length draws.
func shifting(seed uint64, keys, length int) func() uint64 {
	window := max(keys/20, 1)
	z := NewZipf(seed, window, 0.9)
	moves := max(2*(keys-window)/window, 1) // by half a window each
	drawn := 0
	return func() uint64 {
		base := drawn / max(length/moves, 1) * window / 2
		drawn++
		return uint64(base + z.Next())
	}
}

func addMix(n *numberer, seed uint64, keys, length int) {
	const turn = 4000
	kind := newRand(seed)
	next := shifting(seed, keys/2, length/2)
	loop, once := 0, 0
	for len(n.t.Requests) < length {
		switch kind.IntN(4) {
		case 0, 1:
			for range turn {
				n.add(next())
			}
		case 2:
			for range turn {
				n.add(1<<40 + uint64(loop%max(keys/4, 1)))
				loop++
			}
		default:
			// Few of the keys come once, or the trace would be about them alone.
			for range turn / 16 {
				n.add(1<<41 + uint64(once))
				once++
			}
		}
	}
}

// Scan says how keys that come once are mixed into a running workload.
type Scan int

// The ways of a scan.
const (
	NoScan      Scan = iota
	Interleaved      // one of the scan after one of the workload
	Burst            // all at once
)

// WithScans returns requests of a Zipf distribution over keys keys, into which
// scans of span keys each are mixed, five of them over the whole. Requests of
// the workload are those below the returned number.
func WithScans(seed uint64, keys, span int, scan Scan) (requests []uint32, workload uint32) {
	z := NewZipf(seed, keys, 0.9)
	length, scans := 20*keys, 5
	once := uint32(keys)
	left := 0 // of the scan under way
	for i := range length {
		if scan != NoScan && i%(length/scans) == length/scans/2 {
			left = span
		}
		requests = append(requests, uint32(z.Next()))
		for ; left > 0; left-- {
			requests = append(requests, once)
			once++
			if scan == Interleaved {
				left--
				break
			}
		}
	}
	return requests, uint32(keys)
}
