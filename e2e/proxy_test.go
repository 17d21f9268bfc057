//go:build unix

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// A proxy stands before a process and disturbs what others exchange with it.
type proxy struct{ *toxiproxy.Proxy }

// newProxy starts a proxy before an address, on this machine's own host.
func newProxy(t *testing.T, upstream string) *proxy { return newProxyOn(t, "127.0.0.1", upstream) }

// newProxyOn starts a proxy that listens on a host.
func newProxyOn(t *testing.T, host, upstream string) *proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &proxy{toxiproxy.NewProxy(server, "proxy", host+":0", upstream)}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// A fault is a kind of disturbance, as toxiproxy calls it, of what the process
// sends.
type fault struct {
	kind string
	set  string // its attributes, in JSON
}

// disturb begins with a fault. heal ends it.
func (p *proxy) disturb(t *testing.T, f fault) (heal func()) {
	t.Helper()
	text := fmt.Sprintf(`{"name":"fault","type":%q,"stream":"downstream","attributes":{%s}}`, f.kind, f.set)
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := p.Toxics.RemoveToxic(t.Context(), "fault"); err != nil {
			t.Fatal(err)
		}
	}
}

// startBehindProxy starts a cluster whose first node is reached through a proxy by
// all others, and a second API server with more flags.
func startBehindProxy(t *testing.T, nodes int, source string, more ...string) (c *cluster, second *process, p *proxy) {
	t.Helper()
	c = new(cluster)
	var addrs, peers []string
	for range nodes {
		addrs = append(addrs, freeAddr(t))
	}
	p = newProxy(t, addrs[0])
	for i, addr := range addrs {
		at := addr
		if i == 0 {
			at = p.Listen
		}
		peers = append(peers, addr+"="+at)
	}
	list := strings.Join(peers, ",")
	for i, addr := range addrs {
		args := []string{"node", "--id", addr, "--listen", addr, "--peers", list, "--source", source}
		if i == 0 {
			args = append(args, "--advertise", p.Listen)
		}
		n := start(t, fmt.Sprintf("node %d", i+1), args...)
		n.addr = addr
		c.nodes = append(c.nodes, n)
	}
	api := func(name string, args ...string) *process {
		addr := freeAddr(t)
		a := start(t, name, append([]string{"node", "--role", "client", "--listen", addr, "--peers", list}, args...)...)
		a.addr = addr
		return a
	}
	c.api, second = api("api"), api("second api", more...)
	for _, n := range append(c.all(), second) {
		n.awaitConnected(t, nodes)
	}
	return c, second, p
}
