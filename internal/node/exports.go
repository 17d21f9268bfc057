package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/geecache/geecache/metrics"
	"github.com/geecache/geecache/metrics/cloudwatch"
)

// lastExport bounds how long the process's last metrics may take.
const lastExport = 5 * time.Second

// exports are where a process sends its metrics by itself.
type exports struct {
	all       []export
	forwarder *cloudwatch.Forwarder // nil: none
	done      chan struct{}
	wg        sync.WaitGroup
}

type export struct {
	to    string
	meter *metrics.Meter
	every time.Duration
	send  func(time.Time, []metrics.Point) error
}

// openExports opens what the configuration asks for.
func (p *Process) openExports(ctx context.Context, registry prometheus.Gatherer) error {
	x := &p.exports
	x.done = make(chan struct{})
	choice := p.cfg.metricsChoice()
	if w := p.cfg.EMF; w != nil {
		emf := metrics.NewEMF(w, clusterOf(p.cfg), p.cfg.ID)
		x.all = append(x.all, export{"EMF", metrics.NewMeter(registry, time.Now(), choice), p.cfg.EMFInterval, emf.Send})
	}
	if p.cfg.CloudWatch == "" {
		return nil
	}
	f, err := cloudwatch.Open(ctx, cloudwatch.Config{
		Endpoint: p.cfg.CloudWatch, Cluster: clusterOf(p.cfg), Node: p.cfg.ID, Logger: p.log,
	})
	if err != nil {
		return fmt.Errorf("--cloudwatch-endpoint: %w", err)
	}
	x.forwarder = f
	p.collector.WatchForwarding(f.Stats)
	x.all = append(x.all, export{"CloudWatch", metrics.NewMeter(registry, time.Now(), choice), p.cfg.CloudWatchInterval, f.Send})
	return nil
}

// runExports sends the metrics of each interval from now on.
func (p *Process) runExports() {
	for _, e := range p.exports.all {
		p.log.Info("metrics are sent", "to", e.to, "every", e.every)
		p.exports.wg.Go(func() {
			e.meter.Run(p.exports.done, e.every, e.send, func(err error) {
				p.log.Error("metrics cannot be sent", "to", e.to, "err", err)
			})
		})
	}
}

// end sends what has happened since the last interval. It is called once all else has
// ended, so that nothing is counted any more. What cannot be sent is logged: the process
// has ended well all the same.
func (x *exports) end(log *slog.Logger) {
	if x.done == nil {
		return
	}
	close(x.done)
	x.wg.Wait()
	for _, e := range x.all {
		if err := e.meter.Report(e.send); err != nil {
			log.Error("the last metrics cannot be sent", "to", e.to, "err", err)
		}
	}
	if x.forwarder == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastExport)
	defer cancel()
	if err := x.forwarder.Close(ctx); err != nil {
		log.Warn("the last metrics were not forwarded", "err", err)
	}
}
