//go:build docker && linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What geecache env render writes for Compose is taken by it, over the file that it is for.
func TestDockerRendered(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full.yaml")
	err := os.WriteFile(full, []byte(`
name: rendered
image: geecache:9.9
nodes: 5
memory: 1GiB
source: {query: 'select v from t where k = $1'}
registry: etcd://etcd:2379
secrets: {GEECACHE_SOURCE: 'env:RENDERED_URL', PGSSLROOTCERT: 'file:/run/${x}/cert'}
docker: {api_port: 8080, prometheus_port: 9091, grafana_port: 3001}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(geecache, "env", "render", full, "-o", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type config struct {
		Name     string
		Services map[string]struct {
			Image       string
			MemLimit    string `json:"mem_limit"`
			Environment map[string]string
			Deploy      struct{ Replicas int }
			Ports       []struct{ Published string }
		}
	}
	read := func(override string, env ...string) (c config, said string, err error) {
		cmd := exec.Command("docker", "compose", "--file="+composeFile, "--file="+override, "--profile=*", "config", "--format=json")
		cmd.Env = append(os.Environ(), env...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &c)
		}
		return c, errs.String(), err
	}
	c, said, err := read(filepath.Join(dir, "compose.yml"), "RENDERED_URL=postgres://a:b@c/d", "PGSSLROOTCERT=/cert")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	node := c.Services["node"]
	if c.Name != "rendered" || node.Deploy.Replicas != 5 || node.Image != "geecache:9.9" || node.MemLimit != "1073741824" ||
		node.Environment["GEECACHE_SOURCE"] != "postgres://a:b@c/d" || node.Environment["GEECACHE_QUERY"] != "select v from t where k = $$1" {
		t.Errorf("the nodes are %+v", node)
	}
	for service, port := range map[string]string{"api": "8080", "prometheus": "9091", "grafana": "3001"} {
		if ports := c.Services[service].Ports; len(ports) != 1 || ports[0].Published != port {
			t.Errorf("%s publishes %v, want %s alone", service, ports, port)
		}
	}
	if got := c.Services["api"].Environment["GEECACHE_REGISTRY"]; got != "etcd://etcd:2379" {
		t.Errorf("the API server's registry is %q", got)
	}
	if _, said, err := read(filepath.Join(dir, "compose.yml"), "PGSSLROOTCERT=/cert"); err == nil || !strings.Contains(said, "full.yaml takes it as GEECACHE_SOURCE") {
		t.Errorf("without the secret's variable: %v, %q", err, said)
	}
	if c, said, err := read("../rendered/compose.yml"); err != nil || c.Services["node"].Deploy.Replicas != 3 {
		t.Errorf("the example: %v, %s", err, said)
	}
}
