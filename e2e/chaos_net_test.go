//go:build chaos && linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The hosts of a network: as many nodes as a scenario has at most, and API servers.
const (
	nodeHosts = 6
	apiHosts  = 2
)

// A network is hosts in namespaces of their own, which a bridge connects with each
// other and with this process. What is done to one of them is done by its kernel.
type network struct {
	name   string // begins the names of all namespaces
	prefix string // of the addresses, such as 10.77.3.
}

// A host is one namespace, with one address.
type host struct{ space, ip string }

// newNetwork makes the hosts. It needs root, ip and iptables.
func newNetwork(t *testing.T) *network {
	t.Helper()
	pid := os.Getpid()
	n := &network{name: fmt.Sprint("gc", pid), prefix: fmt.Sprintf("10.77.%d.", pid%250)}
	t.Cleanup(func() { n.remove() })
	hub := n.name + "hub"
	ip(t, "netns", "add", hub)
	in(t, hub, "ip", "link", "add", "bridge", "type", "bridge")
	in(t, hub, "ip", "link", "set", "bridge", "up")
	for i := range nodeHosts {
		n.plug(t, n.node(i))
	}
	for i := range apiHosts {
		n.plug(t, n.api(i))
	}
	n.wire(t, n.name, "")
	ip(t, "addr", "add", n.here()+"/24", "dev", n.name)
	ip(t, "link", "set", n.name, "up")
	return n
}

// plug makes a host and connects it.
func (n *network) plug(t *testing.T, h host) {
	t.Helper()
	ip(t, "netns", "add", h.space)
	n.wire(t, h.space, h.space)
	in(t, h.space, "ip", "addr", "add", h.ip+"/24", "dev", h.space)
	in(t, h.space, "ip", "link", "set", h.space, "up")
	in(t, h.space, "ip", "link", "set", "lo", "up")
}

// wire lays a cable from the bridge to a namespace; "" is this process's own.
func (n *network) wire(t *testing.T, name, space string) {
	t.Helper()
	hub := n.name + "hub"
	in(t, hub, "ip", "link", "add", name, "type", "veth", "peer", "name", "x"+name)
	in(t, hub, "ip", "link", "set", "x"+name, "master", "bridge", "up")
	if space == "" {
		space = fmt.Sprint(os.Getpid())
	}
	in(t, hub, "ip", "link", "set", name, "netns", space)
}

func (n *network) remove() {
	hosts := []string{n.name + "hub"}
	for i := range nodeHosts {
		hosts = append(hosts, n.node(i).space)
	}
	for i := range apiHosts {
		hosts = append(hosts, n.api(i).space)
	}
	for _, space := range hosts {
		_ = exec.Command("ip", "netns", "del", space).Run() // the cables go with them
	}
}

func (n *network) node(i int) host {
	return host{fmt.Sprintf("%sn%d", n.name, i+1), n.prefix + fmt.Sprint(i+1)}
}
func (n *network) api(i int) host {
	return host{fmt.Sprintf("%sa%d", n.name, i+1), n.prefix + fmt.Sprint(i+101)}
}

// here is this process's address.
func (n *network) here() string { return n.prefix + "254" }

// freeHere returns an address of this process on which nothing listens.
func (n *network) freeHere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", n.here()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// drop makes a host lose what others send to it.
func (h host) drop(t *testing.T, from ...host) {
	t.Helper()
	for _, f := range from {
		in(t, h.space, "iptables", "-A", "INPUT", "-s", f.ip, "-j", "DROP")
	}
}

// lose makes a host lose a share of all that is sent to it, by chance.
func (h host) lose(t *testing.T, share float64) {
	t.Helper()
	in(t, h.space, "iptables", "-A", "INPUT", "-m", "statistic", "--mode", "random", "--probability", fmt.Sprint(share), "-j", "DROP")
}

// heal ends what drop and lose do.
func (h host) heal(t *testing.T) {
	t.Helper()
	in(t, h.space, "iptables", "-F", "INPUT")
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	do(t, "ip", args...)
}

// in runs a command in a namespace.
func in(t *testing.T, space string, args ...string) {
	t.Helper()
	do(t, "ip", append([]string{"netns", "exec", space}, args...)...)
}

func do(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s(this needs root, iproute2 and iptables)", name, strings.Join(args, " "), err, out)
	}
}
