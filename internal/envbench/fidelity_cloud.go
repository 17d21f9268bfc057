package envbench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/geecache/geecache/internal/envbench/result"
)

// Fidelity implements FidelityProber.
func (c *cloud) Fidelity(ctx context.Context, d Deployment, report func(result.Fact)) (err error) {
	l, err := c.lab(ctx, d.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx)) }()
	trials := slices.Concat(l.onDeployment(), l.inCluster(), l.withServices())
	// These take a node away, so they come last.
	trials = append(trials,
		trial{behaviourReplaced, func(ctx context.Context) (outcome, error) {
			return tryReplacement(ctx, c, d.Name, l.within(30*time.Second, 3*time.Minute))
		}},
		trial{behaviourLogs, l.tryTaskLogs},
		trial{"what only Terraform makes: VPC, IAM, KMS, RDS", func(context.Context) (outcome, error) {
			return untried("the deployment is tried as the APIs of tasks have it; aws-terraform makes these, and nothing here calls their APIs")
		}},
	)
	return tryAll(ctx, trials, report)
}

// onDeployment are trials that only look at the deployment.
func (l *lab) onDeployment() []trial {
	return []trial{
		{"images come from ECR, by digest", l.tryImage},
		{behaviourCPU, func(ctx context.Context) (outcome, error) {
			return l.tryLimit(ctx, func(is limits) (outcome, error) {
				if is.CPUs == 0 {
					return accepted("the task definition has %s CPU units, and Docker holds its container to none", aws.ToString(l.def.Cpu))
				}
				return done("the task definition has %s CPU units, and Docker holds its container to %g CPUs", aws.ToString(l.def.Cpu), is.CPUs)
			})
		}},
		{behaviourMemory, func(ctx context.Context) (outcome, error) {
			return l.tryLimit(ctx, func(is limits) (outcome, error) {
				if is.Memory == 0 {
					return accepted("the task definition has %s MiB, and Docker holds its container to none", aws.ToString(l.def.Memory))
				}
				return done("the task definition has %s MiB, and Docker holds its container to %d MiB", aws.ToString(l.def.Memory), is.Memory>>20)
			})
		}},
		{behaviourReadOnly, func(ctx context.Context) (outcome, error) { return l.tryLimit(ctx, limits.readOnly) }},
		{behaviourHealth, l.tryContainerHealth},
		{"health checks of targets", l.tryTargetHealth},
		{behaviourSecret, func(ctx context.Context) (outcome, error) { return trySecret(ctx, l.c, l.name) }},
		{"credentials of the task's role", l.tryCredentials},
		{"metadata endpoint V4", l.tryMetadata},
		{"awslogs: a stream for each task", l.tryStreams},
		{"logs:PutRetentionPolicy", l.tryRetention},
		{"permissions are enforced", l.tryPermissions},
	}
}

// nodes returns the deployment's tasks of nodes.
func (l *lab) nodes(ctx context.Context) ([]types.Task, error) {
	v := &view{c: l.c, name: l.name}
	all, err := v.describe(ctx, types.DesiredStatusRunning)
	all = slices.DeleteFunc(all, func(t types.Task) bool { return v.serviceOf(aws.ToString(t.Group)) != nodeService })
	if err == nil && len(all) == 0 {
		err = errors.New("no task of a node runs")
	}
	return all, err
}

// taskContainer returns what this machine's Docker calls a task's container.
func taskContainer(ctx context.Context, id string) (string, error) {
	out, err := docker(ctx, nil, "ps", "--quiet", "--filter", "name="+id[:min(8, len(id))])
	first, _, _ := strings.Cut(out, "\n")
	if err == nil && first == "" {
		err = fmt.Errorf("this machine's Docker has no container of task %s: is the emulator another machine's?", id)
	}
	return first, err
}

// nodeContainer returns the container of a node; none in AWS.
func (l *lab) nodeContainer(ctx context.Context) (string, error) {
	if !l.c.emulated {
		return "", nil
	}
	tasks, err := l.nodes(ctx)
	if err != nil {
		return "", err
	}
	return taskContainer(ctx, last(aws.ToString(tasks[0].TaskArn)))
}

// tryLimit reads from a node's container what it is held to.
func (l *lab) tryLimit(ctx context.Context, judge func(limits) (outcome, error)) (outcome, error) {
	container, err := l.nodeContainer(ctx)
	if err != nil {
		return outcome{}, err
	}
	if container == "" {
		return untried("what holds a task on Fargate is not seen from outside")
	}
	is, err := limitsOf(ctx, container)
	if err != nil {
		return outcome{}, err
	}
	return judge(is)
}

func (l *lab) tryImage(ctx context.Context) (outcome, error) {
	image := aws.ToString(l.def.ContainerDefinitions[0].Image)
	tasks, err := l.nodes(ctx)
	if err != nil {
		return outcome{}, err
	}
	host, _, _ := strings.Cut(image, "/")
	if _, digest, found := strings.Cut(image, "@sha256:"); found && aws.ToString(tasks[0].LastStatus) == "RUNNING" {
		return done("%d tasks run %s...@sha256:%.12s...", len(tasks), host, digest)
	}
	return untried("tasks run %s, which has no digest", image)
}

// tryContainerHealth looks whether tasks are said to be healthy.
func (l *lab) tryContainerHealth(ctx context.Context) (outcome, error) {
	if l.def.ContainerDefinitions[0].HealthCheck == nil {
		return untried("the task definition has no health check")
	}
	return comes(ctx, l.within(20*time.Second, 2*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		tasks, err := l.nodes(ctx)
		if err != nil {
			return false, "", err
		}
		is := tasks[0].HealthStatus
		return is == types.HealthStatusHealthy, fmt.Sprintf("the health check is in the task definition, and healthStatus of a node that answers is %s", is), nil
	})
}

// tryTargetHealth puts a target into the target group that nobody answers for. In AWS it
// gets no request before it is healthy.
func (l *lab) tryTargetHealth(ctx context.Context) (o outcome, err error) {
	group, err := l.c.targetGroup(ctx, l.name)
	if err != nil {
		return outcome{}, err
	}
	if group == "" {
		return untried("there is no target group %s", l.name)
	}
	tasks, err := l.nodes(ctx)
	if err != nil {
		return outcome{}, err
	}
	host, _, err := net.SplitHostPort(taskAddr(tasks[0], "1"))
	if err != nil {
		return outcome{}, err
	}
	target := []elbtypes.TargetDescription{{Id: &host, Port: aws.Int32(1)}} // where nobody listens
	if _, err := l.c.elb.RegisterTargets(ctx, &elasticloadbalancingv2.RegisterTargetsInput{TargetGroupArn: &group, Targets: target}); err != nil {
		return outcome{}, err
	}
	defer func() {
		_, e := l.c.elb.DeregisterTargets(context.WithoutCancel(ctx), &elasticloadbalancingv2.DeregisterTargetsInput{TargetGroupArn: &group, Targets: target})
		err = errors.Join(err, e)
	}()
	return comes(ctx, l.within(15*time.Second, time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := l.c.elb.DescribeTargetHealth(ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &group, Targets: target})
		if err != nil || len(out.TargetHealthDescriptions) == 0 || out.TargetHealthDescriptions[0].TargetHealth == nil {
			return false, "the target is in no list", err
		}
		is := out.TargetHealthDescriptions[0].TargetHealth.State
		return is == elbtypes.TargetHealthStateEnumUnhealthy, fmt.Sprintf("a target where nobody listens is %q", is), nil
	})
}

// taskAddr returns a task's address with a port; without a host: it has none yet.
func taskAddr(t types.Task, port string) string {
	for _, a := range t.Attachments {
		for _, d := range a.Details {
			if aws.ToString(d.Name) == "privateIPv4Address" && aws.ToString(d.Value) != "" {
				return net.JoinHostPort(aws.ToString(d.Value), port)
			}
		}
	}
	return net.JoinHostPort("", port)
}

// variable returns an environment variable of a node's container; empty: it has none.
func (l *lab) variable(ctx context.Context, prefix string) (string, error) {
	container, err := l.nodeContainer(ctx)
	if err != nil || container == "" {
		return "", err
	}
	env, err := docker(ctx, nil, "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(env) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", nil
}

// tryCredentials looks where tasks would get the credentials of their role.
func (l *lab) tryCredentials(ctx context.Context) (outcome, error) {
	if !l.c.emulated {
		for _, v := range l.def.ContainerDefinitions[0].Environment {
			if aws.ToString(v.Name) == "AWS_ACCESS_KEY_ID" {
				return untried("the tasks have keys of their own")
			}
		}
		return done("the tasks have no keys, and found each other through AWS's APIs")
	}
	is, err := l.variable(ctx, "AWS_CONTAINER_CREDENTIALS_")
	if err != nil {
		return outcome{}, err
	}
	name, value, _ := strings.Cut(is, "=")
	u, err := url.Parse(value)
	switch {
	case is == "":
		return refused("tasks are told of no address that gives credentials")
	case err == nil && name == "AWS_CONTAINER_CREDENTIALS_FULL_URI" && u.Scheme == "http" && !trusted(u.Hostname()):
		return accepted("%s: AWS's SDK takes credentials over plain HTTP only from loopback and AWS's own addresses", is)
	}
	return done("tasks are told %s", is)
}

// trusted reports whether AWS's SDK takes credentials from a host over plain HTTP.
func trusted(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || slices.Contains([]string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}, host))
}

// tryMetadata looks whether nodes know their tasks' IDs, which only that endpoint tells.
func (l *lab) tryMetadata(ctx context.Context) (outcome, error) {
	now, err := l.c.Status(ctx, l.name)
	if err != nil {
		return outcome{}, err
	}
	node, ok := firstNode(now)
	if !ok {
		return untried("no node answers")
	}
	if node.ID != node.task {
		return accepted("node %s does not know that it is task %s", node.ID, node.task)
	}
	return done("node %s calls itself by its task's ID, which it asked for there", node.ID)
}

// tryStreams looks whether each node's task has a log stream.
func (l *lab) tryStreams(ctx context.Context) (outcome, error) {
	group := l.logGroup()
	tasks, err := l.nodes(ctx)
	if err != nil {
		return outcome{}, err
	}
	return comes(ctx, l.within(10*time.Second, time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		found := 0
		for _, t := range tasks {
			lines, err := l.c.taskLog(ctx, l.name, nodeService, last(aws.ToString(t.TaskArn)), 1)
			if err != nil {
				return false, "", err
			}
			found += len(lines)
		}
		return found == len(tasks), fmt.Sprintf("%d of %d tasks have events in %s", found, len(tasks), group), nil
	})
}

func (l *lab) tryRetention(ctx context.Context) (outcome, error) {
	group := l.logGroup()
	out, err := l.c.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &group})
	if err != nil {
		return outcome{}, err
	}
	for _, g := range out.LogGroups {
		if days := aws.ToInt32(g.RetentionInDays); aws.ToString(g.LogGroupName) == group && days > 0 {
			return done("%s keeps events %d days, as it says; it was not waited for", group, days)
		}
	}
	return accepted("%s is said to have no limit", group)
}

// tryPermissions calls with keys that nobody has.
func (l *lab) tryPermissions(ctx context.Context) (outcome, error) {
	cfg := l.c.config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "of-nobody", "")
	_, err := ecs.NewFromConfig(cfg).DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &l.name, Services: []string{family(l.name, nodeService)}})
	if err == nil {
		return accepted("keys that nobody has may call ecs:DescribeServices")
	}
	if o := failed(err); o.verdict != result.Refused {
		return o, nil
	}
	return done("ecs:DescribeServices with keys that nobody has: %s", failed(err).evidence)
}

// tryTaskLogs stops a node's task, and looks whether its events are still there.
func (l *lab) tryTaskLogs(ctx context.Context) (outcome, error) {
	tasks, err := l.nodes(ctx)
	if err != nil {
		return outcome{}, err
	}
	id := last(aws.ToString(tasks[0].TaskArn))
	if _, err := l.c.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &l.name, Task: &id, Reason: aws.String("geecache env bench: fidelity")}); err != nil {
		return outcome{}, err
	}
	lines, err := l.c.taskLog(ctx, l.name, nodeService, id, 10)
	if err != nil {
		return outcome{}, err
	}
	if len(lines) == 0 {
		return accepted("task %s was stopped, and %s has nothing of it", id, l.logGroup())
	}
	return done("task %s was stopped, and %s has its events", id, l.logGroup())
}
