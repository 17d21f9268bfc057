package suite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

const (
	latencyRate  = 5000 // small gets a second
	largeBytes   = 8 << 20
	largeRate    = 10 // a second
	largeKeys    = 10
	latencyFloor = 200 * time.Millisecond
)

// latency measures what large values cost small ones.
func latency() Suite {
	return Suite{
		Name:    "latency",
		Title:   "Latency of small values beside large ones",
		Servers: []string{"redis-server"},
		Notes: []string{
			"An open loop of 5000 gets of 100 bytes a second (internal/loadgen), each timed from the moment at which it was to be sent, for 2.5 s a repetition; server and client are processes of their own on the same processors.",
			"With large: ten values of 8 MiB a second are got from the same server by the same client meanwhile.",
		},
		Groups: func(Scale) []Group {
			g := Group{
				Name: "small", Title: "Small gets", Units: []string{"p99.9 µs", "p99 µs", "p50 µs", "large/s"},
				Points: []Point{{Name: "alone"}, {Name: "with large", N: largeRate}},
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

// Measure gets small values, and p.N large ones a second meanwhile.
func (m *latencyMeasurer) Measure(ctx context.Context, p Point) (Values, error) {
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		got   int
		fault error
	)
	begun := time.Now()
	if p.N > 0 {
		wg.Go(func() { got, fault = m.getLarge(ctx, p.N) })
	}
	r, err := loadgen.Run(ctx, loadgen.Config{
		Do: func(ctx context.Context, key string) error {
			_, err := m.get(ctx, key)
			return err
		},
		Rate: latencyRate, Duration: max(10*m.scale.Window, latencyFloor), Warmup: m.scale.Window, Timeout: -1,
		Keys: loadgen.Keys{List: weighted(keys)},
	})
	elapsed := time.Since(begun)
	cancel()
	wg.Wait()
	if err == nil {
		err = fault
	}
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("%d of %d requests failed: %+v", r.Failed, r.Requests, r.Failures)
	}
	return Values{
		"p50 µs": micros(r.Latency.P50), "p99 µs": micros(r.Latency.P99), "p99.9 µs": micros(r.Latency.P999),
		"large/s": float64(got) / elapsed.Seconds(),
	}, nil
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

func weighted(keys []string) []loadgen.WeightedKey {
	list := make([]loadgen.WeightedKey, len(keys))
	for i, key := range keys {
		list[i].Key = key
	}
	return list
}
