package envbench

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// composeSecret is where the compose file keeps the cluster's secret in each container.
const composeSecret = "/run/geecache/secrets/cluster"

const defaultDockerAPI = 9999

// A composed deploys with the compose file in docker-native/, as a project of the
// deployment's name.
type composed struct {
	Options
	file    string
	builder imageBuilder
}

func newComposed(o Options) (*composed, error) {
	file := filepath.Join(o.Dir, "docker-native", "docker-compose.yml")
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("the compose file: %w: run this in the project's folder, or name that with --dir", err)
	}
	return &composed{Options: o, file: file}, nil
}

// A container is one of the project.
type container struct {
	Hello                               bool // it is a static server
	ID, Name, Service, Image, State, IP string

	Created, Started time.Time
	PID              int // of its process on this machine, or of the engine's; 0: there is none
	Exit             int // its status, once it has ended
	Env              map[string]string
	APIPort          string // on this machine
}

// containers returns those of nodes and of the API server, nodes first.
func (c *composed) containers(ctx context.Context, name string) ([]container, error) {
	all, err := c.all(ctx, name)
	return slices.DeleteFunc(all, func(in container) bool { return in.Service != nodeService && in.Service != apiService }), err
}

// all returns all of the project, nodes before the API server.
func (c *composed) all(ctx context.Context, name string) (all []container, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	ids, err := docker(ctx, nil, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+name)
	if err != nil || ids == "" {
		return nil, err
	}
	text, err := docker(ctx, nil, append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	var inspected []struct {
		ID, Name string
		Created  time.Time
		State    struct {
			Status        string
			ExitCode, Pid int
			StartedAt     time.Time
		}
		Config struct {
			Image  string
			Env    []string
			Labels map[string]string
		}
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
			Ports    map[string][]struct{ HostPort string }
		}
	}
	if err := json.Unmarshal([]byte(text), &inspected); err != nil {
		return nil, err
	}
	for _, in := range inspected {
		one := container{
			ID: in.ID, Name: strings.TrimPrefix(in.Name, "/"), Service: in.Config.Labels["com.docker.compose.service"],
			Image: in.Config.Image, State: in.State.Status, Exit: in.State.ExitCode, Env: make(map[string]string),
			Hello: in.Config.Labels[labelHello] != "", Created: in.Created, Started: in.State.StartedAt, PID: in.State.Pid,
		}
		for _, n := range in.NetworkSettings.Networks {
			one.IP = cmp.Or(one.IP, n.IPAddress)
		}
		for _, e := range in.Config.Env {
			variable, value, _ := strings.Cut(e, "=")
			one.Env[variable] = value
		}
		for _, p := range in.NetworkSettings.Ports[fmt.Sprintf("%d/tcp", apiPort)] {
			one.APIPort = p.HostPort
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b container) int {
		return cmp.Or(strings.Compare(b.Service, a.Service), strings.Compare(a.Name, b.Name)) // node, api
	})
	return all, nil
}

// compose runs Compose. more are the nodes' variables that the compose file does not
// know; their values are in env.
func (c *composed) compose(ctx context.Context, name string, more, env []string, args ...string) (err error) {
	all := []string{"compose", "--project-name=" + name, "--file=" + c.file}
	if len(more) > 0 {
		variables := make(map[string]string)
		for _, v := range more {
			variables[v] = "${" + v + "}" // the file holds no value
		}
		text, err := json.Marshal(map[string]any{"services": map[string]any{nodeService: map[string]any{"environment": variables}}})
		if err != nil {
			return err
		}
		dir, err := TempDir("compose")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		file := filepath.Join(dir, "nodes.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		all = append(all, "--file="+file)
	}
	if _, err = docker(ctx, env, append(all, args...)...); err != nil && ctx.Err() == nil { // all but the last line tells of what went well
		text := strings.TrimSpace(err.Error())
		err = fmt.Errorf("docker compose: %s", strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:]))
	}
	return err
}

// knownToCompose returns the variables that the compose file hands on to nodes.
func knownToCompose() []string {
	return []string{"GEECACHE_SOURCE", "GEECACHE_QUERY", "GEECACHE_REGISTRY"}
}

// Up implements Driver.
func (c *composed) Up(ctx context.Context, d Deployment) (*Status, error) {
	if err := errors.Join(d.Validate(), d.checkDisk()); err != nil {
		return nil, err
	}
	d = d.WithDefaults()
	w := c.stopwatch()
	w.stage(StageImage, d.Image+" is looked for")
	secrets, err := d.secrets()
	if err != nil {
		return nil, err
	}
	if _, given := secrets[secretVariable]; given {
		return nil, fmt.Errorf("%s: in Docker the cluster makes a secret of its own: leave it out", secretVariable)
	}
	if _, err := docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", d.Image); err != nil {
		return nil, fmt.Errorf("this machine's Docker has no image %q: build it with `docker build -f docker-native/Dockerfile -t %s .`: %w", d.Image, d.Image, err)
	}
	if d.Hello {
		return c.upHello(ctx, w, d)
	}
	env := []string{"GEECACHE_IMAGE=" + d.Image, "GEECACHE_API_PORT=" + strconv.Itoa(cmp.Or(d.APIPort, defaultDockerAPI))}
	if d.Registry != "" {
		env = append(env, "GEECACHE_REGISTRY="+d.Registry)
	}
	var more []string
	values := make(map[string]string)
	for _, v := range d.variables() {
		variable, value, _ := strings.Cut(v, "=")
		values[variable] = value
	}
	maps.Copy(values, secrets)
	for _, variable := range slices.Sorted(maps.Keys(values)) {
		env = append(env, variable+"="+values[variable])
		if !slices.Contains(knownToCompose(), variable) {
			more = append(more, variable)
		}
	}
	return c.bring(ctx, w, d.Name, d.Nodes, more, env)
}

// Scale implements Driver.
func (c *composed) Scale(ctx context.Context, name string, nodes int) (*Status, error) {
	w := c.stopwatch()
	now, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(now) == 0 {
		return nil, ErrAbsent
	}
	if now[0].Hello {
		return nil, &Unsupported{"changing the number of static servers", "their compose file goes with Up"}
	}
	env := []string{"GEECACHE_IMAGE=" + now[0].Image}
	for _, in := range now {
		if in.APIPort != "" {
			env = append(env, "GEECACHE_API_PORT="+in.APIPort)
		}
	}
	var more []string
	for _, variable := range slices.Sorted(maps.Keys(now[0].Env)) {
		if !strings.HasPrefix(variable, "GEECACHE_") {
			continue
		}
		env = append(env, variable+"="+now[0].Env[variable])
		if !slices.Contains(knownToCompose(), variable) {
			more = append(more, variable)
		}
	}
	return c.bring(ctx, w, name, nodes, more, env, "--no-recreate")
}

// bring makes the project what it is to be.
func (c *composed) bring(ctx context.Context, w *stopwatch, name string, nodes int, more, env []string, args ...string) (*Status, error) {
	before, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "GEECACHE_REGISTRY="+etcdRegistry) }) {
		env = append(env, "COMPOSE_PROFILES="+etcdService) // nodes depend on it where it is
	}
	w.stage(StageControlPlane, fmt.Sprintf("%d nodes and an API server", nodes))
	limited, cancel := context.WithTimeout(ctx, c.StartWithin)
	defer cancel()
	err = c.compose(limited, name, more, env, append([]string{
		"up", "--detach", "--wait", "--no-build", "--pull=never", "--quiet-pull", fmt.Sprintf("--scale=%s=%d", nodeService, nodes),
	}, append(args, nodeService, apiService)...)...)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, fmt.Errorf("%w%s", err, c.lastWords(clean, name))
	}
	after, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	split(w, before, after)
	return c.settle(ctx, w, name, nodes, before)
}

// split divides the time that Compose took, by when the engine made and started what is
// new. Compose returns once its health checks have passed, which it looks at every so often:
// that is part of the start.
func split(w *stopwatch, before, after []container) {
	var created, started time.Time
	for _, in := range after {
		if in.Service != nodeService || slices.ContainsFunc(before, func(b container) bool { return b.ID == in.ID && b.Started.Equal(in.Started) }) {
			continue
		}
		if in.Created.After(created) {
			created = in.Created
		}
		if in.Started.After(started) {
			started = in.Started
		}
	}
	if started.IsZero() { // nothing is new
		if len(after) < len(before) {
			w.name = StageStop
		}
		return
	}
	w.stageAt(created, StageScheduling, "containers are started")
	w.stageAt(started, StageStart, "containers become healthy")
}

// settle returns when all have one ring.
func (c *composed) settle(ctx context.Context, w *stopwatch, name string, nodes int, before []container) (*Status, error) {
	w.stage(StageAgreement, "all nodes are asked for their ring")
	p, err := c.prober(ctx, name)
	if err != nil {
		return nil, err
	}
	defer p.close()
	s, err := c.awaitAgreement(ctx, w, func(ctx context.Context) (*Status, error) {
		s, err := c.look(ctx, name, p)
		if err == nil {
			s.Desired = nodes
		}
		return s, err
	})
	if err != nil {
		return s, fmt.Errorf("%w%s", err, c.lastWords(ctx, name))
	}
	after, err := c.containers(ctx, name)
	w.end()
	s.Stages, s.Changed = w.stages, changes(before, after)
	return s, err
}

// changes says which containers are not those from before.
func changes(before, after []container) (changed []string) {
	was := make(map[string]string)
	for _, in := range before {
		was[in.ID] = in.Name
	}
	for _, in := range after {
		if _, same := was[in.ID]; !same {
			changed = append(changed, "container "+in.Name+" is created")
		}
		delete(was, in.ID)
	}
	for _, name := range slices.Sorted(maps.Values(was)) {
		changed = append(changed, "container "+name+" is removed")
	}
	return changed
}

// prober returns what asks the project's processes, with their secret.
func (c *composed) prober(ctx context.Context, name string) (*prober, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].Hello {
		return newProber("", true), nil
	}
	secret, err := secretOf(ctx, all)
	if err != nil {
		return nil, err
	}
	return newProber(secret, false), nil
}

// Secret returns the cluster's secret, out of one of its containers.
func (c *composed) Secret(ctx context.Context, name string) (string, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return "", err
	}
	return secretOf(ctx, all)
}

// secretOf returns the secret out of the first of some containers that has one.
func secretOf(ctx context.Context, all []container) (string, error) {
	var last error
	for _, in := range all {
		archive, err := docker(ctx, nil, "cp", in.ID+":"+composeSecret, "-")
		if err != nil {
			last = err // it is not as Compose makes them
			continue
		}
		r := tar.NewReader(bytes.NewReader([]byte(archive)))
		if _, err := r.Next(); err != nil {
			return "", fmt.Errorf("the cluster's secret in %s: %w", in.Name, err)
		}
		text, err := io.ReadAll(io.LimitReader(r, maxAnswer))
		if err != nil {
			return "", err
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return first, nil
	}
	return "", last
}

// look asks Docker what runs, and then every process.
func (c *composed) look(ctx context.Context, name string, p *prober) (*Status, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrAbsent
	}
	s := &Status{Environment: Docker, Name: name, Image: all[0].Image, Notes: []string{
		"containers of one machine: no other machine, no load balancer, and addresses that only this machine's Docker leads to",
	}}
	for _, in := range all {
		if in.Service == nodeService {
			s.Desired++
			if in.State == "running" {
				s.Reported++
			}
			if in.PID > 0 {
				s.Running++
			}
		}
		m := Member{ID: in.Name, API: in.Service == apiService, task: in.ID}
		if in.IP != "" {
			m.Addr = net.JoinHostPort(in.IP, strconv.Itoa(int(port(in.Service))))
		}
		if in.APIPort != "" {
			s.API = "http://127.0.0.1:" + in.APIPort
		}
		s.Members = append(s.Members, m)
	}
	p.all(ctx, s.Members)
	return s, nil
}

// Status implements Driver.
func (c *composed) Status(ctx context.Context, name string) (*Status, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrAbsent
	}
	p, err := c.prober(ctx, name)
	if err != nil {
		return nil, err
	}
	defer p.close()
	s, err := c.look(ctx, name, p)
	if err == nil {
		s.judge()
	}
	return s, err
}

// Logs implements Driver.
func (c *composed) Logs(ctx context.Context, name string, w io.Writer, lines int) error {
	all, err := c.containers(ctx, name)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return ErrAbsent
	}
	for _, in := range all {
		text, err := dockerLogs(ctx, in.ID, lines)
		if err != nil {
			return err
		}
		for _, line := range text {
			if _, err := fmt.Fprintf(w, "%s | %s\n", in.Name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// lastWords returns what a container that does not run, or is not well, has logged last.
func (c *composed) lastWords(ctx context.Context, name string) string {
	all, err := c.all(ctx, name)
	if err != nil {
		return ""
	}
	for _, in := range all {
		if in.State == "running" || in.Exit == 0 {
			continue
		}
		lines, err := dockerLogs(ctx, in.ID, lastWordsLines)
		if err == nil && len(lines) > 0 {
			return fmt.Sprintf("\n%s is %s, exit status %d; its last lines:\n  %s", in.Name, in.State, in.Exit, strings.Join(lines, "\n  "))
		}
	}
	return ""
}

// Down implements Driver.
func (c *composed) Down(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	failed := c.compose(ctx, name, nil, nil, "--profile=*", "down", "--volumes", "--remove-orphans")
	var left []string
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		var err error
		left, err = sweepProject(ctx, name)
		return len(left) == 0, err
	})
	if err != nil && len(left) > 0 {
		err = fmt.Errorf("%d things are left: %s", len(left), strings.Join(left, ", "))
	}
	if err != nil {
		err = errors.Join(failed, err)
	}
	return err
}

// sweepProject removes what Docker has of a project, and returns what it was: Compose, when
// it is interrupted, may leave the engine with an order that comes about after it has looked,
// and containers that are planted or ask for something are none of its own.
func sweepProject(ctx context.Context, name string) (found []string, err error) {
	project := "label=com.docker.compose.project=" + name
	for _, kind := range []struct {
		name         string
		list, remove []string
	}{
		{"container", []string{"ps", "--all", "--quiet", "--filter", project}, []string{"rm", "--force", "--volumes"}},
		{"network", []string{"network", "ls", "--quiet", "--filter", project}, []string{"network", "rm"}},
		{"volume", []string{"volume", "ls", "--quiet", "--filter", project}, []string{"volume", "rm", "--force"}},
	} {
		out, err := docker(ctx, nil, kind.list...)
		if err != nil {
			return found, err
		}
		for _, one := range strings.Fields(out) {
			found = append(found, kind.name+" "+one)
			_, _ = docker(ctx, nil, append(kind.remove, one)...) // the next look tells
		}
	}
	return found, nil
}
