package envbench

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/geecache/geecache/internal/mototest"
)

// moto returns the address of moto.
func moto(t *testing.T) string {
	t.Helper()
	address := os.Getenv("GEECACHE_TEST_MOTO")
	if address == "" {
		const remedy = `GEECACHE_TEST_MOTO is not set; run eval "$(scripts/test-servers up)"`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	return mototest.Proxy(t, address)
}

// The driver of AWS against moto, which starts no container but tells of all that it was
// told, with the checks of AWS's API: what is made is described, scaled, read and removed by
// the code that AWS gets. MiniStack's turn is in e2e.
func TestDriverOfAWSOnMoto(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", moto(t))
	c := asAWS(t)
	driver := &awsDriver{c}
	ctx := t.Context()
	name := fmt.Sprintf("moto-%x", time.Now().UnixNano()%(1<<40))
	if _, err := driver.Up(ctx, Deployment{Name: name}); err == nil || !strings.Contains(err.Error(), "deploy.sh") {
		t.Fatalf("Up of what there is not: %v", err)
	}
	// What Terraform makes in AWS.
	d := Deployment{Name: name, Nodes: 2}.WithDefaults()
	var changed []string
	if _, err := c.ensureServices(ctx, d, "registry/image@sha256:0", &changed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.WithoutCancel(ctx), name); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	for _, what := range []string{"cluster ", "log group ", "Cloud Map namespace ", "Cloud Map service ", "target group ", "load balancer ", "listener ", "secret ", "task definition ", "service "} {
		if !slices.ContainsFunc(changed, func(s string) bool { return strings.HasPrefix(s, what) }) {
			t.Errorf("no %sis made: %q", what, changed)
		}
	}
	changed = nil
	if _, err := c.ensureServices(ctx, d, "registry/image@sha256:0", &changed); err != nil || len(changed) != 0 {
		t.Errorf("the second time changes %q, %v", changed, err)
	}
	id := task1(t, c, name)
	t.Run("status", func(t *testing.T) {
		s, err := driver.Status(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Environment != AWS || s.Desired != 2 || s.Image != d.Image || s.Answering != 0 || s.Agree || !strings.Contains(s.API, "/_alb/"+name) {
			t.Errorf("%+v", s)
		}
		if i := slices.IndexFunc(s.Members, func(m Member) bool { return m.ID == id }); i < 0 || !strings.HasSuffix(s.Members[i].Addr, ":8001") {
			t.Errorf("the members are %+v, want task %s with an address", s.Members, id)
		}
	})
	t.Run("scale", func(t *testing.T) {
		s, err := driver.Scale(ctx, name, 4)
		if err == nil || s == nil || !slices.ContainsFunc(s.Changed, func(c string) bool { return strings.Contains(c, "from 2 tasks to 4") }) {
			t.Fatalf("%+v, %v: want an error, for nobody answers, and the change", s, err)
		}
		if now, err := c.service(ctx, name, nodeService); err != nil || now.DesiredCount != 4 {
			t.Errorf("%+v, %v: want 4 tasks desired", now, err)
		}
	})
	t.Run("logs", func(t *testing.T) { logsOnMoto(t, driver, name, id) })
	t.Run("metrics", func(t *testing.T) { metricsOnMoto(t, driver, name) })
	t.Run("Cloud Map", func(t *testing.T) { mapOnMoto(t, driver, name) })
	if err := driver.Down(ctx, name); err == nil || !strings.Contains(err.Error(), "destroy.sh") {
		t.Errorf("Down of what Terraform has made: %v", err)
	}
	if err := c.Down(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.Status(ctx, name); err != ErrAbsent {
		t.Errorf("what was removed is there: %v", err)
	}
	if err := driver.Down(ctx, name); err != nil {
		t.Errorf("Down of nothing: %v", err)
	}
}

// task1 starts a task as the nodes' service would, which moto does not, and returns its ID.
func task1(t *testing.T, c *cloud, name string) string {
	t.Helper()
	n, err := c.network(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Of a definition with the container's memory in it, which moto adds up.
	def, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(family(name, nodeService)), NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String(taskCPU), Memory: aws.String(taskMemory),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String(containerName), Image: aws.String("image"), Memory: aws.Int32(512)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{
		Cluster: &name, TaskDefinition: def.TaskDefinition.TaskDefinitionArn, Group: aws.String("service:" + family(name, nodeService)),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: n.Subnets[:1]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return last(aws.ToString(out.Tasks[0].TaskArn))
}

func logsOnMoto(t *testing.T, driver *awsDriver, name, id string) {
	group, stream := logGroup(name, nodeService), logPrefix+"/"+containerName+"/"+id
	if _, err := driver.logs.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	_, err := driver.logs.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: []logtypes.InputLogEvent{
		{Message: aws.String("first"), Timestamp: &now}, {Message: aws.String("a marker"), Timestamp: &now},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := driver.Logs(t.Context(), name, &text, 10); err != nil || !strings.Contains(text.String(), "node "+id[:8]+" | a marker\n") {
		t.Errorf("the log is %q, %v", text.String(), err)
	}
	v, err := driver.SeekLogs(t.Context(), name, "marker")
	if err != nil || v.Streams[nodeService] != 1 || v.Events[stream] != 1 {
		t.Errorf("SeekLogs() = %+v, %v", v, err)
	}
}

func metricsOnMoto(t *testing.T, driver *awsDriver, name string) {
	form := url.Values{"Action": {"PutMetricData"}, "Version": {"2010-08-01"}, "Namespace": {insightsNamespace}}
	for i, m := range [][2]string{{"CpuUtilized", name}, {"OfAnother", "another"}} {
		at := fmt.Sprintf("MetricData.member.%d.", i+1)
		form.Set(at+"MetricName", m[0])
		form.Set(at+"Value", "1")
		form.Set(at+"Dimensions.member.1.Name", "ClusterName")
		form.Set(at+"Dimensions.member.1.Value", m[1])
	}
	if err := driver.query(t.Context(), "monitoring", form, new(struct{})); err != nil { // moto reads no CBOR
		t.Fatal(err)
	}
	names, err := driver.metricNames(t.Context(), insightsNamespace, "ClusterName", name)
	if err != nil || !slices.Equal(names, []string{"CpuUtilized"}) {
		t.Errorf("the metrics are %q, %v", names, err)
	}
}

func mapOnMoto(t *testing.T, driver *awsDriver, name string) {
	namespace, err := driver.namespace(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	service, err := driver.mapService(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	in, err := driver.sd.RegisterInstance(t.Context(), &servicediscovery.RegisterInstanceInput{
		ServiceId: &service, InstanceId: aws.String("one"), Attributes: map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "8001"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.operation(t.Context(), in.OperationId); err != nil {
		t.Fatal(err)
	}
	for _, l := range driver.LookUp(t.Context(), name, 2) {
		if l.Method == "cloudmap" && (l.Err != nil || l.Nodes != 1 || len(l.Took) != 2) {
			t.Errorf("a lookup is %+v", l)
		}
	}
}
