package envbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/geecache"
)

const (
	probeTimeout = time.Second
	maxAnswer    = 16 << 20
)

// A prober asks processes what they are, each at its own address.
type prober struct {
	http  *http.Client
	plain *http.Client // proves nothing: for what is open to all
	hello bool         // they are no nodes, and only answer
}

// newProber returns a prober that proves the cluster's secret; an empty one: there is none.
func newProber(secret string, hello bool) *prober {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 10 * time.Second} // no proxy
	open := &http.Client{Transport: t}
	p := &prober{http: open, plain: open, hello: hello}
	if secret != "" {
		secrets := []string{secret}
		p.http = &http.Client{Transport: (&geecache.Credentials{Secrets: func() []string { return secrets }}).Transport(t)}
	}
	return p
}

// close closes the connections that are not in use.
func (p *prober) close() { p.http.CloseIdleConnections() }

// all asks all members at the same time, and fills in what they say.
func (p *prober) all(ctx context.Context, members []Member) {
	var wg sync.WaitGroup
	for i := range members {
		wg.Go(func() { p.one(ctx, &members[i]) })
	}
	wg.Wait()
	if p.hello { // all of them are their ring
		var ring []string
		for _, m := range members {
			if m.Ready && !m.API {
				ring = append(ring, m.ID)
			}
		}
		for i := range members {
			members[i].ring, members[i].Ring = ring, len(ring)
		}
	}
}

// one asks a member.
func (p *prober) one(ctx context.Context, m *Member) {
	if m.Addr == "" {
		m.State, m.Error = "starting", "it has no address yet"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if p.hello {
		if _, err := p.get(ctx, m.Addr, "/"); err != nil {
			m.State, m.Error = "silent", err.Error()
			return
		}
		m.Ready, m.State = true, "serving"
		return
	}
	body, err := p.get(ctx, m.Addr, "/statusz")
	if err != nil {
		m.State, m.Error = "silent", err.Error()
		return
	}
	var s geecache.NodeStats
	if err := json.Unmarshal(body, &s); err != nil || s.ID == "" {
		m.State, m.Error = "unknown", "it is no GeeCache node"
		return
	}
	m.ID, m.State, m.Epoch, m.Version, m.Started = s.ID, s.State, s.Epoch, s.Version, s.Started
	m.ring = nil
	for _, peer := range s.Peers {
		if peer.Role == geecache.RoleNode {
			m.ring = append(m.ring, peer.ID)
		}
	}
	m.Ring = len(m.ring)
	if _, err := p.getPlain(ctx, m.Addr, "/readyz"); err != nil {
		m.State = fmt.Sprintf("%s, and not ready: %v", m.State, err)
		return
	}
	m.Ready = true
}

// readyPath returns where a process says that it is ready.
func (p *prober) readyPath() string {
	if p.hello {
		return "/"
	}
	return "/readyz"
}

// get asks for a path, with the secret's proof. An answer that is not 200 is an error.
func (p *prober) get(ctx context.Context, addr, path string) ([]byte, error) {
	return ask(ctx, p.http, addr, path)
}

// getPlain asks for a path that is open to all.
func (p *prober) getPlain(ctx context.Context, addr, path string) ([]byte, error) {
	return ask(ctx, p.plain, addr, path)
}

func ask(ctx context.Context, client *http.Client, addr, path string) ([]byte, error) {
	return askURL(ctx, client, "http://"+addr+path)
}

func askURL(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, short(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, short(err)
	}
	if resp.StatusCode != http.StatusOK {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return nil, &statusError{resp.StatusCode, resp.Header.Get("Geecache-Error"), line}
	}
	return body, nil
}

// A statusError is an answer that is not 200.
type statusError struct {
	code         int
	reason, line string // why, in the header's word, and in the answer's first line
}

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d %s: %s", e.code, http.StatusText(e.code), e.line)
}

// short leaves out of an error what the caller says anyway.
func short(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("nothing listens there (%w)", op.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", probeTimeout)
	}
	return err
}
