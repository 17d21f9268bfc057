package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// A loader asks an HTTP server for one value again and again.
type loader struct {
	url     string // with {key}
	scale   Scale
	servers []*server
}

// Measure counts answers to p.N callers of the project's load generator. Each
// has to be a 200.
func (l *loader) Measure(ctx context.Context, p Point) (Values, error) {
	r, err := loadgen.Run(ctx, loadgen.Config{
		URLs: []string{l.url}, Group: benchGroup, Callers: p.N,
		Duration: 2 * l.scale.Window, Warmup: l.scale.Window / 2,
		Keys: loadgen.Keys{N: l.scale.pick(10_000, 100), Format: benchKeyFormat()},
	})
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 || r.WarmupFailed > 0 {
		return nil, fmt.Errorf("%s: %d of %d requests failed: %+v", l.url, r.Failed+r.WarmupFailed, r.Requests, r.Failures)
	}
	return Values{"req/s": r.Throughput, "p99 µs": micros(r.Latency.P99)}, nil
}

// benchKeyFormat is the format of benchKey for values of the usual length.
func benchKeyFormat() string { return fmt.Sprintf("%d/key-%%08d", engineValue) }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// Close ends the servers, the last one first.
func (l *loader) Close() error {
	var errs []error
	for i := len(l.servers) - 1; i >= 0; i-- {
		errs = append(errs, l.servers[i].Close())
	}
	return errors.Join(errs...)
}

// start starts one more server.
func (l *loader) start(ctx context.Context, cfg serverConfig) (*server, error) {
	s, err := startServer(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.servers = append(l.servers, s)
	return s, nil
}

// newLoader returns the constructor of a loader of path at one server.
func newLoader(cfg serverConfig, path string) func(context.Context, Scale) (Measurer, error) {
	return func(ctx context.Context, s Scale) (Measurer, error) {
		l := &loader{scale: s}
		srv, err := l.start(ctx, cfg)
		if err != nil {
			return nil, err
		}
		l.url = "http://" + srv.addrs[0] + path
		return l, nil
	}
}
