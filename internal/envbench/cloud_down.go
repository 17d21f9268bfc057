package envbench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// goneWithin bounds how long it may take until nothing is left.
const goneWithin = 90 * time.Second

// Down implements Driver.
func (c *cloud) Down(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	w := c.stopwatch()
	w.stage("services", "tasks end")
	steps := []struct {
		stage string
		do    func(context.Context, string) error
	}{
		{"", c.removeServices}, {"", c.removeTrials}, {"", c.removeContainers}, {"", c.removeTasks}, {"control", c.removeBalancer}, {"", c.removeMap}, {"", c.removeSecrets}, {"", c.removeBuckets}, {"", c.removeLogs}, {"", c.removeCluster}, {"image", c.removeImages},
	}
	var left []string
	var failed error // of the last time
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		failed = nil
		for _, s := range steps {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if s.stage != "" {
				w.stage(s.stage, "is removed")
			}
			failed = errors.Join(failed, s.do(ctx, name)) // what cannot be removed keeps nothing else
		}
		w.stage("look", "whether anything is left")
		var err error
		left, err = c.left(ctx, name)
		return err == nil && len(left) == 0, err
	})
	w.end()
	switch {
	case err == nil:
		return nil
	case len(left) > 0:
		return errors.Join(fmt.Errorf("%d things are left: %s", len(left), strings.Join(left, ", ")), failed)
	case failed != nil: // what hinders the look has hindered them
		return failed
	}
	return err
}

func (c *cloud) removeServices(ctx context.Context, name string) error {
	for _, service := range []string{apiService, nodeService} {
		now, err := c.service(ctx, name, service)
		if err != nil {
			return err
		}
		if now == nil {
			continue
		}
		if _, err := c.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &name, Service: now.ServiceArn, Force: aws.Bool(true)}); err != nil {
			return c.explain("ecs:DeleteService", err)
		}
	}
	return nil
}

// containersOf returns what this machine's Docker calls the containers of tasks.
func containersOf(ctx context.Context, name string) (all []string, err error) {
	for _, service := range []string{nodeService, apiService} {
		label := "label=com.amazonaws.ecs.task-definition-family=" + family(name, service)
		out, err := docker(ctx, nil, "ps", "--all", "--filter", label, "--format", "{{.Names}}")
		if err != nil {
			return nil, err
		}
		all = append(all, strings.Fields(out)...)
	}
	return all, nil
}

// removeContainers removes those that an emulator leaves behind: of tasks that have failed.
func (c *cloud) removeContainers(ctx context.Context, name string) error {
	if !c.emulated {
		return nil
	}
	all, err := containersOf(ctx, name)
	if err != nil {
		return err
	}
	for _, one := range all {
		if _, err := docker(ctx, nil, "rm", "--force", "--volumes", one); err != nil && !strings.Contains(err.Error(), "No such container") && !strings.Contains(err.Error(), "already in progress") {
			return err
		}
	}
	return nil
}

// taskFamilies returns the names of a deployment's task definitions.
func taskFamilies(name string) []string {
	return []string{family(name, nodeService), family(name, apiService)}
}

// definitions returns the ARNs of the task definitions of a status.
func (c *cloud) definitions(ctx context.Context, families []string, status types.TaskDefinitionStatus) (arns []string, err error) {
	for _, prefix := range families {
		pages := ecs.NewListTaskDefinitionsPaginator(c.ecs, &ecs.ListTaskDefinitionsInput{FamilyPrefix: &prefix, Status: status})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, c.explain("ecs:ListTaskDefinitions", err)
			}
			for _, arn := range page.TaskDefinitionArns {
				if strings.HasPrefix(last(arn), prefix+":") { // what only begins like it is another's
					arns = append(arns, arn)
				}
			}
		}
	}
	return arns, nil
}

// removeTasks deregisters and deletes the task definitions.
func (c *cloud) removeTasks(ctx context.Context, name string) error {
	return c.removeDefinitions(ctx, taskFamilies(name))
}

func (c *cloud) removeDefinitions(ctx context.Context, families []string) error {
	arns, err := c.definitions(ctx, families, types.TaskDefinitionStatusActive)
	if err != nil {
		return err
	}
	for _, arn := range arns {
		if _, err := c.ecs.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &arn}); err != nil {
			return c.explain("ecs:DeregisterTaskDefinition", err)
		}
	}
	if arns, err = c.definitions(ctx, families, types.TaskDefinitionStatusInactive); err != nil {
		return err
	}
	const most = 10 // in a call
	for len(arns) > 0 {
		n := min(most, len(arns))
		if _, err := c.ecs.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: arns[:n]}); err != nil {
			return c.explain("ecs:DeleteTaskDefinitions", err)
		}
		arns = arns[n:]
	}
	return nil
}

func (c *cloud) removeBalancer(ctx context.Context, name string) error {
	lb, err := c.balancer(ctx, name)
	if err != nil {
		return c.explain("elasticloadbalancing:DescribeLoadBalancers", err)
	}
	if lb.LoadBalancerArn != nil {
		out, err := c.elb.DescribeListeners(ctx, &elasticloadbalancingv2.DescribeListenersInput{LoadBalancerArn: lb.LoadBalancerArn})
		if err != nil {
			return c.explain("elasticloadbalancing:DescribeListeners", err)
		}
		for _, l := range out.Listeners {
			if _, err := c.elb.DeleteListener(ctx, &elasticloadbalancingv2.DeleteListenerInput{ListenerArn: l.ListenerArn}); err != nil {
				return c.explain("elasticloadbalancing:DeleteListener", err)
			}
		}
		if _, err := c.elb.DeleteLoadBalancer(ctx, &elasticloadbalancingv2.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}); err != nil {
			return c.explain("elasticloadbalancing:DeleteLoadBalancer", err)
		}
	}
	targets, err := c.targetGroup(ctx, name)
	if err != nil || targets == "" {
		return c.explain("elasticloadbalancing:DescribeTargetGroups", err)
	}
	return poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.elb.DeleteTargetGroup(ctx, &elasticloadbalancingv2.DeleteTargetGroupInput{TargetGroupArn: &targets})
		var inUse *elbtypes.ResourceInUseException      // the load balancer is still going
		var none *elbtypes.TargetGroupNotFoundException // it was deleted, and the answer was lost
		if errors.As(err, &inUse) {
			return false, nil
		}
		if errors.As(err, &none) {
			return true, nil
		}
		return err == nil, c.explain("elasticloadbalancing:DeleteTargetGroup", err)
	})
}

func (c *cloud) removeMap(ctx context.Context, name string) error {
	namespace, err := c.namespace(ctx, name)
	if err != nil || namespace == "" {
		return c.explain("servicediscovery:ListNamespaces", err)
	}
	service, err := c.mapService(ctx, namespace)
	if err != nil {
		return c.explain("servicediscovery:ListServices", err)
	}
	if service != "" {
		out, err := c.sd.ListInstances(ctx, &servicediscovery.ListInstancesInput{ServiceId: &service})
		if err != nil {
			return c.explain("servicediscovery:ListInstances", err)
		}
		for _, in := range out.Instances {
			gone, err := c.sd.DeregisterInstance(ctx, &servicediscovery.DeregisterInstanceInput{ServiceId: &service, InstanceId: in.Id})
			if err == nil {
				err = c.operation(ctx, gone.OperationId)
			}
			if err != nil {
				return c.explain("servicediscovery:DeregisterInstance", err)
			}
		}
		if _, err := c.sd.DeleteService(ctx, &servicediscovery.DeleteServiceInput{Id: &service}); err != nil {
			return c.explain("servicediscovery:DeleteService", err)
		}
	}
	out, err := c.sd.DeleteNamespace(ctx, &servicediscovery.DeleteNamespaceInput{Id: &namespace})
	if err == nil {
		err = c.operation(ctx, out.OperationId)
	}
	return c.explain("servicediscovery:DeleteNamespace", err)
}

// secretsOf returns the names of the secrets.
func (c *cloud) secretsOf(ctx context.Context, name string) (all []string, err error) {
	pages := secretsmanager.NewListSecretsPaginator(c.secrets, &secretsmanager.ListSecretsInput{
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{name + "/"}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, c.explain("secretsmanager:ListSecrets", err)
		}
		for _, s := range page.SecretList {
			if strings.HasPrefix(aws.ToString(s.Name), name+"/") { // an emulator may not look at the filter
				all = append(all, aws.ToString(s.Name))
			}
		}
	}
	return all, nil
}

func (c *cloud) removeSecrets(ctx context.Context, name string) error {
	all, err := c.secretsOf(ctx, name)
	if err != nil {
		return err
	}
	for _, secret := range all {
		_, err := c.secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &secret, ForceDeleteWithoutRecovery: aws.Bool(true)})
		if err != nil {
			return c.explain("secretsmanager:DeleteSecret", err)
		}
	}
	return nil
}

func (c *cloud) removeLogs(ctx context.Context, name string) error {
	for _, service := range []string{nodeService, apiService} {
		group := logGroup(name, service)
		_, err := c.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &group})
		var none *logtypes.ResourceNotFoundException
		if err != nil && !errors.As(err, &none) {
			return c.explain("logs:DeleteLogGroup", err)
		}
	}
	return nil
}

func (c *cloud) removeCluster(ctx context.Context, name string) error {
	found, err := c.hasCluster(ctx, name)
	if err != nil || !found {
		return c.explain("ecs:DescribeClusters", err)
	}
	return poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: &name})
		var services *types.ClusterContainsServicesException // they are still going
		var tasks *types.ClusterContainsTasksException
		if errors.As(err, &services) || errors.As(err, &tasks) {
			return false, nil
		}
		return err == nil, c.explain("ecs:DeleteCluster", err)
	})
}

// removeImages removes the repository, and the names that this machine's Docker has for
// what is in it.
func (c *cloud) removeImages(ctx context.Context, name string) error {
	repository, err := c.repository(ctx, name)
	if err != nil || repository == "" {
		return c.explain("ecr:DescribeRepositories", err)
	}
	names, err := localImages(ctx, repository)
	if err != nil {
		return err
	}
	for _, image := range names {
		if _, err := docker(ctx, nil, "image", "rm", image); err != nil && !strings.Contains(err.Error(), "No such image") {
			return err
		}
	}
	_, err = c.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &name, Force: true})
	var none *ecrtypes.RepositoryNotFoundException
	if errors.As(err, &none) {
		return nil
	}
	return c.explain("ecr:DeleteRepository", err)
}

// localImages returns what this machine's Docker calls images of a repository.
func localImages(ctx context.Context, repository string) (names []string, err error) {
	out, err := docker(ctx, nil, "image", "ls", "--digests", "--format", "{{.Tag}} {{.Digest}}", repository)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		tag, digest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case tag != "" && tag != "<none>":
			names = append(names, repository+":"+tag)
		case digest != "" && digest != "<none>":
			names = append(names, repository+"@"+digest)
		}
	}
	return names, nil
}

// left returns what there still is of a deployment, as the APIs and Docker tell of it.
func (c *cloud) left(ctx context.Context, name string) (all []string, err error) {
	note := func(found bool, what string) {
		if found {
			all = append(all, what)
		}
	}
	cluster, err := c.hasCluster(ctx, name)
	if err != nil {
		return nil, c.explain("ecs:DescribeClusters", err)
	}
	note(cluster, "cluster "+name)
	for _, status := range []types.TaskDefinitionStatus{types.TaskDefinitionStatusActive, types.TaskDefinitionStatusInactive} {
		arns, err := c.definitions(ctx, taskFamilies(name), status)
		if err != nil {
			return nil, err
		}
		for _, arn := range arns {
			note(true, "task definition "+last(arn))
		}
	}
	lb, err := c.balancer(ctx, name)
	if err != nil {
		return nil, c.explain("elasticloadbalancing:DescribeLoadBalancers", err)
	}
	note(lb.LoadBalancerArn != nil, "load balancer "+name)
	targets, err := c.targetGroup(ctx, name)
	if err != nil {
		return nil, c.explain("elasticloadbalancing:DescribeTargetGroups", err)
	}
	note(targets != "", "target group "+name)
	namespace, err := c.namespace(ctx, name)
	if err != nil {
		return nil, c.explain("servicediscovery:ListNamespaces", err)
	}
	note(namespace != "", "Cloud Map namespace "+name)
	secrets, err := c.secretsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, s := range secrets {
		note(true, "secret "+s)
	}
	buckets, err := c.bucketsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, b := range buckets {
		note(true, "bucket "+b)
	}
	for _, service := range []string{nodeService, apiService} {
		group := logGroup(name, service)
		found, err := c.hasLogGroup(ctx, group)
		if err != nil {
			return nil, c.explain("logs:DescribeLogGroups", err)
		}
		note(found, "log group "+group)
	}
	trials, err := c.leftOfTrials(ctx, name)
	if err != nil {
		return nil, err
	}
	all = append(all, trials...)
	return c.leftInDocker(ctx, name, all)
}

// leftInDocker adds what Docker still has of a deployment: containers, and images.
func (c *cloud) leftInDocker(ctx context.Context, name string, all []string) ([]string, error) {
	repository, err := c.repository(ctx, name)
	if err != nil {
		return nil, c.explain("ecr:DescribeRepositories", err)
	}
	if repository != "" {
		all = append(all, "ECR repository "+name)
	}
	if !c.emulated {
		return all, nil
	}
	containers, err := containersOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, one := range containers {
		all = append(all, "container "+one)
	}
	return all, nil
}
