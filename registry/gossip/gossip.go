// Package gossip is a registry without a server: the nodes tell each other who is
// there. It is for clusters whose nodes can reach each other and know the address
// of at least one that is there already.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/geecache/geecache/registry"
)

// The defaults of a Config.
const (
	DefaultListen   = "127.0.0.1:7946"
	DefaultInterval = 2 * time.Second
)

// A Config configures a [Registry]. Its zero value is a gossip on this machine, to
// which others may come.
type Config struct {
	// Cluster is the cluster's ID. What members of another one say is not heard.
	// Default: "geecache".
	Cluster string

	// Listen is where the gossip listens, "host:port", by TCP and UDP. Port 0 is a
	// free one. Default: DefaultListen.
	Listen string

	// Advertise is where others reach it, "host:port"; the host is an IP address.
	// Default: Listen; if that is all interfaces, a private address of this machine.
	Advertise string

	// Seeds are addresses, "host:port", of some that take part; this one may
	// be among them. One that answers is enough. A name may stand for many
	// addresses, which are looked up again each time.
	Seeds []string

	// Secrets returns the cluster's secret, with which what is said is encrypted, so
	// that only those who have it are heard. Of several, the first one encrypts, and
	// all are understood: so a secret can be exchanged. It is asked again each
	// Interval. Nil: anybody can listen and take part.
	Secrets func() []string

	// Insecure allows to listen beyond loopback without Secrets.
	Insecure bool

	// Interval is how often members that are missing are looked for, at the
	// seeds and where they were last, and how often Watch repeats itself. Zero
	// means DefaultInterval.
	Interval time.Duration

	Log *slog.Logger // default: slog.Default()
}

// Validate returns what is wrong with the Config, and how to put it right.
func (c Config) Validate() error {
	if c.Interval < 0 {
		return fmt.Errorf("gossip: Interval is %v: use a positive duration, or 0 for %v", c.Interval, DefaultInterval)
	}
	if _, err := encode(c.Cluster, registry.Member{}, ""); err != nil {
		return fmt.Errorf("gossip: Cluster: %w", err)
	}
	if c.Listen != "" {
		host, _, err := split("Listen", c.Listen)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); c.Secrets == nil && !c.Insecure && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("gossip: Listen is %q, and whoever reaches it could name members: "+
				"listen on 127.0.0.1, set Secrets (--secret-file), or allow it with Insecure (--insecure)", c.Listen)
		}
	}
	if c.Advertise != "" {
		host, port, err := split("Advertise", c.Advertise)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
			return fmt.Errorf("gossip: Advertise is %q: use an IP address that others can reach", c.Advertise)
		}
		if port == 0 {
			return fmt.Errorf("gossip: Advertise is %q: use the port that others reach", c.Advertise)
		}
	}
	for i, seed := range c.Seeds {
		if _, port, err := split(fmt.Sprintf("Seeds[%d]", i), seed); err != nil {
			return err
		} else if port == 0 {
			return fmt.Errorf("gossip: Seeds[%d] is %q: use the port that it gossips at", i, seed)
		}
	}
	if c.Secrets != nil {
		_, err := keys(c.Secrets())
		return err
	}
	return nil
}

// split splits an address that a field holds. An empty host is all interfaces.
func split(field, addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("gossip: %s is %q: use host:port with a port number", field, addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// A Registry takes part in the gossip. It is safe for concurrent use.
type Registry struct {
	cfg     Config
	log     *slog.Logger
	list    *memberlist.Memberlist
	net     *transport
	keyring *memberlist.Keyring // nil without Secrets
	stop    context.CancelFunc
	running sync.WaitGroup
	name    string        // of this one in the gossip
	addr    string        // where others reach it
	joined  chan struct{} // closed when the first attempt to join has ended

	ending atomic.Bool // Close was called

	mu      sync.Mutex           // guards what follows
	meta    []byte               // what this one says of itself
	entered bool                 // ... is that it is a member
	refused error                // why the others do not take it in, as far as the attempt to join has come
	told    error                // the same, after the last whole attempt; nil: they do, or nobody is there
	heard   map[string]heardOf   // by name: all who take part
	lost    map[string]time.Time // by gossip address: those that fell silent, and when
	changed chan struct{}        // closed, and replaced, when the members may have changed
	left    bool
	closed  bool
}

var (
	_ registry.Discoverer = (*Registry)(nil)
	_ registry.Registrar  = (*Registry)(nil)
)

// New begins to listen, and to look for the seeds in the background. Close ends it.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "geecache"
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Seeds = slices.Clone(cfg.Seeds)
	r := &Registry{
		cfg: cfg, log: cfg.Log.With("registry", "gossip"),
		joined: make(chan struct{}), changed: make(chan struct{}),
		heard: make(map[string]heardOf), lost: make(map[string]time.Time),
	}
	if err := r.listen(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.running.Go(func() { r.keepJoined(ctx) })
	return r, nil
}

// Addr returns the address, "host:port", at which others reach the gossip.
func (r *Registry) Addr() string { return r.addr }

// errClosed is what is told after Close.
var errClosed = errors.New("gossip: the registry has been closed")

// Register implements [registry.Registrar]. It returns once this member has told
// somebody of itself, or nobody is there.
func (r *Registry) Register(ctx context.Context, self registry.Member) error {
	meta, err := encode(r.cfg.Cluster, self, r.name)
	if err != nil {
		return err
	}
	r.mu.Lock()
	switch {
	case r.closed:
		err = errClosed
	case r.left:
		err = errors.New("gossip: Register was called after Leave")
	default:
		r.meta, r.entered = meta, true
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	select { // who is alone tells nobody
	case <-r.joined:
	case <-ctx.Done():
		return fmt.Errorf("gossip: looking for the seeds: %w", context.Cause(ctx))
	}
	if err := r.tell(ctx); err != nil {
		return fmt.Errorf("gossip: telling the others: %w", err)
	}
	return ctx.Err()
}

// Leave implements [registry.Registrar]. The others are told that this member is
// gone; it goes on hearing of them until Close.
func (r *Registry) Leave(ctx context.Context) error {
	r.mu.Lock()
	done := r.left || r.closed || !r.entered
	if !done {
		r.left, r.meta = true, r.listening()
	}
	r.mu.Unlock()
	if done {
		return nil
	}
	// First it is a member no more, then it is gone: who goes without the first has
	// died, or is on the other side of a partition. The second has half of the time.
	half, cancel := ctx, func() {}
	if d, ok := ctx.Deadline(); ok {
		half, cancel = context.WithTimeout(ctx, time.Until(d)/2)
	}
	defer cancel()
	err := r.tell(half)
	gone := r.list.Leave(left(ctx))
	if err != nil {
		return fmt.Errorf("gossip: telling the others: %w", errors.Join(err, gone))
	}
	if gone != nil { // nobody takes it for a member any more
		r.log.Debug("not all have heard that this one is gone: they will find out", "err", gone)
	}
	return nil
}

// tell tells the others what this one says of itself now. The library can lose that without
// a word, if at the same moment this one says that it lives because somebody doubts it, as
// happens on a machine with much to do: so it is said again, as long as ctx goes.
func (r *Registry) tell(ctx context.Context) error {
	for {
		err := r.list.UpdateNode(left(ctx))
		if _, bounded := ctx.Deadline(); err == nil || !bounded || ctx.Err() != nil || r.ending.Load() {
			return err
		}
	}
}

// left returns how long ctx still goes, at most leaveTimeout.
func left(ctx context.Context) time.Duration {
	if d, ok := ctx.Deadline(); ok {
		return max(min(time.Until(d), leaveTimeout), time.Millisecond)
	}
	return leaveTimeout
}

const leaveTimeout = 2 * time.Second

// Close ends the gossip. Without Leave before, the others find out by
// themselves, as when a process dies.
func (r *Registry) Close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.notifyLocked()
	r.mu.Unlock()
	if again {
		return nil
	}
	r.ending.Store(true)
	r.stop()
	err := r.list.Shutdown()
	r.running.Wait()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// Watch implements [registry.Discoverer]. It yields a [geecache.NewRefusal] as
// long as seeds answer, and not as those of this cluster. Its first view comes once the seeds have
// been asked.
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return func(yield func([]registry.Member, error) bool) {
		select {
		case <-r.joined:
		case <-ctx.Done():
			return
		}
		repeat := time.NewTicker(r.cfg.Interval)
		defer repeat.Stop()
		for ctx.Err() == nil {
			members, changed, err := r.members()
			if !yield(members, err) {
				return
			}
			select {
			case <-ctx.Done():
			case <-changed:
			case <-repeat.C:
			}
		}
	}
}

// members returns those who take part and are nodes of the cluster, and what is closed
// when they may have changed. Who has begun last is last: it may have taken
// the place of one that died just now.
func (r *Registry) members() ([]registry.Member, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, r.changed, errClosed
	case r.told != nil:
		return nil, r.changed, r.told
	}
	var found []said
	for _, h := range r.heard {
		if h.said.ID != "" { // otherwise it only listens
			found = append(found, h.said)
		}
	}
	slices.SortFunc(found, said.compare)
	members := make([]registry.Member, 0, len(found))
	for _, s := range found {
		members = append(members, s.member())
	}
	return members, r.changed, nil
}

// notifyLocked tells all watchers to look again.
func (r *Registry) notifyLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}
