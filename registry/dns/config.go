// Package dns is the registry that is a name in DNS: with a record for each node, as a
// headless service of Kubernetes, Cloud Map's DNS or any zone has it. Nobody
// registers there; whoever keeps the zone does. It cannot tell of weights, zones or
// roles. A member's ID is its address, and so must a node call itself.
package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/geecache/geecache/registry"
)

// DefaultResolvConf is where the name servers are found that a Config does not name.
const DefaultResolvConf = "/etc/resolv.conf"

// A Config says which name is asked, and whom. All but Name may be left out.
type Config struct {
	// Name is the name that has a record for each node. If it ends with a dot, or
	// Servers are given, it is asked as it is; else with the search domains of
	// resolv.conf, too, as other programs do.
	Name string

	// Port is where the nodes listen, all of them: then A records are asked for, and
	// AAAA records if there are none (a node that has both is one node). Zero
	// asks for SRV records, which have ports: for a Kubernetes service with a port
	// named "peers", Name is _peers._tcp.SERVICE.NAMESPACE.svc.cluster.local.
	Port int

	// Names takes the name that an SRV record points to for a member's address, as
	// "name:port". It is the same after a restart, where an IP address may be
	// not, as with a StatefulSet. Nodes must call themselves so, too. Otherwise
	// the address of that name is the member's.
	Names bool

	// Servers are asked, one after the other, until one answers: "host:port", or a
	// host alone for port 53. None means those of resolv.conf, which is read
	// anew each time.
	Servers    []string
	ResolvConf string // empty means DefaultResolvConf

	// Interval is the time between two lookups; a shorter TTL comes first. Timeout
	// bounds one lookup, with all its questions. Backoff is the longest pause after
	// errors. Zero means the default of a [registry.Poller].
	Interval, Timeout, Backoff time.Duration

	Log *slog.Logger // default: slog.Default()
}

// Validate returns what is wrong with the Config, and how to put it right.
func (c Config) Validate() error {
	_, isName := dns.IsDomainName(c.Name)
	switch {
	case c.Name == "":
		return errors.New("dns: Name is empty: give it the name that has a record for each node")
	case !isName || strings.ContainsAny(c.Name, "/: ,"):
		return fmt.Errorf("dns: Name is %q: use a name such as cache.default.svc.cluster.local, without a scheme or port", c.Name)
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("dns: Port is %d: use 1 to 65535, or 0 for SRV records", c.Port)
	case c.Port > 0 && strings.HasPrefix(c.Name, "_"):
		return fmt.Errorf("dns: Port is %d, but %s is the name of SRV records, which have ports: leave Port out", c.Port, c.Name)
	case c.Port > 0 && c.Names:
		return errors.New("dns: Names is for SRV records: leave it or Port out")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", c.Interval}, {"Timeout", c.Timeout}, {"Backoff", c.Backoff}} {
		if d.value < 0 {
			return fmt.Errorf("dns: %s is %v: use a positive duration, or 0 for the default", d.name, d.value)
		}
	}
	for _, s := range c.Servers {
		host, _, err := net.SplitHostPort(serverAddr(s, "53"))
		if err != nil || host == "" {
			return fmt.Errorf("dns: Servers has %q: use host:port, or a host", s)
		}
	}
	return nil
}

// serverAddr returns a server's "host:port".
func serverAddr(server, port string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), port)
}

// New returns the registry of a Config. It asks nobody yet.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = DefaultResolvConf
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	r := &Registry{cfg: cfg}
	r.poll = registry.Poller{Interval: cfg.Interval, Timeout: cfg.Timeout, Backoff: cfg.Backoff, Lookup: r.lookup}
	return r, nil
}
