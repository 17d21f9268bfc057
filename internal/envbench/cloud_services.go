package envbench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The labels of a container that later runs read.
const (
	labelDigest = "geecache.digest" // of its task definition
	labelImage  = "geecache.image"  // as the user called it
	labelHello  = "geecache.hello"
)

// What a task gets: the smallest that Fargate has.
const (
	taskCPU    = "256"
	taskMemory = "512"
)

// How often nodes ask an emulator's Cloud Map, which costs nothing there; and how long
// they have to end: it kills them after 5 s, where ECS waits 30.
const (
	emulatorInterval = "200ms"
	emulatorDrain    = "4s"
	emulatorHandoff  = "2s"
)

// environ returns the environment of a service's tasks, secrets aside.
func (c *cloud) environ(d Deployment, service string) map[string]string {
	env := map[string]string{"AWS_REGION": c.Region}
	if c.emulated { // the address where a task would get its credentials is one that the SDK refuses
		env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"] = emulatorKey, emulatorKey
	}
	env["GEECACHE_LISTEN"] = "0.0.0.0:" + strconv.Itoa(int(port(service)))
	env["GEECACHE_CLUSTER_ID"] = d.Name
	env["GEECACHE_LOG_FORMAT"] = "json"
	env["GEECACHE_REGISTRY"] = c.registry(d)
	if c.emulated {
		env["GEECACHE_DRAIN_TIMEOUT"], env["GEECACHE_HANDOFF_TIME"] = emulatorDrain, emulatorHandoff
	}
	if service == apiService {
		env["GEECACHE_ROLE"] = "client"
		env["GEECACHE_INSECURE"] = "true" // the API is open to whom the load balancer lets in; peers prove the secret
		return env
	}
	for _, v := range d.variables() {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

// registry returns the URL of what tasks find each other through.
func (c *cloud) registry(d Deployment) string {
	switch d.Registry {
	case "ecs":
		return fmt.Sprintf("ecs://%s/%s%s", d.Name, family(d.Name, nodeService), c.interval("?"))
	case "", "cloudmap":
		return fmt.Sprintf("cloudmap://%s/%s?register=true%s", d.Name, mapService, c.interval("&"))
	}
	return d.Registry
}

func (c *cloud) interval(separator string) string {
	if !c.emulated {
		return ""
	}
	return separator + "interval=" + emulatorInterval
}

// container returns what a service's tasks run.
func (c *cloud) container(d Deployment, service, image string, secrets map[string]string) types.ContainerDefinition {
	def := types.ContainerDefinition{
		Name: aws.String(containerName), Image: &image, Essential: aws.Bool(true), StopTimeout: aws.Int32(30),
		ReadonlyRootFilesystem: aws.Bool(true),
		PortMappings:           []types.PortMapping{{ContainerPort: aws.Int32(port(service)), Protocol: types.TransportProtocolTcp}},
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": logGroup(d.Name, service), "awslogs-region": c.Region, "awslogs-stream-prefix": logPrefix,
		}},
		DockerLabels: map[string]string{labelImage: d.Image, labelHello: strconv.FormatBool(d.Hello)},
	}
	if d.Hello {
		def.Environment = []types.KeyValuePair{{Name: aws.String("PORT"), Value: aws.String(strconv.Itoa(int(port(service))))}}
		return def
	}
	env := c.environ(d, service)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		def.Environment = append(def.Environment, types.KeyValuePair{Name: aws.String(name), Value: aws.String(env[name])})
	}
	for _, variable := range slices.Sorted(maps.Keys(secrets)) {
		if service == nodeService || variable == secretVariable {
			def.Secrets = append(def.Secrets, types.Secret{Name: aws.String(variable), ValueFrom: aws.String(secrets[variable])})
		}
	}
	def.HealthCheck = &types.HealthCheck{
		Command:  []string{"CMD", "/geecache", "health"},
		Interval: aws.Int32(5), Timeout: aws.Int32(3), Retries: aws.Int32(3), StartPeriod: aws.Int32(10),
	}
	return def
}

// ensureTasks registers a task definition, unless the newest one of the family is the
// same. It returns its ARN.
func (c *cloud) ensureTasks(ctx context.Context, d Deployment, service string, def types.ContainerDefinition, changed *[]string) (string, error) {
	name := family(d.Name, service)
	in := &ecs.RegisterTaskDefinitionInput{
		Family: &name, NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String(taskCPU), Memory: aws.String(taskMemory),
	}
	is := digest([]any{in, def})
	def.DockerLabels[labelDigest] = is
	in.ContainerDefinitions = []types.ContainerDefinition{def}
	newest, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
	var refused *types.ClientException // there is none
	switch {
	case errors.As(err, &refused):
	case err != nil:
		return "", c.explain("ecs:DescribeTaskDefinition", err)
	case newest.TaskDefinition.Status == types.TaskDefinitionStatusActive && labels(newest.TaskDefinition)[labelDigest] == is:
		return aws.ToString(newest.TaskDefinition.TaskDefinitionArn), nil
	}
	out, err := c.ecs.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return "", c.explain("ecs:RegisterTaskDefinition", err)
	}
	*changed = append(*changed, fmt.Sprintf("task definition %s:%d is registered", name, out.TaskDefinition.Revision))
	return aws.ToString(out.TaskDefinition.TaskDefinitionArn), nil
}

// labels returns those of a task definition's container.
func labels(def *types.TaskDefinition) map[string]string {
	if def == nil || len(def.ContainerDefinitions) == 0 {
		return nil
	}
	return def.ContainerDefinitions[0].DockerLabels
}

// service returns a service that is active; nil: there is none.
func (c *cloud) service(ctx context.Context, cluster, service string) (*types.Service, error) {
	out, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: []string{family(cluster, service)}})
	var none *types.ClusterNotFoundException
	switch {
	case errors.As(err, &none):
		return nil, nil
	case err != nil:
		return nil, c.explain("ecs:DescribeServices", err)
	case len(out.Services) == 0 || aws.ToString(out.Services[0].Status) != "ACTIVE":
		return nil, nil
	}
	return &out.Services[0], nil
}

// ensureService makes a service run so many tasks of a definition. targets is the ARN of
// the target group that its tasks are in; empty: none.
func (c *cloud) ensureService(ctx context.Context, d Deployment, service, tasks, targets string, count int, n network, changed *[]string) error {
	desired, name := aws.Int32(int32(count)), family(d.Name, service)
	now, err := c.service(ctx, d.Name, service)
	switch {
	case err != nil:
		return err
	case now == nil:
		in := &ecs.CreateServiceInput{
			Cluster: &d.Name, ServiceName: &name, TaskDefinition: &tasks, DesiredCount: desired, LaunchType: types.LaunchTypeFargate,
			NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: n.Subnets}},
			DeploymentConfiguration: &types.DeploymentConfiguration{
				MaximumPercent: aws.Int32(200), MinimumHealthyPercent: aws.Int32(100),
				DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
			},
		}
		if targets != "" {
			in.LoadBalancers = []types.LoadBalancer{{TargetGroupArn: &targets, ContainerName: aws.String(containerName), ContainerPort: aws.Int32(port(service))}}
		}
		if _, err := c.ecs.CreateService(ctx, in); err != nil {
			return c.explain("ecs:CreateService", err)
		}
		*changed = append(*changed, fmt.Sprintf("service %s with %d tasks is created", service, count))
		return nil
	case aws.ToString(now.TaskDefinition) == tasks && int(now.DesiredCount) == count && !stuck(now):
		return nil
	}
	_, err = c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{
		Cluster: &d.Name, Service: &name, TaskDefinition: &tasks, DesiredCount: desired, ForceNewDeployment: stuck(now),
	})
	if err != nil {
		return c.explain("ecs:UpdateService", err)
	}
	if stuck(now) {
		*changed = append(*changed, fmt.Sprintf("service %s, whose deployment had failed, is deployed once more", service))
	}
	if old := aws.ToString(now.TaskDefinition); old != tasks {
		*changed = append(*changed, fmt.Sprintf("service %s goes from %s to %s", service, last(old), last(tasks)))
	}
	if int(now.DesiredCount) != count {
		*changed = append(*changed, fmt.Sprintf("service %s goes from %d tasks to %d", service, now.DesiredCount, count))
	}
	return nil
}

// stuck reports whether a service's newest deployment has failed, with nothing to go back
// to: it starts no more tasks by itself.
func stuck(s *types.Service) bool {
	return slices.ContainsFunc(s.Deployments, func(d types.Deployment) bool {
		return aws.ToString(d.Status) == "PRIMARY" && d.RolloutState == types.DeploymentRolloutStateFailed
	})
}
