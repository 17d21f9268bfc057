//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/geecache/geecache/internal/trust"
)

// The faults that are planted here, one by one: the registry is down (seen from a
// node's flags, and by the nodes), it refuses the credentials, the node is not among
// its members, the rings differ, a peer's port is blocked, a node hangs, another
// secret, another cluster ID, a certificate that has expired, one for other names, a
// clock that is ahead, budgets above the control group's limit, and a source that is
// down. Each must be found, and nothing else.

// A doctorReport is what `geecache doctor --json` prints.
type doctorReport struct {
	Healthy  bool `json:"healthy"`
	Findings []struct {
		Check, Subject, Status, Text, Remedy string
	}
}

// examine runs the doctor.
func examine(t *testing.T, program []string, args ...string) (status int, r doctorReport) {
	t.Helper()
	full := append(append(program, "doctor", "--json"), args...)
	cmd := exec.Command(full[0], full[1:]...)
	cmd.Env = environment()
	var errs lockedBuffer
	cmd.Stderr = &errs
	out, _ := cmd.Output() // the status is looked at
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("geecache doctor %s: %v: %s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return cmd.ProcessState.ExitCode(), r
}

// healthy fails the test if the doctor finds anything.
func healthy(t *testing.T, args ...string) {
	t.Helper()
	if status, r := examine(t, []string{geecache}, args...); status != 0 || !r.Healthy || len(r.Findings) < 2 {
		t.Errorf("geecache doctor %s: status %d, want 0: %+v", strings.Join(args, " "), status, r)
	}
}

// ill fails the test unless the doctor finds one fault and nothing else: of that
// check, that subject, and with that in its text.
func ill(t *testing.T, check, subject, says string, args ...string) {
	t.Helper()
	illAs(t, []string{geecache}, check, subject, says, args...)
}

func illAs(t *testing.T, program []string, check, subject, says string, args ...string) {
	t.Helper()
	status, r := examine(t, program, args...)
	found := 0
	for _, f := range r.Findings {
		switch {
		case f.Status == "ok":
		case f.Status == "fault" && f.Check == check && f.Subject == subject && strings.Contains(f.Text, says) && f.Remedy != "":
			found++
		default:
			t.Errorf("geecache doctor %s: this is no fault that was planted: %+v", strings.Join(args, " "), f)
		}
	}
	if found != 1 || status != 1 {
		t.Errorf("geecache doctor %s: status %d, %d faults of %q at %q with %q: %+v", strings.Join(args, " "), status, found, check, subject, says, r)
	}
}

// startNode starts a node of which tests know all flags.
func startNode(t *testing.T, addr string, args ...string) *process {
	t.Helper()
	p := start(t, "node "+addr, append([]string{"node", "--listen", addr, "--source", "slowdb:?latency=0s"}, args...)...)
	p.addr = addr
	return p
}

// startThree starts three nodes with the same list of peers. more has the flags of
// each one besides, and at says where others reach it, if that is elsewhere.
func startThree(t *testing.T, more func(i int) []string, at map[int]string) (addrs []string, nodes []*process, peers string) {
	t.Helper()
	var list []string
	for i := range 3 {
		addrs = append(addrs, freeAddr(t))
		if at[i] == "" {
			list = append(list, addrs[i])
		} else {
			list = append(list, addrs[i]+"="+at[i])
		}
	}
	peers = strings.Join(list, ",")
	for i, addr := range addrs {
		args := append([]string{"--id", addr, "--peers", peers}, more(i)...)
		if at[i] != "" {
			args = append(args, "--advertise", at[i])
		}
		nodes = append(nodes, startNode(t, addr, args...))
	}
	return addrs, nodes, peers
}

func nothing(int) []string { return nil }

func connectAll(t *testing.T, nodes []*process) {
	t.Helper()
	for _, n := range nodes {
		n.awaitConnected(t, len(nodes))
	}
}

func TestDoctorOfPeers(t *testing.T) {
	t.Parallel()
	addrs, nodes, peers := startThree(t, nothing, nil)
	connectAll(t, nodes)
	own := []string{"--listen", addrs[2], "--peers", peers}
	healthy(t, "--addr", addrs[0])
	healthy(t, own...)
	healthy(t, "--role", "client", "--listen", freeAddr(t), "--peers", peers) // one that does not run yet

	ill(t, "source", "postgres://127.0.0.1:1/db", "refused", append(own, "--source", "postgres://user@127.0.0.1:1/db?sslmode=disable", "--query", "select 1 where $1 = ''")...)
	if status, _ := examine(t, []string{geecache}, "--addr", freeAddr(t)); status != 1 {
		t.Errorf("nothing listens: status %d", status)
	}

	nodes[1].signal(t, syscall.SIGSTOP)
	ill(t, "port", addrs[1], "does not answer", "--addr", addrs[0], "--timeout", "1s")
	nodes[1].signal(t, syscall.SIGCONT)
	connectAll(t, nodes)
	healthy(t, "--addr", addrs[0])
}

func TestDoctorFindsABlockedPort(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	p := newProxy(t, addr)
	first := freeAddr(t)
	peers := fmt.Sprintf("%s,%s=%s", first, addr, p.Listen)
	nodes := []*process{
		startNode(t, first, "--peers", peers),
		startNode(t, addr, "--id", addr, "--advertise", p.Listen, "--peers", peers),
	}
	connectAll(t, nodes)
	healthy(t, "--addr", first)
	p.Stop()
	ill(t, "port", addr, "refused", "--addr", first)
}

func TestDoctorFindsADifferentRing(t *testing.T) {
	t.Parallel()
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	all := strings.Join(addrs, ",")
	var nodes []*process
	for i, addr := range addrs {
		peers := all
		if i == 2 {
			peers = addrs[0] + "," + addrs[2]
		}
		nodes = append(nodes, startNode(t, addr, "--peers", peers))
	}
	nodes[0].awaitConnected(t, 3)
	nodes[1].awaitConnected(t, 3)
	nodes[2].awaitConnected(t, 2)
	ill(t, "ring", addrs[2], addrs[1]+" is missing", "--addr", addrs[0])
}

func TestDoctorFindsStrangers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"right", "wrong"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is the secret that is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(name string) []string { return []string{"--secret-file", filepath.Join(dir, name)} }
	addrs, nodes, _ := startThree(t, func(i int) []string {
		if i == 2 {
			return secret("wrong")
		}
		return secret("right")
	}, nil)
	for _, n := range nodes[:2] {
		eventually(t, n.name, func() error {
			code, _, err := get(n.url("/readyz"))
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("%d", code)
			}
			return err
		})
	}
	ill(t, "secret", addrs[2], "secret", append(secret("right"), "--addr", addrs[0])...)

	other, others, _ := startThree(t, func(i int) []string {
		if i == 1 {
			return []string{"--cluster-id", "another"}
		}
		return nil
	}, nil)
	eventually(t, "two of three", func() error { return others[0].sees(other[2]) })
	eventually(t, "two of three", func() error { return others[2].sees(other[0]) })
	eventually(t, "the third listens", func() error { _, _, err := get(others[1].url("/healthz")); return err })
	ill(t, "cluster ID", other[1], "another cluster", "--addr", other[0])
}

// sees returns nil if the process is connected with a peer.
func (p *process) sees(id string) error {
	s, err := p.tryStatus()
	if err != nil {
		return err
	}
	for _, peer := range s.Peers {
		if peer.ID == id && peer.State == "up" {
			return nil
		}
	}
	return fmt.Errorf("%s does not see %s", p.name, id)
}

func TestDoctorFindsBadCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeCerts(t, dir, "good")
	file := func(name string) string { return filepath.Join(dir, name) }
	make := func(name string, life time.Duration, hosts ...string) {
		t.Helper()
		if err := trust.MakeNode(file("ca.pem"), file("ca-key.pem"), file(name+".pem"), file(name+"-key.pem"), hosts, life); err != nil {
			t.Fatal(err)
		}
	}
	const life = 5 * time.Second
	end := time.Now().Add(life)
	make("short", life, "127.0.0.1")
	make("other", time.Hour, "elsewhere.example")
	addrs, _, _ := startThree(t, func(i int) []string { return tlsArgs(dir, []string{"good", "short", "good"}[i]) }, nil)
	args := append(tlsArgs(dir, "good"), "--addr", addrs[0])
	eventually(t, "health", func() error {
		if status, r := examine(t, []string{geecache}, args...); status != 0 {
			return fmt.Errorf("%d: %+v", status, r)
		}
		return nil
	})
	eventually(t, "the end of the certificate", func() error {
		if time.Now().Before(end.Add(time.Second)) {
			return fmt.Errorf("it is valid until %v", end)
		}
		return nil
	})
	ill(t, "certificate", addrs[1], "is valid from", args...)
	ill(t, "credentials", addrs[1], "has expired", append(tlsArgs(dir, "short"), "--listen", addrs[1])...)

	ill(t, "certificate", addrs[1], "for other names", append(tlsArgs(dir, "other"), "--listen", addrs[1])...)
	ill(t, "certificate", addrs[0], "a client's certificate", "--addr", addrs[0], "--tls-ca", file("ca.pem"))
	alone := freeAddr(t)
	startNode(t, alone, tlsArgs(dir, "other")...)
	eventually(t, "TLS", func() error { return exec.Command(geecache, "health", "--addr", "https://"+alone).Run() })
	ill(t, "certificate", alone, "for other names", append(tlsArgs(dir, "good"), "--addr", alone)...)
}

// A clock cannot be set for one process. A proxy says another time in a node's
// place: what compares them is the same.
func TestDoctorFindsAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	behind := freeAddr(t) // where the second node is to listen
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	ahead := 90 * time.Second
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.URL.Path != "/statusz" {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		var all map[string]any
		if err := json.Unmarshal(body, &all); err != nil {
			return err
		}
		process := all["process"].(map[string]any)
		now, err := time.Parse(time.RFC3339Nano, process["now"].(string))
		if err != nil {
			return err
		}
		process["now"] = now.Add(ahead)
		if body, err = json.Marshal(all); err != nil {
			return err
		}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	at := freeAddr(t)
	server := &http.Server{Addr: at, Handler: proxy}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	first, third := freeAddr(t), freeAddr(t)
	peers := fmt.Sprintf("%s,%s=%s,%s", first, behind, at, third)
	nodes := []*process{
		startNode(t, first, "--peers", peers),
		startNode(t, behind, "--id", behind, "--advertise", at, "--peers", peers),
		startNode(t, third, "--peers", peers),
	}
	connectAll(t, nodes)
	ill(t, "clock", behind, "ahead of the others'", "--addr", first)
	healthy(t, "--addr", first, "--max-skew", "2m")
}

func TestDoctorFindsBudgetsAboveTheMemory(t *testing.T) {
	t.Parallel()
	group := newMemoryGroup(t, 256<<20)
	program := []string{"/bin/sh", "-c", `echo $$ >"$1/cgroup.procs" && shift && exec "$@"`, "sh", group.dir, plainBinary(t)}
	listen := freeAddr(t)
	if status, r := examine(t, program, "--listen", listen, "--cache-bytes", "64MiB"); status != 0 {
		t.Errorf("status %d: %+v", status, r)
	}
	illAs(t, program, "memory", listen, "the caches may take", "--listen", listen, "--cache-bytes", "1GiB")
	ill(t, "memory", listen, "--memory-limit is 64", "--listen", listen, "--memory-limit", "64MiB", "--cache-bytes", "1GiB") // in no group
	illAs(t, program, "memory", listen, "--memory-limit is", "--listen", listen, "--memory-limit", "1GiB")
}

func TestDoctorOfAFile(t *testing.T) {
	t.Parallel()
	f := fileList(t)
	nodes := []*process{f.startFound(t, "one"), f.startFound(t, "two")}
	for _, n := range nodes {
		eventually(t, "the view", func() error { return n.found(nodes) })
	}
	healthy(t, "--registry", f.url(), "--listen", nodes[0].addr)
	lost := freeAddr(t)
	n := startNode(t, lost, "--registry", f.url())
	n.awaitConnected(t, 3)
	ill(t, "registry", f.url(), "is not among its 2 members", "--registry", f.url(), "--listen", lost)
}

func TestDoctorOfEtcd(t *testing.T) {
	t.Parallel()
	f := etcdServer(t)
	nodes := []*process{f.startFound(t, "one"), f.startFound(t, "two")}
	for _, n := range nodes {
		eventually(t, "the view", func() error { return n.found(nodes) })
		eventually(t, "registered", func() error {
			if s, err := n.tryStatus(); err != nil || !s.Registry.Registered {
				return fmt.Errorf("%w", errOr(err))
			}
			return nil
		})
	}
	healthy(t, "--addr", nodes[0].addr)
	healthy(t, "--registry", f.url(), "--listen", nodes[0].addr)

	c, err := clientv3.New(clientv3.Config{Endpoints: []string{f.proxy.Addr}, DialTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, do := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "right"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "nobody", "nothing"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	as := func(user string) string { return strings.Replace(f.url(), "://", "://"+user+"@", 1) }
	shown := f.url()
	fresh := freeAddr(t)
	_, r := examine(t, []string{geecache}, "--registry", as("root:right"), "--listen", fresh)
	answered := false
	for _, f := range r.Findings {
		answered = answered || f.Check == "registry" && f.Subject == shown && f.Status == "ok"
	}
	if !answered { // of the nodes, which have no credentials, it may say what it likes
		t.Errorf("with the right credentials: %+v", r)
	}
	for _, user := range []string{"root:wrong", "nobody:nothing"} {
		ill(t, "registry", shown, "it refuses these credentials", "--registry", as(user), "--listen", fresh)
	}

	f2 := etcdServer(t)
	two := []*process{f2.startFound(t, "one"), f2.startFound(t, "two")}
	for _, n := range two {
		eventually(t, "the view", func() error { return n.found(two) })
	}
	f2.proxy.SetDown(true)
	ill(t, "registry", f2.url(), "it does not answer", "--registry", f2.url(), "--listen", freeAddr(t))
	eventually(t, "the nodes notice", func() error {
		for _, n := range two {
			_, body, err := get(n.url("/statusz"))
			if err != nil || !strings.Contains(string(body), `"error":`) {
				return fmt.Errorf("%s: %w", n.name, errOr(err))
			}
		}
		return nil
	})
	ill(t, "registry", f2.url(), "get no answer", "--addr", two[0].addr)
}

func TestDoctorOfAGossip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"right", "wrong"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is the secret that is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := []string{"--secret-file", filepath.Join(dir, "right")}
	healthy(t, append(secret, "--listen", freeAddr(t), "--registry", "gossip:")...) // the first one, before its start
	healthy(t, append(secret, "--listen", freeAddr(t), "--registry", "gossip:?listen="+freeAddr(t))...)
	seed, own := freeAddr(t), freeAddr(t)
	urls := []string{"gossip:?listen=" + seed, "gossip://" + seed + "?listen=" + own}
	addrs := []string{freeAddr(t), freeAddr(t)}
	for i, url := range urls {
		startNode(t, addrs[i], append(secret, "--registry", url)...)
	}
	eventually(t, "health", func() error {
		for i, addr := range addrs {
			for _, args := range [][]string{{"--addr", addr}, {"--listen", addr, "--registry", urls[i]}} {
				if status, r := examine(t, []string{geecache}, append(args, secret...)...); status != 0 {
					return fmt.Errorf("%v: %d: %+v", args, status, r)
				}
			}
		}
		return nil
	})
	ill(t, "secret", "gossip://"+seed, "its secret is not the one given here", "--listen", freeAddr(t), "--registry", "gossip://"+seed+"?listen="+freeAddr(t), "--secret-file", filepath.Join(dir, "wrong"))
}
