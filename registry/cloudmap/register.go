package cloudmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/awsapi"
	"github.com/geecache/geecache/internal/ecstask"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// How long things take with Cloud Map.
const (
	ecsRegisters = 5 * time.Second // how long ECS may take to register a task that runs
	pollEvery    = 500 * time.Millisecond
	settled      = 30 * time.Second // after which an instance that is not there is missing
	longestPause = time.Minute
)

// An enrolment is this node's place in the service.
type enrolment struct {
	mu       sync.Mutex // guards what follows
	service  string     // its ID; empty: not known yet
	instance string     // ID of the instance; empty: not registered by us
	times    int        // how often it was
	since    time.Time
	stop     context.CancelFunc // ends keep
	done     chan struct{}      // closed when keep has ended
	missing  chan struct{}      // tells keep
}

// Self returns what the task that the process runs in is called, for Register: the
// ID of the task, its address with the port, and its zone. Outside of ECS it
// returns an error.
func Self(ctx context.Context, port int) (registry.Member, error) {
	t, err := ecstask.Read(ctx)
	if err != nil {
		return registry.Member{}, fmt.Errorf("cloudmap: %w", err)
	}
	return registry.Member{Peer: geecache.Peer{
		ID: t.ID, Addr: net.JoinHostPort(t.IP, strconv.Itoa(port)), Zone: t.Zone,
	}}, nil
}

// Register implements [registry.Registrar]. It registers an instance, unless the
// configuration says that it does not, or ECS has registered the task: that has the
// task's ID, so give self that ID (see [Self]). In the background it waits until
// the instance is there, and registers it again if it is lost.
//
// An instance of a process that ended without Leave stays: Cloud Map has no leases.
func (r *Registry) Register(ctx context.Context, self registry.Member) error {
	switch {
	case self.ID == "" || self.Addr == "":
		return errors.New("cloudmap: register: the member has no ID or no address: give both")
	case r.cfg.Register == RegisterNever:
		return nil
	case r.cfg.Register == RegisterAuto && ecstask.In():
		if found, err := r.awaitECS(ctx, self.ID); err != nil || found {
			return err
		}
	}
	op, err := r.register(ctx, self)
	if err != nil {
		return err
	}
	r.self.end() // it is there already, with what self said before
	keepCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &r.self
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance, s.since = instanceID(self.ID), time.Now()
	s.times++
	s.stop, s.done, s.missing = cancel, make(chan struct{}), make(chan struct{}, 1)
	go r.keep(keepCtx, self, op, s.missing, s.done)
	return nil
}

// awaitECS reports whether ECS registers the task, which it does soon after the
// task runs.
func (r *Registry) awaitECS(ctx context.Context, id string) (bool, error) {
	deadline := time.NewTimer(ecsRegisters)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		instances, err := r.ask(ctx, types.HealthStatusFilterAll)
		if err != nil {
			return false, err
		}
		for _, in := range instances {
			if aws.ToString(in.InstanceId) == id && in.Attributes[attrAddr] == "" {
				r.log.Info("ECS has registered the task: nothing to do", "instance", id)
				return true, nil
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// register asks for an instance, and returns the operation that makes it.
func (r *Registry) register(ctx context.Context, self registry.Member) (operation string, err error) {
	attributes, err := attributesOf(self)
	if err != nil {
		return "", err
	}
	service, err := r.serviceID(ctx)
	if err != nil {
		return "", err
	}
	out, err := r.client.RegisterInstance(ctx, &servicediscovery.RegisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String(instanceID(self.ID)), Attributes: attributes,
	})
	var already *types.DuplicateRequest
	switch {
	case errors.As(err, &already):
		return aws.ToString(already.DuplicateOperationId), nil
	case err != nil:
		return "", r.explain(err, "servicediscovery:RegisterInstance")
	}
	return aws.ToString(out.OperationId), nil
}

// serviceID looks the service up by its name, once.
func (r *Registry) serviceID(ctx context.Context) (string, error) {
	r.self.mu.Lock()
	id := r.self.service
	r.self.mu.Unlock()
	if id != "" {
		return id, nil
	}
	namespace, err := r.namespaceID(ctx)
	if err != nil {
		return "", err
	}
	pages := servicediscovery.NewListServicesPaginator(r.client, &servicediscovery.ListServicesInput{
		Filters: []types.ServiceFilter{{Name: types.ServiceFilterNameNamespaceId, Values: []string{namespace}}},
	})
	for id == "" && pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", r.explain(err, "servicediscovery:ListServices")
		}
		for _, s := range page.Services {
			if aws.ToString(s.Name) == r.cfg.Service {
				id = aws.ToString(s.Id)
			}
		}
	}
	if id == "" {
		return "", r.explain(&types.ServiceNotFound{}, "")
	}
	r.self.mu.Lock()
	r.self.service = id
	r.self.mu.Unlock()
	return id, nil
}

func (r *Registry) namespaceID(ctx context.Context) (string, error) {
	pages := servicediscovery.NewListNamespacesPaginator(r.client, &servicediscovery.ListNamespacesInput{
		Filters: []types.NamespaceFilter{{Name: types.NamespaceFilterNameName, Values: []string{r.cfg.Namespace}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", r.explain(err, "servicediscovery:ListNamespaces")
		}
		for _, ns := range page.Namespaces {
			if aws.ToString(ns.Name) == r.cfg.Namespace {
				return aws.ToString(ns.Id), nil
			}
		}
	}
	return "", r.explain(&types.NamespaceNotFound{}, "")
}

// keep sees to it that the instance is made and stays, until ctx ends.
func (r *Registry) keep(ctx context.Context, self registry.Member, op string, missing <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	var err error
	for failed := 0; ; {
		if err == nil {
			err = r.await(ctx, op)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = 0
			if !r.awaitLoss(ctx, instanceID(self.ID), missing) {
				return
			}
			r.log.Warn("the instance is not there any more: it is registered again", "instance", instanceID(self.ID))
		default:
			r.log.Warn("the instance was not registered: once more", "instance", instanceID(self.ID), "err", err)
			pause := time.NewTimer(min(pollEvery<<min(failed, 10), longestPause))
			failed++
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
		}
		op, err = r.register(ctx, self)
		r.self.renewed()
	}
}

// awaitLoss returns true when the instance is not there any more, healthy or not,
// and false when ctx has ended.
func (r *Registry) awaitLoss(ctx context.Context, instance string, missing <-chan struct{}) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-missing:
		}
		all, err := r.ask(ctx, types.HealthStatusFilterAll)
		if err == nil && !slices.ContainsFunc(all, func(in types.HttpInstanceSummary) bool { return aws.ToString(in.InstanceId) == instance }) {
			return true
		}
	}
}

// await returns nil when an operation has succeeded.
func (r *Registry) await(ctx context.Context, op string) error {
	if op == "" {
		return errors.New("cloudmap: register: no operation is named")
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		out, err := r.client.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: &op})
		switch {
		case awsapi.IsDenied(err), awsapi.IsUnsupported(err):
			r.log.Info("whether the instance is made cannot be known", "err", awsapi.Explain(err, "servicediscovery:GetOperation"))
			return nil
		case err != nil:
			return r.explain(err, "servicediscovery:GetOperation")
		case out.Operation != nil && out.Operation.Status == types.OperationStatusSuccess:
			return nil
		case out.Operation != nil && out.Operation.Status == types.OperationStatusFail:
			return fmt.Errorf("cloudmap: register: %s: %s", aws.ToString(out.Operation.ErrorCode), aws.ToString(out.Operation.ErrorMessage))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// check tells keep if the instance ought to be among the members and is not.
func (s *enrolment) check(members []registry.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == "" || time.Since(s.since) < settled {
		return
	}
	if !slices.ContainsFunc(members, func(m registry.Member) bool { return instanceID(m.ID) == s.instance }) {
		select {
		case s.missing <- struct{}{}:
		default:
		}
	}
}

func (s *enrolment) renewed() {
	s.mu.Lock()
	s.since = time.Now()
	s.times++
	s.mu.Unlock()
}

// end ends keep, and returns the instance that it kept, and how often that was
// registered.
func (s *enrolment) end() (instance, service string, times int) {
	s.mu.Lock()
	instance, service, times = s.instance, s.service, s.times
	s.instance = ""
	stop, done := s.stop, s.done
	s.stop, s.done = nil, nil
	s.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	return instance, service, times
}

// Leave implements [registry.Registrar]. It leaves alone what ECS has registered: ECS
// takes it out when the task stops.
func (r *Registry) Leave(ctx context.Context) error {
	instance, service, times := r.self.end()
	if instance == "" {
		return nil
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ; ; times-- {
		_, err := r.client.DeregisterInstance(ctx, &servicediscovery.DeregisterInstanceInput{ServiceId: &service, InstanceId: &instance})
		var gone *types.InstanceNotFound
		var already *types.DuplicateRequest
		var inUse *types.ResourceInUse
		switch {
		case errors.As(err, &gone), errors.As(err, &already):
			return nil
		case err == nil && times > 1: // an emulator may hold it more than once
			continue
		case err == nil:
			return nil
		case !errors.As(err, &inUse): // it is still being registered
			return r.explain(err, "servicediscovery:DeregisterInstance")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cloudmap: leave: %w", context.Cause(ctx))
		}
	}
}
