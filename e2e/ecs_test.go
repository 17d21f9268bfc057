//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The program in tasks of an ECS service, as containers: each finds by itself where
// it runs, how it is called, and who the others are; a task in place of one that was
// stopped is found, too.
func TestTasksOfECSFindEachOther(t *testing.T) {
	endpoint, docker := os.Getenv("GEECACHE_TEST_MINISTACK"), os.Getenv("GEECACHE_TEST_DOCKER")
	if endpoint == "" || docker == "" {
		const remedy = `GEECACHE_TEST_MINISTACK or GEECACHE_TEST_DOCKER is not set; run eval "$(scripts/test-servers up)"`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	importProgram(t, docker, "geecache-test/node:latest")
	cfg, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithRegion("us-east-1"),
		awsconfig.WithCredentialsProvider(awscreds.NewStaticCredentialsProvider("local", "local", "")))
	if err != nil {
		t.Fatal(err)
	}
	client := ecs.NewFromConfig(cfg, func(o *ecs.Options) { o.BaseEndpoint = &endpoint })
	s := newService(t, client, endpoint)
	s.await(t, 3, nil)
	before := s.tasks(t)
	if _, err := client.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: &s.cluster, Task: &before[0].id}); err != nil {
		t.Fatal(err)
	}
	s.await(t, 3, &before[0])
	if _, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: &s.cluster, Service: &s.name, DesiredCount: aws.Int32(5)}); err != nil {
		t.Fatal(err)
	}
	s.await(t, 5, &before[0])
}

// importProgram gives Docker an image that holds the program, and no more.
func importProgram(t *testing.T, host, name string) {
	t.Helper()
	program := t.TempDir() + "/geecache"
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/geecache/geecache")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o777},
		{Name: "geecache", Mode: 0o755, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "docker", "import", "--change", `ENTRYPOINT ["/geecache"]`, "-", name)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	cmd.Stdin = &image
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
}

// An ecsService is a service of nodes.
type ecsService struct {
	client        *ecs.Client
	cluster, name string
}

type ecsTask struct{ id, addr string }

func newService(t *testing.T, client *ecs.Client, endpoint string) ecsService {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s := ecsService{client: client, cluster: fmt.Sprintf("e2e-%d", time.Now().UnixNano()), name: "nodes"}
	ctx := t.Context()
	if _, err := client.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &s.cluster}); err != nil {
		t.Fatal(err)
	}
	environment := []types.KeyValuePair{
		{Name: aws.String("AWS_REGION"), Value: aws.String("us-east-1")},
		{Name: aws.String("AWS_ACCESS_KEY_ID"), Value: aws.String("local")},
		{Name: aws.String("AWS_SECRET_ACCESS_KEY"), Value: aws.String("local")},
		{Name: aws.String("AWS_ENDPOINT_URL"), Value: aws.String("http://host.docker.internal:" + u.Port())},
	}
	_, err = client.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: &s.cluster, NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("node"), Image: aws.String("geecache-test/node:latest"), Essential: aws.Bool(true), Environment: environment,
			Command: []string{"node", "--listen", "0.0.0.0:8001", "--insecure", "--registry", "auto", "--source", "slowdb:?latency=0s"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CreateService(ctx, &ecs.CreateServiceInput{
		Cluster: &s.cluster, ServiceName: &s.name, TaskDefinition: &s.cluster, DesiredCount: aws.Int32(3), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = client.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &s.cluster, Service: &s.name, DesiredCount: aws.Int32(0)})
		if _, err := client.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &s.cluster, Service: &s.name, Force: aws.Bool(true)}); err != nil {
			t.Error(err)
		}
	})
	return s
}

// tasks returns the tasks that run, as the API tells of them.
func (s ecsService) tasks(t *testing.T) (running []ecsTask) {
	t.Helper()
	list, err := s.client.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: &s.cluster, ServiceName: &s.name})
	if err != nil || len(list.TaskArns) == 0 {
		return nil
	}
	out, err := s.client.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: &s.cluster, Tasks: list.TaskArns})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range out.Tasks {
		if aws.ToString(task.LastStatus) != "RUNNING" || aws.ToString(task.DesiredStatus) != "RUNNING" || len(task.Attachments) == 0 {
			continue
		}
		arn := aws.ToString(task.TaskArn)
		for _, d := range task.Attachments[0].Details {
			if aws.ToString(d.Name) == "privateIPv4Address" {
				running = append(running, ecsTask{arn[strings.LastIndexByte(arn, '/')+1:], net.JoinHostPort(aws.ToString(d.Value), "8001")})
			}
		}
	}
	return running
}

// await waits until there are n tasks, without the one that is gone, and each is
// connected with all, who are called as their tasks are.
func (s ecsService) await(t *testing.T, n int, gone *ecsTask) {
	t.Helper()
	begin := time.Now()
	defer func() {
		t.Logf("%d tasks have found each other after %v", n, time.Since(begin).Round(time.Millisecond))
	}()
	eventually(t, fmt.Sprintf("%d tasks find each other", n), func() error {
		tasks := s.tasks(t)
		if len(tasks) != n {
			return fmt.Errorf("%d tasks run", len(tasks))
		}
		want := make(map[string]string)
		var nodes []*process
		for _, task := range tasks {
			if gone != nil && task.id == gone.id {
				return fmt.Errorf("task %s still runs", task.id)
			}
			want[task.id] = task.addr
			nodes = append(nodes, &process{addr: task.addr, name: task.id})
		}
		for _, p := range nodes {
			if err := p.found(nodes); err != nil {
				return err
			}
			st, err := p.tryStatus()
			if err != nil {
				return err
			}
			if st.ID != p.name || st.Addr != p.addr {
				return fmt.Errorf("task %s at %s calls itself %s at %s", p.name, p.addr, st.ID, st.Addr)
			}
			for _, peer := range st.Peers {
				if want[peer.ID] != peer.Addr {
					return fmt.Errorf("task %s knows of %s at %s: there is none", p.name, peer.ID, peer.Addr)
				}
			}
		}
		return nil
	})
}
