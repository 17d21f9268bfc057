package envbench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/geecache/geecache/internal/registries"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/cloudmap"
	"github.com/geecache/geecache/registry/dns"
	ecsregistry "github.com/geecache/geecache/registry/ecs"
)

// SeekLogs implements LogSeeker: the logs' API has them.
func (c *cloud) SeekLogs(ctx context.Context, name, text string) (LogView, error) {
	v := LogView{Place: "CloudWatch Logs, " + logGroup(name, nodeService) + " and " + logGroup(name, apiService),
		Streams: make(map[string]int), Events: make(map[string]int)}
	for _, service := range []string{nodeService, apiService} {
		group := logGroup(name, service)
		streams := cloudwatchlogs.NewDescribeLogStreamsPaginator(c.logs, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: &group})
		for streams.HasMorePages() {
			page, err := streams.NextPage(ctx)
			var none *logtypes.ResourceNotFoundException
			if errors.As(err, &none) {
				return v, ErrAbsent
			} else if err != nil {
				return v, c.explain("logs:DescribeLogStreams", err)
			}
			v.Streams[service] += len(page.LogStreams)
		}
		events := cloudwatchlogs.NewFilterLogEventsPaginator(c.logs, &cloudwatchlogs.FilterLogEventsInput{
			LogGroupName: &group, FilterPattern: aws.String(`"` + text + `"`),
		})
		for events.HasMorePages() {
			page, err := events.NextPage(ctx)
			if err != nil {
				return v, c.explain("logs:FilterLogEvents", err)
			}
			for _, e := range page.Events {
				if strings.Contains(aws.ToString(e.Message), text) { // an emulator may not look at the pattern
					v.Events[aws.ToString(e.LogStreamName)]++
				}
			}
		}
	}
	return v, nil
}

// The namespaces of CloudWatch in which a deployment may have metrics, and the dimension
// that tells it from others there.
var metricSpaces = []struct{ namespace, dimension string }{
	{"GeeCache", "cluster"},
	{"ECS/ContainerInsights", "ClusterName"},
	{"AWS/ECS", "ClusterName"},
}

// ListMetrics implements MetricLister.
func (c *cloud) ListMetrics(ctx context.Context, name string) (map[string][]string, error) {
	all, err := exposed(ctx, c, name)
	if err != nil {
		return nil, err
	}
	for _, s := range metricSpaces {
		names, err := c.metricNames(ctx, s.namespace, s.dimension, name)
		if err != nil {
			return nil, c.explain("cloudwatch:ListMetrics", err)
		}
		slices.Sort(names)
		all["CloudWatch "+s.namespace] = slices.Compact(names)
	}
	return all, nil
}

// ForwardTo implements Forwardee.
func (c *cloud) ForwardTo(ctx context.Context, name string) (string, error) {
	if !c.emulated {
		return c.Region, nil
	}
	is, err := (&lab{c: c, name: name}).variable(ctx, "AWS_ENDPOINT_URL=")
	if err == nil && is == "" {
		err = &Unsupported{"forwarding metrics", "the emulator tells its tasks no address of its own"}
	}
	return strings.TrimPrefix(is, "AWS_ENDPOINT_URL="), err
}

// NodeMetrics implements Forwardee.
func (c *cloud) NodeMetrics(ctx context.Context, node string) ([]string, error) {
	names, err := c.metricNames(ctx, metricSpaces[0].namespace, "node", node)
	slices.Sort(names)
	return slices.Compact(names), c.explain("cloudwatch:ListMetrics", err)
}

// metricNames returns the names of metrics in a namespace with a value of a dimension. The
// SDK speaks CBOR with CloudWatch, which emulators do not all answer: this asks as it was
// before that.
func (c *cloud) metricNames(ctx context.Context, namespace, dimension, value string) (names []string, err error) {
	form := url.Values{
		"Action": {"ListMetrics"}, "Version": {"2010-08-01"}, "Namespace": {namespace},
		"Dimensions.member.1.Name": {dimension}, "Dimensions.member.1.Value": {value},
	}
	for {
		var page struct {
			Metrics []struct {
				Name       string                         `xml:"MetricName"`
				Dimensions []struct{ Name, Value string } `xml:"Dimensions>member"`
			} `xml:"ListMetricsResult>Metrics>member"`
			Next string `xml:"ListMetricsResult>NextToken"`
		}
		if err := c.query(ctx, "monitoring", form, &page); err != nil {
			return nil, err
		}
		for _, m := range page.Metrics {
			for _, d := range m.Dimensions { // an emulator may not look at the filter
				if d.Name == dimension && d.Value == value {
					names = append(names, m.Name)
				}
			}
		}
		if page.Next == "" {
			return names, nil
		}
		form.Set("NextToken", page.Next)
	}
}

// LookUp implements Looker.
func (c *cloud) LookUp(ctx context.Context, name string, n int) []Lookup {
	mode := "AWS's SDK in this process, over connections that are kept, at " + c.Region
	if c.Endpoint != "" {
		mode = "AWS's SDK in this process, over connections that are kept, at " + c.Endpoint
	}
	quiet := slog.New(slog.DiscardHandler)
	all := []Lookup{
		look(ctx, "cloudmap", mode+"; DiscoverInstances", n, func() (registry.Discoverer, func() error, error) {
			r, err := cloudmap.Open(ctx, cloudmap.Config{
				Namespace: name, Service: mapService, Region: c.Region, Endpoint: c.Endpoint, Credentials: c.config.Credentials,
				Register: cloudmap.RegisterNever, Logger: quiet,
			})
			if err != nil {
				return nil, nil, err
			}
			return r, r.Close, nil
		}),
		look(ctx, "ecs", mode+"; ListTasks and DescribeTasks", n, func() (registry.Discoverer, func() error, error) {
			r, err := ecsregistry.Open(ctx, ecsregistry.Config{
				Cluster: name, Service: family(name, nodeService), Region: c.Region, Endpoint: c.Endpoint, Credentials: c.config.Credentials, Logger: quiet,
			})
			if err != nil {
				return nil, nil, err
			}
			return r, r.Close, nil
		}),
	}
	if id, err := c.namespace(ctx, name); err == nil && id == "" {
		all[0] = Lookup{Method: "cloudmap", Err: &Unsupported{"Cloud Map", "servicediscovery:ListNamespaces names no namespace " + name}}
	}
	return append(all, c.lookDNS(ctx, name, n, quiet),
		Lookup{Method: "etcd", Err: &Unsupported{"etcd", "the deployment has none, and AWS offers none"}})
}

// look asks a registry that open opens.
func look(ctx context.Context, method, mode string, n int, open func() (registry.Discoverer, func() error, error)) Lookup {
	l := Lookup{Method: method, Mode: mode}
	r, end, err := open()
	if err != nil {
		l.Err = err
		return l
	}
	found, err := registries.Look(ctx, r, n)
	l.Nodes, l.Took, l.Err = len(found.Members), found.Took, errors.Join(err, end())
	if l.Err == nil && l.Nodes == 0 {
		l.Err = errors.New("it names nobody")
	}
	return l
}

// lookDNS asks the names that Cloud Map makes, where its namespace makes any.
func (c *cloud) lookDNS(ctx context.Context, name string, n int, log *slog.Logger) Lookup {
	not := func(evidence string) Lookup { return Lookup{Method: "dns", Err: &Unsupported{"DNS", evidence}} }
	id, err := c.namespace(ctx, name)
	if err != nil {
		return Lookup{Method: "dns", Err: c.explain("servicediscovery:ListNamespaces", err)}
	}
	if id == "" {
		return not("there is no namespace in Cloud Map, which would make names")
	}
	out, err := c.sd.GetNamespace(ctx, &servicediscovery.GetNamespaceInput{Id: &id})
	if err != nil {
		return Lookup{Method: "dns", Err: c.explain("servicediscovery:GetNamespace", err)}
	}
	if out.Namespace.Type == sdtypes.NamespaceTypeHttp {
		return not("servicediscovery:GetNamespace says that the namespace " + name + " is of the type HTTP, which makes no names")
	}
	host := mapService + "." + name
	l := look(ctx, "dns", "this machine's name servers, a UDP exchange each", n, func() (registry.Discoverer, func() error, error) {
		r, err := dns.New(dns.Config{Name: host, Port: nodePort, Log: log})
		return r, func() error { return nil }, err
	})
	if l.Err != nil {
		return not(fmt.Sprintf("%s, of a namespace of the type %s, does not resolve here: %v", host, out.Namespace.Type, l.Err))
	}
	return l
}

var (
	_ LogSeeker    = (*cloud)(nil)
	_ MetricLister = (*cloud)(nil)
	_ Looker       = (*cloud)(nil)
	_ Forwardee    = (*cloud)(nil)
)

// WatchContainers implements Insighter.
func (c *cloud) WatchContainers(ctx context.Context, name string) (string, error) {
	on := ecstypes.ClusterSetting{Name: ecstypes.ClusterSettingNameContainerInsights, Value: aws.String("enabled")}
	if _, err := c.ecs.UpdateClusterSettings(ctx, &ecs.UpdateClusterSettingsInput{Cluster: &name, Settings: []ecstypes.ClusterSetting{on}}); err != nil {
		return "", c.explain("ecs:UpdateClusterSettings", err)
	}
	return c.insights(ctx, name)
}

// insights returns what the cluster's setting is.
func (c *cloud) insights(ctx context.Context, name string) (string, error) {
	out, err := c.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{name}, Include: []ecstypes.ClusterField{ecstypes.ClusterFieldSettings}})
	if err != nil {
		return "", c.explain("ecs:DescribeClusters", err)
	}
	for _, cluster := range out.Clusters {
		for _, s := range cluster.Settings {
			if s.Name == ecstypes.ClusterSettingNameContainerInsights {
				return "the cluster's setting containerInsights is " + aws.ToString(s.Value), nil
			}
		}
	}
	return "ecs:DescribeClusters tells of no setting containerInsights", nil
}
