package envbench

import (
	"context"
	"errors"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	scaletypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// labCluster returns what the cluster is called in which things are tried for a deployment,
// and all beside it: no deployment can have such a name.
func labCluster(name string) string { return name + "_fidelity" }

// labSecret returns what the secret is called that trials make.
func labSecret(name string) string { return name + "/fidelity" }

// labBucket begins the names of the buckets that trials make; a moment follows.
func labBucket(name string) string { return name + "-fidelity-" }

// labFamilies are those of the trials' task definitions.
func labFamilies(name string) (all []string) {
	for _, what := range []string{labService, labMissing, labStopped} {
		all = append(all, labCluster(name)+"-"+what)
	}
	return all
}

// Sweep implements Sweeper.
func (c *cloud) Sweep(ctx context.Context, name string, pid int) error {
	return errors.Join(c.removeTrials(ctx, name), sweepImages(ctx, name, pid))
}

// removeTrials removes what trials have made that were not ended: it finds that by its names.
func (c *cloud) removeTrials(ctx context.Context, name string) error {
	var errs []error
	for _, remove := range []func(context.Context, string) error{
		c.removeScaling, c.removeLab, c.removeAlarm, c.removeLabBuckets, c.removeLabSecret, c.removeLabImages,
	} {
		errs = append(errs, remove(ctx, name))
	}
	errs = append(errs, c.removeMap(ctx, labCluster(name)), c.removeDefinitions(ctx, labFamilies(name)))
	return errors.Join(errs...)
}

// removeLab removes the trials' cluster with its services and tasks, and the containers that
// an emulator leaves of them.
func (c *cloud) removeLab(ctx context.Context, name string) error {
	l := &lab{c: c, name: name, cluster: labCluster(name), families: labFamilies(name), def: &types.TaskDefinition{}}
	found, err := c.hasCluster(ctx, l.cluster)
	if err != nil {
		return c.explain("ecs:DescribeClusters", err)
	}
	if !found {
		if !c.emulated {
			return nil
		}
		return poll(ctx, l.swept)
	}
	if full, err := c.lab(ctx, name); err == nil { // the deployment's log group has streams of it
		l.def = full.def
	}
	services, err := c.ecs.ListServices(ctx, &ecs.ListServicesInput{Cluster: &l.cluster})
	if err != nil {
		return c.explain("ecs:ListServices", err)
	}
	for _, arn := range services.ServiceArns {
		if err := l.remove(ctx, last(arn)); err != nil {
			return c.explain("ecs:DeleteService", err)
		}
	}
	tasks, err := l.tasks(ctx, types.DesiredStatusRunning)
	if err != nil {
		return c.explain("ecs:ListTasks", err)
	}
	for _, t := range tasks {
		if err := l.stop(ctx, last(aws.ToString(t.TaskArn))); err != nil {
			return c.explain("ecs:StopTask", err)
		}
	}
	return c.explain("ecs:DeleteCluster", l.empty(ctx))
}

// removeScaling removes the trials' policy and scalable target. Who does not tell of any has
// none.
func (c *cloud) removeScaling(ctx context.Context, name string) error {
	client := applicationautoscaling.NewFromConfig(c.config)
	l := &lab{c: c, cluster: labCluster(name)}
	out, err := client.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ResourceIds: []string{l.resource()},
	})
	if err != nil || len(out.ScalableTargets) == 0 {
		return ctx.Err()
	}
	policies, err := client.DescribeScalingPolicies(ctx, &applicationautoscaling.DescribeScalingPoliciesInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ResourceId: aws.String(l.resource()),
	})
	if err == nil && len(policies.ScalingPolicies) > 0 {
		err = l.deletePolicy(ctx)
	}
	return errors.Join(err, l.deregister(ctx))
}

// removeAlarm removes the trials' alarm. Who does not tell of any has none.
func (c *cloud) removeAlarm(ctx context.Context, name string) error {
	client, alarm := cloudwatch.NewFromConfig(c.config), labCluster(name)
	out, err := client.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{alarm}})
	if err != nil || len(out.MetricAlarms) == 0 {
		return ctx.Err()
	}
	_, err = client.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{alarm}})
	return c.explain("cloudwatch:DeleteAlarms", err)
}

// labBuckets returns the buckets of trials.
func (c *cloud) labBuckets(ctx context.Context, name string) (all []string, err error) {
	own := regexp.MustCompile("^" + regexp.QuoteMeta(labBucket(name)) + `\d{19}$`)
	pages := s3.NewListBucketsPaginator(c.s3, &s3.ListBucketsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, c.explain("s3:ListBuckets", err)
		}
		for _, b := range page.Buckets {
			if own.MatchString(aws.ToString(b.Name)) {
				all = append(all, aws.ToString(b.Name))
			}
		}
	}
	return all, nil
}

func (c *cloud) removeLabBuckets(ctx context.Context, name string) error {
	buckets, err := c.labBuckets(ctx, name)
	for _, b := range buckets {
		err = errors.Join(err, c.removeBucket(ctx, b))
	}
	return err
}

func (c *cloud) removeLabSecret(ctx context.Context, name string) error {
	secret := labSecret(name)
	arn, _, err := c.secretValue(ctx, secret)
	if err != nil || arn == "" {
		return err
	}
	_, err = c.secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &secret, ForceDeleteWithoutRecovery: aws.Bool(true)})
	return c.explain("secretsmanager:DeleteSecret", err)
}

func (c *cloud) removeLabImages(ctx context.Context, name string) error {
	repository := labCluster(name)
	found, err := c.repository(ctx, repository)
	if err != nil || found == "" {
		return c.explain("ecr:DescribeRepositories", err)
	}
	_, err = c.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &repository, Force: true})
	return c.explain("ecr:DeleteRepository", err)
}

// leftOfTrials returns what there is of trials.
func (c *cloud) leftOfTrials(ctx context.Context, name string) (all []string, err error) {
	found, err := c.hasCluster(ctx, labCluster(name))
	if err != nil {
		return nil, c.explain("ecs:DescribeClusters", err)
	}
	if found {
		all = append(all, "cluster "+labCluster(name))
	}
	for _, status := range []types.TaskDefinitionStatus{types.TaskDefinitionStatusActive, types.TaskDefinitionStatusInactive} {
		arns, err := c.definitions(ctx, labFamilies(name), status)
		if err != nil {
			return nil, err
		}
		for _, arn := range arns {
			all = append(all, "task definition "+last(arn))
		}
	}
	buckets, err := c.labBuckets(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, b := range buckets {
		all = append(all, "bucket "+b)
	}
	namespace, err := c.namespace(ctx, labCluster(name))
	if err != nil {
		return nil, c.explain("servicediscovery:ListNamespaces", err)
	}
	if namespace != "" {
		all = append(all, "Cloud Map namespace "+labCluster(name))
	}
	return all, nil
}
