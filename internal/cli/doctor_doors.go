package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
)

// adminDoors are where nodes with --admin-listen may tell of themselves.
type adminDoors struct {
	byID  map[string]string // host:port by a node's ID
	ports []string          // that are the same on all hosts
	self  string            // of the node whose flags were given; empty: it has none
}

// parseAdminDoors reads what --admin says.
func parseAdminDoors(given []string) (a adminDoors, err error) {
	a.byID = make(map[string]string)
	for _, text := range given {
		id, addr, named := strings.Cut(text, "=")
		if !named {
			id, addr = "", text
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil && !named {
			host, port, err = "", addr, nil
		}
		if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 || named == (host == "") {
			return a, fmt.Errorf("--admin is %q: use a port, such as 8081, or ID=host:port", text)
		}
		if named {
			a.byID[id] = addr
		} else {
			a.ports = append(a.ports, port)
		}
	}
	return a, nil
}

// own tells of the --admin-listen of the node whose flags were given. The others are
// likely to have theirs on the same port.
func (a *adminDoors) own(listen string) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return // there is none
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	a.self = listen
	if !slices.Contains(a.ports, port) {
		a.ports = append(a.ports, port)
	}
}

// doorsOf returns where a node may tell of itself, most likely first.
func (d *doctor) doorsOf(t *target) []string {
	if t.door != "" {
		return []string{t.door}
	}
	addr := t.addr
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr = strings.TrimSuffix(rest, "/")
	}
	all := []string{addr}
	for _, name := range []string{t.id, addr} {
		if door := d.doors.byID[name]; door != "" {
			return append(all, door)
		}
	}
	if t.id == d.self && d.doors.self != "" {
		all = append(all, d.doors.self)
	}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		for _, port := range d.doors.ports {
			all = append(all, net.JoinHostPort(host, port))
		}
	}
	return all
}

// client returns what asks a node over HTTP.
func (d *doctor) client(addr string) (*client, error) {
	c, err := newClient(addr, d.timeout, &d.trustFlags)
	if err == nil && d.trusted.adminToken != "" && d.trusted.secrets == nil {
		c.http = &http.Client{Transport: bearerTransport{c.http.Transport, d.trusted.adminToken}}
	}
	return c, err
}

// errOtherDoor: a node answers, and tells of itself on another port.
var errOtherDoor = errors.New("it tells of itself on a port of its own (--admin-listen), which was not found")

// askStatus asks a node what it says of itself. It returns where it was answered.
func (d *doctor) askStatus(ctx context.Context, t *target) (*fullStatus, string, error) {
	var first error // of its own port, if that says more than that it is elsewhere
	for _, door := range d.doorsOf(t) {
		c, err := d.client(door)
		if err != nil {
			return nil, "", err
		}
		var s fullStatus
		switch err := c.getJSON(ctx, "/statusz", "", &s); {
		case errors.Is(err, errAbsent):
			if first == nil {
				first = errOtherDoor
			}
		case err != nil:
			if first == nil || errors.Is(first, errOtherDoor) && !d.doors.guess(t, door) {
				first = err
			}
		case s.ID == "" || !t.guessed && s.ID != t.id && s.Addr != t.addr: // another node's
			if first == nil {
				first = fmt.Errorf("%s is of another node: %q", door, s.ID)
			}
		default:
			return &s, door, nil
		}
	}
	return nil, "", first
}

// guess reports whether nobody has said that a node's door is there.
func (a *adminDoors) guess(t *target, door string) bool { return door != a.byID[t.id] }

// readStatus reads what the node says of itself, and looks at its clock.
func (d *doctor) readStatus(ctx context.Context, p *patient) *finding {
	before := time.Now()
	s, door, err := d.askStatus(ctx, &p.target)
	switch {
	case errors.Is(err, errOtherDoor):
		return &finding{Check: "status", Status: findUnknown, Text: err.Error() + ": its registry, links and memory are not known",
			Remedy: "say with --admin where it is: a port that is the same on all hosts, or ID=host:port"}
	case err != nil:
		return &finding{Check: "status", Status: findUnknown, Text: reachError(err),
			Remedy: "give what the node asks of operators: --secret-file, --tls-cert or --admin-token-file"}
	case s.Cluster != d.cluster:
		return refusedFinding(geecache.RefusedCluster, d.cluster, fmt.Sprintf("its own is %q", s.Cluster))
	}
	if door != p.door { // not the answer of one door among several that were asked
		p.door = door
		return d.readStatus(ctx, p)
	}
	took := time.Since(before)
	p.status, p.id, p.epoch = s, s.ID, s.Epoch
	p.clock, p.ahead, p.within = true, s.Process.Now.Sub(before.Add(took/2)), took/2
	return nil
}
