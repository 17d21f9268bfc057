package geecache

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Config configures a [Node]. Its zero value makes a node that stands alone:
// it listens nowhere and has no peers.
type Config struct {
	// Cluster is the cluster's ID. Nodes of another cluster are refused, so
	// that a recycled address never answers for somebody else's keys.
	// Default: "geecache".
	Cluster string

	// ID is the node's identity and its place on the ring. Default: Addr.
	ID string

	// Addr is the address that peers reach this node at, "host:port".
	// Default: Listen, or the Listener's address.
	Addr string

	// Listen is where [Node.Start] listens, "host:port". Port 0 is a free one,
	// which [New] takes. Empty: nowhere, unless a Listener is given.
	Listen string

	// Listener is used instead of Listen, if it is not nil. The node closes it.
	Listener net.Listener

	// Role is RoleNode or RoleClient. Default: RoleNode.
	Role Role

	Zone string // where it runs, e.g. an availability zone

	// Weight is its share of the keys, relative to others, at most [MaxWeight]. The
	// others must know it: without Dynamic, each of their views has to say the same.
	// Default: what this node's own view says of it, unless it is Dynamic; else 1.
	Weight float64

	// Peers is the first view; see [Node.SetView] for those that follow.
	Peers []Peer

	// Dynamic lets the view follow what nodes say of themselves, beside SetView:
	// who connects to this node and says where it listens is a member at once, and
	// who says that it leaves is none. See [Node.SetView]. Without it the view is
	// what SetView, or Peers, says, and nothing else. Whoever passes the handshake
	// can make itself a member.
	Dynamic bool

	// Leave takes the node out of its registry. [Node.Drain] calls it once, when
	// the peers have been told, and gives it 5 s. Its error is logged. Default: there
	// is no registry.
	Leave func(ctx context.Context) error

	// Save keeps what is in memory elsewhere, for the node's next life: [Group.Hottest]
	// gives it. [Node.Drain] calls it once, when the peers have got what they get; the
	// node answers from memory meanwhile. It ends with ctx, which is Drain's, at the
	// latest. Default: nothing is kept.
	Save func(ctx context.Context)

	// Handler answers requests on the node's port whose path is not under
	// /_geecache/, such as health checks, metrics and gRPC. It asks
	// [Node.Authorize] before it answers strangers. Default: 404.
	Handler http.Handler

	// Transports are the protocols, besides the stream and HTTP, that a peer's
	// address may choose by its scheme (see [Peer]).
	Transports map[string]Transport

	// TLS makes the node serve TLS, and ClientTLS makes it speak TLS to peers.
	// If TLS verifies clients' certificates (its ClientAuth says so), one that is
	// verified is what a client needs to be answered. With Secrets, too, a
	// certificate or the secret will do over HTTP and gRPC, and a stream needs
	// the secret.
	TLS, ClientTLS *tls.Config

	// GetClientTLS returns the configuration for one connection, instead of
	// ClientTLS, if certificates change while the node runs. It is called by many
	// goroutines at once. For the same in TLS, set its GetConfigForClient.
	GetClientTLS func() *tls.Config

	// Secrets returns the cluster's secret, which each side of a connection
	// proves to the other and never sends: at least 16 random bytes. While one
	// secret takes another's place there may be several: the first one proves,
	// all are accepted. It is called for each handshake, by many goroutines at
	// once, and must return at once. Nil: the cluster has no secret. Connections
	// that were made with a secret outlive it.
	Secrets func() []string

	// Insecure allows to listen beyond loopback without a secret and without
	// TLS that asks for certificates: whoever reaches the port can read every
	// value, and make the node load any key.
	Insecure bool

	// MaxKeyBytes and MaxValueBytes bound what is accepted from callers,
	// peers and sources. Defaults: 16 KiB and 8 MiB.
	MaxKeyBytes, MaxValueBytes int

	// MaxConns bounds the connections that others may hold open to the
	// node. Default: 4096.
	MaxConns int

	// MaxStreamRequests bounds the requests that one connection may have
	// unanswered. Default: 16384.
	MaxStreamRequests int

	// Timings changes when a peer counts as dead. Default: see [Timings].
	Timings Timings

	// HedgePercent bounds the requests that are sent in addition because a peer
	// is slow, as a share of the traffic between nodes, in percent: the keys of
	// such a peer are looked for in the memory of its stand-in, which copies
	// them. Default: 10; negative: a slow peer is waited for.
	HedgePercent float64

	// Handover is for how long after a view change a new owner asks the
	// previous one's memory before its source. Default: 30 s; negative: never.
	Handover time.Duration

	// HandoffBytes and HandoffTime bound what a node that drains pushes to the new
	// owners of its keys, those entries first that are used most. Values of more than
	// 64 KiB are not pushed; they are asked for while the node drains.
	// Defaults: 64 MiB and 5 s; negative: nothing is pushed.
	HandoffBytes int64
	HandoffTime  time.Duration

	// MemoryShort reports whether the process is short of memory: then it takes no
	// entries over from nodes that leave. It is called often and must return at once.
	// Default: it never is.
	MemoryShort func() bool

	// ProtocolVersion is the version of the peer protocol to speak: "1.1", or "1.0"
	// to behave as a node of that version in every respect. Nodes of both versions
	// work together, so it need not be set in a rolling upgrade; set it to "1.0" to
	// keep what is new out of use until all nodes have been upgraded.
	// Default: [ProtocolVersion].
	ProtocolVersion string

	Observer Observer     // is told how long things took; default: nobody
	Logger   *slog.Logger // default: slog.Default()

	// Dial opens connections to peers. Default: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Rand returns a number in [0, 1), for jitter and sampling. It is called
	// by many goroutines at once. Default: math/rand/v2.
	Rand func() float64
}

// Timings says when a peer counts as dead. The zero value takes the defaults.
type Timings struct {
	// DialTimeout bounds connecting to a peer, the handshake included.
	// Default: 1 s.
	DialTimeout time.Duration
	// DeadAfter is how long a peer may show no sign of life while requests
	// wait for it. Default: 750 ms.
	DeadAfter time.Duration
	// DeadMost is the same for a peer that is known to take long: three times
	// what it takes at most, from DeadAfter to this. Default: 900 ms.
	DeadMost time.Duration
	// SlowAfter is how long a peer may take to answer a ping without counting
	// as slow (see Config.HedgePercent). One that takes longer is slow if it
	// takes four times as long as the median of the others. Default: 25 ms.
	SlowAfter time.Duration
	// PingBusy is the silence after which it is pinged while requests wait.
	// Default: 150 ms.
	PingBusy time.Duration
	// PingIdle is the time between pings while none wait. Default: 1 s.
	PingIdle time.Duration
	// RedialMax bounds the backoff between attempts to reach it again.
	// Default: 1 s.
	RedialMax time.Duration
}

const (
	defaultCluster       = "geecache"
	defaultMaxKeyBytes   = 16 << 10
	defaultMaxValueBytes = 8 << 20
	defaultMaxConns      = 4096
	defaultMaxRequests   = 16384
	defaultHandover      = 30 * time.Second
	defaultDialTimeout   = time.Second
	defaultHedgePercent  = 10
	defaultSlowAfter     = 25 * time.Millisecond
	defaultHandoffBytes  = 64 << 20
	defaultHandoffTime   = 5 * time.Second
	maxIDBytes           = 256
)

// withDefaults returns the configuration with its zero fields filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Cluster, defaultCluster)
	setDefault(&c.Role, RoleNode)
	setDefault(&c.MaxKeyBytes, defaultMaxKeyBytes)
	setDefault(&c.MaxValueBytes, defaultMaxValueBytes)
	setDefault(&c.MaxConns, defaultMaxConns)
	setDefault(&c.MaxStreamRequests, defaultMaxRequests)
	setDefault(&c.Handover, defaultHandover)
	setDefault(&c.HandoffBytes, defaultHandoffBytes)
	setDefault(&c.HandoffTime, defaultHandoffTime)
	setDefault(&c.ProtocolVersion, ProtocolVersion)
	setDefault(&c.HedgePercent, defaultHedgePercent)
	setDefault(&c.Timings.SlowAfter, defaultSlowAfter)
	if c.MemoryShort == nil {
		c.MemoryShort = func() bool { return false }
	}
	setDefault(&c.Timings.DialTimeout, defaultDialTimeout)
	if c.Addr == "" && c.Listener != nil {
		c.Addr = c.Listener.Addr().String()
	}
	setDefault(&c.Addr, c.Listen)
	setDefault(&c.ID, c.Addr)
	if c.ID == "" {
		c.ID = fmt.Sprintf("local-%016x", rand.Uint64())
	}
	if fixed := c.ClientTLS; c.GetClientTLS == nil && fixed != nil {
		c.GetClientTLS = func() *tls.Config { return fixed }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error that names the first field that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Role != "" && c.Role != RoleNode && c.Role != RoleClient:
		return fmt.Errorf("geecache: Config.Role is %q: use %q or %q", c.Role, RoleNode, RoleClient)
	case !(c.Weight >= 0 && c.Weight <= MaxWeight):
		return fmt.Errorf("geecache: Config.Weight is %v: use a positive number, at most %v", c.Weight, MaxWeight)
	case c.MaxKeyBytes < 0:
		return fmt.Errorf("geecache: Config.MaxKeyBytes is %d: use a positive number of bytes", c.MaxKeyBytes)
	case c.MaxValueBytes < 0 || c.MaxValueBytes > 1<<30:
		return fmt.Errorf("geecache: Config.MaxValueBytes is %d: use 1 to 2^30 bytes", c.MaxValueBytes)
	case c.MaxConns < 0:
		return fmt.Errorf("geecache: Config.MaxConns is %d: use a positive number", c.MaxConns)
	case c.MaxStreamRequests < 0:
		return fmt.Errorf("geecache: Config.MaxStreamRequests is %d: use a positive number", c.MaxStreamRequests)
	case c.HedgePercent > 100 || c.HedgePercent != c.HedgePercent:
		return fmt.Errorf("geecache: Config.HedgePercent is %v: use a share up to 100, or a negative number for none", c.HedgePercent)
	case c.Timings.SlowAfter < 0:
		return fmt.Errorf("geecache: Config.Timings.SlowAfter is %v: use a positive duration", c.Timings.SlowAfter)
	case len(c.ID) > maxIDBytes || strings.ContainsAny(c.ID, " \r\n\t"):
		return fmt.Errorf("geecache: Config.ID %q: use at most %d bytes without white space", abbreviate(c.ID), maxIDBytes)
	case len(c.Cluster) > maxIDBytes || strings.ContainsAny(c.Cluster, " \r\n\t"):
		return fmt.Errorf("geecache: Config.Cluster %q: use at most %d bytes without white space", abbreviate(c.Cluster), maxIDBytes)
	case len(c.Addr) > maxIDBytes || len(c.Zone) > maxIDBytes:
		return fmt.Errorf("geecache: Config.Addr or Zone: use at most %d bytes each", maxIDBytes)
	case c.Role == RoleNode && c.Addr == "" && c.Listen == "" && c.Listener == nil && len(c.Peers) > 0:
		return fmt.Errorf("geecache: Config.Peers is given, but neither Listen nor Addr: say where peers reach this node, or make it a %q", RoleClient)
	}
	if v := c.ProtocolVersion; v != "" && !slices.Contains(protocolVersions[:], v) {
		return fmt.Errorf("geecache: Config.ProtocolVersion is %q: use one of %s", v, strings.Join(protocolVersions[:], ", "))
	}
	if c.Secrets != nil {
		if err := checkSecrets(c.Secrets()); err != nil {
			return fmt.Errorf("geecache: Config.Secrets: %w", err)
		}
	}
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("geecache: Config.Listen is %q: use host:port: %w", c.Listen, err)
	}
	if ip := net.ParseIP(host); c.Addr == "" && len(c.Peers) > 0 && (host == "" || ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("geecache: Config.Listen is %q, all interfaces: say in Config.Addr how peers reach this node", c.Listen)
	}
	return nil
}

// takePort listens now if that is how the node learns its address.
func (c *Config) takePort() error {
	if c.Listener != nil || c.Addr != "" || !strings.HasSuffix(c.Listen, ":0") {
		return nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("geecache: Config.Listen: %w", err)
	}
	c.Listener = l
	return nil
}

// checkExposure refuses to listen beyond loopback for everybody.
func (c Config) checkExposure(addr net.Addr) error {
	if c.Insecure || c.guarded() {
		return nil
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("geecache: %s can be reached from other machines, and whoever reaches it can read every value: "+
		"listen on 127.0.0.1, set Config.Secrets (--secret-file) or a Config.TLS that verifies clients (--tls-ca), "+
		"or allow it with Config.Insecure (--insecure)", addr)
}

// guarded reports whether strangers are kept out.
func (c Config) guarded() bool { return c.Secrets != nil || c.verifiesClients() }

// verifiesClients reports whether a client's certificate, if it has one, tells
// that it is welcome.
func (c Config) verifiesClients() bool {
	return c.TLS != nil && c.TLS.ClientAuth >= tls.VerifyClientCertIfGiven
}

// GroupConfig configures a [Group]. Its zero value works.
type GroupConfig struct {
	// CacheBytes is the main cache's budget in bytes, for keys, values and
	// bookkeeping. Default: 64 MiB.
	CacheBytes int64

	// HotBytes is the hot cache's budget. Default: an eighth of CacheBytes;
	// on a client, CacheBytes.
	HotBytes int64

	// TTL is how long a value is kept whose source did not say. Default: until
	// it is evicted.
	TTL time.Duration

	// TTLJitter shortens each TTL by a random share of at most this, so that
	// what was loaded together does not expire together. Default: 0.1;
	// negative: none.
	TTLJitter float64

	// NotFoundTTL is how long "not found" is kept. Default: 5 s; negative: it
	// is not kept.
	NotFoundTTL time.Duration

	// HotTTL is how long a copy of another node's value is kept, and so how
	// stale it can be. Default: 3 s; negative: fetched values are not kept.
	HotTTL time.Duration

	// HotShare is the share of fetched values that are kept: a value is hot
	// when it is fetched often. Default: 0.1.
	HotShare float64

	// LoadTimeout is how long a call of the source may take, waiting for its
	// turn included. Default: 10 s.
	LoadTimeout time.Duration

	// MaxLoads bounds the calls of the source at a time, and MaxQueuedLoads
	// those that wait for their turn; beyond, loads end with ErrOverloaded.
	// Defaults: 256 and 16384.
	MaxLoads, MaxQueuedLoads int

	// MaxAbandoned bounds the calls of the source that nobody waits for any
	// more and that ignore their context; beyond, loads end with
	// ErrOverloaded. Default: 64.
	MaxAbandoned int
}

const (
	defaultCacheBytes  = 64 << 20
	defaultTTLJitter   = 0.1
	defaultNotFoundTTL = 5 * time.Second
	defaultHotTTL      = 3 * time.Second
	defaultHotShare    = 0.1
	defaultLoadTimeout = 10 * time.Second
	defaultMaxLoads    = 256
	defaultMaxQueued   = 16384
	defaultAbandoned   = 64
	maxGroupName       = 128
)

func (c GroupConfig) withDefaults(role Role) GroupConfig {
	setDefault(&c.CacheBytes, defaultCacheBytes)
	if role == RoleClient {
		setDefault(&c.HotBytes, c.CacheBytes)
	}
	setDefault(&c.HotBytes, max(c.CacheBytes/8, 1))
	setDefault(&c.TTLJitter, defaultTTLJitter)
	setDefault(&c.NotFoundTTL, defaultNotFoundTTL)
	setDefault(&c.HotTTL, defaultHotTTL)
	setDefault(&c.HotShare, defaultHotShare)
	setDefault(&c.LoadTimeout, defaultLoadTimeout)
	setDefault(&c.MaxLoads, defaultMaxLoads)
	setDefault(&c.MaxQueuedLoads, defaultMaxQueued)
	setDefault(&c.MaxAbandoned, defaultAbandoned)
	return c
}

// Validate returns an error that names the first field that makes no sense.
func (c GroupConfig) Validate() error {
	switch {
	case c.CacheBytes < 0:
		return fmt.Errorf("geecache: GroupConfig.CacheBytes is %d: use a positive number of bytes", c.CacheBytes)
	case c.HotBytes < 0:
		return fmt.Errorf("geecache: GroupConfig.HotBytes is %d: use a positive number of bytes", c.HotBytes)
	case c.TTL < 0:
		return fmt.Errorf("geecache: GroupConfig.TTL is %v: use a positive duration, or 0 for none", c.TTL)
	case c.TTLJitter > 1 || c.TTLJitter != c.TTLJitter:
		return fmt.Errorf("geecache: GroupConfig.TTLJitter is %v: use a share of at most 1", c.TTLJitter)
	case c.HotShare < 0 || c.HotShare > 1 || c.HotShare != c.HotShare:
		return fmt.Errorf("geecache: GroupConfig.HotShare is %v: use a share from 0 to 1", c.HotShare)
	case c.LoadTimeout < 0:
		return fmt.Errorf("geecache: GroupConfig.LoadTimeout is %v: use a positive duration", c.LoadTimeout)
	case c.MaxLoads < 0:
		return fmt.Errorf("geecache: GroupConfig.MaxLoads is %d: use a positive number", c.MaxLoads)
	case c.MaxQueuedLoads < 0:
		return fmt.Errorf("geecache: GroupConfig.MaxQueuedLoads is %d: use a positive number", c.MaxQueuedLoads)
	case c.MaxAbandoned < 0:
		return fmt.Errorf("geecache: GroupConfig.MaxAbandoned is %d: use a positive number", c.MaxAbandoned)
	}
	return nil
}

// checkGroupName returns an error if name cannot be a group's: it stands in
// paths, headers and metrics.
func checkGroupName(name string) error {
	if name == "" || len(name) > maxGroupName {
		return fmt.Errorf("geecache: group name %q: use 1 to %d bytes", abbreviate(name), maxGroupName)
	}
	for _, r := range name {
		if r <= ' ' || r == '/' || r == '%' || r >= 0x7f {
			return fmt.Errorf("geecache: group name %q: use printable ASCII without spaces, '/' and '%%'", name)
		}
	}
	if name == "." || name == ".." {
		return fmt.Errorf("geecache: group name %q: a path cannot hold it", name)
	}
	return nil
}
