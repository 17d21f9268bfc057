package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/peergrpc"
)

const patience = 20 * time.Second

func quiet(cfg Config) Config {
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	return cfg
}

// start starts a process that the test ends, if it has not ended before.
func start(t *testing.T, cfg Config) *Process {
	t.Helper()
	p, err := Start(t.Context(), quiet(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

// fetch asks a running process; each request has a connection of its own.
func fetch(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp, bodyOf(t, resp)
}

func TestProcessServesEverythingOnItsPort(t *testing.T) {
	p := start(t, Config{APIListen: "127.0.0.1:0", Source: "slowdb:?latency=0s"})
	base, api := "http://"+p.Node().Addr(), "http://"+p.APIAddr()
	for _, c := range []struct {
		url    string
		status int
		says   string
	}{
		{api + "/api?key=Tom", 200, "630"},
		{base + "/_geecache/scores/Tom", 200, "\x0a\x03630"},
		{base + "/healthz", 200, "ok"},
		{base + "/readyz", 200, "ready"},
		{base + "/metrics", 200, "geecache_"},
		{base + "/statusz", 200, `"source":"slowdb:?latency=0s","source_queries":1`},
		{base + "/topz?n=3", 200, `"group":"scores","keys":[`},
		{base + "/topz?n=x", 400, "positive number"},
		{base + "/topz?group=x", 404, "no such group"},
		{base + "/api?key=Tom", 404, "the API is on another port"},
		{base + "/", 404, "nothing is here"},
		{api + "/healthz", 200, "ok"},
		{api + "/metrics", 200, "geecache_"},
		{api + "/statusz", 200, p.APIAddr()},
		{api + "/_geecache/scores/Tom", 404, "nothing is here"},
	} {
		if resp, body := fetch(t, c.url); resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: status %d, want %d; %.200q should say %q", c.url, resp.StatusCode, c.status, body, c.says)
		}
	}
	resp, err := http.Post(base+"/statusz", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 405 {
		t.Errorf("POST /statusz: status %d", resp.StatusCode)
	}
}

func TestProcessSpeaksGRPC(t *testing.T) {
	p := start(t, Config{Source: "slowdb:?latency=0s"})
	conn, err := grpc.NewClient(p.Node().Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	health, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
	resp, err := peergrpc.NewGroupCacheClient(conn).Get(ctx, &geecachepb.Request{Group: "scores", Key: []byte("Tom")})
	if err != nil || string(resp.Value) != "630" {
		t.Errorf("Get: %q, %v", resp.GetValue(), err)
	}
}

// addr returns an address that was free a moment ago.
func addr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestProcessesFormACluster(t *testing.T) {
	for _, scheme := range []string{"", "grpc://", "http://"} {
		t.Run("over "+scheme, func(t *testing.T) {
			var peers []geecache.Peer
			for range 3 {
				a := addr(t)
				peers = append(peers, geecache.Peer{ID: a, Addr: scheme + a})
			}
			var nodes []*Process
			for _, peer := range peers {
				nodes = append(nodes, start(t, Config{Listen: peer.ID, Peers: peers, Source: "slowdb:?latency=0s"}))
			}
			api := start(t, Config{Role: geecache.RoleClient, Peers: peers})
			for _, key := range []string{"Tom", "Jack", "Sam", "kkk", "Tom"} {
				fetch(t, "http://"+api.APIAddr()+"/api?key="+key)
			}
			resp, body := fetch(t, "http://"+api.APIAddr()+"/api?key=Tom")
			if body != "630" || resp.Header.Get("Geecache-From") != "peer" && resp.Header.Get("Geecache-From") != "hot" {
				t.Errorf("status %d, %q from %q", resp.StatusCode, body, resp.Header.Get("Geecache-From"))
			}
			loads := int64(0)
			for _, n := range nodes {
				st := n.Node().Stats()
				loads += st.Groups[0].Loads()
			}
			if loads != 4 {
				t.Errorf("4 keys cost %d loads", loads)
			}
			if st := api.Node().Stats(); st.Role != geecache.RoleClient || st.Groups[0].Loads() != 0 {
				t.Errorf("the API server is a %s that has loaded %d times", st.Role, st.Groups[0].Loads())
			}
		})
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	p := start(t, Config{APIListen: "127.0.0.1:0", Source: "slowdb:?latency=300ms"})
	type answer struct {
		status int
		body   string
	}
	answered := make(chan answer)
	go func() {
		resp, body := fetch(t, "http://"+p.APIAddr()+"/api?key=Tom")
		answered <- answer{resp.StatusCode, body}
	}()
	deadline := time.Now().Add(patience)
	for p.Node().Stats().Groups[0].LoadsInFlight == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the load has not begun")
		}
		time.Sleep(time.Millisecond) // until another goroutine's request is under way
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if a := <-answered; a.status != 200 || a.body != "630" {
		t.Errorf("the request in flight: %d %q", a.status, a.body)
	}
	if _, err := net.DialTimeout("tcp", p.APIAddr(), time.Second); err == nil {
		t.Error("the API's port is still open")
	}
	if _, err := net.DialTimeout("tcp", p.Node().Addr(), time.Second); err == nil {
		t.Error("the node's port is still open")
	}
}

func TestReadinessFollowsTheLife(t *testing.T) {
	p := start(t, Config{})
	h := handler{p: p}
	if resp := ask(h, "GET", "/readyz", ""); resp.StatusCode != 200 {
		t.Errorf("serving: status %d", resp.StatusCode)
	}
	if err := p.Node().Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp := ask(h, "GET", "/readyz", ""); resp.StatusCode != 503 || bodyOf(t, resp) != "draining\n" {
		t.Errorf("draining: status %d", resp.StatusCode)
	}
	if resp := ask(h, "GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("draining: it is said to be dead: status %d", resp.StatusCode)
	}
	a, err := NewAPI(p.Node(), "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if resp := ask(a, "GET", "/api?key=k", ""); resp.Header.Get("Connection") != "close" {
		t.Error("draining: clients are not told to go elsewhere")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, quiet(Config{})) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStartErrorsLeaveNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{Config{Listen: taken.Addr().String()}, "--listen " + taken.Addr().String()},
		{Config{APIListen: taken.Addr().String()}, "--api-listen " + taken.Addr().String()},
		{Config{Source: "slowdb:///no/such/folder/x.db"}, "--source slowdb:///no/such/folder/x.db"},
		{Config{Groups: []string{"a/b"}}, "a/b"},
		{Config{Group: geecache.GroupConfig{CacheBytes: -1}}, "CacheBytes"},
		{Config{ID: "a b"}, "ID"},
		{Config{Peers: []geecache.Peer{{ID: "x", Addr: "carrier-pigeon://x:1"}}}, "carrier-pigeon"},
	} {
		p, err := Start(t.Context(), quiet(c.cfg))
		if err == nil {
			_ = p.Stop(t.Context())
			t.Errorf("%s: no error", c.says)
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("the error %q does not name %q", err, c.says)
		} else if errors.Is(err, net.ErrClosed) {
			t.Errorf("the error %q tells of a listener that was closed twice", err)
		}
	}
}

func TestProcessLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p, err := Start(t.Context(), quiet(Config{APIListen: "127.0.0.1:0"}))
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, "http://"+p.APIAddr()+"/api?key=Tom")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStopTellsWhatItCutOff(t *testing.T) {
	p, err := Start(t.Context(), quiet(Config{APIListen: "127.0.0.1:0", Source: "slowdb:?latency=1m"}))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := http.Get("http://" + p.APIAddr() + "/api?key=Tom"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}()
	deadline := time.Now().Add(patience)
	for p.Node().Stats().Groups[0].LoadsInFlight == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the load has not begun")
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "gRPC") {
		t.Errorf("stop: %v, want the deadline's error, and no word of gRPC, of which there was none", err)
	}
	if ctx.Err() != nil {
		t.Error("it took longer than it had")
	}
	<-answered
}

func TestStatusHasNoSecrets(t *testing.T) {
	for raw, want := range map[string]string{
		"slowdb:a.db?latency=1ms":                       "slowdb:a.db?latency=1ms",
		"postgres://user:secret@db:5432/app?x=secret":   "postgres://db:5432/app",
		"postgres://user:sec%ret@db:5432/app?x=secret":  "postgres:...",
		"https://user:secret@origin/v/{key}?tok=secret": "https://origin/v/{key}",
	} {
		if got := RedactURL(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
	p := start(t, Config{})
	raw, err := json.Marshal(p.status())
	if err != nil || !strings.Contains(string(raw), `"source":"slowdb:"`) {
		t.Errorf("%s, %v", raw, err)
	}
}
