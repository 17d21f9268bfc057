package node

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/geecache"
)

// toldMembers asks an API server for its members, with a token if there is one.
func toldMembers(t *testing.T, api, token string) (int, []memberAnswer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+api+"/api/members", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var told struct{ Members []memberAnswer }
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, told.Members
}

// Whoever reaches the API and no node learns what each node says of itself.
func TestAPITellsWhatMembersSay(t *testing.T) {
	const secret, token = "a-secret-of-sixteen-bytes", "a-token-of-sixteen-bytes"
	a := start(t, Config{ID: "a", Secret: secret})
	addr := a.Node().Addr()
	gone := start(t, Config{ID: "b", Secret: secret})
	goneAddr := gone.Node().Addr()
	if err := gone.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := start(t, Config{
		ID: "api", Role: geecache.RoleClient, Secret: secret, APIToken: token,
		Peers: []geecache.Peer{{ID: "a", Addr: addr}, {ID: "b", Addr: goneAddr}},
	})
	if status, _ := toldMembers(t, api.APIAddr(), ""); status != http.StatusUnauthorized {
		t.Errorf("a stranger gets status %d", status)
	}
	status, all := toldMembers(t, api.APIAddr(), token)
	if status != http.StatusOK || len(all) != 3 {
		t.Fatalf("status %d, %+v", status, all)
	}
	own, first, second := all[0], all[1], all[2]
	if own.ID != "api" || own.Role != geecache.RoleClient || !slices.Equal(own.Ring, []string{"a", "b"}) {
		t.Errorf("the API server says of itself %+v", own)
	}
	if first.ID != "a" || !first.Ready || first.State != "serving" || first.Addr != addr || !slices.Equal(first.Ring, []string{"a"}) || first.Epoch == own.Epoch || first.Error != "" {
		t.Errorf("a node that knows of itself alone says %+v", first)
	}
	if second.ID != "b" || second.Ready || !strings.Contains(second.Error, "refused") {
		t.Errorf("of a node that is gone it says %+v", second)
	}
}
