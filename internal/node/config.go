// Package node turns a configuration into a running process: a geecache.Node
// with its source and groups, the API, the endpoints for operators, and a
// graceful end. It wires; what a cache does, it leaves to package geecache.
package node

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/trust"
	"github.com/geecache/geecache/metrics"
	"github.com/geecache/geecache/metrics/cloudwatch"
)

// A Config says what process to run. Its zero value is a node alone on
// 127.0.0.1:8001 with the group "scores", whose source is a small database in
// memory.
type Config struct {
	// Cluster is the ID of the cluster, and ID the node's in it. Defaults:
	// "geecache", and Advertise.
	Cluster, ID string

	// Listen is the node's one port, "host:port". Default: 127.0.0.1:8001; for
	// a client 127.0.0.1:9999.
	Listen string

	// Advertise is the address that peers reach the node at. Default: Listen;
	// if that is all interfaces, the machine's name with Listen's port.
	Advertise string

	// Role is RoleNode, or RoleClient for a process that only serves the API.
	// Default: RoleNode.
	Role geecache.Role

	// Zone is where the process runs, e.g. an availability zone, and Weight its
	// share of the keys relative to others (default: what the list of Registry says, if
	// it is one; else 1).
	Zone   string
	Weight float64

	// Peers are the members of the cluster; the node itself may be among them.
	Peers []geecache.Peer

	// Registry is the URL of what tells who the members are, in place of Peers:
	// see package registries. "auto" chooses one by what the process can see.
	// In a task of ECS, ID, Zone and Advertise are then the task's unless they are set.
	Registry string

	// APIListen is where a node serves the API too, "host:port". Empty: it does
	// not. A client serves the API on Listen.
	APIListen string

	// Dynamic lets nodes become members by saying so, beside Peers; see
	// geecache.Config. With a registry that is no list it is so.
	Dynamic bool

	// API bounds the API.
	API APIConfig

	// Source is the URL of what misses are loaded from; see [OpenSource].
	// Default: "slowdb:". A client has none. Query is the query of a database.
	Source, Query string

	// Groups are the names of the groups, which share the source. Default:
	// "scores". The first one is the API's default.
	Groups []string

	// Group configures each group.
	Group geecache.GroupConfig

	// MemoryLimit is how much memory the process may use, in bytes; the control
	// group's limit is kept as well. Of the smaller one, the caches get half
	// unless Group.CacheBytes is set, and loads are refused before it is
	// reached. Default: the control group's; if it has none, the caches have
	// the library's default.
	MemoryLimit int64

	// MaxKeyBytes and MaxValueBytes bound keys and values, also those of
	// peers, gRPC and the API. Defaults: those of geecache.Config.
	MaxKeyBytes, MaxValueBytes int

	// ProtocolVersion is the version of the peer protocol to speak. Default:
	// geecache.ProtocolVersion; see there for the others.
	ProtocolVersion string

	// SecretFile holds the cluster's secret, one a line if there are several; the
	// first one proves, all are accepted. Secret is the same by itself, for those
	// who have no file. The file is read again when it has changed.
	SecretFile, Secret string

	// TLS names the files of the process's certificate, which serves all its
	// ports and is shown to peers. With a CA, clients' certificates are verified,
	// and are credentials. The files are read again when they have changed.
	TLS trust.TLSFiles

	// APITokenFile holds the tokens of which the API asks one, one a line, and
	// AdminTokenFile those of the operators' endpoints. APIToken is the same as
	// APITokenFile's content, for those who have no file.
	APITokenFile, AdminTokenFile string
	APIToken                     string

	// AdminListen is where /metrics, /statusz, /topz and pprof are served, on no
	// other port then, "host:port". Empty: on the other ports, without pprof.
	AdminListen string

	// Insecure allows to listen beyond loopback without a secret and without
	// verified certificates.
	Insecure bool

	// Timings says when a peer counts as dead.
	Timings geecache.Timings

	// HedgePercent bounds the requests that are sent in addition because a peer
	// is slow; see geecache.Config. Default: 10; negative: none.
	HedgePercent float64

	// DrainTimeout bounds the graceful end. Default: 10 s.
	DrainTimeout time.Duration

	// HandoffBytes and HandoffTime bound what is pushed to the new owners of the
	// node's keys at the end. Defaults: those of geecache.Config; negative: nothing.
	HandoffBytes int64
	HandoffTime  time.Duration

	// EMF is where the process's metrics are written to as lines of CloudWatch's
	// embedded metric format, each interval (default: 1 minute) and at the end. nil:
	// nowhere.
	EMF         io.Writer
	EMFInterval time.Duration

	// CloudWatch is where the metrics are forwarded to by its API, each interval
	// (default: 1 minute) and at the end: a region of AWS or a URL. Empty: nowhere.
	CloudWatch         string
	CloudWatchInterval time.Duration

	// CloudWatchDimensions says how finely CloudWatch is told of metrics, by either way:
	// "cluster" (the default) of the cluster and its groups, "node" of each node as well.
	// CloudWatchMetrics are patterns of the names that it is told; empty: all.
	CloudWatchDimensions string
	CloudWatchMetrics    []string

	// Snapshot says where what is used most is saved, so that a node that starts is
	// warm. A client has none.
	Snapshot SnapshotConfig

	// Logger is told what happens. Default: slog.Default().
	Logger *slog.Logger
}

// minMemory is a little more than the program takes by itself.
const minMemory = 16 << 20

// The defaults that commands show in their help.
const (
	DefaultListen       = "127.0.0.1:8001"
	DefaultAPIListen    = "127.0.0.1:9999"
	DefaultSource       = "slowdb:"
	DefaultGroup        = "scores"
	DefaultDrainTimeout = 10 * time.Second

	// DefaultExportInterval is that in which CloudWatch keeps metrics.
	DefaultExportInterval = time.Minute
)

// CloudWatchDimensions returns the values of that field of a Config, the default first.
func CloudWatchDimensions() []string { return []string{"cluster", "node"} }

// metricsChoice returns which metrics CloudWatch is told.
func (c Config) metricsChoice() metrics.Choice {
	return metrics.Choice{ClusterOnly: c.CloudWatchDimensions != "node", Names: c.CloudWatchMetrics}
}

// SentMetrics returns what such a process may send to CloudWatch, if it sends anything.
func (c Config) SentMetrics() []metrics.CloudWatchMetric {
	return slices.DeleteFunc(c.metricsChoice().Metrics(), func(m metrics.CloudWatchMetric) bool {
		return m.Name == metrics.EvictionsPerSecond && c.Role == geecache.RoleClient
	})
}

// WithDefaults returns the configuration with its zero fields filled in.
func (c Config) WithDefaults() (Config, error) {
	if c.Role == "" {
		c.Role = geecache.RoleNode
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
		if c.Role == geecache.RoleClient {
			c.Listen = DefaultAPIListen
		}
	}
	if c.Advertise == "" {
		var err error
		if c.Advertise, err = advertised(c.Listen); err != nil {
			return c, err
		}
	}
	if c.ID == "" {
		c.ID = c.Advertise
	}
	if c.Source == "" && c.Role == geecache.RoleNode {
		c.Source = DefaultSource
	}
	if len(c.Groups) == 0 {
		c.Groups = []string{DefaultGroup}
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.EMFInterval == 0 {
		c.EMFInterval = DefaultExportInterval
	}
	if c.CloudWatchInterval == 0 {
		c.CloudWatchInterval = DefaultExportInterval
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.API = c.API.withDefaults()
	return c, nil
}

// advertised returns the address that others reach listen at.
func advertised(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: use host:port: %w", listen, err)
	}
	if !unspecified(host) {
		return listen, nil
	}
	if host, err = os.Hostname(); err != nil {
		return "", fmt.Errorf("listen address %q is all interfaces, and the machine's name is unknown: "+
			"say with --advertise how others reach this node: %w", listen, err)
	}
	return net.JoinHostPort(host, port), nil
}

// unspecified reports whether a host to listen on means all interfaces.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Validate returns an error that names the first setting that makes no sense,
// as a flag, and the remedy.
func (c Config) Validate() error {
	for _, a := range []struct{ name, addr string }{
		{"--listen", c.Listen}, {"--advertise", c.Advertise}, {"--api-listen", c.APIListen}, {"--admin-listen", c.AdminListen},
	} {
		if err := checkAddr(a.name, a.addr); err != nil {
			return err
		}
	}
	switch {
	case c.Role != "" && c.Role != geecache.RoleNode && c.Role != geecache.RoleClient:
		return fmt.Errorf("--role is %q: use %q or %q", c.Role, geecache.RoleNode, geecache.RoleClient)
	case c.Role == geecache.RoleClient && c.APIListen != "":
		return fmt.Errorf("--api with --role client: a client serves the API on --listen already; leave --api out")
	case c.Role == geecache.RoleClient && len(c.Peers) == 0 && c.Registry == "":
		return fmt.Errorf("--role client without --peers or --registry: a client owns nothing and never loads; name the nodes that it asks, e.g. --peers %s", DefaultListen)
	case c.Role == geecache.RoleClient && (c.Source != "" || c.Query != ""):
		return fmt.Errorf("--role client with --source or --query: a client never loads; give the source to the nodes")
	case c.MemoryLimit < 0 || c.MemoryLimit > 0 && c.MemoryLimit < minMemory:
		return fmt.Errorf("--memory-limit is %d: use at least 16MiB", c.MemoryLimit)
	case c.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %v: use a positive duration", c.DrainTimeout)
	case c.EMFInterval < 0 || c.EMFInterval > 0 && c.EMFInterval < time.Second:
		return fmt.Errorf("--emf-interval is %v: use at least 1s", c.EMFInterval)
	case c.CloudWatchInterval < 0 || c.CloudWatchInterval > 0 && c.CloudWatchInterval < time.Second:
		return fmt.Errorf("--cloudwatch-interval is %v: use at least 1s", c.CloudWatchInterval)
	case c.CloudWatchDimensions != "" && !slices.Contains(CloudWatchDimensions(), c.CloudWatchDimensions):
		return fmt.Errorf("--cloudwatch-dimensions is %q: use one of %s", c.CloudWatchDimensions, strings.Join(CloudWatchDimensions(), ", "))
	case c.Timings.DeadAfter < 0:
		return fmt.Errorf("--peer-timeout is %v: use a positive duration", c.Timings.DeadAfter)
	case !(c.Weight >= 0 && c.Weight <= geecache.MaxWeight):
		return fmt.Errorf("--weight is %v: use a positive number, at most %v", c.Weight, geecache.MaxWeight)
	}
	if host, _, _ := net.SplitHostPort(c.Listen); c.Listen != "" && unspecified(host) && c.Advertise == "" && c.ID == "" && len(c.Peers) > 0 {
		return fmt.Errorf("--listen %s is all interfaces: say with --advertise host:port how this node's peers reach it, the same as in their --peers", c.Listen)
	}
	if c.Source != "" || c.Query != "" {
		source := c.Source
		if source == "" {
			source = DefaultSource
		}
		if _, err := parseSource(source, c.Query); err != nil {
			return err
		}
	}
	if err := c.metricsChoice().Validate(); err != nil {
		return fmt.Errorf("--cloudwatch-metrics: %w", err)
	}
	if c.CloudWatch != "" {
		if err := (cloudwatch.Config{Endpoint: c.CloudWatch}).Validate(); err != nil {
			return fmt.Errorf("--cloudwatch-endpoint: %w", err)
		}
	}
	if err := c.Snapshot.validate(c.Role); err != nil {
		return err
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if c.Secret != "" {
		if c.SecretFile != "" {
			return fmt.Errorf("--secret-file and GEECACHE_SECRET: leave one of them out")
		}
		if _, err := trust.ParseSecrets(c.Secret); err != nil {
			return fmt.Errorf("GEECACHE_SECRET: %w", err)
		}
	}
	if c.APIToken != "" {
		if c.APITokenFile != "" {
			return fmt.Errorf("--api-token-file and GEECACHE_API_TOKEN: leave one of them out")
		}
		if _, err := trust.ParseSecrets(c.APIToken); err != nil {
			return fmt.Errorf("GEECACHE_API_TOKEN: %w", err)
		}
	}
	if err := c.checkExposure(); err != nil {
		return err
	}
	if err := c.checkRegistry(); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, g := range c.Groups {
		if seen[g] {
			return fmt.Errorf("--group %q is given twice: names must differ", g)
		}
		seen[g] = true
	}
	return c.API.Validate()
}

func checkAddr(name, addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s is %q: use host:port, such as 127.0.0.1:8001: %w", name, addr, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s is %q: the port is a number from 0 to 65535", name, addr)
	}
	return nil
}

// hasSecret reports whether the cluster has a secret.
func (c Config) hasSecret() bool { return c.SecretFile != "" || c.Secret != "" }

// checkExposure refuses to serve other machines what strangers could have, unless
// told to.
func (c Config) checkExposure() error {
	if c.Insecure {
		return nil
	}
	nodes, client := c.hasSecret() || c.TLS.CA != "", c.Role == geecache.RoleClient
	api := c.APITokenFile != "" || c.APIToken != "" || c.TLS.CA != ""
	for _, a := range []struct {
		name, addr string
		guarded    bool
		remedy     string
	}{
		{"--listen", c.Listen, nodes && (!client || api), "--secret-file or --tls-ca"},
		{"--api-listen", c.APIListen, api, "--api-token-file or --tls-ca"},
		{"--admin-listen", c.AdminListen, nodes || c.AdminTokenFile != "", "--admin-token-file or --tls-ca"},
	} {
		if a.addr == "" || a.guarded || loopback(a.addr) {
			continue
		}
		if client && nodes && a.name == "--listen" {
			a.remedy = "--api-token-file or --tls-ca"
		}
		return fmt.Errorf("%s %s can be reached from other machines, and whoever reaches it can read every value: "+
			"keep strangers out with %s, listen on 127.0.0.1, or allow it with --insecure", a.name, a.addr, a.remedy)
	}
	return nil
}

// loopback reports whether an address is of this machine alone.
func loopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// ParsePeer reads a peer from its text form: "host:port", "scheme://host:port"
// or either with "id=" before it. The ID is host:port if it is not given.
func ParsePeer(s string) (geecache.Peer, error) {
	id, addr, named := strings.Cut(s, "=")
	if !named {
		id, addr = "", s
	}
	_, hostPort, hasScheme := strings.Cut(addr, "://")
	if !hasScheme {
		hostPort = addr
	}
	host, port, err := net.SplitHostPort(strings.TrimSuffix(hostPort, "/"))
	if err != nil || host == "" || port == "" || named && id == "" {
		return geecache.Peer{}, fmt.Errorf("peer %q: use host:port or id=host:port, such as 10.0.0.1:8001", s)
	}
	if id == "" {
		id = net.JoinHostPort(host, port)
	}
	return geecache.Peer{ID: id, Addr: addr}, nil
}
