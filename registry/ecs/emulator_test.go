package ecs

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// server returns the address of a real server, without which the test is skipped,
// or fails where the servers are required.
func server(t *testing.T, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatalf(remedy, variable)
	}
	t.Skipf(remedy, variable)
	return ""
}

// noAWS keeps what is on the machine out of the tests.
func noAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECS", "ECS_CONTAINER_METADATA_URI_V4",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

func open(t *testing.T, cfg Config) *Registry {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newCluster makes an ECS cluster of the test's own, and a task definition in a
// family of that name.
func newCluster(t *testing.T, endpoint, image string) (Config, *Registry) {
	t.Helper()
	noAWS(t)
	name := fmt.Sprintf("test-%d", time.Now().UnixNano())
	cfg := Config{Cluster: name, Family: name, Port: 8001, Endpoint: endpoint, Interval: 50 * time.Millisecond}
	r := open(t, cfg)
	if _, err := r.client.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: &name}); err != nil {
		t.Fatal(err)
	}
	_, err := r.client.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: &name, NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("idle"), Image: &image, Essential: aws.Bool(true), Memory: aws.Int32(128)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, r
}

func network(subnet string) *types.NetworkConfiguration {
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
		Subnets: []string{subnet}, SecurityGroups: []string{"sg-1"}, AssignPublicIp: types.AssignPublicIpEnabled,
	}}
}

// waitFor returns the first members that ok accepts.
func waitFor(t *testing.T, r *Registry, what string, ok func([]registry.Member) bool) []registry.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last any
	for members, err := range r.Watch(ctx) {
		if last = members; err != nil {
			last = err
		} else if ok(members) {
			return members
		}
	}
	t.Fatalf("%s: not seen; the last answer was %v", what, last)
	return nil
}

func count(n int) func([]registry.Member) bool {
	return func(members []registry.Member) bool { return len(members) == n }
}

// check fails unless the members are distinct tasks with addresses.
func check(t *testing.T, members []registry.Member) {
	t.Helper()
	seen := make(map[string]bool)
	for _, m := range members {
		addr, err := netip.ParseAddrPort(m.Addr)
		if err != nil || addr.Port() != 8001 || seen[m.Addr] || seen[m.ID] || m.ID == "" || strings.Contains(m.ID, "/") || m.Zone == "" {
			t.Errorf("member %+v: want an ID and an address of its own with the port 8001, and a zone", m)
		}
		seen[m.Addr], seen[m.ID] = true, true
	}
}

// importImage gives Docker an image that holds the program idle, and returns its
// name.
func importImage(t *testing.T) string {
	t.Helper()
	host := server(t, "GEECACHE_TEST_DOCKER")
	program := filepath.Join(t.TempDir(), "idle")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/idle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	if err := w.WriteHeader(&tar.Header{Name: "idle", Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const name = "geecache-test/idle:latest"
	cmd := exec.CommandContext(t.Context(), "docker", "import", "--change", `ENTRYPOINT ["/idle"]`, "-", name)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	cmd.Stdin = &image
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	return name
}

// MiniStack's tasks are real containers: a service is scaled out and in, a task is
// killed, and the registry names those who run, by the addresses they have.
func TestServiceOnMiniStack(t *testing.T) {
	endpoint := server(t, "GEECACHE_TEST_MINISTACK")
	cfg, own := newCluster(t, endpoint, importImage(t))
	client := own.client
	service := "cache"
	_, err := client.CreateService(t.Context(), &ecs.CreateServiceInput{
		Cluster: &cfg.Cluster, ServiceName: &service, TaskDefinition: &cfg.Family, DesiredCount: aws.Int32(3),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: network("subnet-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	scale := func(ctx context.Context, n int32) error {
		_, err := client.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &cfg.Cluster, Service: &service, DesiredCount: &n})
		return err
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := scale(ctx, 0); err != nil {
			t.Error(err)
		}
		if _, err := client.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &cfg.Cluster, Service: &service, Force: aws.Bool(true)}); err != nil {
			t.Error(err)
		}
	})
	cfg.Service, cfg.Family = service, ""
	r := open(t, cfg)
	before := waitFor(t, r, "three tasks", count(3))
	check(t, before)

	if _, err := client.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: &cfg.Cluster, Task: &before[0].ID}); err != nil {
		t.Fatal(err)
	}
	after := waitFor(t, r, "a task in place of the stopped one", func(members []registry.Member) bool {
		return len(members) == 3 && !slices.ContainsFunc(members, func(m registry.Member) bool { return m.ID == before[0].ID })
	})
	check(t, after)
	for _, m := range before[1:] {
		if !slices.ContainsFunc(after, func(n registry.Member) bool { return n.Peer == m.Peer }) {
			t.Errorf("%+v is not there any more: %v", m, after)
		}
	}
	for _, n := range []int32{5, 2} {
		if err := scale(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		check(t, waitFor(t, r, fmt.Sprint(n, " tasks"), count(int(n))))
	}
}
