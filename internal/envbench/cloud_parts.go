package envbench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// logDays is how long logs are kept.
const logDays = 7

// ensureCluster makes the cluster and its log groups.
func (c *cloud) ensureCluster(ctx context.Context, name string, changed *[]string) error {
	err := fresh(changed, "cluster "+name, func() (bool, error) { return c.hasCluster(ctx, name) }, func() error {
		_, err := c.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &name})
		return err
	})
	if err != nil {
		return c.explain("ecs:CreateCluster", err)
	}
	for _, service := range []string{nodeService, apiService} {
		group := logGroup(name, service)
		err := fresh(changed, "log group "+group, func() (bool, error) { return c.hasLogGroup(ctx, group) }, func() error {
			if _, err := c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
				return err
			}
			_, err := c.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &group, RetentionInDays: aws.Int32(logDays)})
			return err
		})
		if err != nil {
			return c.explain("logs:CreateLogGroup", err)
		}
	}
	return nil
}

func (c *cloud) hasLogGroup(ctx context.Context, group string) (bool, error) {
	out, err := c.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &group})
	if err != nil {
		return false, err
	}
	for _, g := range out.LogGroups {
		if aws.ToString(g.LogGroupName) == group {
			return true, nil
		}
	}
	return false, nil
}

func (c *cloud) hasCluster(ctx context.Context, name string) (bool, error) {
	out, err := c.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{name}})
	if err != nil {
		return false, err
	}
	return len(out.Clusters) > 0 && aws.ToString(out.Clusters[0].Status) == "ACTIVE", nil
}

// ensureMap makes the namespace and the service of Cloud Map in which nodes register.
func (c *cloud) ensureMap(ctx context.Context, name string, changed *[]string) error {
	err := fresh(changed, "Cloud Map namespace "+name, func() (bool, error) {
		id, err := c.namespace(ctx, name)
		return id != "", err
	}, func() error {
		out, err := c.sd.CreateHttpNamespace(ctx, &servicediscovery.CreateHttpNamespaceInput{Name: &name})
		if err != nil {
			return err
		}
		return c.operation(ctx, out.OperationId)
	})
	if err != nil {
		return c.explain("servicediscovery:CreateHttpNamespace", err)
	}
	namespace, err := c.namespace(ctx, name)
	if err != nil {
		return c.explain("servicediscovery:ListNamespaces", err)
	}
	err = fresh(changed, "Cloud Map service "+mapService, func() (bool, error) {
		id, err := c.mapService(ctx, namespace)
		return id != "", err
	}, func() error {
		_, err := c.sd.CreateService(ctx, &servicediscovery.CreateServiceInput{
			Name: aws.String(mapService), NamespaceId: &namespace,
		})
		return err
	})
	return c.explain("servicediscovery:CreateService", err)
}

// namespace returns the ID of a namespace; empty: there is none.
func (c *cloud) namespace(ctx context.Context, name string) (string, error) {
	pages := servicediscovery.NewListNamespacesPaginator(c.sd, &servicediscovery.ListNamespacesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, n := range page.Namespaces {
			if aws.ToString(n.Name) == name {
				return aws.ToString(n.Id), nil
			}
		}
	}
	return "", nil
}

// mapService returns the ID of the nodes' service in a namespace; empty: there is none.
func (c *cloud) mapService(ctx context.Context, namespace string) (string, error) {
	if namespace == "" {
		return "", nil
	}
	pages := servicediscovery.NewListServicesPaginator(c.sd, &servicediscovery.ListServicesInput{
		Filters: []sdtypes.ServiceFilter{{Name: sdtypes.ServiceFilterNameNamespaceId, Values: []string{namespace}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, s := range page.Services {
			if aws.ToString(s.Name) != mapService {
				continue
			}
			// An emulator may not look at the filter.
			full, err := c.sd.GetService(ctx, &servicediscovery.GetServiceInput{Id: s.Id})
			if err != nil {
				return "", err
			}
			if aws.ToString(full.Service.NamespaceId) == namespace {
				return aws.ToString(s.Id), nil
			}
		}
	}
	return "", nil
}

// operation waits for an operation of Cloud Map.
func (c *cloud) operation(ctx context.Context, id *string) error {
	return poll(ctx, func(ctx context.Context) (bool, error) {
		out, err := c.sd.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: id})
		switch {
		case err != nil:
			return false, err
		case out.Operation.Status == sdtypes.OperationStatusFail:
			return false, errors.New(aws.ToString(out.Operation.ErrorMessage))
		}
		return out.Operation.Status == sdtypes.OperationStatusSuccess, nil
	})
}

// ensureSecrets puts the secrets where tasks read them, and returns their ARNs by
// variable. Without a cluster's secret one is made, once.
func (c *cloud) ensureSecrets(ctx context.Context, d Deployment, changed *[]string) (map[string]string, error) {
	values, err := d.secrets()
	if err != nil {
		return nil, err
	}
	if _, given := values[secretVariable]; !given {
		if values[secretVariable], err = c.clusterSecret(ctx, d.Name); err != nil {
			return nil, err
		}
		if values[secretVariable] == "" {
			values[secretVariable] = newSecret()
		}
	}
	arns := make(map[string]string)
	for variable, value := range values {
		name := secretName(d.Name, variable)
		arn, have, err := c.secretValue(ctx, name)
		if err != nil {
			return nil, err
		}
		switch {
		case arn == "":
			var out *secretsmanager.CreateSecretOutput
			if out, err = c.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err == nil {
				arn = aws.ToString(out.ARN)
				*changed = append(*changed, "secret "+name+" is created")
			}
		case have != value:
			_, err = c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
			*changed = append(*changed, "secret "+name+" is changed")
		}
		if err != nil {
			return nil, c.explain("secretsmanager:CreateSecret", err)
		}
		arns[variable] = arn
	}
	return arns, nil
}

// newSecret returns a random secret.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// clusterSecret returns the cluster's secret; empty: there is none.
func (c *cloud) clusterSecret(ctx context.Context, name string) (string, error) {
	_, value, err := c.secretValue(ctx, secretName(name, secretVariable))
	return value, err
}

// secretValue returns a secret and its ARN, which is empty if there is none.
func (c *cloud) secretValue(ctx context.Context, name string) (arn, value string, err error) {
	out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	var none *smtypes.ResourceNotFoundException
	switch {
	case errors.As(err, &none):
		return "", "", nil
	case err != nil:
		return "", "", c.explain("secretsmanager:GetSecretValue", err)
	}
	return aws.ToString(out.ARN), aws.ToString(out.SecretString), nil
}

// ensureBalancer makes the load balancer, its target group and its listener, and returns
// the target group's ARN.
func (c *cloud) ensureBalancer(ctx context.Context, name string, n network, changed *[]string) (string, error) {
	var targets, balancer string
	err := fresh(changed, "target group "+name, func() (found bool, err error) {
		targets, err = c.targetGroup(ctx, name)
		return targets != "", err
	}, func() error {
		out, err := c.elb.CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{
			Name: &name, Port: aws.Int32(apiPort), Protocol: elbtypes.ProtocolEnumHttp, TargetType: elbtypes.TargetTypeEnumIp, VpcId: &n.VPC,
			HealthCheckPath: aws.String("/readyz"), HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2),
			HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(2),
		})
		if err == nil {
			targets = aws.ToString(out.TargetGroups[0].TargetGroupArn)
		}
		return err
	})
	if err != nil {
		return "", c.explain("elasticloadbalancing:CreateTargetGroup", err)
	}
	err = fresh(changed, "load balancer "+name, func() (bool, error) {
		lb, err := c.balancer(ctx, name)
		balancer = aws.ToString(lb.LoadBalancerArn)
		return balancer != "", err
	}, func() error {
		out, err := c.elb.CreateLoadBalancer(ctx, &elasticloadbalancingv2.CreateLoadBalancerInput{Name: &name, Subnets: n.Subnets})
		if err == nil {
			balancer = aws.ToString(out.LoadBalancers[0].LoadBalancerArn)
		}
		return err
	})
	if err != nil {
		return "", c.explain("elasticloadbalancing:CreateLoadBalancer", err)
	}
	err = fresh(changed, "listener of port 80", func() (bool, error) {
		out, err := c.elb.DescribeListeners(ctx, &elasticloadbalancingv2.DescribeListenersInput{LoadBalancerArn: &balancer})
		return err == nil && len(out.Listeners) > 0, err
	}, func() error {
		_, err := c.elb.CreateListener(ctx, &elasticloadbalancingv2.CreateListenerInput{
			LoadBalancerArn: &balancer, Port: aws.Int32(80), Protocol: elbtypes.ProtocolEnumHttp,
			DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &targets}},
		})
		return err
	})
	return targets, c.explain("elasticloadbalancing:CreateListener", err)
}

// targetGroup returns the ARN of a target group; empty: there is none.
func (c *cloud) targetGroup(ctx context.Context, name string) (string, error) {
	out, err := c.elb.DescribeTargetGroups(ctx, &elasticloadbalancingv2.DescribeTargetGroupsInput{Names: []string{name}})
	var none *elbtypes.TargetGroupNotFoundException
	switch {
	case errors.As(err, &none), err == nil && len(out.TargetGroups) == 0:
		return "", nil
	case err != nil:
		return "", err
	}
	return aws.ToString(out.TargetGroups[0].TargetGroupArn), nil
}

// balancer returns a load balancer; without an ARN: there is none.
func (c *cloud) balancer(ctx context.Context, name string) (elbtypes.LoadBalancer, error) {
	out, err := c.elb.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{Names: []string{name}})
	var none *elbtypes.LoadBalancerNotFoundException
	switch {
	case errors.As(err, &none), err == nil && len(out.LoadBalancers) == 0:
		return elbtypes.LoadBalancer{}, nil
	case err != nil:
		return elbtypes.LoadBalancer{}, err
	}
	return out.LoadBalancers[0], nil
}

// Secret returns the cluster's secret; empty: it has none.
func (c *cloud) Secret(ctx context.Context, name string) (string, error) {
	return c.clusterSecret(ctx, name)
}
