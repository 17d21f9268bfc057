package envbench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// How long a process may be silent before its task is replaced, an instance stay that
// is nobody's, and how many tasks are replaced at most.
const (
	silentFor   = 20 * time.Second
	strangeFor  = 2 * time.Second
	shortFor    = 2 * time.Second // fewer tasks than desired, before the service is told again
	oldFor      = 5 * time.Second // tasks of the old definition, once all of the new one answer
	mostReplace = 3
)

// A healer does what an emulator leaves undone: it replaces tasks that run and never
// answer, and takes out of Cloud Map who is not there any more.
type healer struct {
	v       *view
	silent  map[string]time.Time // by task, since when
	strange map[string]time.Time // by instance, since when
	short   map[string]time.Time // by service, since when
	old     time.Time            // since when only old tasks are too many; zero: they are not
	stopped int
	done    []string
}

// newHealer returns one that has seen nothing yet.
func newHealer(v *view) *healer {
	return &healer{v: v, silent: make(map[string]time.Time), strange: make(map[string]time.Time), short: make(map[string]time.Time)}
}

// heal looks at what was seen.
func (h *healer) heal(ctx context.Context, s *Status, now time.Time) error {
	for _, m := range s.Members {
		if m.Ready {
			delete(h.silent, m.task)
			continue
		}
		if h.silent[m.task].IsZero() {
			h.silent[m.task] = now
		}
		if m.Addr == "" || now.Sub(h.silent[m.task]) < silentFor || h.stopped >= mostReplace {
			continue
		}
		h.stopped++
		delete(h.silent, m.task)
		_, err := h.v.c.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &h.v.name, Task: &m.task, Reason: aws.String("it never answered")})
		if err != nil {
			return h.v.c.explain("ecs:StopTask", err)
		}
		h.done = append(h.done, fmt.Sprintf("task %s ran and did not answer for %v: it is replaced", m.task, silentFor))
	}
	if err := h.remind(ctx, now); err != nil {
		return err
	}
	if err := h.retire(ctx, s, now); err != nil {
		return err
	}
	if h.v.mapID == "" {
		return nil
	}
	return h.strangers(ctx, now)
}

// remind tells a service again how many tasks it is to have, if it has fewer: an emulator
// may not notice the end of one.
func (h *healer) remind(ctx context.Context, now time.Time) error {
	for service, s := range h.v.services {
		if h.v.count(service) >= int(s.DesiredCount) {
			delete(h.short, service)
			continue
		}
		if h.short[service].IsZero() {
			h.short[service] = now
		}
		if now.Sub(h.short[service]) < shortFor {
			continue
		}
		delete(h.short, service)
		_, err := h.v.c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &h.v.name, Service: s.ServiceName, DesiredCount: &s.DesiredCount})
		if err != nil {
			return h.v.c.explain("ecs:UpdateService", err)
		}
		h.done = append(h.done, fmt.Sprintf("service %s had %d of %d tasks: it was told again", aws.ToString(s.ServiceName), h.v.count(service), s.DesiredCount))
	}
	return nil
}

// retire stops tasks of an old definition that an emulator has forgotten: all of the new
// one answer.
func (h *healer) retire(ctx context.Context, s *Status, now time.Time) error {
	var old []task
	fresh := make(map[string]int) // that answer, by service
	for i, t := range h.v.tasks {
		service := h.v.services[t.service]
		switch {
		case service == nil:
		case t.definition != aws.ToString(service.TaskDefinition):
			old = append(old, t)
		case s.Members[i].Ready:
			fresh[t.service]++
		}
	}
	for name, service := range h.v.services {
		if !h.v.c.emulated || fresh[name] < int(service.DesiredCount) {
			old = nil
		}
	}
	if len(old) == 0 {
		h.old = time.Time{}
		return nil
	}
	if h.old.IsZero() {
		h.old = now
	}
	if now.Sub(h.old) < oldFor {
		return nil
	}
	for _, t := range old {
		if _, err := h.v.c.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &h.v.name, Task: &t.id, Reason: aws.String("it is of an old deployment")}); err != nil {
			return h.v.c.explain("ecs:StopTask", err)
		}
		h.done = append(h.done, fmt.Sprintf("task %s of %s was forgotten: it is stopped", t.id, last(t.definition)))
	}
	return nil
}

// strangers takes instances out of Cloud Map that are no task's: it has no leases.
func (h *healer) strangers(ctx context.Context, now time.Time) error {
	out, err := h.v.c.sd.ListInstances(ctx, &servicediscovery.ListInstancesInput{ServiceId: &h.v.mapID})
	if err != nil {
		return h.v.c.explain("servicediscovery:ListInstances", err)
	}
	for _, in := range out.Instances {
		id := aws.ToString(in.Id)
		if slices.ContainsFunc(h.v.tasks, func(t task) bool { return t.id == id }) {
			delete(h.strange, id)
			continue
		}
		if h.strange[id].IsZero() {
			h.strange[id] = now
		}
		if now.Sub(h.strange[id]) < strangeFor {
			continue
		}
		if _, err := h.v.c.sd.DeregisterInstance(ctx, &servicediscovery.DeregisterInstanceInput{ServiceId: &h.v.mapID, InstanceId: &id}); err != nil {
			return h.v.c.explain("servicediscovery:DeregisterInstance", err)
		}
		delete(h.strange, id)
		h.done = append(h.done, fmt.Sprintf("Cloud Map had %s, which is no task any more: it is taken out", id))
	}
	return nil
}
