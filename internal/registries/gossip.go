package registries

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/geecache/geecache/registry/gossip"
)

// GossipPort is the port of a gossip whose address names none.
const GossipPort = "7946"

// parseGossip reads "gossip:" and "gossip://seed,seed?listen=host:port".
func parseGossip(raw string) (opener, error) {
	_, rest, _ := strings.Cut(raw, ":")
	rest, query, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	var cfg gossip.Config
	for seed := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		if seed = strings.TrimSpace(seed); seed != "" {
			cfg.Seeds = append(cfg.Seeds, withPort(seed, GossipPort))
		}
	}
	err := parameters("gossip", query, func(name, value string) (known bool, err error) {
		switch name {
		case "listen":
			cfg.Listen = withPort(value, GossipPort)
		case "advertise":
			cfg.Advertise = withPort(value, GossipPort)
		case "interval":
			cfg.Interval, err = time.ParseDuration(value)
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	early := cfg
	early.Insecure = true // whether it is allowed is known when it is opened
	if err := early.Validate(); err != nil {
		return nil, err
	}
	return func(_ context.Context, o Options) (*Registry, error) {
		if o.Verified && o.Secrets == nil && !o.Insecure {
			return nil, errors.New("gossip: certificates do not guard it, so strangers could name members: give the cluster a secret too (--secret-file), or allow it (--insecure)")
		}
		cfg := cfg
		cfg.Cluster, cfg.Secrets, cfg.Insecure, cfg.Log = o.Cluster, o.Secrets, o.Insecure, o.Logger
		if host, _, err := net.SplitHostPort(o.Listen); err == nil && cfg.Listen == "" {
			cfg.Listen = net.JoinHostPort(host, GossipPort)
		}
		_, port, err := net.SplitHostPort(cfg.Listen)
		host, _, _ := net.SplitHostPort(o.Advertise) // an error is no IP
		if ip := net.ParseIP(host); err == nil && port != "0" && cfg.Advertise == "" && ip != nil && !ip.IsUnspecified() {
			cfg.Advertise = net.JoinHostPort(host, port)
		}
		r, err := gossip.New(cfg)
		if err != nil {
			return nil, err
		}
		o.Logger.Info("gossip", "addr", r.Addr(), "seeds", cfg.Seeds, "encrypted", cfg.Secrets != nil)
		return &Registry{Discoverer: r, Registrar: r, close: r.Close}, nil
	}, nil
}

// withPort returns an address with the port, if it has none.
func withPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}
