package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers v:KEY, and misbehaves for keys that ask for it.
func echo(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	switch key {
	case "wrong":
		_, _ = io.WriteString(w, "v:other")
	case "absent-1":
		http.Error(w, key+" not exist", http.StatusNotFound)
	case "absent-2":
		_, _ = io.WriteString(w, "v:absent-2")
	case "lost":
		http.Error(w, key+" not exist", http.StatusNotFound)
	case "absent-group":
		w.Header().Set("Geecache-Error", "no-group")
		http.Error(w, "no such group", http.StatusNotFound)
	case "busy":
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
	case "moved":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case "hang":
		<-r.Context().Done()
	case "cut":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nv:c")
			_ = conn.Close()
		}
	default:
		_, _ = io.WriteString(w, "v:"+key)
	}
}

func runHTTP(t *testing.T, ctx context.Context, cfg Config) *Result {
	t.Helper()
	format, err := ExpectFormat("v:%s")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Expect == nil {
		cfg.Expect = ExpectNotFound("absent", format)
	}
	r, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHTTPOutcomes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	var list []WeightedKey
	for key := range strings.FieldsSeq("ok wrong absent-1 absent-2 absent-group lost busy moved hang cut") {
		list = append(list, WeightedKey{key, 1})
	}
	r := runHTTP(t, t.Context(), Config{
		URLs: []string{server.URL}, Rate: 1000, Count: 20, Timeout: 300 * time.Millisecond, KeepFailures: 20,
		Keys: Keys{Dist: Sequential, List: list},
	})
	want := map[string]int64{
		"ok": 2, "wrong_value": 4, "expected_not_found": 2, "not_found": 2,
		"bad_status": 6, "timeout": 2, "connection": 2,
	}
	if fmt.Sprint(r.Outcomes) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", r.Outcomes, want)
	}
	if got, want := fmt.Sprint(r.Statuses), "map[200:6 302:2 404:6 503:2]"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	failures := make(map[string]Failure)
	for _, f := range r.Failures {
		failures[f.Key] = f
	}
	for key, want := range map[string]Failure{
		`"wrong"`:        {Outcome: "wrong_value", Error: `wrong value: expected "v:wrong"`, Got: `200 "v:other"`},
		`"absent-2"`:     {Outcome: "wrong_value", Error: "wrong value: expected none", Got: `200 "v:absent-2"`},
		`"absent-group"`: {Outcome: "bad_status", Error: "HTTP status 404, error no-group", Got: `404 "no such group\n"`},
		`"lost"`:         {Outcome: "not_found", Error: `not found: expected "v:lost"`, Got: `404 "lost not exist\n"`},
		`"busy"`:         {Outcome: "bad_status", Error: "HTTP status 503", Got: `503 "overloaded\n"`},
	} {
		got := failures[key]
		if got.Outcome != want.Outcome || got.Error != want.Error || got.Got != want.Got || got.Target != server.URL {
			t.Errorf("key %s: %+v, want %+v", key, got, want)
		}
	}
	if cut := failures[`"cut"`]; cut.Outcome != "connection" || !strings.Contains(cut.Error, "unexpected EOF") {
		t.Errorf("an answer that was cut off: %+v", cut)
	}
	if len(failures) != 8 || r.Failed != 16 {
		t.Errorf("%d kinds of failure, %d failed", len(failures), r.Failed)
	}
}

func TestHTTPSeveralTargets(t *testing.T) {
	var hits [2]atomic.Int64
	var urls []string
	for i := range hits {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits[i].Add(1)
			if r.Header.Get("X-Token") != "secret" || r.Host != "cache.test" {
				http.Error(w, "who are you", http.StatusForbidden)
				return
			}
			echo(w, r)
		}))
		defer server.Close()
		urls = append(urls, server.URL)
	}
	cfg := Config{
		URLs: urls, Rate: 2000, Count: 200,
		HTTP: HTTPOptions{Header: http.Header{"X-Token": {"secret"}, "Host": {"cache.test"}}, Connections: 2},
	}
	r := runHTTP(t, t.Context(), cfg)
	if r.Failed != 0 || hits[0].Load() != 100 || hits[1].Load() != 100 {
		t.Errorf("failed %d %v, hits %d and %d", r.Failed, r.Failures, hits[0].Load(), hits[1].Load())
	}
	for i, target := range r.Targets {
		if target.Target != urls[i] || target.Requests != 100 || target.Latency.Count != 100 || target.Latency.P50 == 0 {
			t.Errorf("target %d: %+v", i, target)
		}
	}
	cfg.Pick, cfg.Rate, cfg.Callers, cfg.Count = Random, 0, 3, 300
	if r := runHTTP(t, t.Context(), cfg); r.Failed != 0 || r.Targets[0].Requests < 100 || r.Targets[1].Requests < 100 {
		t.Errorf("random: failed %d, %d and %d requests", r.Failed, r.Targets[0].Requests, r.Targets[1].Requests)
	}
}

func TestHTTPConnectionsAreKeptAndBounded(t *testing.T) {
	var opened, open, most atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			if now := open.Add(1); now > most.Load() {
				most.Store(now)
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	r := runHTTP(t, t.Context(), Config{URLs: []string{server.URL}, Callers: 8, Count: 500, HTTP: HTTPOptions{Connections: 3}})
	if r.Completed != 500 || r.Failed != 0 || opened.Load() > 3 || most.Load() > 3 || r.ConnectionWaits == 0 {
		t.Errorf("completed %d, failed %d, %d connections opened, %d at once", r.Completed, r.Failed, opened.Load(), most.Load())
	}
}

// A server that closes a connection between two requests is no failure, one
// that closes every connection is.
func TestHTTPStaleConnection(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	target, err := newHTTPTarget(server.URL, &Config{HTTP: HTTPOptions{Connections: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	var buf bytes.Buffer
	for range 3 {
		if a, err := target.get(t.Context(), "k", &buf); err != nil || string(a.Value) != "v:k" {
			t.Fatalf("%q, %v", a.Value, err)
		}
		server.CloseClientConnections()
	}
	server.Close()
	r := runHTTP(t, t.Context(), Config{URLs: []string{server.URL}, Rate: 1000, Count: 10})
	if r.Outcomes["connection"] != 10 {
		t.Errorf("no server: %v", r.Outcomes)
	}
}

// An answer that nobody asked for must not be taken for the next key's.
func TestHTTPUnasked(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					body := "v:" + req.URL.Query().Get("key")
					early := "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
					answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					if _, err := io.WriteString(conn, early+answer+answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	r := runHTTP(t, t.Context(), Config{URLs: []string{"http://" + listener.Addr().String()}, Callers: 1, Count: 50})
	if r.Failed != 0 || r.Completed != 50 {
		t.Errorf("outcomes %v, failures %+v", r.Outcomes, r.Failures)
	}
}

func TestHTTPCancelCutsOff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := runHTTP(t, ctx, Config{
		URLs: []string{server.URL}, Rate: 200, Duration: time.Hour, Timeout: time.Hour,
		Keys:          Keys{Dist: Sequential, List: []WeightedKey{{"ok", 1}, {"hang", 1}}},
		ProgressEvery: time.Millisecond,
		Progress: func(s Snapshot) {
			if s.Outstanding >= 5 && s.Done >= 5 {
				cancel()
			}
		},
	})
	if !r.Interrupted || r.Failed != 0 || r.Outcomes["ok"] < 5 || r.Outcomes["interrupted"] < 5 {
		t.Errorf("interrupted %v, outcomes %v, failures %+v", r.Interrupted, r.Outcomes, r.Failures)
	}
}

func TestHTTPSWithALargeValue(t *testing.T) {
	large := strings.Repeat("x", 3<<20)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
	}))
	defer server.Close()
	cfg := Config{
		URLs: []string{server.URL}, Callers: 2, Count: 6,
		Keys: Keys{N: 1}, Expect: ExpectValues(map[string]string{"user:0": large}),
	}
	cfg.HTTP.TLS = server.Client().Transport.(*http.Transport).TLSClientConfig
	if r := runHTTP(t, t.Context(), cfg); r.Failed != 0 || r.Outcomes["ok"] != 6 {
		t.Errorf("outcomes %v, failures %+v", r.Outcomes, r.Failures)
	}
	cfg.HTTP.TLS = nil
	if r := runHTTP(t, t.Context(), cfg); r.Outcomes["connection"] != 6 {
		t.Errorf("a certificate that nobody vouches for: %v", r.Outcomes)
	}
}
