//go:build docker && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// composeFile is what users start.
const composeFile = "../docker-native/docker-compose.yml"

// The load under which the cluster of containers changes, in requests a second.
const dockerRate = 100

// dockerPatience is like patience, for containers on a machine that has other things to do.
const dockerPatience = 3 * time.Minute

// dockerEventually polls as eventually does, and for longer.
func dockerEventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	if err := poll(dockerPatience, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// dockerImage returns the image that the step has built.
func dockerImage(t *testing.T) string {
	t.Helper()
	image := os.Getenv("GEECACHE_TEST_IMAGE")
	if image == "" {
		t.Fatal("GEECACHE_TEST_IMAGE is not set: run make step STEP=docker")
	}
	return image
}

// docker runs the client and returns its standard output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryDocker(t.Context(), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryDocker(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s%s", strings.Join(args, " "), err, out, said.String())
	}
	return string(out), err
}

// A composed is a cluster of containers, as docker compose makes it.
type composed struct {
	t       *testing.T
	project string
	env     []string
	profile string // that is active
	file    string // of variables
	api     string // its address
	prom    string // that of Prometheus
}

// newComposed prepares a cluster of a name and ports of its own, of which nothing is left
// when the test ends.
func newComposed(t *testing.T) *composed {
	t.Helper()
	c := &composed{t: t, project: fmt.Sprintf("geecache-e2e-%d", os.Getpid()), api: freeAddr(t), prom: freeAddr(t)}
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	c.env = []string{
		"GEECACHE_IMAGE=" + dockerImage(t), "GEECACHE_API_PORT=" + port(c.api), "GEECACHE_PROMETHEUS_PORT=" + port(c.prom),
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			out, _ := tryDocker(ctx, c.env, c.args("logs", "--tail=40")...)
			t.Logf("the containers' last words:\n%s", out)
		}
		c.profile = "*"
		if _, err := tryDocker(ctx, c.env, c.args("down", "-v", "--timeout=20")...); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *composed) args(args ...string) []string {
	all := []string{"compose", "--project-name=" + c.project, "--file=" + composeFile, "--progress=quiet"}
	if c.profile != "" {
		all = append(all, "--profile="+c.profile)
	}
	if c.file != "" {
		all = append(all, "--env-file="+c.file)
	}
	return append(all, args...)
}

// run runs docker compose for the cluster, and says how long it took.
func (c *composed) run(args ...string) string {
	c.t.Helper()
	begin := time.Now()
	out, err := tryDocker(c.t.Context(), c.env, c.args(args...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("docker compose %s: %v", strings.Join(args, " "), time.Since(begin).Round(10*time.Millisecond))
	return out
}

// up brings up the services, and waits until they are ready.
func (c *composed) up(args ...string) {
	c.t.Helper()
	c.run(append([]string{"up", "--detach", "--wait", "--wait-timeout=300", "--no-build"}, args...)...)
}

// containers returns the IDs of the service's containers.
func (c *composed) containers(service string) []string {
	c.t.Helper()
	return strings.Fields(c.run("ps", "--quiet", service))
}

// pid returns the process of a container, as this machine numbers it.
func (c *composed) pid(container string) int {
	c.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(docker(c.t, "inspect", "--format={{.State.Pid}}", container)))
	if err != nil || pid <= 1 {
		c.t.Fatalf("container %s has the process %d, %v", container, pid, err)
	}
	return pid
}

// agree waits until the ring has n nodes, all of which serve and have the same view of it.
func (c *composed) agree(n int) {
	c.t.Helper()
	begin := time.Now()
	dockerEventually(c.t, fmt.Sprintf("%d nodes agree", n), func() error {
		out, err := tryDocker(c.t.Context(), c.env, c.args("exec", "-T", "api", "/geecache", "ring", "--json",
			"--addr=127.0.0.1:9999", "--secret-file=/run/geecache/secrets/cluster")...)
		if err != nil {
			return err
		}
		var ring struct {
			Agree bool
			Nodes []struct{ ID, Role, State string }
		}
		if err := json.Unmarshal([]byte(out), &ring); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		serving := 0
		for _, node := range ring.Nodes {
			if node.Role == "node" && node.State == "serving" {
				serving++
			}
		}
		if !ring.Agree || serving != n {
			return fmt.Errorf("the ring is %+v", ring)
		}
		return nil
	})
	c.t.Logf("%d nodes agree %v later", n, time.Since(begin).Round(10*time.Millisecond))
}

// get asks the API for a key.
func (c *composed) get(key string) (string, error) {
	resp, err := http.Get("http://" + c.api + "/api?key=" + key)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), nil
}

// load sends until the function that it returns is called. Each answer is checked:
// keys that the database does not have must not be found.
func (c *composed) load() (stop func() *loadgen.Result) {
	c.t.Helper()
	keys := []loadgen.WeightedKey{{Key: "Tom", Weight: 1}, {Key: "Jack", Weight: 1}, {Key: "Sam", Weight: 1}}
	for i := range 300 {
		keys = append(keys, loadgen.WeightedKey{Key: fmt.Sprintf("nobody:%d", i), Weight: 1})
	}
	return loadMeanwhile(c.t, loadgen.Config{
		URLs: []string{"http://" + c.api}, KeepFailures: 1000, Keys: loadgen.Keys{List: keys}, Rate: dockerRate, Seed: 1,
		Timeout: 20 * time.Second,
		Expect:  loadgen.ExpectValues(map[string]string{"Tom": "630", "Jack": "589", "Sam": "567"}),
	})
}

// reportDocker fails the test if a request has failed, and says why those have.
func reportDocker(t *testing.T, r *loadgen.Result) {
	t.Helper()
	why := make(map[string]int)
	for _, f := range r.Failures {
		why[f.Error]++
	}
	if r.Requests == 0 || r.Failed != 0 {
		t.Errorf("%d of %d requests failed: %v; of the first ones because of: %v", r.Failed, r.Requests, r.Outcomes, why)
	}
}

// TestDockerCluster is a life of the cluster: it comes up, grows and shrinks and loses a
// node under load, and goes without a trace.
func TestDockerCluster(t *testing.T) {
	c := newComposed(t)
	c.up()
	if got, err := c.get("Tom"); err != nil || got != "630" {
		t.Fatalf("GET /api?key=Tom is %q, %v; want 630", got, err)
	}
	c.agree(3)
	c.hardened()
	monitored := c.monitoring(3)

	stop := c.load()
	c.up("--scale=node=5")
	c.agree(5)
	monitored(5)
	c.up("--scale=node=3")
	c.agree(3)
	r := stop()
	reportDocker(t, r)
	t.Logf("from 3 nodes to 5 and back: %d requests, %d failed, p99 %v, max %v", r.Requests, r.Failed, r.Latency.P99, r.Latency.Max)

	c.kill()
	c.down()
}

// TestDockerEtcd: the same file, with nodes that find each other by etcd.
func TestDockerEtcd(t *testing.T) {
	c := newComposed(t)
	c.file = "../docker-native/etcd.env"
	c.up()
	c.agree(3)
	if got, err := c.get("Tom"); err != nil || got != "630" {
		t.Errorf("GET /api?key=Tom is %q, %v; want 630", got, err)
	}
	etcd := c.containers("etcd")[0]
	dockerEventually(t, "etcd has all members", func() error {
		keys, err := tryDocker(t.Context(), nil, "exec", etcd, "/usr/local/bin/etcdctl", "get", "--prefix", "--keys-only", "/geecache/")
		if n := len(strings.Fields(keys)); err == nil && n < 3 {
			return fmt.Errorf("etcd has %d members, want 3 nodes: %s", n, keys)
		}
		return err
	})
}

// TestDockerPostgres: the same file, with PostgreSQL as the source. Its password is one
// that nobody has written down.
func TestDockerPostgres(t *testing.T) {
	c := newComposed(t)
	c.file = "../docker-native/postgres.env"
	c.up()
	c.agree(3)
	// Who is in the table, and in no other source.
	if got, err := c.get("Ann"); err != nil || got != "701" {
		t.Errorf("GET /api?key=Ann is %q, %v; want 701", got, err)
	}
}

// hardened checks what a node may do.
func (c *composed) hardened() {
	t := c.t
	t.Helper()
	node := c.containers("node")[0]
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid(node)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nUid:\t65532\t65532\t65532\t65532\n", "\nCapEff:\t0000000000000000\n", "\nNoNewPrivs:\t1\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("a node's process is not %q: %s", strings.TrimSpace(want), status)
		}
	}
	// Each as who owns the directory, so that only the file system can refuse.
	for path, user := range map[string]string{"/attempt": "0", "/etc/attempt": "0", "/run/geecache/secrets/attempt": "65532"} {
		out, err := tryDocker(t.Context(), nil, "exec", "--user="+user, node, "/geecache", "secret", path)
		if err == nil || !strings.Contains(err.Error(), "read-only file system") {
			t.Errorf("writing %s in a node: %q, %v; want a read-only file system", path, out, err)
		}
	}
	if ports := docker(t, "port", c.containers("api")[0]); !strings.Contains(ports, "127.0.0.1:") || strings.Contains(ports, "0.0.0.0") || strings.Contains(ports, "[::]") {
		t.Errorf("the API is published at %s; want loopback only", ports)
	}
}

// kill ends a node's process as a crash does. The container's engine is not told, so it
// must notice, and start it again.
func (c *composed) kill() {
	t := c.t
	t.Helper()
	victim := c.containers("node")[1]
	pid := c.pid(victim)
	stop := c.load()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing a node's process (the engine has to be on this machine, and this root): %v", err)
	}
	begin := time.Now()
	dockerEventually(t, "the killed node is replaced", func() error {
		out, err := tryDocker(t.Context(), nil, "inspect", "--format={{.State.Status}} {{.State.Health.Status}} {{.RestartCount}} {{.State.Pid}}", victim)
		if err != nil {
			return err
		}
		if f := strings.Fields(out); len(f) != 4 || f[0] != "running" || f[1] != "healthy" || f[2] != "1" || f[3] == strconv.Itoa(pid) {
			return fmt.Errorf("the container is %s", out)
		}
		return nil
	})
	t.Logf("the killed node was back and healthy after %v", time.Since(begin).Round(10*time.Millisecond))
	c.agree(3)
	r := stop()
	reportDocker(t, r)
	t.Logf("with a node killed: %d requests, %d failed", r.Requests, r.Failed)
}

// down removes the cluster, of which nothing may be left.
func (c *composed) down() {
	t := c.t
	t.Helper()
	c.profile = "*"
	c.run("down", "-v")
	filter := "--filter=label=com.docker.compose.project=" + c.project
	for _, list := range [][]string{
		{"ps", "--all", "--quiet", filter}, {"network", "ls", "--quiet", filter}, {"volume", "ls", "--quiet", filter},
	} {
		if left := docker(t, list...); left != "" {
			t.Errorf("after down -v, docker %s has %s", list[0], left)
		}
	}
}

// monitoring starts Prometheus, and returns a function that waits until it scrapes all of
// n nodes and the API server.
func (c *composed) monitoring(n int) func(n int) {
	t := c.t
	t.Helper()
	c.profile = "monitoring"
	c.up("prometheus")
	c.profile = ""
	wait := func(n int) {
		t.Helper()
		dockerEventually(t, fmt.Sprintf("Prometheus scrapes %d nodes", n), func() error {
			up, err := c.query(`up{job="geecache"} == 1`)
			if err != nil {
				return err
			}
			roles, err := c.query(`geecache_node_info{role="node"}`)
			if err != nil {
				return err
			}
			if len(up) != n+1 || len(roles) != n {
				return fmt.Errorf("it scrapes %d processes, of which %d are nodes", len(up), len(roles))
			}
			return nil
		})
	}
	wait(n)
	return wait
}

// query asks Prometheus, and returns the values by their labels.
func (c *composed) query(expr string) (map[string]string, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.prom+"/api/v1/query", nil)
	if err != nil {
		return nil, err
	}
	q := req.URL.Query()
	q.Set("query", expr)
	req.URL.RawQuery = q.Encode()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status string
		Error  string
		Data   struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	values := make(map[string]string)
	for _, r := range answer.Data.Result {
		labels := make([]string, 0, len(r.Metric))
		for k, v := range r.Metric {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		values[strings.Join(labels, ",")] = fmt.Sprint(r.Value[1])
	}
	return values, nil
}
