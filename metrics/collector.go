package metrics

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/geecache/geecache/geecache"
)

// A Source tells what a node has done. A geecache.Node is one. Stats is called
// at each scrape, from any goroutine.
type Source interface {
	Stats() geecache.NodeStats
}

// A Collector collects one node's metrics. It is a prometheus.Collector, to be
// registered with a registry of the node's own, and the geecache.Observer to
// put into the node's Config. It is safe for concurrent use.
type Collector struct {
	node  atomic.Pointer[Source]
	mem   atomic.Pointer[func() Memory]
	cert  atomic.Pointer[func() time.Time]
	reg   atomic.Pointer[func() Registry]
	fwd   atomic.Pointer[func() Forwarding]
	snaps atomic.Pointer[func() Snapshots]
	descs map[string]*prometheus.Desc

	miss, load, served *prometheus.HistogramVec
}

var (
	_ prometheus.Collector = (*Collector)(nil)
	_ geecache.Observer    = (*Collector)(nil)
)

// NewCollector returns the collector of a node. A node's Config wants its
// observer before the node exists: then node is nil, and [Collector.Watch]
// follows.
func NewCollector(node Source) *Collector {
	c := &Collector{descs: make(map[string]*prometheus.Desc)}
	if node != nil {
		c.Watch(node)
	}
	for _, f := range Families() {
		switch f.Name {
		case missDuration:
			c.miss = newHistogram(f)
		case loadDuration:
			c.load = newHistogram(f)
		case servedDuration:
			c.served = newHistogram(f)
		default:
			c.descs[f.Name] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
		}
	}
	return c
}

// Watch makes node the one whose statistics are collected from now on.
func (c *Collector) Watch(node Source) { c.node.Store(&node) }

// A Memory says how much memory a process may use, and what it refused for want
// of it.
type Memory struct {
	LimitBytes int64
	Refused    int64
}

// WatchMemory collects what of returns, too, from now on. A process without a
// limit does without.
func (c *Collector) WatchMemory(of func() Memory) { c.mem.Store(&of) }

// WatchCertificate collects when the process's certificate expires, which of returns,
// from now on. A process without a certificate does without.
func (c *Collector) WatchCertificate(of func() time.Time) { c.cert.Store(&of) }

// A Registry says what is known through the registry that a process follows.
type Registry struct {
	Kind    string        // such as "etcd"
	ViewAge time.Duration // since it confirmed the view; before the first time, since the start
	Members int           // in its last good answer
	Kept    int           // that are missing there, and can be reached
	Refused int           // there that the node cannot use
	Errors  int64         // answers that were errors, or empty
}

// WatchRegistry collects what of returns, too, from now on. A process that follows
// no registry does without.
func (c *Collector) WatchRegistry(of func() Registry) { c.reg.Store(&of) }

// A Forwarding says what has become of the metrics that a process forwards to
// CloudWatch.
type Forwarding struct {
	Sent     int64 // that CloudWatch has taken
	Dropped  int64 // that it refuses, or that waited behind too many others
	Failures int64 // attempts that failed, and are repeated
	Waiting  int   // metrics
}

// WatchForwarding collects what of returns, too, from now on. A process that forwards
// nothing does without.
func (c *Collector) WatchForwarding(of func() Forwarding) { c.fwd.Store(&of) }

// A Snapshots says what a process has saved for its next life and loaded from its last.
type Snapshots struct {
	Kind  string        // of the storage, such as "s3"
	Age   time.Duration // since the last one was saved; before the first one, since the start
	Saves int64
	Bytes int64 // of the last one
	Saved int64 // entries in all of them

	Load time.Duration // how long the loading at the start took; 0 while it goes on

	// Entries of snapshots, by what became of them at the start.
	Loaded, Others, Expired, Refused int64

	// Parts of snapshots that were not read to their end, by why.
	Torn, OtherFormat, OtherCluster int64

	// Calls of the storage that failed.
	ListErrors, ReadErrors, WriteErrors, DeleteErrors int64
}

// WatchSnapshots collects what of returns, too, from now on. A process that saves
// none does without.
func (c *Collector) WatchSnapshots(of func() Snapshots) { c.snaps.Store(&of) }

// newHistogram returns a histogram that is both classic, in buckets from 1
// microsecond to about half a minute, and native, for a Prometheus that scrapes
// native histograms.
func newHistogram(f Family) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    f.Name,
		Help:    f.Help,
		Buckets: prometheus.ExponentialBuckets(1e-6, 2, 26), // 1 us to 33.6 s

		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, f.Labels)
}

// ObserveMiss implements geecache.Observer.
func (c *Collector) ObserveMiss(group string, d time.Duration) {
	c.miss.WithLabelValues(group).Observe(d.Seconds())
}

// ObserveLoad implements geecache.Observer.
func (c *Collector) ObserveLoad(group string, d time.Duration, err error) {
	c.load.WithLabelValues(group, loadCode(err).String()).Observe(d.Seconds())
}

// loadCode returns the code of a load's error. A source's own error is the
// source's failure, whatever it is.
func loadCode(err error) geecache.Code {
	code := geecache.CodeOf(err)
	if code == geecache.CodeInternal {
		return geecache.CodeSource
	}
	return code
}

// ObserveServed implements geecache.Observer.
func (c *Collector) ObserveServed(group, protocol string, d time.Duration, code geecache.Code) {
	if code == geecache.CodeNoGroup {
		return // anyone can invent names, and each would be a series for ever
	}
	c.served.WithLabelValues(group, protocol, code.String()).Observe(d.Seconds())
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
	c.miss.Describe(out)
	c.load.Describe(out)
	c.served.Describe(out)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.miss.Collect(out)
	c.load.Collect(out)
	c.served.Collect(out)
	s := snapshot{descs: c.descs, out: out}
	if of := c.mem.Load(); of != nil {
		m := (*of)()
		s.gauge(memoryLimit, float64(m.LimitBytes))
		s.count(memoryRefusedTotal, m.Refused)
	}
	if of := c.cert.Load(); of != nil {
		s.gauge(certificateExpiry, float64((*of)().Unix()))
	}
	if of := c.reg.Load(); of != nil {
		r := (*of)()
		s.gauge(registryViewAge, r.ViewAge.Seconds(), r.Kind)
		s.gauge(registryMembers, float64(r.Members), r.Kind)
		s.gauge(registryKept, float64(r.Kept), r.Kind)
		s.gauge(registryRefused, float64(r.Refused), r.Kind)
		s.count(registryErrorsTotal, r.Errors, r.Kind)
	}
	if of := c.fwd.Load(); of != nil {
		f := (*of)()
		s.count(forwardSentTotal, f.Sent)
		s.count(forwardDroppedTotal, f.Dropped)
		s.count(forwardFailuresTotal, f.Failures)
		s.gauge(forwardWaiting, float64(f.Waiting))
	}
	if of := c.snaps.Load(); of != nil {
		s.snapshots((*of)())
	}
	node := c.node.Load()
	if node == nil {
		return
	}
	stats := (*node).Stats()
	s.node(&stats)
	for i := range stats.Groups {
		s.group(&stats.Groups[i])
	}
	s.peers(stats.Peers)
}

// NewRegistry returns a registry that holds c, and what Go and the operating
// system tell about the process and its build.
func NewRegistry(c *Collector) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	err := errors.Join(
		reg.Register(c),
		reg.Register(collectors.NewGoCollector()),
		reg.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		reg.Register(collectors.NewBuildInfoCollector()),
	)
	if err != nil {
		return nil, err
	}
	return reg, nil
}

// Handler serves the metrics of reg: in the text format, in OpenMetrics or as
// protobuf with native histograms, as the client asks. A node that is scraped
// faster than it can answer says 503.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:            reg,
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}
