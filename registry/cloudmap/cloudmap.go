// Package cloudmap lets nodes find each other through a service of AWS Cloud Map. It
// creates neither namespaces nor services.
package cloudmap

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/awsapi"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// maxInstances is how many instances one answer can hold; there are no further
// pages. Without saying so one gets a hundred.
const maxInstances = 1000

// timeout bounds a lookup, which is up to three calls: an API that takes seconds for
// each is slow, and not down.
const timeout = 30 * time.Second

// What instances tell of themselves: the names that AWS gave, and ours for what
// AWS has none for.
const (
	attrIPv4   = "AWS_INSTANCE_IPV4"
	attrIPv6   = "AWS_INSTANCE_IPV6"
	attrPort   = "AWS_INSTANCE_PORT"
	attrZone   = "AVAILABILITY_ZONE" // as ECS calls it
	attrAddr   = "GEECACHE_ADDR"
	attrWeight = "GEECACHE_WEIGHT"
	attrRole   = "GEECACHE_ROLE"
	attrMore   = "GEECACHE_MORE" // what Cloud Map does not take as it is
)

// A Registry is a service of Cloud Map. It is safe for concurrent use.
type Registry struct {
	cfg       Config
	client    *servicediscovery.Client
	closeIdle func()
	poller    registry.Poller
	log       *slog.Logger

	mu       sync.Mutex // guards what follows
	last     snapshot
	warned   bool // of a full answer
	revision bool // the revision can be asked for
	filter   types.HealthStatusFilter

	self enrolment
}

var (
	_ registry.Discoverer = (*Registry)(nil)
	_ registry.Looker     = (*Registry)(nil)
	_ registry.Registrar  = (*Registry)(nil)
)

// A snapshot is the last answer.
type snapshot struct {
	members  []registry.Member
	revision int64
	at       time.Time // zero: there is none
}

// Open returns a Registry. It calls nothing yet: whether the service is there
// shows when it is asked.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ac, closeIdle, err := awsapi.Load(ctx, cfg.Region, cfg.Endpoint, "SERVICEDISCOVERY")
	if err != nil {
		return nil, fmt.Errorf("cloudmap: %w", err)
	}
	if cfg.Credentials != nil {
		ac.Credentials = cfg.Credentials
	}
	client := servicediscovery.NewFromConfig(ac, func(o *servicediscovery.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
		if o.BaseEndpoint != nil {
			// Lookups go to data-HOST, which exists only at AWS.
			o.APIOptions = append(o.APIOptions, awsapi.WithoutHostPrefix)
		}
	})
	r := &Registry{cfg: cfg, client: client, closeIdle: closeIdle, revision: true, filter: types.HealthStatusFilterHealthyOrElseAll, log: cfg.Logger.With("registry", "cloudmap")}
	r.poller = registry.Poller{Lookup: r.lookup, Interval: cfg.Interval, Timeout: timeout, Backoff: cfg.backoff}
	return r, nil
}

// Close closes what the Registry holds open, without leaving. No Watch may run any
// more.
func (r *Registry) Close() error {
	r.self.end()
	r.closeIdle()
	return nil
}

// Lookup implements [registry.Looker]. It asks for the instances, whatever their revision.
func (r *Registry) Lookup(ctx context.Context) ([]registry.Member, error) { return r.discover(ctx) }

// Watch implements [registry.Discoverer]. It asks for the revision of the instances
// again and again, and for the instances when that has changed.
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return r.poller.Watch(ctx)
}

// lookup implements registry.Poller's Lookup.
func (r *Registry) lookup(ctx context.Context) ([]registry.Member, time.Duration, error) {
	r.mu.Lock()
	last, ask := r.last, r.revision
	r.mu.Unlock()
	now := time.Now()
	var revision int64
	if ask {
		var err error
		if revision, err = r.askRevision(ctx); err != nil {
			return nil, 0, err
		}
		if !last.at.IsZero() && revision == last.revision && now.Sub(last.at) < r.cfg.Refresh {
			return slices.Clone(last.members), 0, nil
		}
	}
	members, err := r.discover(ctx)
	if err != nil {
		return nil, 0, err
	}
	r.mu.Lock()
	// The revision is the one from before the answer: what changed in between is
	// seen next time.
	r.last = snapshot{members: members, revision: revision, at: now}
	r.mu.Unlock()
	r.self.check(members)
	return slices.Clone(members), 0, nil
}

// askRevision returns the revision of the instances. Where it cannot be had, it is
// asked for no more.
func (r *Registry) askRevision(ctx context.Context) (int64, error) {
	out, err := r.client.DiscoverInstancesRevision(ctx, &servicediscovery.DiscoverInstancesRevisionInput{
		NamespaceName: &r.cfg.Namespace, ServiceName: &r.cfg.Service,
	})
	switch {
	case err == nil:
		return aws.ToInt64(out.InstancesRevision), nil
	case awsapi.IsUnsupported(err):
		r.log.Info("the service tells no revision: all instances are read each time")
	case awsapi.IsDenied(err):
		r.log.Warn("all instances are read each time, which costs more", "err",
			awsapi.Explain(err, "servicediscovery:DiscoverInstancesRevision"))
	default:
		return 0, r.explain(err, "servicediscovery:DiscoverInstancesRevision")
	}
	r.mu.Lock()
	r.revision = false
	r.last = snapshot{}
	r.mu.Unlock()
	return 0, nil
}

// discover reads the instances that are healthy; if none is, all.
func (r *Registry) discover(ctx context.Context) ([]registry.Member, error) {
	r.mu.Lock()
	filter := r.filter
	r.mu.Unlock()
	instances, err := r.ask(ctx, filter)
	if err == nil && len(instances) == 0 && filter != types.HealthStatusFilterAll {
		// An emulator may not know that filter, and then tells of nobody.
		if instances, err = r.ask(ctx, types.HealthStatusFilterAll); len(instances) > 0 {
			r.mu.Lock()
			r.filter = types.HealthStatusFilterAll
			r.mu.Unlock()
		}
	}
	if err != nil {
		return nil, err
	}
	if healthy := slices.DeleteFunc(slices.Clone(instances), unhealthy); len(healthy) > 0 {
		instances = healthy
	}
	members := make([]registry.Member, 0, len(instances))
	for _, in := range instances {
		m, err := memberOf(in, r.cfg.Port)
		if err != nil {
			r.log.Warn("an instance cannot be used", "instance", aws.ToString(in.InstanceId), "err", err)
			continue
		}
		members = append(members, m)
	}
	return members, nil
}

func unhealthy(in types.HttpInstanceSummary) bool {
	return in.HealthStatus == types.HealthStatusUnhealthy
}

func (r *Registry) ask(ctx context.Context, filter types.HealthStatusFilter) ([]types.HttpInstanceSummary, error) {
	out, err := r.client.DiscoverInstances(ctx, &servicediscovery.DiscoverInstancesInput{
		NamespaceName: &r.cfg.Namespace, ServiceName: &r.cfg.Service,
		HealthStatus: filter, MaxResults: aws.Int32(maxInstances),
	})
	if err != nil {
		return nil, r.explain(err, "servicediscovery:DiscoverInstances")
	}
	full := len(out.Instances) >= maxInstances
	r.mu.Lock()
	warn := full && !r.warned
	r.warned = full
	r.mu.Unlock()
	if warn {
		r.log.Warn("Cloud Map tells of no more than 1000 instances, and not always of the same: use gossip or etcd for larger clusters",
			"instances", len(out.Instances))
	}
	return out.Instances, nil
}

// explain says what an error means and what to do.
func (r *Registry) explain(err error, permission string) error {
	var noNamespace *types.NamespaceNotFound
	var noService *types.ServiceNotFound
	switch {
	case errors.As(err, &noNamespace):
		err = fmt.Errorf("there is no namespace %q in this region and account: create it, or correct cloudmap://NAMESPACE/SERVICE: %w", r.cfg.Namespace, err)
	case errors.As(err, &noService):
		err = fmt.Errorf("the namespace %q has no service %q: create it, or correct cloudmap://NAMESPACE/SERVICE: %w", r.cfg.Namespace, r.cfg.Service, err)
	default:
		err = awsapi.Explain(err, permission)
	}
	return fmt.Errorf("cloudmap: %w", err)
}
