// Package registries opens the registry that a URL names. It knows all of them, and
// so only a program that may hold them all should use it.
package registries

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/ecstask"
	"github.com/geecache/geecache/registry"
)

// A Registry is one that is open.
type Registry struct {
	Kind string // what metrics and logs call it: "static", "ecs", ...
	URL  string // without what may be secret

	registry.Discoverer
	Registrar registry.Registrar // nil: nodes do not register by themselves
	Exact     bool               // its answers are to be taken at their word

	close func() error
}

// Close closes what the registry holds open. Nobody may watch it any more.
func (r *Registry) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Options are what a registry is told besides its URL.
type Options struct {
	Cluster   string          // its ID
	Secrets   func() []string // its secrets, the one that proves first; nil if it has none
	Verified  bool            // its members know each other by certificates
	Insecure  bool            // others may be heard without a secret
	Listen    string          // where this node listens, "host:port"
	Advertise string          // where others reach it
	Port      int             // that of peers whose port the registry does not tell
	Logger    *slog.Logger
}

// An opener opens a registry whose URL has been found to make sense.
type opener func(ctx context.Context, o Options) (*Registry, error)

// A kind is a kind of registry that URLs of some schemes name.
type kind struct {
	name    string
	schemes []string
	usage   string // an example of a URL

	weights bool // it tells the weight of a member
	tasks   bool // in a task of ECS, a member's ID is the task's

	parse func(raw string) (opener, error)
}

func kinds() []kind {
	return []kind{
		{name: "static", schemes: []string{"static"}, usage: "static:10.0.0.1:8001,10.0.0.2:8001", parse: parseStatic},
		{name: "file", schemes: []string{"file"}, usage: "file:/etc/geecache/peers", weights: true, parse: parseFile},
		{name: "dns", schemes: []string{"dns", "dns+srv"}, usage: "dns:name:8001, dns+srv:name", parse: parseDNS},
		{name: "etcd", schemes: []string{"etcd", "etcd+https"}, usage: "etcd://host:2379,host:2379/prefix", weights: true, parse: parseEtcd},
		{name: "gossip", schemes: []string{"gossip"}, usage: "gossip://host:7946,host:7946", weights: true, parse: parseGossip},
		{name: "cloudmap", schemes: []string{"cloudmap"}, usage: "cloudmap://namespace/service", weights: true, tasks: true, parse: parseCloudMap},
		{name: "ecs", schemes: []string{"ecs"}, usage: "ecs://cluster/service", tasks: true, parse: parseECS},
	}
}

// Examples returns an example of a URL for each kind of registry.
func Examples() []string {
	var all []string
	for _, k := range kinds() {
		all = append(all, k.usage)
	}
	return append(all, Auto)
}

// A Choice is a registry that is chosen, and not open yet.
type Choice struct {
	kind kind
	raw  string
	open opener
}

// Listed reports whether the registry is a list that somebody writes: its members
// are those, and no others.
func (c *Choice) Listed() bool { return c.kind.name == "static" || c.kind.name == "file" }

// Parse reads a URL without opening anything. It does not take Auto.
func Parse(raw string) (*Choice, error) {
	scheme, _, found := strings.Cut(raw, ":")
	if !found {
		return nil, fmt.Errorf("%q is no registry: use a URL such as %s", raw, strings.Join(Examples(), ", "))
	}
	for _, k := range kinds() {
		if slices.Contains(k.schemes, strings.ToLower(scheme)) {
			open, err := k.parse(raw)
			if err != nil {
				return nil, err
			}
			return &Choice{k, raw, open}, nil
		}
	}
	return nil, fmt.Errorf("there is no registry %q: use a URL such as %s", scheme+":", strings.Join(Examples(), ", "))
}

// Kind is what metrics and logs call the registry.
func (c *Choice) Kind() string { return c.kind.name }

// TellsWeights reports whether nodes learn of each other's weights.
func (c *Choice) TellsWeights() bool { return c.kind.weights }

// Open opens the registry. It need not answer yet.
func (c *Choice) Open(ctx context.Context, o Options) (*Registry, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r, err := c.open(ctx, o)
	if err != nil {
		return nil, err
	}
	r.Kind, r.URL = c.kind.name, Redact(c.raw)
	return r, nil
}

// Self returns what the registry calls the process, if it has a name for it: that of
// the task of ECS that it runs in. Otherwise the ID is empty.
func (c *Choice) Self(ctx context.Context) (geecache.Peer, error) {
	if !c.kind.tasks || !ecstask.In() {
		return geecache.Peer{}, nil
	}
	t, err := ecstask.Read(ctx)
	if err != nil {
		return geecache.Peer{}, err
	}
	return geecache.Peer{ID: t.ID, Addr: t.IP, Zone: t.Zone}, nil
}

// Redact returns a registry's URL as it may be shown, without user and parameters.
func Redact(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		return raw
	}
	authority, path, slash := strings.Cut(rest, "/")
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	if slash {
		path = "/" + path
	}
	return scheme + "://" + authority + path
}
