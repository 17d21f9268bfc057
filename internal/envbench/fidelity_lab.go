package envbench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A lab is a cluster beside a deployment, in which things are tried that the deployment
// must not suffer from. Its tasks run the deployment's image with its roles, in its
// network.
type lab struct {
	c       *cloud
	name    string // of the deployment
	cluster string // the lab's own
	def     *types.TaskDefinition
	net     *types.NetworkConfiguration
	tags    []types.Tag
	undo    []func(context.Context) error // in the order in which things were made
	within  func(emulator, aws time.Duration) time.Duration
	every   time.Duration

	families    []string
	definitions []string // their ARNs
	steady      string   // ARN of the definition that the lab's service runs
}

// What trials make in the lab: its service, and single tasks.
const (
	labService = "steady"
	labMissing = "missing"
	labStopped = "stopped"
)

// labStop is how many seconds the lab's tasks have to end: no default of anybody.
const labStop = 17

// labStreams begins the names of the log streams of the lab's tasks, in the log group of
// the deployment's nodes: their role may write there.
const labStreams = "fidelity"

// lab makes one, with nothing in it yet.
func (c *cloud) lab(ctx context.Context, name string) (*lab, error) {
	service, err := c.service(ctx, name, nodeService)
	if err != nil {
		return nil, err
	}
	if service == nil {
		return nil, ErrAbsent
	}
	out, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: service.TaskDefinition})
	if err != nil {
		return nil, c.explain("ecs:DescribeTaskDefinition", err)
	}
	l := &lab{
		c: c, name: name, cluster: labCluster(name), def: out.TaskDefinition, net: service.NetworkConfiguration,
		tags: []types.Tag{{Key: aws.String("geecache"), Value: aws.String("fidelity")}}, every: 2 * time.Second,
		within: func(_, aws time.Duration) time.Duration { return aws },
	}
	if c.emulated {
		l.every = 100 * time.Millisecond
		l.within = func(emulator, _ time.Duration) time.Duration { return emulator }
	}
	return l, nil
}

// close removes what was made, the newest first.
func (l *lab) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.within(goneWithin, 5*time.Minute))
	defer cancel()
	var errs []error
	for _, undo := range slices.Backward(l.undo) {
		if err := undo(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	l.undo = nil
	for _, arn := range l.definitions {
		_, err := l.c.ecs.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &arn})
		if err == nil {
			_, err = l.c.ecs.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{arn}})
		}
		errs = append(errs, err)
	}
	l.definitions = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("what was made for trials is not all removed: %w", err)
	}
	return nil
}

// later has close undo something.
func (l *lab) later(undo func(context.Context) error) { l.undo = append(l.undo, undo) }

// define registers a definition of tasks that run a node by itself.
func (l *lab) define(ctx context.Context, what string, change func(*types.ContainerDefinition)) (string, error) {
	if len(l.def.ContainerDefinitions) == 0 {
		return "", errors.New("the nodes' task definition has no container")
	}
	base := l.def.ContainerDefinitions[0]
	def := types.ContainerDefinition{
		Name: base.Name, Image: base.Image, Essential: aws.Bool(true), ReadonlyRootFilesystem: aws.Bool(true), StopTimeout: aws.Int32(labStop),
		PortMappings: base.PortMappings, LogConfiguration: base.LogConfiguration,
		Command: []string{"node"},
		Environment: []types.KeyValuePair{
			{Name: aws.String("GEECACHE_LISTEN"), Value: aws.String(fmt.Sprintf("0.0.0.0:%d", nodePort))},
			{Name: aws.String("GEECACHE_INSECURE"), Value: aws.String("true")}, // nothing is in it
			{Name: aws.String("GEECACHE_DRAIN_TIMEOUT"), Value: aws.String("1s")},
		},
	}
	if base.LogConfiguration != nil {
		to := *base.LogConfiguration
		to.Options = make(map[string]string)
		for k, v := range base.LogConfiguration.Options {
			to.Options[k] = v
		}
		to.Options["awslogs-stream-prefix"] = labStreams
		def.LogConfiguration = &to
	}
	if change != nil {
		change(&def)
	}
	family := l.cluster + "-" + what
	out, err := l.c.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: l.def.NetworkMode, RequiresCompatibilities: l.def.RequiresCompatibilities, Cpu: l.def.Cpu, Memory: l.def.Memory,
		ExecutionRoleArn: l.def.ExecutionRoleArn, TaskRoleArn: l.def.TaskRoleArn, RuntimePlatform: l.def.RuntimePlatform,
		ContainerDefinitions: []types.ContainerDefinition{def}, Tags: l.tags,
	})
	if err != nil {
		return "", err
	}
	if !slices.Contains(l.families, family) {
		l.families = append(l.families, family)
	}
	arn := aws.ToString(out.TaskDefinition.TaskDefinitionArn)
	l.definitions = append(l.definitions, arn)
	return arn, nil
}

// serve makes the lab's service.
func (l *lab) serve(ctx context.Context, tasks string, change func(*ecs.CreateServiceInput)) error {
	in := &ecs.CreateServiceInput{
		Cluster: &l.cluster, ServiceName: aws.String(labService), TaskDefinition: &tasks, DesiredCount: aws.Int32(1), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: l.net, PropagateTags: types.PropagateTagsService, Tags: l.tags,
		DeploymentConfiguration: &types.DeploymentConfiguration{
			MaximumPercent: aws.Int32(200), MinimumHealthyPercent: aws.Int32(100),
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
		},
	}
	if change != nil {
		change(in)
	}
	if _, err := l.c.ecs.CreateService(ctx, in); err != nil {
		return err
	}
	l.later(func(ctx context.Context) error { return l.remove(ctx, *in.ServiceName) })
	return nil
}

// remove ends a service with its tasks, if it is there.
func (l *lab) remove(ctx context.Context, service string) error {
	_, err := l.c.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &l.cluster, Service: &service, Force: aws.Bool(true)})
	var gone *types.ServiceNotFoundException
	var inactive *types.ServiceNotActiveException
	if errors.As(err, &gone) || errors.As(err, &inactive) {
		return nil
	}
	return err
}

// change tells the service how many tasks of what definition it is to have.
func (l *lab) change(ctx context.Context, tasks string, n int32) error {
	_, err := l.c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &l.cluster, Service: aws.String(labService), TaskDefinition: &tasks, DesiredCount: &n})
	return err
}

// service describes the lab's service.
func (l *lab) service(ctx context.Context) (*types.Service, error) {
	out, err := l.c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &l.cluster, Services: []string{labService}})
	if err != nil {
		return nil, err
	}
	if len(out.Services) == 0 {
		return nil, errors.New("the trial's service is not there")
	}
	return &out.Services[0], nil
}

// tasks describes the tasks of a status. Fields that not all have are asked for.
func (l *lab) tasks(ctx context.Context, status types.DesiredStatus) (all []types.Task, err error) {
	pages := ecs.NewListTasksPaginator(l.c.ecs, &ecs.ListTasksInput{Cluster: &l.cluster, DesiredStatus: status})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		if len(page.TaskArns) == 0 {
			continue
		}
		out, err := l.c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &l.cluster, Tasks: page.TaskArns, Include: []types.TaskField{types.TaskFieldTags}})
		if err != nil {
			return nil, err
		}
		all = append(all, out.Tasks...)
	}
	return all, nil
}

// running returns the service's tasks that run, as ECS says; of a definition, unless that is
// empty.
func (l *lab) running(ctx context.Context, definition string) (all []types.Task, err error) {
	all, err = l.tasks(ctx, types.DesiredStatusRunning)
	return slices.DeleteFunc(all, func(t types.Task) bool {
		return aws.ToString(t.Group) != "service:"+labService || aws.ToString(t.LastStatus) != "RUNNING" || definition != "" && aws.ToString(t.TaskDefinitionArn) != definition
	}), err
}

// run starts one task by itself.
func (l *lab) run(ctx context.Context, definition string) (id string, err error) {
	out, err := l.c.ecs.RunTask(ctx, &ecs.RunTaskInput{Cluster: &l.cluster, TaskDefinition: &definition, LaunchType: types.LaunchTypeFargate, NetworkConfiguration: l.net})
	if err != nil {
		return "", err
	}
	if len(out.Tasks) == 0 {
		return "", fmt.Errorf("ecs:RunTask starts none: %v", out.Failures)
	}
	id = last(aws.ToString(out.Tasks[0].TaskArn))
	l.later(func(ctx context.Context) error { return l.stop(ctx, id) })
	return id, nil
}

// stop ends a task, if it runs.
func (l *lab) stop(ctx context.Context, id string) error {
	_, err := l.c.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &l.cluster, Task: &id, Reason: aws.String("geecache env bench: fidelity")})
	var gone *types.InvalidParameterException // it has ended long ago
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

// containers returns what this machine's Docker calls the containers of the lab's tasks,
// those that have ended, too.
func (l *lab) containers(ctx context.Context, only ...string) (all []string, err error) {
	for _, family := range l.families {
		out, err := docker(ctx, nil, append([]string{"ps", "--quiet", "--filter", "label=com.amazonaws.ecs.task-definition-family=" + family}, only...)...)
		if err != nil {
			return nil, err
		}
		all = append(all, strings.Fields(out)...)
	}
	return all, nil
}

// empty waits until the lab's cluster has no tasks, removes what an emulator leaves of
// them, and the cluster.
func (l *lab) empty(ctx context.Context) error {
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := l.c.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: &l.cluster})
		var services *types.ClusterContainsServicesException // they are still going
		var tasks *types.ClusterContainsTasksException
		if errors.As(err, &services) || errors.As(err, &tasks) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if l.c.emulated {
		if err := poll(ctx, func(ctx context.Context) (bool, error) { return l.swept(ctx) }); err != nil {
			return err
		}
	}
	return l.removeStreams(ctx)
}

// swept removes the containers, and reports whether there were none.
func (l *lab) swept(ctx context.Context) (bool, error) {
	all, err := l.containers(ctx, "--all")
	for _, one := range all {
		if _, e := docker(ctx, nil, "rm", "--force", "--volumes", one); e != nil && !strings.Contains(e.Error(), "No such container") && !strings.Contains(e.Error(), "already in progress") {
			err = e
		}
	}
	return len(all) == 0, err
}

// removeStreams removes the logs of the lab's tasks.
func (l *lab) removeStreams(ctx context.Context) error {
	group, prefix := l.logGroup(), labStreams+"/"
	if group == "" {
		return nil
	}
	pages := cloudwatchlogs.NewDescribeLogStreamsPaginator(l.c.logs, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: &group, LogStreamNamePrefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, s := range page.LogStreams {
			if !strings.HasPrefix(aws.ToString(s.LogStreamName), prefix) { // an emulator may not look at the prefix
				continue
			}
			if _, err := l.c.logs.DeleteLogStream(ctx, &cloudwatchlogs.DeleteLogStreamInput{LogGroupName: &group, LogStreamName: s.LogStreamName}); err != nil {
				return err
			}
		}
	}
	return nil
}

// logGroup is that of the deployment's nodes; empty: they have none.
func (l *lab) logGroup() string {
	if c := l.def.ContainerDefinitions; len(c) > 0 && c[0].LogConfiguration != nil {
		return c[0].LogConfiguration.Options["awslogs-group"]
	}
	return ""
}
