package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A localCluster is the processes of `geecache cluster`, and how more are made.
// Like the supervisor it is used by one goroutine, fields that never change aside.
type localCluster struct {
	*clusterFlags
	*supervisor
	common, env []string // flags of each process, and variables of each node
	ofNodes     []string // flags of each node
	ask         *client  // for its state; of no process until peer names one
	apiAddr     string
	changes     bool // others may have nodes come and go
}

// client returns what asks the processes for their state.
func (f *clusterFlags) client() (*client, error) {
	return newClient(f.scheme()+"127.0.0.1:1", time.Second, &f.trustFlags)
}

// startAll starts the processes at the addresses, of which the last one is the
// API server's, and returns once all of them see each other.
func (l *localCluster) startAll(ctx context.Context, signals <-chan os.Signal, addrs []string) error {
	nodes := addrs[:len(addrs)-1]
	first, err := l.startNode(nodes[0])
	if err != nil {
		return err
	}
	// The others find each other through it, at the first attempt.
	if err := l.meanwhile(signals, func() error { return l.awaitReady(ctx, []*child{first}) }); err != nil {
		return err
	}
	for _, addr := range nodes[1:] {
		if _, err := l.startNode(addr); err != nil {
			return err
		}
	}
	running := l.children
	if err := l.meanwhile(signals, func() error { return l.awaitReady(ctx, running) }); err != nil {
		return err
	}
	gossip, err := freeGossipAddr()
	if err != nil {
		return err
	}
	l.apiAddr = addrs[len(addrs)-1]
	api, err := l.start(process{name: "api", gossip: gossip, addr: l.apiAddr, api: true}, nil,
		append([]string{"node", "--role=client", "--listen=" + l.apiAddr, "--registry=" + l.registry(gossip)}, l.common...))
	if err != nil {
		return err
	}
	all := l.children
	return l.meanwhile(signals, func() error {
		if err := l.awaitReady(ctx, []*child{api}); err != nil {
			return err
		}
		return l.awaitView(ctx, all, len(nodes))
	})
}

// meanwhile returns what wait does, unless a signal or the end of a process comes
// first. wait must end with the context.
func (l *localCluster) meanwhile(signals <-chan os.Signal, wait func() error) error {
	started := make(chan error, 1)
	go func() { started <- wait() }()
	return l.await(signals, started)
}

// awaitView returns when the processes have so many nodes in their ring.
func (l *localCluster) awaitView(ctx context.Context, children []*child, nodes int) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for _, c := range children {
		took := l.until(ctx, c.addr, func(s *memberStatus) bool {
			return len(nodesOf(s)) == nodes
		})
		if took < 0 {
			return fmt.Errorf("%s does not see all %d nodes after %v: its log says why, with --log-level debug more of it", c.name, nodes, startWithin)
		}
	}
	return nil
}

// startNode starts one more node.
func (l *localCluster) startNode(addr string) (*child, error) {
	gossip, err := freeGossipAddr()
	if err != nil {
		return nil, err
	}
	number := 1
	for _, c := range l.children {
		number = max(number, c.number+1)
	}
	_, port, _ := net.SplitHostPort(addr)
	return l.start(process{number: number, name: "node-" + port, addr: addr, gossip: gossip}, l.env,
		slices.Concat([]string{"node", "--listen=" + addr, "--registry=" + l.registry(gossip)}, l.common, l.ofNodes))
}

// registry returns the flag of a process that gossips at an address. It asks all
// that run, of which each knows itself at least.
func (l *localCluster) registry(gossip string) string {
	var seeds []string
	for _, c := range l.children {
		if !c.seen && c.fate == "" {
			seeds = append(seeds, c.gossip)
		}
	}
	return "gossip://" + strings.Join(seeds, ",") + "?listen=" + gossip
}

// add starts so many more nodes.
func (l *localCluster) add(count int) ([]*child, error) {
	if left := l.nodesLeft(); left+count > maxClusterNodes {
		return nil, fmt.Errorf("%d nodes run, and %d more would be more than %d", left, count, maxClusterNodes)
	}
	var added []*child
	for range count {
		addr, err := l.nextAddr()
		if err != nil {
			return added, err
		}
		c, err := l.startNode(addr)
		if err != nil {
			return added, err
		}
		added = append(added, c)
	}
	return added, nil
}

// nextAddr returns where the next node listens: on the first free port after those
// of all nodes that have been.
func (l *localCluster) nextAddr() (string, error) {
	const tries = 100
	last := 0
	for _, c := range l.children {
		if _, port, _ := net.SplitHostPort(c.addr); !c.api {
			n, _ := strconv.Atoi(port) // it is an address that was listened on
			last = max(last, n)
		}
	}
	for port := last + 1; port <= min(last+tries, 65535); port++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if ln, err := net.Listen("tcp", addr); err == nil {
			return addr, ln.Close()
		}
	}
	return "", fmt.Errorf("no port from %d to %d is free: stop what listens there", last+1, min(last+tries, 65535))
}

// find returns the node that a user means.
func (l *localCluster) find(name string) (*child, error) {
	var there []string
	for _, c := range l.children {
		if c.api {
			continue
		}
		_, port, _ := net.SplitHostPort(c.addr)
		if name == strconv.Itoa(c.number) || name == c.addr || name == port || name == c.name || name == localhost(c.addr) {
			return c, nil
		}
		if !c.seen {
			there = append(there, fmt.Sprintf("%d (%s)", c.number, c.addr))
		}
	}
	if there == nil {
		return nil, fmt.Errorf("there is no node %q: no node runs", name)
	}
	return nil, fmt.Errorf("there is no node %q: there are %s", name, strings.Join(there, ", "))
}

// change does to a node what op says.
func (l *localCluster) change(c *child, op string) (err error) {
	if c.seen {
		how := string(c.fate)
		if how == "" || c.fate == paused {
			how = "has ended by itself"
		} else {
			how = "was " + how + " before"
		}
		return fmt.Errorf("node %d (%s) %s", c.number, c.addr, how)
	}
	switch {
	case op == "resume" && c.fate != paused:
		return fmt.Errorf("node %d (%s) is not paused", c.number, c.addr)
	case op == "pause" && c.fate == paused:
		return fmt.Errorf("node %d (%s) is paused already", c.number, c.addr)
	case c.fate.meant():
		return fmt.Errorf("node %d (%s) was %s, and is ending", c.number, c.addr, c.fate)
	}
	before := c.fate
	switch op {
	case "remove":
		c.fate = removed
		terminate(c.cmd.Process)
	case "kill":
		c.fate = killed
		err = c.cmd.Process.Kill()
	case "pause":
		c.fate, err = paused, pause(c.cmd.Process)
	case "resume":
		c.fate, err = "", proceed(c.cmd.Process)
	default:
		return fmt.Errorf("there is no %q", op)
	}
	if err != nil {
		c.fate = before
		return fmt.Errorf("node %d (%s): %w", c.number, c.addr, err)
	}
	return nil
}

// freeGossipAddr returns an address that is free for TCP and UDP. Its port is below
// those that systems give to outgoing connections, so that none of these takes it
// before the process does.
func freeGossipAddr() (string, error) {
	const first, last, tries = 20000, 32000, 200
	var errs error
	for range tries {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first)))
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			errs = err
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		if err == nil {
			err = udp.Close()
		}
		if err = errors.Join(err, tcp.Close()); err == nil {
			return addr, nil
		}
		errs = err
	}
	return "", fmt.Errorf("no port for the gossip is free: %w", errs)
}
