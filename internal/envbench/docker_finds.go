package envbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/geecache/geecache/internal/registries"
)

// etcdService is what the compose file calls its etcd and the profile that has it, and
// etcdRegistry begins the URL of a registry that is this etcd.
const (
	etcdService  = "etcd"
	etcdRegistry = "etcd://" + etcdService + ":2379"
)

// SeekLogs implements LogSeeker: Docker keeps a log of each container.
func (c *composed) SeekLogs(ctx context.Context, name, text string) (LogView, error) {
	v := LogView{Place: "the logs of Docker", Streams: make(map[string]int), Events: make(map[string]int)}
	all, err := c.containers(ctx, name)
	if err != nil {
		return v, err
	}
	if len(all) == 0 {
		return v, ErrAbsent
	}
	for _, in := range all {
		lines, err := dockerLogs(ctx, in.ID, seekLines)
		if err != nil {
			return v, err
		}
		v.Streams[in.Service]++
		for _, line := range lines {
			if strings.Contains(line, text) {
				v.Events[in.Name]++
			}
		}
	}
	return v, nil
}

// seekLines is how many of a container's last lines are looked through.
const seekLines = 10_000

// ListMetrics implements MetricLister.
func (c *composed) ListMetrics(ctx context.Context, name string) (map[string][]string, error) {
	return exposed(ctx, c, name)
}

// LookUp implements Looker. Names are resolved for containers alone, so the program asks
// from a container of its own, in the network of a node.
func (c *composed) LookUp(ctx context.Context, name string, n int) []Lookup {
	all := without(
		Lookup{Method: "cloudmap", Err: &Unsupported{"Cloud Map", "the environment docker has no API of AWS"}},
		Lookup{Method: "ecs", Err: &Unsupported{"the API of ECS", "the environment docker has no API of AWS"}},
	)
	etcd := Lookup{Method: "etcd", Err: &Unsupported{"etcd", "the deployment has no etcd: it is in the compose file's profile etcd, with --registry " + etcdRegistry + "/geecache"}}
	running, err := c.all(ctx, name)
	if err != nil {
		etcd.Err = err
	}
	for _, in := range running {
		if registry := in.Env["GEECACHE_REGISTRY"]; in.Service == apiService && strings.HasPrefix(registry, etcdRegistry) {
			etcd = c.lookInside(ctx, name, "etcd", registry, n)
			etcd.Mode += "; gRPC over one connection"
		}
	}
	names := c.lookInside(ctx, name, "dns", fmt.Sprintf("dns:%s:%d", nodeService, nodePort), n)
	names.Mode += "; Docker's own name server, a UDP exchange each"
	return append(all, names, etcd)
}

// lookInside asks a registry from a container in the network of a node.
func (c *composed) lookInside(ctx context.Context, name, method, registry string, n int) Lookup {
	l := Lookup{Method: method, Mode: "the program in a container of its own, in the network of a node"}
	all, err := c.containers(ctx, name)
	if err == nil && len(all) == 0 {
		err = ErrAbsent
	}
	if err != nil {
		l.Err = err
		return l
	}
	out, err := docker(ctx, nil, "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=container:"+all[0].ID,
		"--label=com.docker.compose.project="+name, // so that Down finds it
		all[0].Image, "lookup", registry, "--times="+strconv.Itoa(n), "--json")
	if err != nil {
		l.Err = err
		return l
	}
	var found registries.Looked
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		l.Err = err
		return l
	}
	if len(found.Members) == 0 {
		l.Err = errors.New(registry + " names nobody")
	}
	l.Nodes, l.Took = len(found.Members), found.Took
	return l
}

// Where returns the address at which this machine reaches a node that calls itself as
// containers do: by their ID, for the others on their network.
func (c *composed) Where(ctx context.Context, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil {
		return addr, err
	}
	ip, err := docker(ctx, nil, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", host)
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(ip, " ")
	return net.JoinHostPort(first, port), nil
}

var (
	_ LogSeeker    = (*composed)(nil)
	_ MetricLister = (*composed)(nil)
	_ Looker       = (*composed)(nil)
	_ Finder       = (*composed)(nil)
)
