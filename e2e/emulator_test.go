//go:build docker && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// An emulator is an emulator of AWS in a container, as users start it, and what the scripts
// in localstack-setup are told.
type emulator struct {
	endpoint, name, image string
	env                   []string
}

// emulated is what the scripts print with --json.
type emulated struct {
	Desired, Reported, Answering, Owning int
	Agree                                bool
	API                                  string
	Changed                              []string
	Members                              []struct {
		ID, Addr string
		API      bool
	}
}

// newEmulator starts an emulator of the test's own, which ends with it.
func newEmulator(t *testing.T) *emulator {
	t.Helper()
	image := os.Getenv("GEECACHE_TEST_IMAGE")
	if image == "" {
		t.Fatal("GEECACHE_TEST_IMAGE is not set: run make step STEP=emulator")
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	project := fmt.Sprintf("geecache-e2e-emulator-%d", os.Getpid())
	e := &emulator{
		endpoint: fmt.Sprintf("http://127.0.0.1:%d", port), name: "e2e", image: image,
		env: []string{
			fmt.Sprintf("EMULATOR_PORT=%d", port), "EMULATOR_PROJECT=" + project, "EMULATOR_NETWORK=" + project,
			"DOCKER_SOCKET=" + strings.TrimPrefix(os.Getenv("GEECACHE_TEST_DOCKER"), "unix://"),
			"GEECACHE=" + geecache, "GEECACHE_ENV_NAME=e2e", "AWS_ENDPOINT_URL=",
		},
	}
	compose := func(ctx context.Context, args ...string) (string, error) {
		return e.run(ctx, "docker", append([]string{"compose", "--file=../localstack-setup/docker-compose.yml"}, args...)...)
	}
	t.Cleanup(func() {
		if out, err := compose(context.WithoutCancel(t.Context()), "down", "--volumes", "--timeout=5"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if out, err := compose(t.Context(), "up", "--wait", "--pull=never"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return e
}

// run runs a command in the emulator's environment, and returns all that it prints.
func (e *emulator) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), e.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// script runs one of the scripts.
func (e *emulator) script(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	begin := time.Now()
	out, err := e.run(t.Context(), "../localstack-setup/"+name, args...)
	t.Logf("%s %s: %v", name, strings.Join(args, " "), time.Since(begin).Round(10*time.Millisecond))
	return out, err
}

// must runs a script that must succeed, with --json, and returns what it says.
func (e *emulator) must(t *testing.T, name string, args ...string) emulated {
	t.Helper()
	out, err := e.script(t, name, append(args, "--json")...)
	return decode(t, out, err)
}

// scale changes the number of nodes.
func (e *emulator) scale(t *testing.T, nodes int) emulated {
	t.Helper()
	begin := time.Now()
	out, err := e.run(t.Context(), geecache, "env", "scale", "emulator", fmt.Sprint(nodes), "--endpoint="+e.endpoint, "--json")
	t.Logf("scale to %d: %v", nodes, time.Since(begin).Round(10*time.Millisecond))
	return decode(t, out, err)
}

func decode(t *testing.T, out string, err error) emulated {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var s emulated
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return s
}

// agreed fails unless so many nodes answer and agree, and Tom is 630 through the load
// balancer.
func (s emulated) agreed(t *testing.T, nodes int) {
	t.Helper()
	if !s.Agree || s.Desired != nodes || s.Answering != nodes || s.Owning != nodes || len(s.Members) != nodes+1 {
		t.Errorf("%+v: want %d nodes that agree, and an API server", s, nodes)
	}
	if status, body, err := get(s.API + "/api?key=Tom"); err != nil || status != 200 || string(body) != "630" {
		t.Errorf("Tom through %s: %d %s, %v", s.API, status, body, err)
	}
}

// ids returns what the members are called.
func (s emulated) ids() (all []string) {
	for _, m := range s.Members {
		all = append(all, m.ID)
	}
	return all
}

// layered makes an image that differs from another one, and is removed with the test.
func layered(t *testing.T, name, from, instruction string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", "build", "--quiet", "--tag="+name, "-")
	cmd.Stdin = strings.NewReader("FROM " + from + "\n" + instruction + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "--force", name).Run() })
	return name
}

// The scripts, from nothing to nothing. Each is run twice, and the second time changes
// nothing.
func TestEmulator(t *testing.T) {
	e := newEmulator(t)
	first := e.must(t, "deploy.sh", "--image="+e.image)
	first.agreed(t, 3)
	if len(first.Changed) == 0 {
		t.Error("the first deployment says that it has changed nothing")
	}
	again := e.must(t, "deploy.sh", "--image="+e.image)
	again.agreed(t, 3)
	if len(again.Changed) != 0 || !slices.Equal(again.ids(), first.ids()) {
		t.Errorf("the second deployment has changed %v; the members were %v and are %v", again.Changed, first.ids(), again.ids())
	}
	for range 2 {
		if out, err := e.script(t, "test.sh"); err != nil || strings.Count(out, "ok  ") != 9 {
			t.Errorf("test.sh: %v\n%s", err, out)
		}
	}
	e.scale(t, 5).agreed(t, 5)
	three := e.scale(t, 3)
	three.agreed(t, 3)
	t.Run("the driver of AWS makes the same calls", func(t *testing.T) { e.asAWS(t, three) })
	t.Run("a task that is killed is replaced, and leaves the ring", func(t *testing.T) { e.kill(t, three) })
	t.Run("a new image rolls through", e.roll)
	t.Run("a broken image fails, and says why", e.broken)
	t.Run("what is there is found, by every way", e.judged)
	for range 2 {
		if out, err := e.script(t, "destroy.sh"); err != nil || !strings.Contains(out, "nothing of e2e is left") {
			t.Errorf("destroy.sh: %v\n%s", err, out)
		}
	}
	e.nothingLeft(t)
}

// asAWS asks and scales as in AWS, where Terraform makes and removes.
func (e *emulator) asAWS(t *testing.T, before emulated) {
	env := []string{"AWS_ENDPOINT_URL=" + e.endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "GEECACHE_ENV_ENDPOINT="}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), geecache, append([]string{"env"}, args...)...)
		cmd.Env = append(append(os.Environ(), e.env...), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("status", "aws", "--json")
	if now := decode(t, out, err); !slices.Equal(now.ids(), before.ids()) {
		t.Errorf("the members are %v, and were %v", now.ids(), before.ids())
	}
	out, err = run("scale", "aws", "4", "--json")
	decode(t, out, err).agreed(t, 4)
	out, err = run("up", "aws", "--nodes=3", "--json")
	decode(t, out, err).agreed(t, 3)
	if out, err := run("down", "aws"); err == nil || !strings.Contains(out, "aws-terraform/destroy.sh") {
		t.Errorf("down: %v\n%s", err, out)
	}
	if out, err := run("up", "aws", "--name=nothing"); err == nil || !strings.Contains(out, "aws-terraform/deploy.sh") {
		t.Errorf("up of what there is not: %v\n%s", err, out)
	}
}

// kill kills a node's container, from which Cloud Map has no sign of its end.
func (e *emulator) kill(t *testing.T, before emulated) {
	victim := before.Members[0].ID
	out, err := exec.Command("docker", "kill", "--signal=KILL", fmt.Sprintf("ministack-ecs-%s-geecache", victim[:8])).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := e.must(t, "deploy.sh", "--image="+e.image)
	after.agreed(t, 3)
	if slices.Contains(after.ids(), victim) {
		t.Errorf("%s was killed, and is still there: %v", victim, after.ids())
	}
}

// roll replaces the image under load.
func (e *emulator) roll(t *testing.T) {
	image := layered(t, "geecache-e2e:rolled", e.image, "LABEL rolled=1")
	before := e.must(t, "deploy.sh", "--image="+e.image)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan answers, 1)
	go func() { asked <- ask(ctx, before.API) }()
	after := e.must(t, "deploy.sh", "--image="+image)
	after.agreed(t, 3)
	cancel()
	for _, id := range after.ids() {
		if slices.Contains(before.ids(), id) {
			t.Errorf("%s is of the old image", id)
		}
	}
	got := <-asked
	t.Logf("meanwhile %d requests were answered, and %d were sent to a task that did not listen yet", got.right, got.early)
	if got.right == 0 || got.wrong != nil {
		t.Errorf("%d requests were answered, and among the others was: %v", got.right, got.wrong)
	}
}

// answers are what became of requests through the load balancer.
type answers struct {
	right int   // a value, or "not found"
	early int   // the emulator does no health checks: its balancer asked a task that did not listen yet
	wrong error // the first of all others
}

// ask sends 50 requests a second until ctx ends.
func ask(ctx context.Context, api string) (a answers) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		status, body, err := get(fmt.Sprintf("%s/api?key=user:%d", api, i))
		switch {
		case err == nil && (status == 200 || status == 404):
			a.right++
		case err == nil && status == 502 && strings.Contains(string(body), "connect error"):
			a.early++
		case a.wrong == nil:
			a.wrong = fmt.Errorf("status %d %s, %v", status, body, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return a
		}
	}
}

// judged measures a cluster of its own. What the emulator takes and does not do is told.
func (e *emulator) judged(t *testing.T) {
	r := judge(t, "emulator", e.env, "--endpoint="+e.endpoint, "--image="+e.image)
	r.samples(t, "lookup/cloudmap", 200)
	r.samples(t, "lookup/ecs", 200)
	r.samples(t, "join/total", 1)
	r.samples(t, "node-to-node", 200)
	r.samples(t, "client-to-api", 200)
	// With nodes that nobody reaches, what the emulator reports is not what answers.
	r.count(t, "reported", 2)
	r.count(t, "answering", 2)
	r.count(t, "broken/reported", 2)
	r.count(t, "broken/answering", 0)
	r.count(t, "nodes-found", 2)
	r.count(t, "api-found", 1)
	r.fact(t, "own metrics", "accepted but not done", "lines of the embedded metric format are in CloudWatch Logs")
	r.fact(t, "own metrics, sent by nodes (PutMetricData)", "done", "of 2 of 2 new nodes")
	r.samples(t, "found-after/forwarder", 1)
	r.fact(t, "Container Insights", "accepted but not done", "ECS/ContainerInsights")
}

// broken deploys an image that ends at once.
func (e *emulator) broken(t *testing.T) {
	before := e.must(t, "deploy.sh", "--image="+e.image)
	image := layered(t, "geecache-e2e:broken", e.image, `ENTRYPOINT ["/geecache", "node", "--no-such-flag"]`)
	begin := time.Now()
	out, err := e.script(t, "deploy.sh", "--image="+image, "--timeout=60s")
	if took := time.Since(begin); err == nil || took > 75*time.Second {
		t.Errorf("it ended after %v with %v", took, err)
	}
	for _, want := range []string{"was stopped", "exit status 2", "its last lines:", "unknown flag --no-such-flag"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in what it says:\n%s", want, out)
		}
	}
	if status, body, err := get(before.API + "/api?key=Tom"); err != nil || status != 200 || string(body) != "630" {
		t.Errorf("meanwhile the old image answers no more: %d %s, %v", status, body, err)
	}
	e.must(t, "deploy.sh", "--image="+e.image).agreed(t, 3)
}

// nothingLeft looks with eyes of its own whether the APIs and Docker have anything left.
func (e *emulator) nothingLeft(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion("us-east-1"), awsconfig.WithBaseEndpoint(e.endpoint),
		awsconfig.WithCredentialsProvider(awscreds.NewStaticCredentialsProvider("test", "test", "")))
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	left := func(what string, n int, err error) {
		if err != nil || n != 0 {
			t.Errorf("%d %s are left (%v)", n, what, err)
		}
	}
	clusters, err := ecs.NewFromConfig(cfg).ListClusters(ctx, &ecs.ListClustersInput{})
	if err == nil {
		left("clusters", len(clusters.ClusterArns), nil)
	}
	definitions, e2 := ecs.NewFromConfig(cfg).ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{})
	if e2 == nil {
		left("task definitions", len(definitions.TaskDefinitionArns), nil)
	}
	repositories, e3 := ecr.NewFromConfig(cfg).DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{})
	if e3 == nil {
		left("repositories", len(repositories.Repositories), nil)
	}
	groups, e4 := cloudwatchlogs.NewFromConfig(cfg).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	if e4 == nil {
		left("log groups", len(groups.LogGroups), nil)
	}
	namespaces, e5 := servicediscovery.NewFromConfig(cfg).ListNamespaces(ctx, &servicediscovery.ListNamespacesInput{})
	if e5 == nil {
		left("namespaces", len(namespaces.Namespaces), nil)
	}
	balancers := elasticloadbalancingv2.NewFromConfig(cfg)
	lbs, e6 := balancers.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	if e6 == nil {
		left("load balancers", len(lbs.LoadBalancers), nil)
	}
	groupsOfTargets, e7 := balancers.DescribeTargetGroups(ctx, &elasticloadbalancingv2.DescribeTargetGroupsInput{})
	if e7 == nil {
		left("target groups", len(groupsOfTargets.TargetGroups), nil)
	}
	buckets, e8 := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListBuckets(ctx, &s3.ListBucketsInput{})
	if e8 == nil {
		left("buckets", len(buckets.Buckets), nil)
	}
	secrets, e9 := secretsmanager.NewFromConfig(cfg).ListSecrets(ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: &yes})
	if e9 == nil {
		left("secrets", len(secrets.SecretList), nil)
	}
	alarms, e10 := cloudwatch.NewFromConfig(cfg).DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{})
	if e10 == nil {
		left("alarms", len(alarms.MetricAlarms), nil)
	}
	for _, err := range []error{err, e2, e3, e4, e5, e6, e7, e8, e9, e10} {
		if err != nil {
			t.Error(err)
		}
	}
	containers, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label=com.amazonaws.ecs.task-definition-family=e2e-node").Output()
	left("containers", len(strings.Fields(string(containers))), err)
	host := strings.TrimPrefix(e.endpoint, "http://")
	images, err := exec.Command("docker", "image", "ls", "--quiet", host+"/e2e").Output()
	left("images of the registry "+host, len(strings.Fields(string(images))), err)
	if _, _, err := net.SplitHostPort(host); err != nil {
		t.Error(err)
	}
}
