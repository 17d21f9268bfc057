//go:build unix

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	gc "github.com/geecache/geecache/geecache"
)

// A process is a running program.
type process struct {
	cmd  *exec.Cmd
	out  *lockedBuffer // what it writes, both streams
	done chan struct{} // closed when it has ended
	err  error         // of Wait; after done
	addr string        // host:port that it serves
	name string        // for messages
}

// start starts the program. It ends with the test at the latest.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startAs(t, name, geecache, args...)
}

// startAs starts another program.
func startAs(t *testing.T, name, program string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...), out: new(lockedBuffer), done: make(chan struct{}), name: name}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = environment()
	// A group of its own: what a terminal sends to a group does not reach it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Children that outlive it may hold its output open: do not wait for them.
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the group: its children too
		<-p.done
		if strings.Contains(p.out.String(), "DATA RACE") {
			t.Errorf("%s: data race", name)
		}
		if t.Failed() {
			t.Logf("%s (%s) wrote:\n%s", name, strings.Join(args, " "), tail(p.out.String(), 8<<10))
		}
	})
	return p
}

// raceOptions are for a program with the race detector: it goes on after a race,
// which the test finds in its output, and does not linger at its end.
const raceOptions = "halt_on_error=0 exitcode=66 atexit_sleep_ms=0"

// environment is this process's own without what would be settings of the
// program.
func environment() []string {
	env := []string{"GORACE=" + raceOptions}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GEECACHE_") {
			env = append(env, e)
		}
	}
	return env
}

func tail(text string, most int) string {
	if len(text) > most {
		return "..." + text[len(text)-most:]
	}
	return text
}

// signal sends a signal to the process alone.
func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%s: %v: %v", p.name, sig, err)
	}
}

// wait waits for the end of the process and returns its exit status.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s has not ended within %v", p.name, patience)
		return -1
	}
}

// kill ends the process as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
}

// A cluster is nodes and an API server, each a process of its own.
type cluster struct {
	nodes []*process
	api   *process
}

// all returns the nodes and the API server.
func (c *cluster) all() []*process { return append(c.nodes[:len(c.nodes):len(c.nodes)], c.api) }

// node returns the node of that ID.
func (c *cluster) node(t *testing.T, id string) *process {
	t.Helper()
	for _, n := range c.nodes {
		if n.addr == id {
			return n
		}
	}
	t.Fatalf("no node %s", id)
	return nil
}

// A clusterConfig says how to start a cluster.
type clusterConfig struct {
	nodes    int      // 3 by default
	source   string   // URL
	scheme   string   // how nodes speak to each other: "", "grpc://", "http://"
	nodeArgs []string // more flags of each node
	args     []string // more flags of each node and of the API server
}

// startCluster starts the processes, and waits until each is ready and sees all
// others.
func startCluster(t *testing.T, cfg clusterConfig) *cluster {
	t.Helper()
	if cfg.nodes == 0 {
		cfg.nodes = 3
	}
	var addrs, peers []string
	for range cfg.nodes {
		addr := freeAddr(t)
		addrs, peers = append(addrs, addr), append(peers, addr+"="+cfg.scheme+addr)
	}
	c := new(cluster)
	list := strings.Join(peers, ",")
	for i, addr := range addrs {
		args := []string{"node", "--listen", addr, "--peers", list, "--source", cfg.source}
		n := start(t, fmt.Sprintf("node %d", i+1), append(append(args, cfg.nodeArgs...), cfg.args...)...)
		n.addr = addr
		c.nodes = append(c.nodes, n)
	}
	api := freeAddr(t)
	c.api = start(t, "api", append([]string{"node", "--role", "client", "--listen", api, "--peers", list}, cfg.args...)...)
	c.api.addr = api
	for _, p := range c.all() {
		p.awaitConnected(t, cfg.nodes)
	}
	return c
}

// awaitConnected waits until the process is ready and sees the nodes.
func (p *process) awaitConnected(t *testing.T, nodes int) {
	t.Helper()
	eventually(t, p.name, func() error {
		select {
		case <-p.done:
			t.Fatalf("%s has ended: %v", p.name, p.err)
		default:
		}
		return p.connected(nodes)
	})
}

// connected returns nil if the process is ready and sees the nodes.
func (p *process) connected(nodes int) error {
	if status, body, err := get(p.url("/readyz")); err != nil || status != http.StatusOK {
		return fmt.Errorf("/readyz: %d, %s, %w", status, body, errOr(err))
	}
	s, err := p.tryStatus()
	if err != nil {
		return err
	}
	seen := 0
	for _, peer := range s.Peers {
		if peer.Role == gc.RoleNode && (peer.State == "up" || peer.State == "self") {
			seen++
		}
	}
	if seen != nodes {
		return fmt.Errorf("it sees %d of %d nodes: %+v", seen, nodes, s.Peers)
	}
	return nil
}

var errNone = errors.New("no error")

func errOr(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

func (p *process) url(path string) string { return "http://" + p.addr + path }

// status is what /statusz says, as far as tests read it.
type status struct {
	gc.NodeStats
	Registry struct {
		Registered bool    `json:"registered"`
		AgeSeconds float64 `json:"view_age_seconds"`
		Errors     int64   `json:"errors"`
		Error      string  `json:"error"`
	} `json:"registry"`
	Snapshot snapshotStatus `json:"snapshot"`
	Process  struct {
		PID     int    `json:"pid"`
		Queries *int64 `json:"source_queries"`
		GoLimit int64  `json:"memory_limit_bytes"`
		Memory  struct {
			Limit   int64 `json:"limit_bytes"`
			Refused int64 `json:"refused"`
		} `json:"memory"`
	} `json:"process"`
}

func (p *process) tryStatus() (*status, error) {
	code, body, err := get(p.url("/statusz"))
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("/statusz: %d, %w", code, errOr(err))
	}
	var s status
	return &s, json.Unmarshal(body, &s)
}

func (p *process) status(t *testing.T) *status {
	t.Helper()
	s, err := p.tryStatus()
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return s
}

// group returns what a process has counted for the group "scores".
func (p *process) group(t *testing.T) *gc.GroupStats {
	t.Helper()
	s := p.status(t)
	for i := range s.Groups {
		if s.Groups[i].Name == "scores" {
			return &s.Groups[i]
		}
	}
	t.Fatalf("%s has no group scores", p.name)
	return nil
}

// metric returns the value of a metric without labels.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	code, body, err := get(p.url("/metrics"))
	if err != nil || code != http.StatusOK {
		t.Fatalf("%s: /metrics: %d, %v", p.name, code, err)
	}
	for line := range strings.Lines(string(body)) {
		var v float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("%s: /metrics has no %s", p.name, name)
	return 0
}

// client speaks HTTP to the processes. Its connections suffice for all callers
// of a test.
var client = &http.Client{
	Timeout: patience,
	Transport: &http.Transport{
		MaxIdleConnsPerHost: 512, IdleConnTimeout: 5 * time.Second, DisableCompression: true,
	},
}

// get asks for a URL and returns the status and the body.
func get(target string) (int, []byte, error) {
	resp, body, err := getFull(context.Background(), target)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, body, nil
}

func getFull(ctx context.Context, target string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// ask asks a process for a key: an API server through its API, a node by the
// peer protocol.
func (c *cluster) ask(p *process, key string) (*http.Response, []byte, error) {
	ctx := context.Background()
	if p == c.api {
		return getFull(ctx, p.url("/api?group=scores&key="+url.QueryEscape(key)))
	}
	resp, body, err := getFull(ctx, p.url("/_geecache/scores/"+escapePath(key)))
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, body, err
	}
	value, err := decodeValue(body)
	return resp, value, err
}

// escapePath escapes each byte of a key but letters and digits, so that nothing
// on the way can read anything into it.
func escapePath(key string) string {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// decodeValue reads field 1 of a protobuf message by hand, as a client would
// that knows nothing but the protocol's description.
func decodeValue(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil // an empty field is left out
	}
	if body[0] != 1<<3|2 {
		return nil, fmt.Errorf("the body begins with %#x, not with field 1", body[0])
	}
	n, size := binary.Uvarint(body[1:])
	if size <= 0 {
		return nil, errors.New("the length of field 1 has no end")
	}
	if rest := body[1+size:]; uint64(len(rest)) == n {
		return rest, nil
	}
	return nil, fmt.Errorf("a body of %d bytes for a value of %d", len(body), n)
}
