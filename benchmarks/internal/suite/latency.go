package suite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/geecache/geecache/internal/loadgen"
)

const (
	latencyRate   = 10_000 // small gets a second
	latencySlices = 4      // of each state, in a repetition
	largeBytes    = 8 << 20
	largeRate     = 10 // a second
	largeKeys     = 10
	latencyFloor  = 100 * time.Millisecond
)

// The states in which small values are got.
const (
	alone = iota
	withLarge
)

// latencyUnits names the figures of each state, and the percentiles that they are.
func latencyUnits() (units [2][]string, percentiles []float64) {
	for state, suffix := range []string{" µs", " µs with large"} {
		for _, name := range []string{"p99.9", "p99", "p50"} {
			units[state] = append(units[state], name+suffix)
		}
	}
	return units, []float64{99.9, 99, 50}
}

// latency measures what large values cost small ones.
func latency() Suite {
	return Suite{
		Name:    "latency",
		Title:   "Latency of small values beside large ones",
		Servers: []string{"redis-server"},
		Notes: []string{
			"An open loop of 10,000 gets of 100 bytes a second (internal/loadgen), each timed from the moment at which it was to be sent; server and client are processes of their own on the same processors.",
			"With large: ten values of 8 MiB a second are got from the same server by the same client meanwhile.",
			"A repetition is 10 s without them and 10 s with them, in turns of 2.5 s, so that what disturbs the machine for a while disturbs both. 100 of its 100,000 latencies of each are above p99.9. rueidis gets one repetition.",
			"A virtual machine stands still for a millisecond a few times a second, and now and then for several. A p99.9 shows it in either state: on a machine that does not, both are lower, and their ratio may be another.",
		},
		Groups: func(Scale) []Group {
			units, _ := latencyUnits()
			g := Group{
				Name: "small", Title: "Small gets", Points: one(), PeerReps: 1,
				Units: append(append(units[alone], units[withLarge]...), "large/s"),
			}
			for _, peer := range []hopPeer{{Ours, openNodes(1, 1, false)}, {"rueidis", openRueidis(0)}} {
				g.Subjects = append(g.Subjects, Subject{peer.name, func(ctx context.Context, s Scale) (Measurer, error) {
					c, err := peer.open(ctx)
					if err != nil {
						return nil, err
					}
					return &latencyMeasurer{hopMeasurer: hopMeasurer{client: c, scale: s, set: hopSetting{keys: s.pick(10_000, 100)}}}, nil
				}})
			}
			return []Group{g}
		},
	}
}

type latencyMeasurer struct {
	hopMeasurer
	large []string
}

// Measure gets small values, and in every other slice large ones meanwhile.
func (m *latencyMeasurer) Measure(ctx context.Context, _ Point) (Values, error) {
	keys, err := m.fillKeys(ctx, engineValue)
	if err != nil {
		return nil, err
	}
	if m.large == nil {
		for i := range largeKeys {
			m.large = append(m.large, benchKey(m.scale.pick(largeBytes, 1<<20), i))
		}
		if err := m.fill(ctx, m.large); err != nil {
			return nil, err
		}
	}
	var (
		found   [2]*hdrhistogram.Histogram // by the state
		got     int
		elapsed time.Duration // with large
	)
	for i := range 2 * m.scale.pick(latencySlices, 1) {
		state := (i + 1) / 2 % 2 // A B B A
		begun := time.Now()
		h, large, err := m.slice(ctx, list(keys), state)
		if err != nil {
			return nil, err
		}
		if state == withLarge {
			got, elapsed = got+large, elapsed+time.Since(begun)
		}
		if found[state] == nil {
			found[state] = h
		} else {
			found[state].Merge(h)
		}
	}
	values := Values{"large/s": float64(got) / elapsed.Seconds()}
	units, percentiles := latencyUnits()
	for state, h := range found {
		for i, unit := range units[state] {
			values[unit] = micros(time.Duration(h.ValueAtPercentile(percentiles[i])))
		}
	}
	return values, nil
}

// slice gets small values for a while, in one state. It returns their latencies,
// and how many large values were got.
func (m *latencyMeasurer) slice(ctx context.Context, keys loadgen.Keys, state int) (h *hdrhistogram.Histogram, large int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		fault error
	)
	if state == withLarge {
		wg.Go(func() { large, fault = m.getLarge(ctx, largeRate) })
	}
	r, err := loadgen.Run(ctx, loadgen.Config{
		Do: func(ctx context.Context, key string) error {
			_, err := m.get(ctx, key)
			return err
		},
		Rate: latencyRate, Duration: max(10*m.scale.Window, latencyFloor), Warmup: m.scale.Window / 5, Timeout: -1, Keys: keys,
	})
	cancel()
	wg.Wait()
	switch {
	case err != nil:
		return nil, 0, err
	case fault != nil:
		return nil, 0, fault
	case r.Failed > 0:
		return nil, 0, fmt.Errorf("%d of %d requests failed: %+v", r.Failed, r.Requests, r.Failures)
	}
	h, err = hdrhistogram.Decode([]byte(r.Latency.HDR))
	return h, large, err
}

// getLarge gets large values at a rate until ctx ends. It returns how many.
func (m *latencyMeasurer) getLarge(ctx context.Context, rate int) (got int, err error) {
	t := time.NewTicker(time.Second / time.Duration(rate))
	defer t.Stop()
	for {
		if _, err := m.get(ctx, m.large[got%len(m.large)]); ctx.Err() != nil {
			return got, nil
		} else if err != nil {
			return got, err
		}
		got++
		select {
		case <-ctx.Done():
			return got, nil
		case <-t.C:
		}
	}
}

// list returns keys of which each is as likely as the others.
func list(keys []string) loadgen.Keys {
	all := make([]loadgen.WeightedKey, len(keys))
	for i, key := range keys {
		all[i].Key = key
	}
	return loadgen.Keys{List: all}
}
