package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/geecache/geecache/geecache"
)

// A target is a node to examine.
type target struct {
	id, addr string
	role     geecache.Role
	door     string // where it tells of itself; empty: that is to be found out
	guessed  bool   // its ID is its address for want of a better one
	outside  bool   // of the registry's view, which has been told
}

// targetsOf returns the node that was asked at a door, and those that it knows.
func targetsOf(s *memberStatus, door string) []target {
	self := target{id: s.ID, addr: s.Addr, role: s.Role, door: door}
	if self.addr == "" {
		self.addr = door
	}
	targets := []target{self}
	for _, p := range s.Peers {
		if p.ID != s.ID && p.Addr != "" {
			targets = append(targets, target{id: p.ID, addr: p.Addr, role: p.Role})
		}
	}
	return targets
}

// A patient is a node as it was found.
type patient struct {
	target
	doors  []string // that answer
	status *fullStatus
	epoch  string        // of its ring; empty: not known
	clock  bool          // the next two are known
	ahead  time.Duration // of this machine's clock
	within time.Duration // how exactly that is known
	fault  *finding      // what keeps it from being examined further; nil if nothing does
	silent *finding      // why it has not told of itself; nil if it has
}

// A fullStatus is what /statusz says, as far as the doctor reads it.
type fullStatus struct {
	memberStatus
	Process struct {
		Now    time.Time `json:"now"`
		Memory *struct {
			LimitBytes int64 `json:"limit_bytes"`
			Tight      bool  `json:"tight"`
		} `json:"memory"`
	} `json:"process"`
}

// settleWithin is how long nodes may disagree before it is a fault: views spread in
// the background.
const settleWithin = 5 * time.Second

// examineNodes examines each node by itself, and then what they say of each other.
func (d *doctor) examineNodes(ctx context.Context, targets []target) {
	patients := make([]*patient, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		patients[i] = &patient{target: t}
		wg.Go(func() { d.examineNode(ctx, patients[i]) })
	}
	wg.Wait()
	var well []*patient // those of which more can be found out
	for _, p := range patients {
		if p.fault != nil {
			d.find(*p.fault)
			continue
		}
		d.ok("node", p.id, "%s answers", strings.Join(p.doors, ", "))
		if p.silent != nil {
			d.find(*p.silent)
		}
		well = append(well, p)
	}
	if len(well) == 0 {
		return
	}
	d.examineClocks(slices.DeleteFunc(slices.Clone(well), func(p *patient) bool { return !p.clock }))
	for _, p := range well {
		if p.status != nil {
			d.examineBudgets(p)
		}
	}
	d.examineViews(ctx, well)
}

// examineNode goes through one node's doors. The first thing that is wrong hides
// what comes after it.
func (d *doctor) examineNode(ctx context.Context, p *patient) {
	ctx, cancel := context.WithTimeout(ctx, 4*d.timeout)
	defer cancel()
	p.fault = d.knock(ctx, p)
	if p.fault == nil {
		p.fault = d.shakeHands(ctx, p)
	}
	if p.fault == nil {
		if f := d.readStatus(ctx, p); f != nil && f.Status == findFault {
			p.fault = f
		} else {
			p.silent = f
		}
	}
	for _, f := range []*finding{p.fault, p.silent} {
		if f != nil {
			f.Subject = p.id
		}
	}
}

func bad(check, text, remedy string) *finding {
	return &finding{Check: check, Status: findFault, Text: text, Remedy: remedy}
}

// knock finds out whether the port can be reached, and whether it speaks HTTP.
func (d *doctor) knock(ctx context.Context, p *patient) *finding {
	addr := p.addr
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr = strings.TrimSuffix(rest, "/")
	}
	conn, err := (&net.Dialer{Timeout: d.timeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		remedy := "start the node, or correct its address: its machine can be reached, and nothing listens there"
		if !errors.Is(err, syscall.ECONNREFUSED) {
			remedy = "open the port between the machines (security groups, firewall), or correct the node's --advertise"
		}
		return bad("port", err.Error(), remedy)
	}
	defer func() { _ = conn.Close() }()
	if d.trusted.tls != nil {
		cfg := d.trusted.tls.Client()
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
		_ = conn.SetDeadline(time.Now().Add(d.timeout))
		if err := tls.Client(conn, cfg).HandshakeContext(ctx); err != nil {
			var record tls.RecordHeaderError
			if errors.As(err, &record) {
				return bad("certificate", "it serves no TLS", "give it --tls-cert and --tls-key")
			}
			text, remedy := certificateFault(err)
			return bad("certificate", text, remedy)
		}
		p.doors = append(p.doors, "TLS")
	}
	// Without credentials: nobody asks for them there, and they may be the fault.
	client, scheme := localClient(d.trusted.tls != nil)
	client.Timeout = d.timeout
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+addr+"/healthz", nil)
	if err != nil {
		return bad("port", err.Error(), "correct the node's --advertise")
	}
	before := time.Now()
	resp, err := client.Do(req)
	took := time.Since(before)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return bad("port", "it takes connections, and does not answer: "+err.Error(), "see whether the process hangs or is paused")
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what there is of it
	switch {
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "HTTPS server"):
		return bad("certificate", "it serves TLS, and this command was given none", "give --tls-ca, and --tls-cert and --tls-key if it asks for them")
	case resp.StatusCode != http.StatusOK:
		return bad("port", "it answers "+resp.Status+" to /healthz: it is no node", "stop what listens there, or correct the node's address")
	}
	p.doors = append(p.doors, "HTTP")
	if now, err := http.ParseTime(resp.Header.Get("Date")); err == nil { // its seconds are whole
		p.clock, p.ahead, p.within = true, now.Add(time.Second/2).Sub(before.Add(took/2)), took/2+time.Second/2
	}
	return nil
}

// shakeHands connects as a node that owns nothing does. A node refuses who has
// another secret, cluster ID or protocol.
func (d *doctor) shakeHands(ctx context.Context, p *patient) *finding {
	if p.role == geecache.RoleClient || strings.Contains(p.addr, "://") {
		return nil
	}
	cfg := geecache.Config{
		Cluster: d.cluster, ID: fmt.Sprintf("doctor-%d", time.Now().UnixNano()), Role: geecache.RoleClient,
		Peers: []geecache.Peer{{ID: p.addr, Addr: p.addr}}, Secrets: d.trusted.secrets, Logger: slog.New(slog.DiscardHandler),
	}
	if p.id != "" {
		cfg.Peers[0].ID = p.id
	}
	if d.trusted.tls != nil {
		cfg.GetClientTLS = d.trusted.tls.Client
	}
	n, err := geecache.New(cfg)
	if err != nil {
		return &finding{Check: "handshake", Status: findUnknown, Text: err.Error()}
	}
	defer func() { _ = n.Close() }()
	starting, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if err := n.Start(starting); err != nil {
		return &finding{Check: "handshake", Status: findUnknown, Text: err.Error()}
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		s := n.Stats()
		for _, peer := range s.Peers {
			if peer.State == "up" {
				p.doors, p.epoch = append(p.doors, "stream"), peer.Epoch
				return nil
			}
			for reason, count := range s.HandshakesRefused {
				if count > 0 && reason != geecache.RefusedOther && peer.LastError != "" {
					return d.refused(p, reason, peer.LastError)
				}
			}
		}
		select {
		case <-t.C:
		case <-starting.Done():
			text := fmt.Sprintf("no node has shaken hands at %s within %v", p.addr, d.timeout)
			for _, peer := range s.Peers {
				if peer.LastError != "" {
					text = peer.LastError
				}
			}
			f := bad("handshake", text, "see the node's log; if this is another port of a node, correct its address")
			if p.guessed { // it may be an API server, which no node connects to
				f.Status = findUnknown
			}
			return f
		}
	}
}

// refused says why a node refuses the doctor.
func (d *doctor) refused(p *patient, reason geecache.Refusal, text string) *finding {
	switch {
	case reason == geecache.RefusedSecret && d.trusted.secrets == nil && d.tls.Given() && d.tls.Cert == "":
		return bad("certificate", "it asks for a client's certificate or the cluster's secret, and this command was given neither",
			"give --tls-cert and --tls-key; or --secret-file, if the cluster has a secret")
	case reason == geecache.RefusedNode && p.guessed: // a proof is for one ID, which only the node tells
		return &finding{Check: "identity", Status: findUnknown, Text: "its ID is not its address, and is not known: " + text,
			Remedy: "say with --admin where it tells of itself"}
	}
	return refusedFinding(reason, d.cluster, text)
}

// refusedFinding says which of its settings a node does not share.
func refusedFinding(reason geecache.Refusal, cluster, text string) *finding {
	switch reason {
	case geecache.RefusedSecret:
		return bad("secret", "its secret is not the one given here, or only one of both has one", "give all nodes the same --secret-file")
	case geecache.RefusedCluster:
		return bad("cluster ID", fmt.Sprintf("it is of another cluster than %q: %s", cluster, text), "give all nodes the same --cluster-id, or take it out of the peers")
	case geecache.RefusedVersion:
		return bad("protocol", text, "upgrade one minor version at a time, or give --protocol")
	}
	return bad("identity", text, "let each node's --id and --advertise be those in the others' peers or registry")
}

// examineClocks compares the clocks with each other and with this machine's.
func (d *doctor) examineClocks(well []*patient) {
	if len(well) == 0 {
		return
	}
	all := []time.Duration{0}
	for _, p := range well {
		all = append(all, p.ahead)
	}
	slices.Sort(all)
	median, most := all[(len(all)-1)/2], time.Duration(0)
	if len(all) == 2 {
		median = 0
	}
	const why = "certificates and logs go by it; set it (chrony, systemd-timesyncd)"
	found := false
	for _, p := range well {
		off := p.ahead - median
		most = max(most, off.Abs())
		if off.Abs() > d.maxSkew+p.within {
			found = true
			d.fault("clock", p.id, skewText(off), why)
		}
	}
	if median.Abs() > d.maxSkew {
		found = true
		d.fault("clock", "this machine", skewText(-median), why)
	}
	if !found {
		d.ok("clock", "", "all are within %s", shortDuration(most.Round(time.Millisecond)))
	}
}

func skewText(off time.Duration) string {
	if off < 0 {
		return fmt.Sprintf("its clock is %v behind the others'", -off.Round(10*time.Millisecond))
	}
	return fmt.Sprintf("its clock is %v ahead of the others'", off.Round(10*time.Millisecond))
}

// examineBudgets looks whether a running node's caches fit into its memory.
func (d *doctor) examineBudgets(p *patient) {
	m := p.status.Process.Memory
	if m == nil {
		return
	}
	var budgets int64
	for _, g := range p.status.Groups {
		budgets += g.Hot.MaxBytes
		if p.status.Role == geecache.RoleNode {
			budgets += g.Main.MaxBytes
		}
	}
	const remedy = "leave --cache-bytes out, so that the budgets follow the limit, or raise the limit"
	switch {
	case p.id == d.self && slices.ContainsFunc(d.findings, func(f finding) bool { return f.Check == "memory" && f.Status == findFault }):
	case budgets > m.LimitBytes:
		d.fault("memory", p.id, fmt.Sprintf("its caches may take %s, and its limit is %s", bytesText(float64(budgets)), bytesText(float64(m.LimitBytes))), remedy)
	case m.Tight:
		d.fault("memory", p.id, "its memory is nearly used up: it refuses loads", remedy)
	}
}
