package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/listen"
	"github.com/geecache/geecache/internal/plain"
	"github.com/geecache/geecache/internal/registries"
	"github.com/geecache/geecache/metrics"
	"github.com/geecache/geecache/peergrpc"
)

// The bounds of the API's own server. They are those of the node's port.
const (
	maxHeaderBytes    = 128 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	writeTimeout      = 2 * time.Minute
	maxAPIConns       = 16384
	maxAdminConns     = 256
	readyEvery        = 100 * time.Millisecond
)

// A Process is a running node or API server. It is safe for concurrent use.
type Process struct {
	cfg     Config
	log     *slog.Logger
	source  Source // nil for a client
	node    *geecache.Node
	api     *API   // nil if the API is not served
	guard   *guard // nil without a limit of memory
	grpc    *peergrpc.Server
	metrics http.Handler
	found   *discovery // nil without a registry
	saves   *snapshots // nil without snapshots

	choice    *registries.Choice // nil without a registry
	collector *metrics.Collector
	exports   exports
	marks     markers

	doors doors

	listener net.Listener // of the API; nil if it is not served
	server   *http.Server
	admin    *http.Server // on a port of its own; nil if there is none
	wg       sync.WaitGroup
	endGuard context.CancelFunc // nil if the guard does not run
	endWait  context.CancelFunc // nil if nothing waits for the node to serve
	endCert  context.CancelFunc // nil if there is no certificate to look at

	stopOnce sync.Once
	stopErr  error
}

// Start opens the source, listens and serves. It returns once the process
// serves; the context bounds only that. Stop it when done.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	choice, err := ChooseRegistry(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	main, api, err := openPorts(&cfg)
	if err != nil {
		return nil, err
	}
	identify(cfg.Logger, clusterOf(cfg), cfg.ID)
	p, err := newProcess(ctx, cfg, choice, main, api)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// openPorts opens the process's ports, and completes the configuration with what
// they turn out to be: a port may be given as 0. main is nil for a client,
// whose only port is the API's.
func openPorts(cfg *Config) (main, api net.Listener, err error) {
	full, err := cfg.WithDefaults()
	if err != nil {
		return nil, nil, err
	}
	l, err := open("--listen", full.Listen)
	if err != nil {
		return nil, nil, err
	}
	cfg.Listen = l.Addr().String()
	if *cfg, err = cfg.WithDefaults(); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	switch {
	case cfg.Role == geecache.RoleClient:
		return nil, l, nil
	case cfg.APIListen == "":
		return l, nil, nil
	}
	if api, err = open("--api-listen", cfg.APIListen); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, api, nil
}

// open listens on an address that the named flag gave.
func open(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: choose another port, or stop what uses it", flag, addr, err)
	}
	return l, nil
}

// newProcess puts a process together. It takes the listeners over.
func newProcess(ctx context.Context, cfg Config, choice *registries.Choice, main, api net.Listener) (*Process, error) {
	p := &Process{cfg: cfg, choice: choice, log: cfg.Logger, listener: api}
	err := p.build(ctx, main)
	if err == nil {
		return p, nil
	}
	if main != nil && p.node == nil { // otherwise the node closes it
		if e := main.Close(); !errors.Is(e, net.ErrClosed) { // geecache.New may have
			err = errors.Join(err, e)
		}
	}
	return nil, errors.Join(err, p.close())
}

// build makes the process's parts. main is the node's listener.
func (p *Process) build(ctx context.Context, main net.Listener) (err error) {
	cfg := p.cfg
	if p.doors, err = openDoors(cfg); err != nil {
		return err
	}
	if limit := cfg.memoryLimit(); limit > 0 {
		cfg.shareOut(limit)
		p.guard = newGuard(limit, maxValue(cfg))
	}
	if cfg.Role == geecache.RoleNode {
		if p.source, err = OpenSource(ctx, cfg.Source, cfg.Query); err != nil {
			return err
		}
	}
	collector := metrics.NewCollector(nil)
	registry, err := metrics.NewRegistry(collector)
	if err != nil {
		return err
	}
	p.metrics, p.collector = metrics.Handler(registry), collector
	if err = p.openExports(ctx, registry); err != nil {
		return err
	}
	if g := p.guard; g != nil {
		collector.WatchMemory(func() metrics.Memory {
			return metrics.Memory{LimitBytes: g.limit, Refused: g.refused.Load()}
		})
	}
	if cfg.TLS.Cert != "" {
		collector.WatchCertificate(func() time.Time {
			_, until := p.doors.tls.Life()
			return until
		})
	}
	dynamic := cfg.Dynamic || p.choice != nil && !p.choice.Listed()
	onNode := &handler{p: p}
	p.node, err = geecache.New(geecache.Config{
		Cluster: cfg.Cluster, ID: cfg.ID, Addr: cfg.Advertise, Listener: main,
		Role: cfg.Role, Zone: cfg.Zone, Weight: cfg.Weight, Peers: cfg.Peers,
		Handler: onNode, Insecure: cfg.Insecure, Secrets: p.doors.secrets,
		TLS: p.doors.server(), GetClientTLS: p.doors.client(), Timings: cfg.Timings, HedgePercent: cfg.HedgePercent, Logger: cfg.Logger,
		Observer: collector, ProtocolVersion: cfg.ProtocolVersion, MemoryShort: p.guard.short,
		Dynamic:      dynamic,
		HandoffBytes: cfg.HandoffBytes, HandoffTime: cfg.HandoffTime, MaxKeyBytes: cfg.MaxKeyBytes, MaxValueBytes: cfg.MaxValueBytes,
		Leave: func(ctx context.Context) error {
			if p.found != nil {
				p.found.leave(ctx)
			}
			return nil
		},
		Save: func(ctx context.Context) {
			if p.saves != nil {
				p.saves.saveLast(ctx)
			}
		},
		Transports: map[string]geecache.Transport{
			"grpc": &peergrpc.Transport{
				Cluster: clusterOf(cfg), Version: protocolOf(cfg), Secrets: p.doors.secrets, TLS: p.doors.client(), Timings: cfg.Timings,
				MaxKeyBytes: cfg.MaxKeyBytes, MaxValueBytes: cfg.MaxValueBytes,
			},
		},
	})
	if err != nil {
		return err
	}
	p.marks.node, p.marks.log = p.node.ID(), p.log.With("node", p.node.ID())
	collector.Watch(p.node)
	for _, name := range cfg.Groups {
		var getter geecache.Getter
		if p.source != nil {
			getter = p.guard.getter(p.source)
		}
		if _, err = p.node.NewGroup(name, getter, cfg.Group); err != nil {
			return err
		}
	}
	if p.saves, err = openSnapshots(ctx, cfg, dynamic, p.node); err != nil {
		return err
	}
	if p.saves != nil {
		collector.WatchSnapshots(p.saves.metrics)
	}
	if p.grpc, err = newGRPC(p.node, cfg); err != nil {
		return err
	}
	if p.listener != nil {
		if p.api, err = NewAPI(p.node, cfg.Groups[0], cfg.API); err != nil {
			return err
		}
		p.api.guard, p.api.requests.log, p.api.members = p.guard, p.log, newMembers(p)
		p.server = p.newServer(onNode)
	}
	return nil
}

// maxValue returns the largest value as the node will have it.
func maxValue(cfg Config) int {
	if cfg.MaxValueBytes == 0 {
		return 8 << 20
	}
	return cfg.MaxValueBytes
}

// protocolOf returns the version of the peer protocol as the node will speak it.
func protocolOf(cfg Config) string {
	if cfg.ProtocolVersion == "" {
		return geecache.ProtocolVersion
	}
	return cfg.ProtocolVersion
}

// clusterOf returns the cluster's ID as the node will have it.
func clusterOf(cfg Config) string {
	if cfg.Cluster == "" {
		return "geecache"
	}
	return cfg.Cluster
}

// newServer returns the server of the API's port. A client's is its only one,
// and so has everything; the node's own port does without the API.
func (p *Process) newServer(onNode *handler) *http.Server {
	var h http.Handler = &handler{p: p, api: p.api}
	if p.cfg.Role == geecache.RoleClient {
		onNode.api = p.api
		h = p.node
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(p.doors.tls != nil)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		ConnContext:       listen.ConnContext,
		ConnState:         listen.ConnState,
		Protocols:         &protocols,
		HTTP2:             p.grpc.HTTP2Config(),
		MaxHeaderBytes:    max(maxHeaderBytes, 16<<10+3*p.cfg.MaxKeyBytes), // a key's bytes may all be escaped
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout + p.cfg.API.Timeout,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// start begins to serve.
func (p *Process) start(ctx context.Context) error {
	if p.cfg.Insecure {
		p.log.Warn("--insecure: whoever reaches the ports can read every value and make the node load any key")
	}
	if g := p.guard; g != nil {
		ctx, cancel := context.WithCancel(context.Background())
		p.endGuard = cancel
		p.wg.Go(func() { g.run(ctx) })
		p.log.Info("memory is limited", "limit", g.limit, "gomemlimit", debug.SetMemoryLimit(-1), "caches", p.cacheBytes())
	}
	if p.cfg.TLS.Cert != "" {
		ctx, cancel := context.WithCancel(context.Background())
		p.endCert = cancel
		p.wg.Go(func() { watchCertificate(ctx, p.log, p.doors.tls.Life) })
	}
	if err := p.serveAdmin(); err != nil {
		return err
	}
	p.runExports()
	if err := p.follow(ctx); err != nil {
		return err
	}
	if err := p.node.Start(ctx); err != nil {
		return err
	}
	p.serveAPI()
	if p.found != nil && p.cfg.Role == geecache.RoleNode { // nobody asks a client for anything
		p.found.register()
	}
	if p.saves != nil {
		p.saves.run()
	}
	p.serveGRPC()
	if p.api != nil {
		scheme := "http://"
		if p.doors.tls != nil {
			scheme = "https://"
		}
		p.log.Info("the API is served", "url", scheme+p.APIAddr()+"/api?key=")
	}
	return nil
}

// serveAPI begins to serve the API, if it is to be: once the registry has told of the nodes.
// Who asks before that is not refused, but waits for the port, which listens already.
func (p *Process) serveAPI() {
	if p.server == nil {
		return
	}
	l := listen.New(p.listener, maxAPIConns)
	if !p.doors.api.Asks() && p.doors.tls == nil {
		l.SetEarly(listen.Early{Answer: p.api.answerPlain, Whole: plain.Whole, Idle: idleTimeout, Write: writeTimeout})
	}
	served := p.doors.wrap(l)
	p.wg.Go(func() {
		if err := p.server.Serve(served); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("the API is served no more", "err", err)
		}
	})
}

// follow opens the registry, if there is one, and follows it from now on.
func (p *Process) follow(ctx context.Context) error {
	if p.choice == nil {
		return nil
	}
	reg, err := p.choice.Open(ctx, registries.Options{
		Cluster: clusterOf(p.cfg), Secrets: p.doors.secrets, Verified: p.cfg.TLS.CA != "", Insecure: p.cfg.Insecure,
		Listen: p.cfg.Listen, Advertise: p.cfg.Advertise, Port: portOf(p.cfg.Advertise), Logger: p.log,
	})
	if err != nil {
		return fmt.Errorf("--registry: %w", err)
	}
	p.found = follow(ctx, reg, p.node, p.log)
	p.collector.WatchRegistry(p.found.metrics)
	return nil
}

// ready reports whether the process should be sent requests: a node that is still
// loading a snapshot answers, and its source would be asked for what is about to come.
func (p *Process) ready() bool { return p.node.Ready() && p.saves.warm() }

// serveGRPC makes the health service tell that the node serves, once it does: a
// node that its peers refuse may never.
func (p *Process) serveGRPC() {
	if p.ready() {
		p.grpc.SetServing(true)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.endWait = cancel
	p.wg.Go(func() {
		t := time.NewTicker(readyEvery)
		defer t.Stop()
		for !p.ready() {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
		p.grpc.SetServing(true)
	})
}

// serveAdmin opens the operators' own port, if there is to be one.
func (p *Process) serveAdmin() error {
	if p.cfg.AdminListen == "" {
		return nil
	}
	l, err := open("--admin-listen", p.cfg.AdminListen)
	if err != nil {
		return err
	}
	p.admin = &http.Server{
		Handler:           &handler{p: p, admin: true},
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.log.Info("operators' endpoints are served", "addr", l.Addr().String())
	served := p.doors.wrap(listen.New(l, maxAdminConns))
	p.wg.Go(func() {
		if err := p.admin.Serve(served); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("operators' endpoints are served no more", "err", err)
		}
	})
	return nil
}

// cacheBytes returns the budgets of all caches together.
func (p *Process) cacheBytes() (n int64) {
	for _, g := range p.node.Groups() {
		s := g.Stats()
		n += s.Hot.MaxBytes
		if p.cfg.Role == geecache.RoleNode { // a client's main cache stays empty
			n += s.Main.MaxBytes
		}
	}
	return n
}

// Node returns the process's node.
func (p *Process) Node() *geecache.Node { return p.node }

// APIAddr returns where the API is served, empty if it is not.
func (p *Process) APIAddr() string {
	if p.listener == nil {
		return ""
	}
	return p.listener.Addr().String()
}

// Stop ends the process: it fails its readiness, tells its peers, finishes what
// is in flight, and closes everything. What is in flight a moment before ctx ends is
// cut off, and told as an error.
func (p *Process) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() {
		if p.endWait != nil {
			p.endWait()
		}
		p.grpc.SetServing(false)
		if p.saves != nil {
			p.saves.keeper.Leaving()
		}
		// What is cut off takes a moment to end, too.
		draining, cancel := earlier(ctx, 2)
		defer cancel()
		shutting, cancel := earlier(ctx, 1)
		defer cancel()
		err := p.node.Drain(draining) // tells the peers, and then the registry
		p.stopErr = errors.Join(err, p.shutDown(shutting), p.close())
	})
	return p.stopErr
}

// shutDown waits for requests that the node does not know of.
func (p *Process) shutDown(ctx context.Context) error {
	var api, rpc error
	var wg sync.WaitGroup
	wg.Go(func() { rpc = p.grpc.Shutdown(ctx) })
	if p.server != nil {
		api = p.server.Shutdown(ctx)
	}
	wg.Wait()
	if api != nil {
		api = fmt.Errorf("requests to the API are still in flight: %w", api)
	}
	if rpc != nil {
		rpc = fmt.Errorf("gRPC requests are still in flight: %w", rpc)
	}
	return errors.Join(api, rpc)
}

// earlier returns a context that ends before ctx does by some tenths of what is left, at
// most half a second each.
func earlier(ctx context.Context, tenths int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	tenth := min(max(time.Until(end)/10, 0), 500*time.Millisecond)
	return context.WithDeadline(ctx, end.Add(-time.Duration(tenths)*tenth))
}

// close closes everything at once. It is for a process that has been drained,
// or never came to be.
func (p *Process) close() error {
	for _, end := range []context.CancelFunc{p.endGuard, p.endWait, p.endCert} {
		if end != nil {
			end()
		}
	}
	var errs []error
	if p.server != nil {
		errs = append(errs, p.server.Close())
	}
	if p.admin != nil {
		errs = append(errs, p.admin.Close())
	}
	if p.listener != nil {
		if err := p.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	p.wg.Wait()
	if p.api != nil {
		p.api.members.close()
	}
	if p.saves != nil {
		errs = append(errs, p.saves.close())
	}
	if p.found != nil {
		errs = append(errs, p.found.close())
	}
	if p.grpc != nil {
		p.grpc.Close()
	}
	if p.node != nil {
		errs = append(errs, p.node.Close())
	}
	if p.source != nil {
		errs = append(errs, p.source.Close())
	}
	p.exports.end(p.log)
	return errors.Join(errs...)
}

// Run runs a process until ctx ends, and then ends it within
// Config.DrainTimeout.
func Run(ctx context.Context, cfg Config) error {
	p, err := Start(ctx, cfg)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil // told to end before it had begun
	case err != nil:
		return err
	}
	<-ctx.Done()
	p.log.Info("stopping", "within", p.cfg.DrainTimeout)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DrainTimeout)
	defer cancel()
	if err := p.Stop(stop); err != nil {
		return err
	}
	p.log.Info("stopped")
	return nil
}
