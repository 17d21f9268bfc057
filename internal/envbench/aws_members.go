package envbench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/geecache/geecache/geecache"
)

// apiTokenVariable gives a command the API's token; without it, the deployment's secret is
// read.
const apiTokenVariable = "GEECACHE_API_TOKEN"

// noteThroughAPI says what a status is worth that nobody got from the nodes themselves.
const noteThroughAPI = "the tasks' addresses are private, and did not answer here: each node was asked by an API server (GET /api/members, through the load balancer), " +
	"and each API server for itself"

// A told is what an API server answers at /api/members: of itself first.
type told struct {
	Members []struct {
		ID, Addr, State, Epoch, Version, Error string
		Role                                   geecache.Role
		Ready                                  bool
		Ring                                   []string
	}
}

// member returns what one of those told says, as an answer of the process itself.
func (t told) member(i int, as Member) Member {
	m := t.Members[i]
	as.Ready, as.State, as.Epoch, as.Version, as.Error = m.Ready, m.State, m.Epoch, m.Version, m.Error
	as.ring, as.Ring = m.Ring, len(m.Ring)
	if m.ID != "" {
		as.ID = m.ID
	}
	if as.State == "" {
		as.State = "silent"
	}
	return as
}

// reached reports whether any process has answered at its own address.
func reached(members []Member) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.Ready || m.Addr != "" && m.State != "silent" })
}

// throughAPI fills in what the members say to API servers, whom the load balancer at base
// leads to one after the other. A node of which two API servers do not say the same is as
// the last one says.
func (p *prober) throughAPI(ctx context.Context, base, token string, members []Member) error {
	servers := 0
	for _, m := range members {
		if m.API {
			servers++
		}
	}
	ask := &http.Client{Transport: &bearer{token, p.plain.Transport}}
	if token == "" {
		ask = p.http // the cluster's secret
	}
	seen := make(map[string]bool) // API servers
	for range 4 * max(servers, 1) {
		if len(seen) >= servers && len(seen) > 0 {
			return nil
		}
		answer, err := tellMembers(ctx, ask, base)
		if err != nil {
			return err
		}
		fill(members, answer, seen)
	}
	return nil // one that was not met stays silent
}

// fill enters what an API server has told.
func fill(members []Member, answer told, seen map[string]bool) {
	own := answer.Members[0]
	if !seen[own.ID] {
		// Its address is what it calls itself by: where that is a name, any free place is its.
		at := slices.IndexFunc(members, func(m Member) bool { return m.API && m.Addr == own.Addr })
		if at < 0 {
			at = slices.IndexFunc(members, func(m Member) bool { return m.API && !m.Ready && m.State == "silent" })
		}
		if at >= 0 {
			members[at] = answer.member(0, members[at])
		}
		seen[own.ID] = true
	}
	for i := 1; i < len(answer.Members); i++ {
		addr := answer.Members[i].Addr
		if at := slices.IndexFunc(members, func(m Member) bool { return !m.API && m.Addr == addr }); at >= 0 {
			members[at] = answer.member(i, members[at])
		}
	}
}

func tellMembers(ctx context.Context, client *http.Client, base string) (answer told, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*probeTimeout)
	defer cancel()
	body, err := askURL(ctx, client, base+"/api/members")
	if err != nil {
		return answer, fmt.Errorf("the members cannot be asked through %s: %w", base, err)
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Members) == 0 {
		return answer, fmt.Errorf("%s/api/members is answered, and not by an API server of this version", base)
	}
	return answer, nil
}

// A bearer shows a token.
type bearer struct {
	token string
	base  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.base.RoundTrip(r)
}

// apiToken returns the API's token: this process's variable, or the deployment's secret;
// empty: there is none.
func (c *cloud) apiToken(ctx context.Context, name string) (string, error) {
	if token := strings.TrimSpace(os.Getenv(apiTokenVariable)); token != "" {
		return token, nil
	}
	_, token, err := c.secretValue(ctx, name+"/api-token")
	first, _, _ := strings.Cut(token, "\n")
	return strings.TrimSpace(first), err
}
