package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/registries"
	"github.com/geecache/geecache/metrics"
	"github.com/geecache/geecache/registry"
)

const (
	firstView     = 3 * time.Second // how long a start waits for the registry
	leaveTimeout  = 5 * time.Second // for leaving it
	registerFirst = 500 * time.Millisecond
	registerMost  = 30 * time.Second // between two attempts to register
)

// A discovery keeps a process's node and a registry in touch, in the background. No
// request waits for it.
type discovery struct {
	reg      *registries.Registry
	follower *registry.Follower
	node     *geecache.Node
	log      *slog.Logger
	started  time.Time

	ctx    context.Context // ends with leave, or close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of what follows the registry, and of what registers

	mu      sync.Mutex         // guards what follows
	entered bool               // this node is in the registry
	stop    context.CancelFunc // ends the attempts to register; nil if there are none
	tried   chan struct{}      // closed when they have ended
}

// follow begins to follow the registry, and waits a moment for its first answer: a
// node that does not know its peers loads what they have.
func follow(ctx context.Context, reg *registries.Registry, node *geecache.Node, log *slog.Logger) *discovery {
	d := &discovery{reg: reg, node: node, log: log.With("registry", reg.Kind), started: time.Now()}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.follower = &registry.Follower{Name: reg.Kind, Node: node, From: reg, Exact: reg.Exact, Log: log}
	d.wg.Go(func() { d.follower.Run(d.ctx) })
	d.log.Info("peers are found through the registry", "url", reg.URL)

	ctx, cancel := context.WithTimeout(ctx, firstView)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for st := d.follower.Status(); st.Answers+st.Failures == 0; st = d.follower.Status() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.log.Warn("the registry has not answered yet: the node starts without it", "after", firstView)
			return d
		}
	}
	return d
}

// register enters the node in the background, until it is there. The node must
// listen.
func (d *discovery) register() {
	if d.reg.Registrar == nil {
		return
	}
	ctx, cancel := context.WithCancel(d.ctx)
	d.mu.Lock()
	d.stop, d.tried = cancel, make(chan struct{})
	tried := d.tried
	d.mu.Unlock()
	d.wg.Go(func() {
		defer close(tried)
		for pause := registerFirst; ; pause = min(2*pause, registerMost) {
			err := d.reg.Registrar.Register(ctx, registry.Self(d.node.Stats()))
			if err == nil {
				d.mu.Lock()
				d.entered = true
				d.mu.Unlock()
				d.log.Info("registered", "id", d.node.ID(), "addr", d.node.Addr())
				return
			}
			if ctx.Err() != nil {
				return
			}
			d.log.Warn("not registered: others do not find this node", "again_in", pause, "err", err)
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
		}
	})
}

// leave takes the node out of the registry.
func (d *discovery) leave(ctx context.Context) {
	d.mu.Lock()
	stop, tried := d.stop, d.tried
	d.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	d.cancel() // what the registry says once this node has left is nothing to warn of
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	select {
	case <-tried:
	case <-ctx.Done():
	}
	if err := d.reg.Registrar.Leave(ctx); err != nil {
		d.log.Warn("the registry may still name this node", "err", err)
		return
	}
	d.mu.Lock()
	d.entered = false
	d.mu.Unlock()
}

// close ends all of it.
func (d *discovery) close() error {
	d.cancel()
	d.wg.Wait()
	return d.reg.Close()
}

// A RegistryStatus is what /statusz shows of the registry that a process follows.
type RegistryStatus struct {
	Kind       string  `json:"kind"`
	URL        string  `json:"url"`
	Registered bool    `json:"registered"` // this node has entered itself
	Members    int     `json:"members"`    // in its last good answer
	Kept       int     `json:"kept"`       // that are missing there, and can be reached
	Refused    int     `json:"refused"`    // that the node cannot use
	AgeSeconds float64 `json:"view_age_seconds"`
	Errors     int64   `json:"errors"` // answers that were errors, or empty
	Error      string  `json:"error,omitempty"`
}

func (d *discovery) status() *RegistryStatus {
	st := d.follower.Status()
	d.mu.Lock()
	entered := d.entered
	d.mu.Unlock()
	s := &RegistryStatus{
		Kind: d.reg.Kind, URL: d.reg.URL, Registered: entered, Members: st.Members, Kept: st.Kept,
		Refused: st.Refused, AgeSeconds: d.age(st).Seconds(), Errors: st.Failures,
	}
	if st.Err != nil {
		s.Error = st.Err.Error()
	}
	return s
}

// age is how old the view is; before the first one, how long it has been waited for.
func (d *discovery) age(st registry.Status) time.Duration {
	if st.Confirmed.IsZero() {
		return time.Since(d.started)
	}
	return time.Since(st.Confirmed)
}

func (d *discovery) metrics() metrics.Registry {
	st := d.follower.Status()
	return metrics.Registry{
		Kind: d.reg.Kind, ViewAge: d.age(st), Members: st.Members, Kept: st.Kept, Refused: st.Refused, Errors: st.Failures,
	}
}

// ChooseRegistry finds out which registry the configuration means, and what the
// process is called there. It returns nil if there is none.
func ChooseRegistry(ctx context.Context, cfg *Config) (*registries.Choice, error) {
	raw := cfg.Registry
	if raw == registries.Auto {
		var why string
		var err error
		if raw, why, err = registries.Detect(ctx, len(cfg.Peers)); err != nil {
			return nil, fmt.Errorf("--registry: %w", err)
		}
		log := cfg.Logger
		if log == nil {
			log = slog.Default()
		}
		log.Info("--registry auto has chosen", "registry", orNone(raw), "because", why)
		if raw != "" {
			cfg.Peers = nil
		}
	}
	if raw == "" {
		return nil, cfg.checkWeight(nil)
	}
	choice, err := registries.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("--registry: %w", err)
	}
	self, err := choice.Self(ctx)
	if err != nil {
		return nil, fmt.Errorf("--registry %s: %w", registries.Redact(raw), err)
	}
	if err := cfg.checkWeight(choice); err != nil {
		return nil, err
	}
	return choice, cfg.callSelf(self)
}

func orNone(raw string) string {
	if raw == "" {
		return "none"
	}
	return registries.Redact(raw)
}

// callSelf fills in what the process is called as others will hear it. self is what
// the registry says; it may be empty.
func (c *Config) callSelf(self geecache.Peer) error {
	if c.ID == "" {
		c.ID = self.ID
	}
	if c.Zone == "" {
		c.Zone = self.Zone
	}
	full, err := c.WithDefaults()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(full.Listen)
	if err != nil || c.Advertise != "" || !unspecified(host) {
		return nil // what is wrong with it is told by who listens
	}
	ip := self.Addr
	if ip == "" {
		ip = ownIP()
	}
	if ip == "" || port == "0" {
		return nil
	}
	c.Advertise = net.JoinHostPort(ip, port)
	return nil
}

// ownIP returns the machine's first address that others can reach, one of IPv4 if
// there is any.
func ownIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var six string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case six == "":
			six = n.IP.String()
		}
	}
	return six
}

// checkRegistry returns what is wrong with the registry that the configuration names.
func (c Config) checkRegistry() error {
	switch {
	case c.Registry == "":
		return c.checkWeight(nil)
	case c.Registry == registries.Auto:
		return nil
	case len(c.Peers) > 0:
		return errors.New("--registry and --peers are both given: leave one of them out; --peers is a list that stays")
	}
	choice, err := registries.Parse(c.Registry)
	if err != nil {
		return fmt.Errorf("--registry: %w", err)
	}
	return c.checkWeight(choice)
}

// checkWeight refuses a weight that the others cannot learn of: their rings would
// differ from this node's for ever. choice is nil without a registry.
func (c Config) checkWeight(choice *registries.Choice) error {
	switch {
	case c.Weight == 0 || c.Weight == 1:
	case choice != nil && !choice.TellsWeights():
		return fmt.Errorf("--weight is %v, and the registry %q cannot tell others: leave it out", c.Weight, choice.Kind())
	case choice == nil && len(c.Peers) > 0 && !c.Dynamic:
		return fmt.Errorf("--weight is %v, and the list of --peers cannot tell others: leave it out, "+
			"or use a --registry that can, such as a file: of JSON with the weights of all", c.Weight)
	}
	return nil
}

// portOf returns the port of an address, 0 if it has none.
func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}
