package envbench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// ceiling is how many tasks are to run at a time: more than the 10 that emulators were said
// to be limited to.
const ceiling = 12

// inCluster are trials with tasks, in the lab's own cluster. The later ones need what the
// first ones make.
func (l *lab) inCluster() []trial {
	return []trial{
		{"ecs:CreateCluster", l.tryCluster},
		{"tags", l.tryTags},
		{"ecs:PutClusterCapacityProviders", l.tryCapacity},
		{"ecs:RegisterTaskDefinition", l.tryDefinition},
		{"ecs:CreateService", l.tryService},
		{"service registries fill Cloud Map", l.tryRegistries},
		{"tags reach tasks", l.tryTaskTags},
		{fmt.Sprintf("task ceiling: %d tasks", ceiling), l.tryCeiling},
		{"rolling update", l.tryRolling},
		{"Container Insights", l.tryInsights},
		{"circuit breaker rolls back", l.tryBreaker},
		{behaviourImage, l.tryMissing},
		{behaviourStop, l.tryStopTimeout},
		{"application-autoscaling:RegisterScalableTarget", l.tryScalable},
		{"application-autoscaling:PutScalingPolicy", l.tryPolicy},
		{"auto-scaling trigger", l.tryTrigger},
	}
}

func (l *lab) tryCluster(ctx context.Context) (outcome, error) {
	_, err := l.c.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{
		ClusterName: &l.cluster, Tags: l.tags, Settings: []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("enabled")}},
	})
	if err != nil {
		return outcome{}, err
	}
	l.later(l.empty)
	found, err := l.c.hasCluster(ctx, l.cluster)
	switch {
	case err != nil:
		return outcome{}, err
	case !found:
		return accepted("ecs:DescribeClusters has no %s", l.cluster)
	}
	return done("ecs:DescribeClusters has %s, which is active", l.cluster)
}

func (l *lab) tryTags(ctx context.Context) (outcome, error) {
	out, err := l.c.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{l.cluster}, Include: []types.ClusterField{types.ClusterFieldTags}})
	if err != nil {
		return outcome{}, err
	}
	if len(out.Clusters) == 0 {
		return untried("there is no cluster %s", l.cluster)
	}
	if len(out.Clusters[0].Tags) == 0 {
		return accepted("the cluster was made with a tag, and has none")
	}
	return done("the cluster has the tag that it was made with")
}

func (l *lab) tryCapacity(ctx context.Context) (outcome, error) {
	out, err := l.c.ecs.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{
		Cluster: &l.cluster, CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE"), Weight: 1}},
	})
	if err != nil {
		return outcome{}, err
	}
	if out.Cluster == nil || len(out.Cluster.CapacityProviders) != 2 {
		return accepted("the cluster is not said to have them")
	}
	return done("the cluster has %s; whether Spot takes a task back was not waited for", strings.Join(out.Cluster.CapacityProviders, " and "))
}

func (l *lab) tryDefinition(ctx context.Context) (outcome, error) {
	arn, err := l.define(ctx, labService, func(def *types.ContainerDefinition) {
		def.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/geecache", "health"}, Interval: aws.Int32(5)}
	})
	if err != nil {
		return outcome{}, err
	}
	l.steady = arn
	out, err := l.c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &arn})
	if err != nil {
		return outcome{}, err
	}
	is := out.TaskDefinition.ContainerDefinitions[0]
	if aws.ToInt32(is.StopTimeout) != labStop || !aws.ToBool(is.ReadonlyRootFilesystem) || is.HealthCheck == nil || is.LogConfiguration == nil {
		return accepted("%s has not all that it was registered with", last(arn))
	}
	return done("%s has its health check, stop timeout, log configuration and read-only root file system, as it says", last(arn))
}

// tryService makes the service on which the next trials are made.
func (l *lab) tryService(ctx context.Context) (outcome, error) {
	if l.steady == "" {
		return untried("there is no task definition")
	}
	if err := l.serve(ctx, l.steady, nil); err != nil {
		return outcome{}, err
	}
	return l.runs(ctx, l.steady, 1)
}

// runs waits until so many tasks run, as ECS says and, in an emulator, as Docker says.
func (l *lab) runs(ctx context.Context, definition string, n int) (outcome, error) {
	return comes(ctx, l.within(time.Minute, 5*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		tasks, err := l.running(ctx, definition)
		if err != nil {
			return false, "", err
		}
		text := fmt.Sprintf("%d tasks run, as ECS says", len(tasks))
		if !l.c.emulated {
			return len(tasks) == n, text, nil
		}
		containers, err := l.containers(ctx)
		return len(tasks) == n && len(containers) >= n, fmt.Sprintf("%s, and %d containers, as Docker says", text, len(containers)), err
	})
}

// tryRegistries makes a service whose tasks ECS is to register.
func (l *lab) tryRegistries(ctx context.Context) (outcome, error) {
	if l.steady == "" {
		return untried("there is no task definition")
	}
	made, err := l.c.sd.CreateHttpNamespace(ctx, &servicediscovery.CreateHttpNamespaceInput{Name: &l.cluster})
	if err == nil {
		err = l.c.operation(ctx, made.OperationId)
	}
	if err != nil {
		return outcome{}, err
	}
	namespace, err := l.c.namespace(ctx, l.cluster)
	if err != nil {
		return outcome{}, err
	}
	l.later(func(ctx context.Context) error {
		out, err := l.c.sd.DeleteNamespace(ctx, &servicediscovery.DeleteNamespaceInput{Id: &namespace})
		if err != nil {
			return err
		}
		return l.c.operation(ctx, out.OperationId)
	})
	service, err := l.c.sd.CreateService(ctx, &servicediscovery.CreateServiceInput{Name: aws.String(mapService), NamespaceId: &namespace})
	if err != nil {
		return outcome{}, err
	}
	l.later(func(ctx context.Context) error {
		return poll(ctx, func(ctx context.Context) (bool, error) {
			_, err := l.c.sd.DeleteService(ctx, &servicediscovery.DeleteServiceInput{Id: service.Service.Id})
			var inUse *sdtypes.ResourceInUse // its task is still going
			if errors.As(err, &inUse) {
				return false, nil
			}
			return err == nil, err
		})
	})
	const name = "registered"
	err = l.serve(ctx, l.steady, func(in *ecs.CreateServiceInput) {
		in.ServiceName, in.ServiceRegistries = aws.String(name), []types.ServiceRegistry{{RegistryArn: service.Service.Arn}}
	})
	if err != nil {
		return outcome{}, err
	}
	o, err := comes(ctx, l.within(15*time.Second, 3*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := l.discover(ctx)
		if err != nil {
			return false, "", err
		}
		return len(out.Instances) == 1, fmt.Sprintf("the service was made with a registry, and Cloud Map has %d instances of its 1 task", len(out.Instances)), nil
	})
	if err != nil {
		return outcome{}, err
	}
	// Its task must not disturb the trials that follow.
	return o, l.remove(ctx, name)
}

func (l *lab) tryTaskTags(ctx context.Context) (outcome, error) {
	tasks, err := l.running(ctx, l.steady)
	if err != nil {
		return outcome{}, err
	}
	if len(tasks) == 0 {
		return untried("no task runs")
	}
	if len(tasks[0].Tags) == 0 {
		return accepted("the service hands its tag on to its tasks, and a task has none")
	}
	return done("a task has the tag of its service")
}

// tryCeiling starts many tasks, and takes them away again.
func (l *lab) tryCeiling(ctx context.Context) (outcome, error) {
	if err := l.change(ctx, l.steady, ceiling); err != nil {
		return outcome{}, err
	}
	o, err := l.runs(ctx, l.steady, ceiling)
	if err != nil {
		return outcome{}, err
	}
	if err := l.change(ctx, l.steady, 2); err != nil {
		return outcome{}, err
	}
	_, err = l.runs(ctx, l.steady, 2)
	return o, err
}

// tryRolling changes the definition of two tasks, and counts those that run meanwhile.
func (l *lab) tryRolling(ctx context.Context) (outcome, error) {
	next, err := l.define(ctx, labService, func(def *types.ContainerDefinition) {
		def.Environment = append(def.Environment, types.KeyValuePair{Name: aws.String("GEECACHE_LOG_FORMAT"), Value: aws.String("json")})
	})
	if err != nil {
		return outcome{}, err
	}
	if err := l.change(ctx, next, 2); err != nil {
		return outcome{}, err
	}
	least, most := ceiling, 0
	o, err := comes(ctx, l.within(time.Minute, 5*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		tasks, err := l.running(ctx, "")
		if err != nil {
			return false, "", err
		}
		fresh := 0
		for _, t := range tasks {
			if aws.ToString(t.TaskDefinitionArn) == next {
				fresh++
			}
		}
		least, most = min(least, len(tasks)), max(most, len(tasks))
		return fresh == 2 && len(tasks) == 2, fmt.Sprintf("2 tasks went to another definition, and meanwhile %d to %d ran", least, most), nil
	})
	if err != nil {
		return outcome{}, err
	}
	l.steady = next
	if least < 2 {
		return accepted("%s", o.evidence)
	}
	return o, nil
}

// tryBreaker changes the definition to one whose tasks end at once.
func (l *lab) tryBreaker(ctx context.Context) (outcome, error) {
	broken, err := l.define(ctx, labService, func(def *types.ContainerDefinition) { def.Command = []string{"node", "--no-such-flag"} })
	if err != nil {
		return outcome{}, err
	}
	if err := l.change(ctx, broken, 2); err != nil {
		return outcome{}, err
	}
	o, err := comes(ctx, l.within(2*time.Minute, 6*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		s, err := l.service(ctx)
		if err != nil {
			return false, "", err
		}
		is := aws.ToString(s.TaskDefinition)
		state := ""
		for _, d := range s.Deployments {
			state += fmt.Sprintf(" %s of %s", d.RolloutState, last(aws.ToString(d.TaskDefinition)))
		}
		return is == l.steady && is != broken, fmt.Sprintf("tasks of %s end at once, and the service runs %s; deployments:%s", last(broken), last(is), state), nil
	})
	if err != nil {
		return outcome{}, err
	}
	if err := l.change(ctx, l.steady, 1); err != nil {
		return outcome{}, err
	}
	_, err = l.runs(ctx, l.steady, 1)
	return o, err
}

// tryMissing starts a task whose image the registry does not have.
func (l *lab) tryMissing(ctx context.Context) (outcome, error) {
	definition, err := l.define(ctx, labMissing, func(def *types.ContainerDefinition) {
		repository, _, _ := strings.Cut(aws.ToString(def.Image), "@")
		def.Image = aws.String(repository + ":there-is-none")
	})
	if err != nil {
		return outcome{}, err
	}
	id, err := l.run(ctx, definition)
	if err != nil {
		return outcome{}, err
	}
	return comes(ctx, l.within(20*time.Second, 2*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := l.c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &l.cluster, Tasks: []string{id}})
		if err != nil || len(out.Tasks) == 0 {
			return false, "the task is in no list", err
		}
		t := out.Tasks[0]
		reason := aws.ToString(t.StoppedReason)
		return aws.ToString(t.LastStatus) == "STOPPED" && reason != "", fmt.Sprintf("a task whose image is not there is %s %s", aws.ToString(t.LastStatus), reason), nil
	})
}

// tryStopTimeout has a task's process hang, and stops the task.
func (l *lab) tryStopTimeout(ctx context.Context) (outcome, error) {
	if !l.c.emulated {
		return untried("a process on Fargate cannot be made to hang from outside")
	}
	definition, err := l.define(ctx, labStopped, nil)
	if err != nil {
		return outcome{}, err
	}
	id, err := l.run(ctx, definition)
	if err != nil {
		return outcome{}, err
	}
	var container string
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		container, err = taskContainer(ctx, id)
		return err == nil, nil
	})
	if err != nil {
		return outcome{}, err
	}
	thaw, err := freeze(ctx, container)
	if err != nil {
		return outcome{}, err
	}
	defer thaw()
	begun := time.Now()
	if err := l.stop(ctx, id); err != nil {
		return outcome{}, err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = poll(limited, func(ctx context.Context) (bool, error) {
		left, err := docker(ctx, nil, "ps", "--quiet", "--filter", "id="+container)
		return left == "", err
	})
	if err != nil {
		return outcome{}, err
	}
	return judgeStop(time.Since(begun), labStop*time.Second)
}
