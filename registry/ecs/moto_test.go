package ecs

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/mototest"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// moto starts no container, but tells of tasks as the API does, by the page.
func TestFamilyOnMoto(t *testing.T) {
	endpoint := moto(t)
	cfg, own := newCluster(t, endpoint, "idle")
	client := own.client
	subnet := subnetOf(t, endpoint)
	const tasks = 130 // more than a page, and more than can be described at once
	var first string
	for range tasks / 10 {
		out, err := client.RunTask(t.Context(), &ecs.RunTaskInput{
			Cluster: &cfg.Cluster, TaskDefinition: &cfg.Family, Count: aws.Int32(10), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: network(subnet),
		})
		if err != nil {
			t.Fatal(err)
		}
		first = aws.ToString(out.Tasks[0].TaskArn)
	}
	r := open(t, cfg)
	members := waitFor(t, r, "all tasks", count(tasks))
	check(t, withZones(members))
	if _, err := client.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: &cfg.Cluster, Task: &first}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, r, "one task fewer", count(tasks-1))
}

// moto returns the address of moto, whose tasks stay as they are.
func moto(t *testing.T) string {
	t.Helper()
	upstream := server(t, "GEECACHE_TEST_MOTO")
	// Otherwise a task goes one state on each time that it is described, up to the last.
	const stay = `{"model_name":"ecs::task","transition":{"progression":"manual","times":1000000000}}`
	resp, err := http.Post(upstream+"/moto-api/state-manager/set-transition", "application/json", strings.NewReader(stay))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return mototest.Proxy(t, upstream)
}

// withZones fills in what moto does not tell.
func withZones(members []registry.Member) []registry.Member {
	for i := range members {
		members[i].Zone = "us-east-1a"
	}
	return members
}

var subnetID = regexp.MustCompile(`<subnetId>(subnet-[0-9a-f]+)</subnetId>`)

// subnetOf returns a subnet that the emulator has from the start.
func subnetOf(t *testing.T, endpoint string) string {
	t.Helper()
	form := url.Values{"Action": {"DescribeSubnets"}, "Version": {"2016-11-15"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// The service that is meant is in the signature, which nobody checks.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := subnetID.FindSubmatch(body)
	if m == nil {
		t.Fatalf("no subnet in %s", body)
	}
	return string(m[1])
}

func TestMissingCluster(t *testing.T) {
	cfg, _ := newCluster(t, moto(t), "idle")
	cfg.Cluster = "absent"
	for _, err := range open(t, cfg).Watch(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), `no ECS cluster "absent"`) {
			t.Errorf("Watch: %v, want that there is no such cluster", err)
		}
		break
	}
}
