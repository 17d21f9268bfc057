//go:build unix

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/miekg/dns"

	"github.com/geecache/geecache/registry/registrytest"
)

// A finder is a registry for nodes that run as processes.
type finder struct {
	kind   string              // as metrics call it
	url    func() string       // for the next node's --registry
	within time.Duration       // how soon a node that has registered is in every ring
	proxy  *registrytest.Proxy // before its server; nil if it has none
	enter  func(addr string)   // makes a node known; nil if nodes do that
}

// cloudMap makes an empty service at an emulator of Cloud Map.
func cloudMap(t *testing.T, variable string) finder {
	t.Helper()
	endpoint := os.Getenv(variable)
	if endpoint == "" {
		const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatalf(remedy, variable)
		}
		t.Skipf(remedy, variable)
	}
	ctx := t.Context()
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion("us-east-1"),
		awsconfig.WithCredentialsProvider(awscreds.NewStaticCredentialsProvider("local", "local", "")))
	if err != nil {
		t.Fatal(err)
	}
	client := servicediscovery.NewFromConfig(cfg, func(o *servicediscovery.Options) { o.BaseEndpoint = &endpoint })
	name := fmt.Sprintf("e2e-%d", time.Now().UnixNano())
	made, err := client.CreateHttpNamespace(ctx, &servicediscovery.CreateHttpNamespaceInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is made", func() error {
		op, err := client.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: made.OperationId})
		if err != nil {
			return err
		}
		_, err = client.CreateService(ctx, &servicediscovery.CreateServiceInput{
			Name: aws.String("nodes"), NamespaceId: aws.String(op.Operation.Targets["NAMESPACE"]),
		})
		return err
	})
	proxy := registrytest.NewProxy(t, strings.TrimPrefix(endpoint, "http://"))
	return finder{
		kind: "cloudmap", url: always(fmt.Sprintf("cloudmap://%s/nodes?region=us-east-1&endpoint=http://%s", name, proxy.Addr)),
		within: 3 * time.Second, proxy: proxy,
	}
}

func always(url string) func() string { return func() string { return url } }

// gossip needs no server: each node listens for it, and the first is the seed.
func gossip(t *testing.T) finder {
	seed := registrytest.FreeAddr(t)
	next := seed
	return finder{kind: "gossip", within: time.Second, url: func() string {
		listen := next
		next = registrytest.FreeAddr(t)
		return "gossip://" + seed + "?listen=" + listen
	}}
}

// etcdServer starts an etcd.
func etcdServer(t *testing.T) finder {
	t.Helper()
	program := registrytest.Program(t, "etcd")
	addr, peers := registrytest.FreeAddr(t), "http://"+registrytest.FreeAddr(t)
	s := &registrytest.Server{Path: program, Addr: addr, Args: []string{
		"--name=test", "--data-dir=" + filepath.Join(t.TempDir(), "data"), "--logger=zap", "--log-level=warn",
		"--listen-client-urls=http://" + addr, "--advertise-client-urls=http://" + addr,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=test=" + peers,
	}}
	s.Start(t)
	proxy := registrytest.NewProxy(t, addr)
	return finder{kind: "etcd", url: always("etcd://" + proxy.Addr + "/test"), within: time.Second, proxy: proxy}
}

// dnsServer starts a name server that has an SRV record for each node.
func dnsServer(t *testing.T) finder {
	t.Helper()
	const name, host = "_peers._tcp.cache.test.", "here.cache.test."
	var mu sync.Mutex // guards ports
	var ports []uint16
	answer := func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		m := new(dns.Msg).SetReply(q)
		header := func(name string, kind uint16) dns.RR_Header {
			return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
		}
		switch asked := q.Question[0]; {
		case asked.Name == name && asked.Qtype == dns.TypeSRV:
			for _, p := range ports {
				m.Answer = append(m.Answer, &dns.SRV{Hdr: header(name, dns.TypeSRV), Port: p, Target: host})
			}
		case asked.Name == host && asked.Qtype == dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header(host, dns.TypeA), A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(m)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	ended := make(chan error, 1)
	go func() { ended <- srv.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	proxy := registrytest.NewProxy(t, conn.LocalAddr().String())
	return finder{kind: "dns", url: always("dns+srv:" + name + "?server=" + proxy.Addr), within: 3 * time.Second, proxy: proxy, enter: func(addr string) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		ports = append(ports, uint16(n))
	}}
}

// fileList is a file that somebody keeps.
func fileList(t *testing.T) finder {
	name := filepath.Join(t.TempDir(), "peers")
	var all []string
	return finder{kind: "file", url: always("file:" + name), within: 3 * time.Second, enter: func(addr string) {
		all = append(all, addr)
		next := name + ".next"
		if err := os.WriteFile(next, []byte(strings.Join(all, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, name); err != nil {
			t.Fatal(err)
		}
	}}
}

// finders runs a test with each registry.
func finders(t *testing.T, test func(t *testing.T, f finder)) {
	for _, c := range []struct {
		name string
		make func(t *testing.T) finder
	}{
		{"file", fileList},
		{"etcd", etcdServer},
		{"gossip", gossip},
		{"dns", dnsServer},
		{"cloudmap on MiniStack", func(t *testing.T) finder { return cloudMap(t, "GEECACHE_TEST_MINISTACK") }},
		{"cloudmap on moto", func(t *testing.T) finder { return cloudMap(t, "GEECACHE_TEST_MOTO") }},
	} {
		t.Run(c.name, func(t *testing.T) { test(t, c.make(t)) })
	}
}

// startFound starts a node that finds its peers through the registry.
func (f finder) startFound(t *testing.T, name string) *process {
	t.Helper()
	addr := freeAddr(t)
	p := start(t, name, "node", "--listen", addr, "--registry", f.url(), "--source", "slowdb:?latency=0s")
	p.addr = addr
	if f.enter != nil {
		f.enter(addr)
	}
	return p
}

// found returns nil if the process is connected with all others, and no more.
func (p *process) found(others []*process) error {
	s, err := p.tryStatus()
	if err != nil {
		return err
	}
	if len(s.Peers) != len(others) {
		return fmt.Errorf("%s: %d members, want %d; the registry has told errors %d times, the last is %q", p.name, len(s.Peers), len(others), s.Registry.Errors, s.Registry.Error)
	}
	for _, peer := range s.Peers {
		if peer.State != "up" && peer.State != "self" {
			return fmt.Errorf("%s: %s is %s: %s", p.name, peer.Addr, peer.State, peer.LastError)
		}
	}
	return nil
}

func allFound(nodes []*process) error {
	for _, p := range nodes {
		if err := p.found(nodes); err != nil {
			return err
		}
	}
	return nil
}

// Nodes find each other; one that comes is soon in every ring, and one that
// leaves, out of it.
func TestNodesFindEachOther(t *testing.T) {
	finders(t, func(t *testing.T, f finder) {
		nodes := []*process{f.startFound(t, "a"), f.startFound(t, "b"), f.startFound(t, "c")}
		// Other packages' tests ask the same emulators at the same time, which then stand still.
		if err := poll(3*patience, func() error { return allFound(nodes) }); err != nil {
			t.Fatalf("three nodes find each other: %v", err)
		}
		var took time.Duration
		for try := range 3 { // a machine may be busy
			p := f.startFound(t, fmt.Sprint("new", try))
			eventually(t, "the new node has registered", func() error {
				if s, err := p.tryStatus(); err != nil || f.enter == nil && !s.Registry.Registered {
					return fmt.Errorf("not yet: %v", err)
				}
				return nil
			})
			begin := time.Now()
			nodes = append(nodes, p)
			eventually(t, "the new node is in every ring", func() error { return allFound(nodes) })
			if took = time.Since(begin); took <= f.within {
				break
			}
		}
		t.Logf("in every ring after %v", took.Round(time.Millisecond))
		if took > f.within {
			t.Errorf("three tries, and none was in every ring within %v", f.within)
		}
		if f.enter != nil {
			return // whoever keeps the list takes out who leaves
		}
		leaver := nodes[0]
		leaver.signal(t, syscall.SIGTERM)
		if code := leaver.wait(t); code != 0 {
			t.Errorf("the node that leaves ended with %d", code)
		}
		eventually(t, "the node that left is in no ring", func() error { return allFound(nodes[1:]) })
	})
}

// Whatever the registry does, nodes answer as before, and keep their view: it is
// never on the way of a request.
func TestRegistryIsNotOnTheWayOfRequests(t *testing.T) {
	finders(t, func(t *testing.T, f finder) {
		if f.proxy == nil {
			return
		}
		nodes := []*process{f.startFound(t, "a"), f.startFound(t, "b"), f.startFound(t, "c")}
		eventually(t, "three nodes find each other", func() error { return allFound(nodes) })
		const slow = 5 * time.Second
		asked := 0
		ask := func(what string) {
			t.Helper()
			for _, p := range nodes {
				asked++
				begin := time.Now()
				status, body, err := get(p.url(fmt.Sprintf("/_geecache/scores/new-%d", asked)))
				if err != nil || status != 404 {
					t.Fatalf("%s: %s: status %d, %v: %.200s", what, p.name, status, err, body)
				}
				if took := time.Since(begin); took > slow-time.Second {
					t.Errorf("%s: %s took %v to answer", what, p.name, took)
				}
			}
		}
		ask("with the registry")
		for _, fault := range []struct {
			name     string
			set, end func()
			shows    func(age float64, errors int64) bool
		}{
			{"while the registry is down", func() { f.proxy.SetDown(true) }, func() { f.proxy.SetDown(false) },
				func(age float64, errors int64) bool { return age > 4 && errors > 0 }},
			{"while the registry takes 5 s", func() { f.proxy.SetDelay(slow) }, func() { f.proxy.SetDelay(0) },
				func(age float64, _ int64) bool { return age > 4 }},
		} {
			fault.set()
			eventually(t, "the age of the view shows the fault", func() error {
				ask(fault.name)
				for _, p := range nodes {
					s, err := p.tryStatus()
					if err != nil {
						return err
					}
					if !fault.shows(s.Registry.AgeSeconds, s.Registry.Errors) {
						return fmt.Errorf("%s: age %v s, %d errors", p.name, s.Registry.AgeSeconds, s.Registry.Errors)
					}
				}
				return nil
			})
			if err := allFound(nodes); err != nil {
				t.Errorf("%s, a view has changed: %v", fault.name, err)
			}
			if age := nodes[0].metric(t, fmt.Sprintf("geecache_registry_view_age_seconds{registry=%q}", f.kind)); age < 3 {
				t.Errorf("%s, the metric of the view's age is %v s", fault.name, age)
			}
			fault.end()
			eventually(t, "the view is fresh again", func() error {
				if s, err := nodes[0].tryStatus(); err != nil || s.Registry.AgeSeconds > 3 {
					return fmt.Errorf("not yet: %v", err)
				}
				return nil
			})
		}
		// A node that starts without its registry serves alone, and finds the others later.
		f.proxy.SetDown(true)
		late := f.startFound(t, "late")
		eventually(t, "the late node serves", func() error {
			if status, _, err := get(late.url("/readyz")); err != nil || status != 200 {
				return fmt.Errorf("status %d, %v", status, err)
			}
			return nil
		})
		nodes = append(nodes, late)
		ask("after a start without the registry")
		f.proxy.SetDown(false)
		eventually(t, "the late node is found", func() error { return allFound(nodes) })
	})
}
