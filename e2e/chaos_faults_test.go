//go:build chaos && linux

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/geecache/geecache/registry/registrytest"
)

// scenarios are what happens to clusters. How often a key may be loaded follows from
// the promise: once by each owner that it has in turn, and by each stand-in.
func scenarios() []scenario {
	return []scenario{
		{name: "nothing happens", loads: 1, out: true, hits: 0.8, do: func(c *chaos) { c.begin(); c.load(hold(3, 20)) }},
		{name: "kill -9, and back", loads: 3, out: true, do: kill},
		{name: "kill -9, fixed peers", loads: 3, out: true, setup: fixed, do: kill},
		{name: "SIGTERM, and back", loads: 3, out: true, hits: 0.8, ends: 10 * time.Second, do: leave},
		{name: "SIGSTOP, and on", loads: 3, out: true, do: pause},
		{name: "partition 3:2", loads: 3, out: true, do: partition},
		{name: "partition one way", loads: 3, out: true, do: oneWay},
		{name: "slow peer, 200 ms", loads: 2, setup: proxied, do: slowPeer},
		{name: "packet loss, 5%", loads: 3, do: lossy},
		{name: "join, 4 to 5", nodes: 4, loads: 2, hits: 0.8, do: join},
		{name: "3 to 5 to 3", nodes: 3, loads: 3, hits: 0.8, do: growAndShrink},
		{name: "rolling restart", loads: 3, hits: 0.8, ends: 10 * time.Second, do: rolling()},
		{name: "rolling, handoff off", loads: 3, args: []string{"--handoff-bytes=0"}, do: rolling()},
		{name: "rolling, 1.0 to 1.1", loads: 3, args: []string{"--protocol=1.0"}, do: rolling("--protocol=1.1")},
		{name: "secret and certificates", loads: 3, setup: trusted, do: exchange},
		{name: "registry down", loads: 1, hits: 0.8, setup: withEtcd, do: registryDown},
		{name: "source down, then hung", loads: 1, args: []string{"--load-timeout=2s"}, told: true, hits: 0.8, do: sourceDown},
		{name: "clocks 10 min off", loads: 3, setup: skewed, do: leaveSkewed},
		{name: "SIGTERM, 1 GiB", nodes: 3, args: []string{"--cache-bytes=1300MiB"}, loads: 2, ends: 10 * time.Second, do: func(c *chaos) { endLarge(c, false) }},
		{name: "... and a hung peer", nodes: 3, args: []string{"--cache-bytes=1300MiB"}, loads: 3, ends: 25 * time.Second, do: func(c *chaos) { endLarge(c, true) }},
	}
}

func kill(c *chaos) {
	c.begin()
	c.nodes[1].kill(c.T)
	c.nodes[1] = nil
	c.load(hold(5, 30))
	c.over()
	c.start(1)
	c.await()
	c.load(hold(2, 10))
}

// fixed lists the nodes once and for all.
func fixed(c *chaos) {
	c.registry = "static:"
	for i := range c.scenario.nodes {
		c.registry += c.net.node(i).ip + ":8001,"
	}
	c.registry = strings.TrimSuffix(c.registry, ",")
}

func leave(c *chaos) {
	c.begin()
	c.end(1)
	c.load(hold(3, 30))
	c.start(1)
	c.await()
	c.load(hold(2, 10))
}

func pause(c *chaos) {
	c.begin()
	c.nodes[1].signal(c.T, syscall.SIGSTOP)
	c.load(hold(6, 30)) // longer than what is fresh may live
	c.over()
	c.nodes[1].signal(c.T, syscall.SIGCONT)
	c.await()
	c.load(hold(2, 10))
}

// partition cuts the network in two. Each half has an API server.
func partition(c *chaos) {
	one, two := []host{c.net.api(0)}, []host{c.net.api(1)}
	for i := range 3 {
		one = append(one, c.net.node(i))
	}
	two = append(two, c.net.node(3), c.net.node(4))
	c.begin()
	for _, h := range two {
		h.drop(c.T, one...)
	}
	for _, h := range one {
		h.drop(c.T, two...)
	}
	c.load(hold(8, 40))
	c.over()
	c.heal()
	c.await()
	c.load(hold(2, 10))
}

// oneWay: what an API server and a node send to a node is lost; what it sends to them
// arrives.
func oneWay(c *chaos) {
	c.begin()
	c.net.node(0).drop(c.T, c.net.api(0), c.net.node(1))
	c.load(hold(6, 30))
	c.over()
	c.heal()
	c.await()
	c.load(hold(2, 10))
}

// proxied puts a proxy before the first node.
func proxied(c *chaos) {
	addr := c.net.node(0).ip + ":8001"
	p := newProxyOn(c.T, c.net.here(), addr)
	c.more[0] = []string{"--id", addr, "--advertise", p.Listen}
	c.proxy = p
}

func slowPeer(c *chaos) {
	c.begin()
	heal := c.proxy.disturb(c.T, fault{"latency", `"latency":200`})
	c.load(hold(6, 30))
	c.over()
	heal()
	c.load(hold(2, 10))
}

func lossy(c *chaos) {
	c.begin()
	c.net.node(0).lose(c.T, 0.05)
	c.load(hold(8, 40))
	c.over()
	c.heal()
	c.await()
	c.load(hold(2, 10))
}

// join adds a node while so many keys are asked for the first time that every node
// loads as much as it may.
func join(c *chaos) {
	c.truth.delay.Store(int64(20 * time.Millisecond))
	c.begin()
	c.start(4)
	var wg sync.WaitGroup
	turn := make(chan struct{}, 200)
	for i := range hold(1000, 5000) {
		turn <- struct{}{}
		wg.Go(func() {
			_ = c.rec.ask(context.Background(), fmt.Sprint("cold:", i)) // it is counted
			<-turn
		})
	}
	wg.Wait()
	c.await()
	c.load(hold(3, 20))
}

func growAndShrink(c *chaos) {
	c.begin()
	c.start(3)
	c.start(4)
	c.await()
	c.load(hold(2, 10))
	c.end(4)
	c.end(3)
	c.await()
	c.load(hold(2, 10))
}

// rolling restarts all nodes, one after the other, with more flags.
func rolling(more ...string) func(c *chaos) {
	return func(c *chaos) {
		c.begin()
		for i := range c.scenario.nodes {
			c.end(i)
			c.start(i, more...)
			c.await()
			c.load(hold(1, 5))
		}
	}
}

// trusted gives the cluster a secret and certificates.
func trusted(c *chaos) {
	hosts := []string{"127.0.0.1"}
	r := &rotation{t: c.T, dir: c.TempDir(), secret: tempFile(c.T, "secret", oldSecret+"\n"), trust: x509.NewCertPool()}
	for i := range nodeHosts {
		hosts = append(hosts, c.net.node(i).ip)
	}
	for i := range apiHosts {
		hosts = append(hosts, c.net.api(i).ip)
	}
	next := c.TempDir()
	for _, dir := range []string{r.dir, next} {
		run(c.T, "cert", "ca", "--dir", dir)
		run(c.T, "cert", "node", "--dir", dir, "--name", "node", "--host", strings.Join(hosts, ","))
		r.trust.AppendCertsFromPEM([]byte(mustRead(c.T, filepath.Join(dir, "ca.pem"))))
	}
	args := append([]string{"--secret-file", r.secret}, tlsArgs(r.dir, "node")...)
	c.args = append(c.args[1:], args...) // without --insecure
	c.apiArgs = append(args, "--api-token-file", tempFile(c.T, "token", apiToken))
	c.rec.token = apiToken
	via := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.trust}, MaxIdleConnsPerHost: 64}
	c.Cleanup(via.CloseIdleConnections)
	c.rec.client = &http.Client{Transport: via, Timeout: patience}
	for i := range apiHosts {
		c.rec.apis = append(c.rec.apis, "https://"+c.net.api(i).ip+":9999")
	}
	for i := range c.scenario.nodes {
		r.addrs = append(r.addrs, c.net.node(i).ip+":8001")
	}
	for i := range apiHosts {
		r.addrs = append(r.addrs, c.net.api(i).ip+":9999")
	}
	c.ready = func() error {
		for _, addr := range r.addrs {
			resp, _, err := c.rec.get(c.Context(), "https://"+addr+"/readyz")
			if err != nil || resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %v, %w", addr, resp, errOr(err))
			}
		}
		return nil
	}
	c.rotation, c.next = r, next
}

const (
	oldSecret = "the old secret of the cluster ..."
	newSecret = "the new secret of the cluster ..."
)

// exchange exchanges the secret, then the certificates, and restarts a node after each
// step.
func exchange(c *chaos) {
	r := c.rotation
	at := func(name string) string { return filepath.Join(r.dir, name) }
	oldCA, newCA := mustRead(c.T, at("ca.pem")), mustRead(c.T, filepath.Join(c.next, "ca.pem"))
	fresh := x509.NewCertPool()
	fresh.AppendCertsFromPEM([]byte(newCA))
	again := func(i int) {
		c.end(i)
		c.start(i)
		c.await()
		c.load(1)
	}
	c.begin()
	replace(c.T, r.secret, newSecret+"\n"+oldSecret+"\n")
	r.awaitSecret(newSecret, true)
	again(0)
	replace(c.T, r.secret, newSecret+"\n")
	r.awaitSecret(oldSecret, false)
	again(1)
	replace(c.T, at("ca.pem"), oldCA+newCA)
	r.awaitCertificate(r.trust)
	again(2)
	for _, name := range []string{"node-key.pem", "node.pem"} { // for a moment they do not match
		replace(c.T, at(name), mustRead(c.T, filepath.Join(c.next, name)))
	}
	r.awaitCertificate(fresh)
	again(3)
	replace(c.T, at("ca.pem"), newCA)
	again(4)
}

// withEtcd starts an etcd, which is the registry.
func withEtcd(c *chaos) {
	program := registrytest.Program(c.T, "etcd")
	addr, peers := c.net.freeHere(c.T), "http://"+registrytest.FreeAddr(c.T)
	c.etcd = &registrytest.Server{Path: program, Addr: addr, Args: []string{
		"--name=test", "--data-dir=" + filepath.Join(c.TempDir(), "data"), "--logger=zap", "--log-level=warn",
		"--listen-client-urls=http://" + addr, "--advertise-client-urls=http://" + addr,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=test=" + peers,
	}}
	c.etcd.Start(c.T)
	c.registry = "etcd://" + addr + "/chaos"
}

func registryDown(c *chaos) {
	c.begin()
	c.etcd.Stop(c.T)
	c.load(hold(10, 60))
	c.over()
	c.etcd.Start(c.T)
	eventually(c.T, "the views are fresh again", func() error {
		for _, p := range c.living() {
			if s, err := p.tryStatus(); err != nil || s.Registry.AgeSeconds > 3 {
				return fmt.Errorf("%s: not yet: %w", p.name, errOr(err))
			}
		}
		return nil
	})
	c.load(hold(2, 10))
	c.await()
}

// sourceDown: connections to the source are refused, then it takes them and says
// nothing. What has a TTL can be answered by nobody for a while.
func sourceDown(c *chaos) {
	c.begin()
	c.rec.setMayFail(func(key string) bool { return strings.HasPrefix(key, "fresh:") })
	_ = c.truth.server.Close()
	c.load(hold(5, 30))
	c.truth.delay.Store(int64(time.Hour))
	c.truth.listen(c.T, c.truth.listener.Addr().String())
	c.load(hold(4, 30))
	c.truth.delay.Store(int64(5 * time.Millisecond))
	c.load(4) // who waited for the source has been told so
	c.rec.setMayFail(nil)
	c.load(hold(2, 10))
}

// skewed sets the clocks of two nodes off. Systems have one clock for all processes,
// so these two are another build of the program, in which time.Now is off.
func skewed(c *chaos) {
	program := skewedProgram(c.T)
	for i, off := range []string{"600", "-600"} {
		c.program[i] = program
		c.before[i] = []string{"env", "CLOCK_OFF_BY=" + off}
	}
}

func leaveSkewed(c *chaos) {
	c.begin()
	for i := range 3 {
		c.end(i)
		c.load(hold(2, 10))
		c.start(i)
		c.await()
		c.load(hold(1, 10))
	}
}

// skewedProgram builds the program with a clock that an environment variable sets off.
func skewedProgram(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	lib, dir := filepath.Join(strings.TrimSpace(string(out)), "src", "time"), t.TempDir()
	const now = "sec, nsec, mono := runtimeNow()\n"
	text := mustRead(t, filepath.Join(lib, "time.go"))
	if strings.Count(text, now) == 0 {
		t.Fatal("time.Now of this Go release is not the one that the test knows how to change")
	}
	changed := filepath.Join(dir, "time.go")
	replace(t, changed, strings.ReplaceAll(text, now, now+"\tsec += offBy\n"))
	added := filepath.Join(dir, "off.go")
	replace(t, added, `package time

import "syscall"

var offBy = func() int64 {
	text, _ := syscall.Getenv("CLOCK_OFF_BY")
	n, _ := atoi(text)
	return int64(n)
}()
`)
	overlay, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "geecache")
	replace(t, overlay, fmt.Sprintf(`{"Replace":{%q:%q,%q:%q}}`, filepath.Join(lib, "time.go"), changed, filepath.Join(lib, "off.go"), added))
	do(t, "go", "build", "-overlay", overlay, "-o", program, "github.com/geecache/geecache")
	return program
}

// endLarge ends a node that holds 1 GiB, perhaps while a peer hangs.
func endLarge(c *chaos, hung bool) {
	leaver := c.nodes[0]
	ring := (&cluster{nodes: c.living()}).ring(c.T)
	keys := keysOf(ring, leaver.addr, "big:", 1<<30/bigValue)
	next := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for key := range next {
				status, body, err := get(leaver.url("/_geecache/scores/" + escapePath(key)))
				if err != nil || status != http.StatusOK || len(body) < bigValue {
					c.Errorf("%s: %d, %d bytes, %v", key, status, len(body), err)
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	wg.Wait()
	if b := leaver.group(c.T).Main.Bytes; b < 1<<30 {
		c.Errorf("the cache holds %d bytes, want 1 GiB", b)
	}
	c.begin()
	if hung {
		c.nodes[1].signal(c.T, syscall.SIGSTOP)
	}
	c.end(0)
	c.load(1)
	c.over()
	if hung {
		c.nodes[1].signal(c.T, syscall.SIGCONT)
		c.load(1)
	}
}
