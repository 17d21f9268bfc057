// Package ecs finds nodes as the running tasks of a service of Amazon ECS, through
// its API. It registers nothing: ECS knows its tasks.
package ecs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/awsapi"
	"github.com/geecache/geecache/internal/ecstask"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// maxTasks is how many tasks a page of ListTasks holds, and how many
// DescribeTasks takes.
const maxTasks = 100

// timeout bounds a lookup, which is at least two calls: an API that takes seconds for
// each is slow, and not down.
const timeout = 30 * time.Second

// A Registry is the tasks of a service. It is safe for concurrent use.
type Registry struct {
	cfg       Config
	client    *ecs.Client
	closeIdle func()
	poller    registry.Poller
	log       *slog.Logger
	emulator  bool

	mu     sync.Mutex      // guards warned
	warned map[string]bool // tasks whose address is not known
}

var (
	_ registry.Discoverer = (*Registry)(nil)
	_ registry.Looker     = (*Registry)(nil)
)

// Open returns a Registry. It calls nothing yet: whether the service is there
// shows when it is asked.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ac, closeIdle, err := awsapi.Load(ctx, cfg.Region, cfg.Endpoint, "ECS")
	if err != nil {
		return nil, fmt.Errorf("ecs: %w", err)
	}
	if cfg.Credentials != nil {
		ac.Credentials = cfg.Credentials
	}
	client := ecs.NewFromConfig(ac, func(o *ecs.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	})
	r := &Registry{cfg: cfg, client: client, closeIdle: closeIdle, log: cfg.Logger.With("registry", "ecs"), warned: make(map[string]bool)}
	r.emulator = client.Options().BaseEndpoint != nil
	r.poller = registry.Poller{Lookup: r.lookup, Interval: cfg.Interval, Timeout: timeout, Backoff: cfg.backoff}
	return r, nil
}

// Self returns what the task that the process runs in is called, as other nodes see
// it through a Registry: the ID of the task, its address with the port, and its
// zone. Outside of ECS it returns an error.
func Self(ctx context.Context, port int) (registry.Member, error) {
	t, err := ecstask.Read(ctx)
	if err != nil {
		return registry.Member{}, fmt.Errorf("ecs: %w", err)
	}
	return registry.Member{Peer: geecache.Peer{
		ID: t.ID, Addr: net.JoinHostPort(t.IP, strconv.Itoa(port)), Zone: t.Zone,
	}}, nil
}

// Close closes what the Registry holds open. No Watch may run any more.
func (r *Registry) Close() error {
	r.closeIdle()
	return nil
}

// Watch implements [registry.Discoverer].
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return r.poller.Watch(ctx)
}

// Lookup implements [registry.Looker].
func (r *Registry) Lookup(ctx context.Context) ([]registry.Member, error) {
	members, _, err := r.lookup(ctx)
	return members, err
}

// lookup implements registry.Poller's Lookup.
func (r *Registry) lookup(ctx context.Context) ([]registry.Member, time.Duration, error) {
	arns, err := r.list(ctx)
	if err != nil {
		return nil, 0, err
	}
	var members []registry.Member
	unknown := make(map[string]bool)
	for batch := range slices.Chunk(arns, maxTasks) {
		out, err := r.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &r.cfg.Cluster, Tasks: batch})
		if err != nil {
			return nil, 0, r.explain(err, "ecs:DescribeTasks")
		}
		// A task that has just ended is told of in out.Failures: no member.
		for _, t := range out.Tasks {
			if !serves(t) {
				continue
			}
			if m, ok := r.member(t); ok {
				members = append(members, m)
			} else {
				unknown[aws.ToString(t.TaskArn)] = true
			}
		}
	}
	r.warn(unknown)
	return members, 0, nil
}

// list returns the ARNs of the tasks that are to run.
func (r *Registry) list(ctx context.Context) ([]string, error) {
	in := &ecs.ListTasksInput{Cluster: &r.cfg.Cluster, DesiredStatus: types.DesiredStatusRunning, MaxResults: aws.Int32(maxTasks)}
	if r.cfg.Service != "" {
		in.ServiceName = &r.cfg.Service
	} else {
		in.Family = &r.cfg.Family
	}
	var arns []string
	for pages := ecs.NewListTasksPaginator(r.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, r.explain(err, "ecs:ListTasks")
		}
		arns = append(arns, page.TaskArns...)
	}
	return arns, nil
}

// serves reports whether a task runs, and is to.
func serves(t types.Task) bool {
	const running = string(types.DesiredStatusRunning)
	return aws.ToString(t.LastStatus) == running && aws.ToString(t.DesiredStatus) == running && t.StoppingAt == nil
}

// member returns a task as a member, if its address is known.
func (r *Registry) member(t types.Task) (registry.Member, bool) {
	host := address(t)
	if host == "" && r.emulator {
		host = runtimeName(t)
	}
	if host == "" {
		return registry.Member{}, false
	}
	arn := aws.ToString(t.TaskArn)
	definition := aws.ToString(t.TaskDefinitionArn)
	return registry.Member{
		Peer: geecache.Peer{
			ID:   arn[strings.LastIndexByte(arn, '/')+1:],
			Addr: net.JoinHostPort(host, strconv.Itoa(r.cfg.Port)),
			Zone: aws.ToString(t.AvailabilityZone),
		},
		Metadata: map[string]string{"task_definition": definition[strings.LastIndexByte(definition, '/')+1:]},
	}, true
}

// address returns the address of a task's network interface, as it is attached to
// the task or told of a container.
func address(t types.Task) string {
	var found []string
	for _, a := range t.Attachments {
		for _, d := range a.Details {
			if aws.ToString(d.Name) == "privateIPv4Address" {
				found = append(found, aws.ToString(d.Value))
			}
		}
	}
	for _, c := range t.Containers {
		for _, n := range c.NetworkInterfaces {
			found = append(found, aws.ToString(n.PrivateIpv4Address), aws.ToString(n.Ipv6Address))
		}
	}
	for _, s := range found {
		if ip, err := netip.ParseAddr(s); err == nil && !ip.IsUnspecified() {
			return ip.String()
		}
	}
	return ""
}

// runtimeName returns the name under which containers on a network of Docker find
// the task's first container: emulators may give their tasks no network interface.
func runtimeName(t types.Task) string {
	for _, c := range t.Containers {
		if id := aws.ToString(c.RuntimeId); id != "" {
			return id[:min(len(id), 12)]
		}
	}
	return ""
}

// warn tells, once a task, that it cannot be reached.
func (r *Registry) warn(unknown map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for arn := range unknown {
		if !r.warned[arn] {
			r.log.Warn("a task has no network interface of its own, and so no address: use the network mode awsvpc", "task", arn)
		}
	}
	r.warned = unknown
}

// explain says what an error means and what to do.
func (r *Registry) explain(err error, permission string) error {
	var noCluster *types.ClusterNotFoundException
	var noService *types.ServiceNotFoundException
	switch {
	case errors.As(err, &noCluster):
		err = fmt.Errorf("there is no ECS cluster %q in this region and account: correct ecs://CLUSTER/SERVICE: %w", r.cfg.Cluster, err)
	case errors.As(err, &noService):
		err = fmt.Errorf("the ECS cluster %q has no service %q: correct ecs://CLUSTER/SERVICE: %w", r.cfg.Cluster, r.cfg.Service, err)
	default:
		err = awsapi.Explain(err, permission)
	}
	return fmt.Errorf("ecs: %w", err)
}
