package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
)

// What asking the members may take.
const (
	memberTimeout = time.Second
	memberMost    = 16 << 20 // bytes of an answer
	// membersFor is how long an answer is good: so often each node is asked, however
	// often this process is.
	membersFor = 250 * time.Millisecond
)

// A memberAnswer is what a process says of itself.
type memberAnswer struct {
	ID      string        `json:"id"`
	Addr    string        `json:"addr"` // as the view has it
	Role    geecache.Role `json:"role"`
	State   string        `json:"state,omitempty"`
	Ready   bool          `json:"ready"`
	Epoch   string        `json:"epoch,omitempty"`
	Version string        `json:"version,omitempty"`
	Ring    []string      `json:"ring"`            // the nodes that it sees, by their IDs
	Error   string        `json:"error,omitempty"` // why it says nothing
}

// members asks the processes of the view what they are: for those who reach the API and no
// node, since nodes' addresses are private. It is safe for concurrent use.
type members struct {
	node   *geecache.Node
	ready  func() bool
	client *http.Client
	scheme string

	mu   sync.Mutex // guards what follows, and lets one ask at a time
	last []memberAnswer
	at   time.Time
}

// newMembers returns what asks with the process's own credentials.
func newMembers(p *Process) *members {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second} // no proxy
	m := &members{node: p.node, ready: p.ready, scheme: "http"}
	if p.doors.tls != nil {
		m.scheme = "https"
		transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: p.doors.tls.Client()}).DialContext(ctx, network, addr) // as the files are now
		}
	}
	m.client = &http.Client{Transport: transport}
	if p.doors.secrets != nil {
		m.client.Transport = (&geecache.Credentials{Secrets: p.doors.secrets}).Transport(transport)
	}
	return m
}

// close closes the connections that are not in use.
func (m *members) close() { m.client.CloseIdleConnections() }

// ask returns what all say, this process first. It asks the others at the same time.
func (m *members) ask(ctx context.Context) []memberAnswer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last != nil && time.Since(m.at) < membersFor {
		return m.last
	}
	own := m.node.Stats()
	all := []memberAnswer{ofStats(&own)}
	all[0].Addr, all[0].Role, all[0].Ready = own.Addr, own.Role, m.ready()
	for _, p := range own.Peers {
		if !p.Self {
			all = append(all, memberAnswer{ID: p.ID, Addr: p.Addr, Role: p.Role})
		}
	}
	// One who goes away must not spoil the answer for those who wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), memberTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range all[1:] {
		wg.Go(func() { m.one(ctx, &all[i+1]) })
	}
	wg.Wait()
	slices.SortFunc(all[1:], func(a, b memberAnswer) int { return strings.Compare(a.ID, b.ID) })
	m.last, m.at = all, time.Now()
	return all
}

// ofStats returns what a process's figures say of it.
func ofStats(s *geecache.NodeStats) memberAnswer {
	a := memberAnswer{ID: s.ID, State: s.State, Epoch: s.Epoch, Version: s.Version, Ring: []string{}}
	for _, p := range s.Peers {
		if p.Role == geecache.RoleNode {
			a.Ring = append(a.Ring, p.ID)
		}
	}
	return a
}

// one asks a peer, and fills in what it says.
func (m *members) one(ctx context.Context, a *memberAnswer) {
	a.Ring = []string{}
	body, err := m.get(ctx, a.Addr, "/statusz")
	if err != nil {
		a.Error = err.Error()
		return
	}
	var s geecache.NodeStats
	if err := json.Unmarshal(body, &s); err != nil || s.ID == "" {
		a.Error = "it is no GeeCache node"
		return
	}
	addr, role := a.Addr, a.Role
	*a = ofStats(&s)
	a.Addr, a.Role = addr, role
	if _, err := m.get(ctx, addr, "/readyz"); err != nil {
		a.Error = err.Error()
		return
	}
	a.Ready = true
}

func (m *members) get(ctx context.Context, addr, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.scheme+"://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, memberMost))
	if err == nil && resp.StatusCode != http.StatusOK {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		err = fmt.Errorf("%s: status %d: %.200s", path, resp.StatusCode, line)
	}
	return body, err
}

// serveMembers answers with what all members say, whatever that is.
func (a *API) serveMembers(w http.ResponseWriter, r *http.Request) {
	if a.members == nil {
		a.refuse(w, r, http.StatusNotFound, geecache.CodeBadRequest, "this program does not ask its members")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"members": a.members.ask(r.Context())})
}
