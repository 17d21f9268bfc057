// Package etcd is the registry that is kept in etcd, from version 3.4 on: each member is
// a key under a lease, which ends with its node, and whoever watches hears of it at
// once.
package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/registry"
)

// The defaults of a Config.
const (
	DefaultEndpoint = "http://127.0.0.1:2379"
	DefaultPrefix   = "/geecache/"
	DefaultCluster  = "default"
	DefaultTTL      = 5 * time.Second
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 10 * time.Second
)

// A Config says where etcd is, and what is ours there. Its zero value is an etcd on this
// machine.
type Config struct {
	// Endpoints are etcd's members: "http://host:port", "https://host:port", or
	// "host:port" with what TLS says. None means DefaultEndpoint.
	Endpoints []string

	// A member's key is Prefix, Cluster, "/" and its ID: nodes whose Cluster differs
	// do not see each other. The rights that a node's user needs are to read and
	// write what begins with Prefix, Cluster and "/". Empty means DefaultPrefix and
	// DefaultCluster.
	Prefix  string
	Cluster string

	// TTL is how long a node that died is still there, in whole seconds: etcd
	// itself does not go below 2 s. Zero means DefaultTTL.
	TTL time.Duration

	TLS                *tls.Config // nil means that of the system, for https
	Username, Password string      // both or none

	// Interval is how often a view is confirmed, and the own key looked after, when
	// nothing changes. Timeout bounds one request of a watch. Zero means
	// DefaultInterval and DefaultTimeout.
	Interval, Timeout time.Duration

	Log *slog.Logger // default: slog.Default()
}

// Validate returns what is wrong with the Config, and how to put it right.
func (c Config) Validate() error {
	for _, e := range c.Endpoints {
		scheme, rest, ok := strings.Cut(e, "://")
		if !ok {
			rest = e
		}
		if rest == "" || ok && scheme != "http" && scheme != "https" && scheme != "unix" && scheme != "unixs" {
			return fmt.Errorf("etcd: Endpoints has %q: use http://host:port, https://host:port or host:port", e)
		}
	}
	switch {
	case strings.Contains(c.Cluster, "/"):
		return fmt.Errorf("etcd: Cluster is %q: leave the %q out, it ends a cluster's name in a key", c.Cluster, "/")
	case c.TTL != 0 && (c.TTL < 2*time.Second || c.TTL%time.Second != 0):
		return fmt.Errorf("etcd: TTL is %v: use whole seconds, 2s or more, or 0 for %v", c.TTL, DefaultTTL)
	case (c.Username == "") != (c.Password == ""):
		return errors.New("etcd: Username and Password: give both or none")
	case c.Interval < 0:
		return fmt.Errorf("etcd: Interval is %v: use a positive duration, or 0 for %v", c.Interval, DefaultInterval)
	case c.Timeout < 0:
		return fmt.Errorf("etcd: Timeout is %v: use a positive duration, or 0 for %v", c.Timeout, DefaultTimeout)
	}
	return nil
}

// New returns the registry of a Config. It connects when it is used first.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Endpoints = slices.Clone(cfg.Endpoints)
	if len(cfg.Endpoints) == 0 {
		cfg.Endpoints = []string{DefaultEndpoint}
	}
	setDefault(&cfg.Prefix, DefaultPrefix)
	setDefault(&cfg.Cluster, DefaultCluster)
	setDefault(&cfg.TTL, DefaultTTL)
	setDefault(&cfg.Interval, DefaultInterval)
	setDefault(&cfg.Timeout, DefaultTimeout)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return newRegistry(cfg), nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

var (
	_ registry.Discoverer = (*Registry)(nil)
	_ registry.Looker     = (*Registry)(nil)
	_ registry.Registrar  = (*Registry)(nil)
)
