package envbench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	scaletypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// insightsNamespace is where ECS's own metrics are.
const insightsNamespace = "ECS/ContainerInsights"

// withServices are trials of what is not ECS.
func (l *lab) withServices() []trial {
	return []trial{
		{"servicediscovery:RegisterInstance, DiscoverInstances", l.tryMap},
		{"cloudwatch:PutMetricData", l.tryMetric},
		{"alarms fire", l.tryAlarm},
		{"EMF in logs becomes metrics", l.tryEMF},
		{"secretsmanager:PutSecretValue", l.trySecretValue},
		{"s3: snapshots are kept", l.tryBucket},
		{"ecr:PutLifecyclePolicy", l.tryLifecycle},
		{"ecr: images are scanned", l.tryScan},
	}
}

func (l *lab) resource() string { return "service/" + l.cluster + "/" + labService }

// scalable makes the lab's service one that Application Auto Scaling may scale.
func (l *lab) scalable(ctx context.Context, least, most int32) (arn string, err error) {
	out, err := applicationautoscaling.NewFromConfig(l.c.config).RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ScalableDimension: scaletypes.ScalableDimensionECSServiceDesiredCount,
		ResourceId: aws.String(l.resource()), MinCapacity: &least, MaxCapacity: &most,
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ScalableTargetARN), nil
}

func (l *lab) tryScalable(ctx context.Context) (outcome, error) {
	arn, err := l.scalable(ctx, 1, 3)
	if err != nil {
		return outcome{}, err
	}
	client := applicationautoscaling.NewFromConfig(l.c.config)
	l.later(l.deregister)
	out, err := client.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{ServiceNamespace: scaletypes.ServiceNamespaceEcs, ResourceIds: []string{l.resource()}})
	if err != nil {
		return outcome{}, err
	}
	if len(out.ScalableTargets) == 0 {
		return accepted("the target %s is in no list", arn)
	}
	return done("DescribeScalableTargets has %s", l.resource())
}

// deregister takes back what scalable has done.
func (l *lab) deregister(ctx context.Context) error {
	_, err := applicationautoscaling.NewFromConfig(l.c.config).DeregisterScalableTarget(ctx, &applicationautoscaling.DeregisterScalableTargetInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ScalableDimension: scaletypes.ScalableDimensionECSServiceDesiredCount, ResourceId: aws.String(l.resource()),
	})
	return err
}

// scalingPolicy keeps the average CPU of the lab's service at a target, and returns the names
// of the alarms that were made for it.
func (l *lab) scalingPolicy(ctx context.Context, target float64) (alarms []string, err error) {
	out, err := applicationautoscaling.NewFromConfig(l.c.config).PutScalingPolicy(ctx, &applicationautoscaling.PutScalingPolicyInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ScalableDimension: scaletypes.ScalableDimensionECSServiceDesiredCount,
		ResourceId: aws.String(l.resource()), PolicyName: aws.String(l.cluster + "-cpu"), PolicyType: scaletypes.PolicyTypeTargetTrackingScaling,
		TargetTrackingScalingPolicyConfiguration: &scaletypes.TargetTrackingScalingPolicyConfiguration{
			TargetValue: &target, ScaleOutCooldown: aws.Int32(60), ScaleInCooldown: aws.Int32(300),
			PredefinedMetricSpecification: &scaletypes.PredefinedMetricSpecification{PredefinedMetricType: scaletypes.MetricTypeECSServiceAverageCPUUtilization},
		},
	})
	if err != nil {
		return nil, err
	}
	for _, a := range out.Alarms {
		alarms = append(alarms, aws.ToString(a.AlarmName))
	}
	return alarms, nil
}

// deletePolicy takes back what scalingPolicy has done.
func (l *lab) deletePolicy(ctx context.Context) error {
	_, err := applicationautoscaling.NewFromConfig(l.c.config).DeleteScalingPolicy(ctx, &applicationautoscaling.DeleteScalingPolicyInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ScalableDimension: scaletypes.ScalableDimensionECSServiceDesiredCount,
		ResourceId: aws.String(l.resource()), PolicyName: aws.String(l.cluster + "-cpu"),
	})
	return err
}

// busyTarget is one that a task which does nothing exceeds: percent of its CPU.
const busyTarget = 0.05

func (l *lab) tryPolicy(ctx context.Context) (outcome, error) {
	alarms, err := l.scalingPolicy(ctx, busyTarget)
	if err != nil {
		return outcome{}, err
	}
	l.later(l.deletePolicy)
	if len(alarms) == 0 {
		return accepted("the policy has no alarms: nothing can trigger it")
	}
	return done("%d alarms were made for it", len(alarms))
}

// tryTrigger looks whether the service grows, whose tasks use more than the policy's target.
func (l *lab) tryTrigger(ctx context.Context) (outcome, error) {
	out, err := applicationautoscaling.NewFromConfig(l.c.config).DescribeScalingPolicies(ctx, &applicationautoscaling.DescribeScalingPoliciesInput{
		ServiceNamespace: scaletypes.ServiceNamespaceEcs, ResourceId: aws.String(l.resource()),
	})
	if err != nil {
		return outcome{}, err
	}
	if len(out.ScalingPolicies) == 0 {
		return untried("there is no scaling policy")
	}
	return comes(ctx, l.within(90*time.Second, 7*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		if l.c.emulated { // which measures no CPU
			if err := l.putMetric(ctx, "AWS/ECS", "CPUUtilization", 90, "ClusterName", l.cluster, "ServiceName", labService); err != nil {
				return false, "", err
			}
		}
		s, err := l.service(ctx)
		if err != nil {
			return false, "", err
		}
		return s.DesiredCount > 1, fmt.Sprintf("the CPU's average is over the target of %g percent, and %d tasks are desired of 1 to 3", busyTarget, s.DesiredCount), nil
	})
}

func (l *lab) tryInsights(ctx context.Context) (outcome, error) {
	is, err := l.c.WatchContainers(ctx, l.cluster)
	if err != nil {
		return outcome{}, err
	}
	return comes(ctx, l.within(10*time.Second, 3*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		names, err := l.c.metricNames(ctx, insightsNamespace, "ClusterName", l.cluster)
		return len(names) > 0, fmt.Sprintf("%s, and CloudWatch has %d metrics of the cluster, whose tasks run, in %s", is, len(names), insightsNamespace), err
	})
}

// discover asks for the instances in the lab's namespace, as nodes do.
func (l *lab) discover(ctx context.Context) (*servicediscovery.DiscoverInstancesOutput, error) {
	return l.c.sd.DiscoverInstances(ctx, &servicediscovery.DiscoverInstancesInput{
		NamespaceName: &l.cluster, ServiceName: aws.String(mapService), HealthStatus: sdtypes.HealthStatusFilterAll,
	})
}

// tryMap registers an instance, and looks it up.
func (l *lab) tryMap(ctx context.Context) (outcome, error) {
	namespace, err := l.c.namespace(ctx, l.cluster)
	if err != nil || namespace == "" {
		return untried("there is no namespace %s", l.cluster)
	}
	service, err := l.c.mapService(ctx, namespace)
	if err != nil {
		return outcome{}, err
	}
	in, err := l.c.sd.RegisterInstance(ctx, &servicediscovery.RegisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String("trial"), Attributes: map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "8001"},
	})
	if err == nil {
		err = l.c.operation(ctx, in.OperationId)
	}
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		out, e := l.c.sd.DeregisterInstance(ctx, &servicediscovery.DeregisterInstanceInput{ServiceId: &service, InstanceId: aws.String("trial")})
		if e == nil {
			_ = l.c.operation(ctx, out.OperationId) // who deletes the service is told of it
		}
	}()
	return comes(ctx, l.within(5*time.Second, time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := l.discover(ctx)
		if err != nil {
			return false, "", err
		}
		for _, i := range out.Instances {
			if aws.ToString(i.InstanceId) == "trial" {
				return true, "an instance that was registered is found", nil
			}
		}
		return false, fmt.Sprintf("an instance was registered, and is not among %d", len(out.Instances)), nil
	})
}

// cloudWatch returns a client that speaks the oldest protocol, as a node's forwarder does.
func (l *lab) cloudWatch() *cloudwatch.Client {
	return cloudwatch.NewFromConfig(l.c.config, func(o *cloudwatch.Options) {
		o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801)
		o.DisableRequestCompression = l.c.emulated // not all of them undo one
	})
}

// putMetric sends one value. dimensions are names and values in turn.
func (l *lab) putMetric(ctx context.Context, namespace, name string, value float64, dimensions ...string) error {
	datum := cwtypes.MetricDatum{MetricName: &name, Value: &value, Timestamp: aws.Time(time.Now())}
	for i := 0; i+1 < len(dimensions); i += 2 {
		datum.Dimensions = append(datum.Dimensions, cwtypes.Dimension{Name: &dimensions[i], Value: &dimensions[i+1]})
	}
	_, err := l.cloudWatch().PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: &namespace, MetricData: []cwtypes.MetricDatum{datum}})
	return err
}

// metricsNamespace is where trials put metrics. CloudWatch forgets them by itself.
const metricsNamespace = "GeeCache/Fidelity"

func (l *lab) tryMetric(ctx context.Context) (outcome, error) {
	if err := l.putMetric(ctx, metricsNamespace, "Trial", 1, "ClusterName", l.cluster); err != nil {
		return outcome{}, err
	}
	return l.listed(ctx, "Trial")
}

// listed waits until CloudWatch tells of a metric that was sent.
func (l *lab) listed(ctx context.Context, metric string) (outcome, error) {
	return comes(ctx, l.within(10*time.Second, 2*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		names, err := l.c.metricNames(ctx, metricsNamespace, "ClusterName", l.cluster)
		return slices.Contains(names, metric), fmt.Sprintf("the metric %s was sent, and cloudwatch:ListMetrics has %q", metric, names), err
	})
}

func (l *lab) tryAlarm(ctx context.Context) (outcome, error) {
	client, name := l.cloudWatch(), l.cluster
	_, err := client.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, Namespace: aws.String(metricsNamespace), MetricName: aws.String("Trial"), Statistic: cwtypes.StatisticMaximum,
		Dimensions: []cwtypes.Dimension{{Name: aws.String("ClusterName"), Value: &l.cluster}},
		Period:     aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(10), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
	})
	if err != nil {
		return outcome{}, err
	}
	l.later(func(ctx context.Context) error {
		_, err := client.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{name}})
		return err
	})
	if err := l.putMetric(ctx, metricsNamespace, "Trial", 100, "ClusterName", l.cluster); err != nil {
		return outcome{}, err
	}
	return comes(ctx, l.within(30*time.Second, 3*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := client.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}})
		if err != nil || len(out.MetricAlarms) == 0 {
			return false, "the alarm is in no list", err
		}
		is := out.MetricAlarms[0].StateValue
		return is == cwtypes.StateValueAlarm, fmt.Sprintf("the metric is over the threshold, and the alarm is %s", is), nil
	})
}

// tryEMF logs a line from which CloudWatch is to take a metric.
func (l *lab) tryEMF(ctx context.Context) (outcome, error) {
	group, stream := l.logGroup(), labStreams+"/emf"
	if group == "" {
		return untried("the nodes have no log group")
	}
	if _, err := l.c.logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
		return outcome{}, err
	}
	now := time.Now().UnixMilli() // the stream goes with the others
	line := fmt.Sprintf(`{"_aws":{"Timestamp":%d,"CloudWatchMetrics":[{"Namespace":%q,"Dimensions":[["ClusterName"]],"Metrics":[{"Name":"Logged"}]}]},"ClusterName":%q,"Logged":1}`,
		now, metricsNamespace, l.cluster)
	_, err := l.c.logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: &group, LogStreamName: &stream, LogEvents: []logtypes.InputLogEvent{{Message: &line, Timestamp: &now}},
	})
	if err != nil {
		return outcome{}, err
	}
	return l.listed(ctx, "Logged")
}

func (l *lab) trySecretValue(ctx context.Context) (outcome, error) {
	name := labSecret(l.name)
	if _, err := l.c.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("old")}); err != nil {
		return outcome{}, err
	}
	l.later(func(ctx context.Context) error {
		_, err := l.c.secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
		return err
	})
	if _, err := l.c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("new")}); err != nil {
		return outcome{}, err
	}
	_, value, err := l.c.secretValue(ctx, name)
	if err != nil || value != "new" {
		return outcome{}, fmt.Errorf("the secret is %q: %w", value, err)
	}
	return done("a secret that was changed is the new one")
}

// tryBucket keeps, reads and removes an object in a bucket of its own.
func (l *lab) tryBucket(ctx context.Context) (outcome, error) {
	bucket, key := fmt.Sprintf("%s%d", labBucket(l.name), time.Now().UnixNano()), aws.String("a/b")
	in := &s3.CreateBucketInput{Bucket: &bucket}
	if l.c.Region != "us-east-1" {
		in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(l.c.Region)}
	}
	if _, err := l.c.s3.CreateBucket(ctx, in); err != nil {
		return outcome{}, err
	}
	l.later(func(ctx context.Context) error {
		_, err := l.c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: key})
		if err == nil {
			_, err = l.c.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
		}
		return err
	})
	if _, err := l.c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: key, Body: strings.NewReader("kept")}); err != nil {
		return outcome{}, err
	}
	out, err := l.c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: key})
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = out.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(out.Body, maxAnswer))
	if err != nil {
		return outcome{}, err
	}
	if string(text) != "kept" {
		return accepted("an object that was put is %q", text)
	}
	return done("an object that was put is the same when it is read")
}

// repository makes a repository of images that is scanned on push.
func (l *lab) imageRepository(ctx context.Context) error {
	_, err := l.c.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &l.cluster, ImageScanningConfiguration: &ecrtypes.ImageScanningConfiguration{ScanOnPush: true}})
	if err == nil {
		l.later(func(ctx context.Context) error {
			_, err := l.c.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &l.cluster, Force: true})
			return err
		})
	}
	return err
}

func (l *lab) tryLifecycle(ctx context.Context) (outcome, error) {
	if err := l.imageRepository(ctx); err != nil {
		return outcome{}, err
	}
	const policy = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	if _, err := l.c.ecr.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &l.cluster, LifecyclePolicyText: aws.String(policy)}); err != nil {
		return outcome{}, err
	}
	out, err := l.c.ecr.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: &l.cluster})
	if err != nil {
		return outcome{}, err
	}
	if !strings.Contains(aws.ToString(out.LifecyclePolicyText), "imageCountMoreThan") {
		return accepted("the repository does not have the policy that it was given")
	}
	return done("the repository has the policy that it was given; that it removes images was not waited for: AWS takes up to 24 hours")
}

// tryScan asks for a scan of the deployment's image.
func (l *lab) tryScan(ctx context.Context) (outcome, error) {
	image := aws.ToString(l.def.ContainerDefinitions[0].Image)
	repository, digest, found := strings.Cut(image, "@")
	_, name, slash := strings.Cut(repository, "/")
	if !found || !slash {
		return untried("tasks run %s, which has no digest", image)
	}
	id := &ecrtypes.ImageIdentifier{ImageDigest: &digest}
	if _, err := l.c.ecr.StartImageScan(ctx, &ecr.StartImageScanInput{RepositoryName: &name, ImageId: id}); err != nil {
		return outcome{}, err
	}
	return comes(ctx, l.within(10*time.Second, 3*time.Minute), l.every, func(ctx context.Context) (bool, string, error) {
		out, err := l.c.ecr.DescribeImageScanFindings(ctx, &ecr.DescribeImageScanFindingsInput{RepositoryName: &name, ImageId: id})
		if err != nil || out.ImageScanStatus == nil {
			return false, "there is no scan", err
		}
		return out.ImageScanStatus.Status == ecrtypes.ScanStatusComplete, fmt.Sprintf("a scan was asked for, and is %s", out.ImageScanStatus.Status), nil
	})
}
