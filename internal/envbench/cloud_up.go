package envbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// notes say what is not in the environment as it would be at AWS.
func (c *cloud) notes() []string {
	if !c.emulated {
		return nil
	}
	return []string{
		"Cloud Map: nodes register themselves, because an emulator takes a service's registries and registers nobody",
		"container and target health checks may be taken and not done: every process was asked at its own address instead",
		"CPU and memory limits, permissions and availability zones may not be real",
	}
}

// Up implements Driver.
func (c *cloud) Up(ctx context.Context, d Deployment) (*Status, error) {
	if err := errors.Join(d.Validate(), d.checkDisk()); err != nil {
		return nil, err
	}
	d = d.WithDefaults()
	var changed []string
	w := c.stopwatch()
	w.stage(StageImage, d.Image+" goes to the registry")
	image, err := c.ensureImage(ctx, d, &changed)
	if err != nil {
		return nil, err
	}
	w.stage(StageControlPlane, "cluster, log group, Cloud Map, load balancer and services")
	begun := time.Now()
	before, err := c.givenUp(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	want, err := c.ensureServices(ctx, d, image, &changed)
	if err != nil {
		return nil, err
	}
	return c.await(ctx, w, d.Name, attempt{begun, before, want}, changed)
}

// An attempt is what tells its outcome from an earlier one's.
type attempt struct {
	begun  time.Time
	before map[string]bool   // IDs of deployments that had failed before
	want   map[string]string // task definitions by service; nil: those that there are
}

// givenUp returns the IDs of deployments that the environment has given up.
func (c *cloud) givenUp(ctx context.Context, name string) (map[string]bool, error) {
	ids := make(map[string]bool)
	for _, service := range []string{nodeService, apiService} {
		s, err := c.service(ctx, name, service)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		for _, d := range s.Deployments {
			if d.RolloutState == types.DeploymentRolloutStateFailed {
				ids[aws.ToString(d.Id)] = true
			}
		}
	}
	return ids, nil
}

// ensureServices makes all that tasks need, and then the services. It returns the task
// definitions that these are to run.
func (c *cloud) ensureServices(ctx context.Context, d Deployment, image string, changed *[]string) (want map[string]string, err error) {
	if err := c.ensureCluster(ctx, d.Name, changed); err != nil {
		return nil, err
	}
	var secrets map[string]string
	if !d.Hello {
		if secrets, err = c.ensureSecrets(ctx, d, changed); err != nil {
			return nil, err
		}
	}
	if d.Registry == "" || d.Registry == "cloudmap" {
		if err := c.ensureMap(ctx, d.Name, changed); err != nil {
			return nil, err
		}
	}
	if err := c.ensureBucket(ctx, d, changed); err != nil {
		return nil, err
	}
	n, err := c.network(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := c.ensureBalancer(ctx, d.Name, n, changed)
	if err != nil {
		return nil, err
	}
	want = make(map[string]string)
	for _, s := range []struct {
		name, targets string
		count         int
	}{{nodeService, "", d.Nodes}, {apiService, targets, 1}} {
		tasks, err := c.ensureTasks(ctx, d, s.name, c.container(d, s.name, image, secrets), changed)
		if err != nil {
			return nil, err
		}
		want[s.name] = tasks
		if err := c.ensureService(ctx, d, s.name, tasks, s.targets, s.count, n, changed); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// Scale implements Driver.
func (c *cloud) Scale(ctx context.Context, name string, nodes int) (*Status, error) {
	w := c.stopwatch()
	now, err := c.service(ctx, name, nodeService)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, ErrAbsent
	}
	var changed []string
	w.stage(StageControlPlane, fmt.Sprintf("from %d nodes to %d", now.DesiredCount, nodes))
	begun := time.Now()
	before, err := c.givenUp(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := c.ensureService(ctx, Deployment{Name: name}, nodeService, *now.TaskDefinition, "", nodes, network{}, &changed); err != nil {
		return nil, err
	}
	return c.await(ctx, w, name, attempt{begun, before, nil}, changed)
}

// await returns when all desired processes answer and agree, and heals meanwhile what
// the environment does not.
func (c *cloud) await(ctx context.Context, w *stopwatch, name string, a attempt, changed []string) (*Status, error) {
	w.stage(StageScheduling, "tasks are waited for")
	v, err := c.view(ctx, name)
	if err != nil {
		return nil, err
	}
	defer v.close()
	v.before, v.want = a.before, a.want
	h := newHealer(v)
	s, err := c.awaitAgreement(ctx, w, func(ctx context.Context) (*Status, error) {
		s, err := v.look(ctx)
		if err != nil {
			return nil, err
		}
		if err := v.failed(); err != nil {
			return s, err
		}
		if s.judge(); s.Agree {
			return s, nil
		}
		return s, h.heal(ctx, s, time.Now())
	})
	w.end()
	if s != nil {
		s.Stages, s.Changed = w.stages, append(changed, h.done...)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return s, fmt.Errorf("%w%s", err, v.lastWords(ctx, a.begun))
	}
	return s, nil
}

// Status implements Driver.
func (c *cloud) Status(ctx context.Context, name string) (*Status, error) {
	v, err := c.view(ctx, name)
	if err != nil {
		return nil, err
	}
	defer v.close()
	s, err := v.look(ctx)
	if err == nil {
		s.judge()
	}
	return s, err
}
