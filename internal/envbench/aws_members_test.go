package envbench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/node"
)

// balanced stands for a load balancer in front of two API servers, each with its answers.
func balanced(t *testing.T, nodes string) *httptest.Server {
	var calls atomic.Int64
	lb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/members":
			http.NotFound(w, r)
		case r.Header.Get("Authorization") != "Bearer token":
			http.Error(w, "the API needs a token", http.StatusUnauthorized)
		default:
			fmt.Fprintf(w, `{"members":[{"id":"api%d","addr":"ip-10-0-0-%[1]d:9999","role":"client","state":"serving","ready":true,"epoch":"e","ring":["a","b"]},%s]}`, calls.Add(1)/2%2, nodes)
		}
	}))
	t.Cleanup(lb.Close)
	return lb
}

// silentTasks are what ECS tells of, and nobody here reaches.
func silentTasks() []Member {
	return []Member{
		{ID: "task1", Addr: "10.0.0.1:8001", State: "silent", Error: "nothing listens there"},
		{ID: "task2", Addr: "10.0.0.2:8001", State: "silent", Error: "nothing listens there"},
		{ID: "task3", Addr: "10.0.1.1:9999", State: "silent", Error: "nothing listens there", API: true},
		{ID: "task4", Addr: "10.0.1.2:9999", State: "silent", Error: "nothing listens there", API: true},
	}
}

func TestMembersAreAskedThroughTheAPI(t *testing.T) {
	const a = `{"id":"a","addr":"10.0.0.1:8001","role":"node","state":"serving","ready":true,"epoch":"e","ring":["a","b"]}`
	for _, tt := range []struct {
		name, b string
		agree   bool
		why     string
	}{
		{"all agree", `{"id":"b","addr":"10.0.0.2:8001","role":"node","state":"serving","ready":true,"epoch":"e","ring":["a","b"]}`, true, ""},
		{"a node has another ring", `{"id":"b","addr":"10.0.0.2:8001","role":"node","state":"serving","ready":true,"epoch":"f","ring":["b"]}`, false, "their rings differ"},
		{"a node says nothing", `{"id":"b","addr":"10.0.0.2:8001","role":"node","ready":false,"ring":[],"error":"no answer"}`, false, "no answer"},
		{"a task is on nobody's ring", `{"id":"c","addr":"10.0.0.3:8001","role":"node","state":"serving","ready":true,"epoch":"e","ring":["a","b"]}`, false, "nothing listens there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lb := balanced(t, a+","+tt.b)
			p := newProber("", false)
			defer p.close()
			s := Status{Desired: 2, Members: silentTasks()}
			if reached(s.Members) {
				t.Fatal("tasks that are silent are reached")
			}
			if err := p.throughAPI(t.Context(), lb.URL, "token", s.Members); err != nil {
				t.Fatal(err)
			}
			s.judge()
			if s.Agree != tt.agree || !tt.agree && !strings.Contains(s.why(), tt.why) {
				t.Errorf("agree is %v: %s; want %q", s.Agree, s.why(), tt.why)
			}
			for _, m := range s.Members {
				if m.API && !m.Ready {
					t.Errorf("an API server was not met: %+v", m)
				}
			}
		})
	}
}

// What API servers tell is what is read here, whether they ask for a token or for the
// cluster's secret.
func TestARealClusterIsAskedThroughItsAPI(t *testing.T) {
	const secret = "a-secret-of-sixteen-bytes"
	for _, token := range []string{"", "a-token-of-sixteen-bytes"} {
		begin := func(cfg node.Config) *node.Process {
			cfg.Listen, cfg.Secret, cfg.Logger = "127.0.0.1:0", secret, slog.New(slog.DiscardHandler)
			p, err := node.Start(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Stop(context.WithoutCancel(t.Context())) })
			return p
		}
		a := begin(node.Config{ID: "a"})
		addr := a.Node().Addr()
		api := begin(node.Config{ID: "api", Role: geecache.RoleClient, Peers: []geecache.Peer{{ID: "a", Addr: addr}}, APIToken: token})
		s := Status{Desired: 1, Members: []Member{{ID: "task1", Addr: addr, State: "silent"}, {ID: "task2", Addr: api.APIAddr(), State: "silent", API: true}}}
		p := newProber(secret, false)
		defer p.close()
		if err := p.throughAPI(t.Context(), "http://"+api.APIAddr(), token, s.Members); err != nil {
			t.Fatal(err)
		}
		if s.judge(); !s.Agree || s.Answering != 1 || s.Members[0].ID != "a" || s.Members[1].ID != "api" || s.Members[0].Version == "" {
			t.Errorf("with the token %q: %+v, %s", token, s, s.why())
		}
	}
}

func TestAnAPIThatTellsNoMembersIsAnError(t *testing.T) {
	p := newProber("", false)
	defer p.close()
	if err := p.throughAPI(t.Context(), balanced(t, "{}").URL, "wrong", silentTasks()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong token: %v", err)
	}
	old := httptest.NewServer(http.NotFoundHandler())
	defer old.Close()
	if err := p.throughAPI(t.Context(), old.URL, "token", silentTasks()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("with an older version: %v", err)
	}
}
