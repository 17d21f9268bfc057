package registries

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/cloudmap"
	"github.com/geecache/geecache/registry/dns"
	"github.com/geecache/geecache/registry/ecs"
	"github.com/geecache/geecache/registry/etcd"
	"github.com/geecache/geecache/registry/static"
)

func parseStatic(raw string) (opener, error) {
	var members []registry.Member
	_, list, _ := strings.Cut(raw, ":")
	for part := range strings.SplitSeq(strings.TrimPrefix(list, "//"), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		ms, err := static.Parse([]byte(part))
		if err != nil {
			return nil, err
		}
		members = append(members, ms...)
	}
	if len(members) == 0 {
		return nil, errors.New("static: there are no members: use static:host:port,host:port")
	}
	return newStatic(static.Config{Members: members})
}

func parseFile(raw string) (opener, error) {
	_, name, _ := strings.Cut(raw, ":")
	if strings.HasPrefix(name, "//") {
		u, err := url.Parse(raw)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("file: %q names a host: use file:/path", raw)
		}
		name = u.Path
	}
	if name == "" {
		return nil, errors.New("file: the path is empty: use file:/path")
	}
	return newStatic(static.Config{File: name})
}

func newStatic(cfg static.Config) (opener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return func(context.Context, Options) (*Registry, error) {
		r, err := static.New(cfg)
		if err != nil {
			return nil, err
		}
		return &Registry{Discoverer: r, Exact: true}, nil
	}, nil
}

func parseCloudMap(raw string) (opener, error) {
	cfg, err := cloudmap.ParseURL(raw)
	return func(ctx context.Context, o Options) (*Registry, error) {
		cfg := cfg
		cfg.Logger = o.Logger
		if cfg.Port == 0 {
			cfg.Port = o.Port
		}
		r, err := cloudmap.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return &Registry{Discoverer: r, Registrar: r, close: r.Close}, nil
	}, err
}

func parseECS(raw string) (opener, error) {
	cfg, err := ecs.ParseURL(raw)
	return func(ctx context.Context, o Options) (*Registry, error) {
		cfg := cfg
		cfg.Logger = o.Logger
		if cfg.Port == 0 {
			cfg.Port = o.Port
		}
		r, err := ecs.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return &Registry{Discoverer: r, close: r.Close}, nil
	}, err
}

// parameters calls set for each parameter of a URL, and says of which it was that an
// error is.
func parameters(kind, query string, set func(name, value string) (known bool, err error)) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("%s: the parameters %q: %w", kind, query, err)
	}
	for name, all := range values {
		value := all[len(all)-1]
		known, err := set(name, value)
		if !known {
			return fmt.Errorf("%s: there is no parameter %q", kind, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %s is %q: %w", kind, name, value, err)
		}
	}
	return nil
}

// parseDNS reads dns:NAME:PORT, dns:NAME and dns+srv:NAME, with the parameters server,
// interval and, for SRV records, names=true.
func parseDNS(raw string) (opener, error) {
	scheme, rest, _ := strings.Cut(raw, ":")
	srv := strings.EqualFold(scheme, "dns+srv")
	name, query, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	cfg := dns.Config{Name: strings.TrimSuffix(name, "/")}
	if host, port, err := net.SplitHostPort(cfg.Name); err == nil {
		if srv {
			return nil, fmt.Errorf("dns: %s: SRV records have ports: leave :%s out", raw, port)
		}
		if cfg.Port, err = strconv.Atoi(port); err != nil || cfg.Port == 0 {
			return nil, fmt.Errorf("dns: the port of %s is %q: use a number from 1 to 65535", raw, port)
		}
		cfg.Name = host
	}
	err := parameters("dns", query, func(name, value string) (known bool, err error) {
		switch name {
		case "server":
			cfg.Servers = strings.Split(value, ",")
		case "interval":
			cfg.Interval, err = time.ParseDuration(value)
		case "names":
			cfg.Names, err = strconv.ParseBool(value)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil {
		err = cfg.Validate()
	}
	return func(_ context.Context, o Options) (*Registry, error) {
		cfg := cfg
		cfg.Log = o.Logger
		if !srv && cfg.Port == 0 {
			cfg.Port = o.Port
		}
		r, err := dns.New(cfg)
		if err != nil {
			return nil, err
		}
		return &Registry{Discoverer: r}, nil
	}, err
}

// parseEtcd reads etcd://[USER:PASSWORD@]HOST:PORT,HOST:PORT/PREFIX, with the parameters
// ttl and interval.
func parseEtcd(raw string) (opener, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		return nil, fmt.Errorf("etcd: %q: use etcd://host:2379/prefix", Redact(raw))
	}
	protocol := "http://"
	if strings.EqualFold(scheme, "etcd+https") {
		protocol = "https://"
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	var cfg etcd.Config
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		cfg.Prefix = "/" + prefix + "/"
	}
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		user, err := url.Parse("//" + hosts[:i] + "@host")
		if err != nil {
			return nil, errors.New("etcd: the user and password before the @: escape what is not a letter or digit as %XX")
		}
		cfg.Username = user.User.Username()
		cfg.Password, _ = user.User.Password()
		hosts = hosts[i+1:]
	}
	for h := range strings.SplitSeq(hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			cfg.Endpoints = append(cfg.Endpoints, protocol+h)
		}
	}
	err := parameters("etcd", query, func(name, value string) (known bool, err error) {
		switch name {
		case "ttl":
			cfg.TTL, err = time.ParseDuration(value)
		case "interval":
			cfg.Interval, err = time.ParseDuration(value)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil {
		err = cfg.Validate()
	}
	return func(_ context.Context, o Options) (*Registry, error) {
		cfg := cfg
		cfg.Log, cfg.Cluster = o.Logger, o.Cluster
		r, err := etcd.New(cfg)
		if err != nil {
			return nil, err
		}
		return &Registry{Discoverer: r, Registrar: r, close: r.Close}, nil
	}, err
}
