package ecs

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestContractOnMiniStack(t *testing.T) {
	endpoint, image := server(t, "GEECACHE_TEST_MINISTACK"), importImage(t)
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		h := harness(t, endpoint, image, "subnet-1")
		h.Within = 10 * time.Second // each task is a container that starts and ends
		h.Many = 8
		return h
	})
}

func TestContractOnMoto(t *testing.T) {
	endpoint := moto(t)
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		return harness(t, endpoint, "idle", subnetOf(t, endpoint))
	})
}

// harness is an emulator's cluster: members come and go as tasks.
func harness(t *testing.T, endpoint, image, subnet string) registrytest.Harness {
	cfg, own := newCluster(t, endpoint, image)
	k := &tasks{cfg: cfg, Registry: own, subnet: subnet, of: map[string]registry.Member{}, runs: map[string]bool{}}
	proxy := registrytest.NewProxy(t, strings.TrimPrefix(endpoint, "http://"))
	cfg.Endpoint = "http://" + proxy.Addr
	cfg.backoff = 500 * time.Millisecond
	return registrytest.Harness{
		Open: func(t *testing.T) registrytest.Handle {
			r := open(t, cfg)
			return registrytest.Handle{Discoverer: r, Close: r.Close}
		},
		Enter: k.enter, Remove: k.remove, Tells: k.tells,
		Holds: func(registry.Member) bool { return false }, // what is odd cannot be chosen
		Stop:  func(*testing.T) { proxy.SetDown(true) },
		Start: func(*testing.T) { proxy.SetDown(false) },
		Delay: func(_ *testing.T, d time.Duration) { proxy.SetDelay(d) },
	}
}

// tasks are the members of the suite as the emulator has named them.
type tasks struct {
	*Registry // that is the test's own
	cfg       Config
	subnet    string

	mu   sync.Mutex // guards what follows
	of   map[string]registry.Member
	runs map[string]bool
}

func (k *tasks) tells(m registry.Member) registry.Member {
	k.mu.Lock()
	defer k.mu.Unlock()
	if task, ok := k.of[m.ID]; ok {
		return task
	}
	return m
}

func (k *tasks) enter(t *testing.T, m registry.Member) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.runs[m.ID] {
		return
	}
	out, err := k.client.RunTask(context.Background(), &ecs.RunTaskInput{
		Cluster: &k.cfg.Cluster, TaskDefinition: &k.cfg.Family, Count: aws.Int32(1),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: network(k.subnet),
	})
	if err != nil {
		t.Fatal(err)
	}
	k.of[m.ID] = k.await(t, aws.ToString(out.Tasks[0].TaskArn))
	k.runs[m.ID] = true
	k.closeIdle() // the suite counts goroutines
}

// await returns a task as a member, once it runs.
func (k *tasks) await(t *testing.T, arn string) registry.Member {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		out, err := k.client.DescribeTasks(context.Background(), &ecs.DescribeTasksInput{Cluster: &k.cfg.Cluster, Tasks: []string{arn}})
		if err != nil {
			t.Fatal(err)
		}
		task := out.Tasks[0]
		if aws.ToString(task.LastStatus) != "RUNNING" {
			continue
		}
		_, id, _ := strings.Cut(arn, ":task/"+k.cfg.Cluster+"/")
		m := registry.Member{
			Peer:     geecache.Peer{ID: id, Zone: aws.ToString(task.AvailabilityZone)},
			Metadata: map[string]string{"task_definition": k.cfg.Family + ":1"},
		}
		for _, d := range task.Attachments[0].Details {
			if aws.ToString(d.Name) == "privateIPv4Address" {
				m.Addr = net.JoinHostPort(aws.ToString(d.Value), "8001")
			}
		}
		return m
	}
	t.Fatalf("task %s does not run", arn)
	return registry.Member{}
}

func (k *tasks) remove(t *testing.T, m registry.Member) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.runs[m.ID] {
		return
	}
	delete(k.runs, m.ID)
	id := k.of[m.ID].ID
	if _, err := k.client.StopTask(context.Background(), &ecs.StopTaskInput{Cluster: &k.cfg.Cluster, Task: &id}); err != nil {
		t.Error(err)
	}
	k.closeIdle()
}
