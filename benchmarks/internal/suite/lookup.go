package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/geecache/geecache/internal/stat"
	"github.com/geecache/geecache/registry/cloudmap"
)

const (
	lookups         = 200 // in a repetition
	lookupInstances = 10
	region          = "us-east-1"
)

// An emulator is one of AWS's APIs; its address is in the environment, and its
// version in the variable with _VERSION behind it.
type emulator struct{ name, variable string }

func emulators() []emulator {
	return []emulator{{"MiniStack", "GEECACHE_TEST_MINISTACK"}, {"moto", "GEECACHE_TEST_MOTO"}}
}

// lookupGroup measures what registry/cloudmap does in the background. The point's
// number is how many instances are read.
func lookupGroup() Group {
	g := Group{
		Name: "lookup", Title: "Cloud Map: a lookup in the background", Units: []string{"p50 ms", "p99 ms"},
		Points: []Point{{"revision unchanged", 0}, {"ten instances read", lookupInstances}},
	}
	for _, e := range emulators() {
		g.Subjects = append(g.Subjects, Subject{e.name, func(ctx context.Context, s Scale) (Measurer, error) {
			return newLookupMeasurer(ctx, s, os.Getenv(e.variable))
		}})
	}
	return g
}

// A lookupMeasurer looks up a service with ten instances.
type lookupMeasurer struct {
	scale          Scale
	unchanged, all *cloudmap.Registry // with the last instances, and reading them each time
}

func newLookupMeasurer(ctx context.Context, s Scale, endpoint string) (_ Measurer, err error) {
	name, err := newService(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	open := func(refresh time.Duration) (*cloudmap.Registry, error) {
		return cloudmap.Open(ctx, cloudmap.Config{
			Namespace: name, Service: name, Region: region, Endpoint: endpoint, Refresh: refresh, Logger: quietLogger(),
		})
	}
	m := &lookupMeasurer{scale: s}
	if m.unchanged, err = open(time.Hour); err != nil {
		return nil, err
	}
	if m.all, err = open(time.Nanosecond); err != nil {
		return nil, errors.Join(err, m.unchanged.Close())
	}
	return m, nil
}

// newService makes a service with instances, in a namespace of the same name, which
// it returns.
func newService(ctx context.Context, endpoint string) (name string, err error) {
	client := servicediscovery.New(servicediscovery.Options{
		Region: region, BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "bench", SecretAccessKey: "bench"}, nil
		}),
	})
	name = fmt.Sprintf("bench-%d", time.Now().UnixNano())
	made, err := client.CreateHttpNamespace(ctx, &servicediscovery.CreateHttpNamespaceInput{Name: &name})
	if err != nil {
		return "", err
	}
	done, err := awaitOperation(ctx, client, made.OperationId)
	if err != nil {
		return "", err
	}
	service, err := client.CreateService(ctx, &servicediscovery.CreateServiceInput{
		Name: &name, NamespaceId: aws.String(done.Targets[string(types.OperationTargetTypeNamespace)]),
		HealthCheckCustomConfig: &types.HealthCheckCustomConfig{},
	})
	if err != nil {
		return "", err
	}
	for i := range lookupInstances {
		put, err := client.RegisterInstance(ctx, &servicediscovery.RegisterInstanceInput{
			ServiceId: service.Service.Id, InstanceId: aws.String(fmt.Sprint("node-", i)),
			Attributes: map[string]string{"AWS_INSTANCE_IPV4": fmt.Sprint("10.0.0.", i+1), "AWS_INSTANCE_PORT": "8001"},
		})
		if err != nil {
			return "", err
		}
		if _, err := awaitOperation(ctx, client, put.OperationId); err != nil {
			return "", err
		}
	}
	return name, nil
}

// awaitOperation returns an operation once it has succeeded.
func awaitOperation(ctx context.Context, client *servicediscovery.Client, id *string) (*types.Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := client.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: id})
		if err != nil {
			return nil, err
		}
		switch out.Operation.Status {
		case types.OperationStatusSuccess:
			return out.Operation, nil
		case types.OperationStatusFail:
			return nil, fmt.Errorf("operation %s: %s", *id, cmp.Or(aws.ToString(out.Operation.ErrorMessage), "failed"))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("operation %s: %w", *id, context.Cause(ctx))
		}
	}
}

// Measure looks the instances up again and again, without a pause.
func (m *lookupMeasurer) Measure(ctx context.Context, p Point) (Values, error) {
	r := m.unchanged
	if p.N > 0 {
		r = m.all
	}
	var took []float64 // ms
	for i := range m.scale.pick(lookups, 5) + 1 {
		d, err := lookup(ctx, r)
		if err != nil {
			return nil, err
		}
		if i > 0 { // before it nothing was known
			took = append(took, micros(d)/1000)
		}
	}
	return Values{"p50 ms": stat.Median(took), "p99 ms": stat.Quantile(took, 0.99)}, nil
}

// lookup returns how long one takes: a watch begins with it.
func lookup(ctx context.Context, r *cloudmap.Registry) (took time.Duration, err error) {
	begun := time.Now()
	for members, err := range r.Watch(ctx) {
		took = time.Since(begun)
		if err == nil && len(members) != lookupInstances {
			err = fmt.Errorf("%d instances were found, want %d", len(members), lookupInstances)
		}
		return took, err
	}
	return 0, ctx.Err()
}

// Close closes the connections.
func (m *lookupMeasurer) Close() error { return errors.Join(m.unchanged.Close(), m.all.Close()) }
