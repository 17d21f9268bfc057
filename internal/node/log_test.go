package node

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

// lines reads a log of JSON, in which each line must say whose it is, once.
func lines(t *testing.T, log string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if strings.Count(line, `"node":`) != 1 || strings.Count(line, `"cluster":`) != 1 {
			t.Errorf("whose line is this? %s", line)
		}
		all = append(all, m)
	}
	return all
}

func TestEachLineSaysWhoseItIs(t *testing.T) {
	var out text
	log := NewLogger(&out, slog.LevelDebug, "c1", "starting")
	log.Info("before")
	cfg := Config{Cluster: "c1", ID: "n1", Listen: "127.0.0.1:0", APIListen: "127.0.0.1:0", Source: "slowdb:?latency=0s", Logger: log}
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	log.With("registry", "dns").Info("of a part")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := lines(t, out.String())
	if all[0]["node"] != "starting" || len(all) < 5 {
		t.Errorf("%d lines, the first one of %v", len(all), all[0]["node"])
	}
	for _, l := range all[1:] {
		if l["node"] != "n1" || l["cluster"] != "c1" {
			t.Errorf("a line of %v and %v: %v", l["cluster"], l["node"], l["msg"])
		}
	}
}

func TestRequestIDs(t *testing.T) {
	const trace = "1-67891233-abcdef012345678912345678"
	for _, c := range []struct{ given, traced, want string }{
		{"my-request.1", "", "my-request.1"},
		{"", "Root=" + trace, trace},
		{"", "Self=1-67891234-12456789abcdef012345678;Root=" + trace + ";Sampled=1", trace},
		{"mine", "Root=" + trace, "mine"},
		{"two\nlines", "Root=" + trace, trace},
		{strings.Repeat("x", 129), "Root=1-x", ""},
		{"", "", ""},
	} {
		h := http.Header{}
		h.Set("X-Request-Id", c.given)
		h.Set("X-Amzn-Trace-Id", c.traced)
		got := requestID(h)
		if c.want == "" && (len(got) != 32 || got == requestID(h)) || c.want != "" && got != c.want {
			t.Errorf("%q and %q give %q, want %q", c.given, c.traced, got, c.want)
		}
	}
}

// An error and a slow request can be found in the log by what the client has.
func TestErrorsAndSlowRequestsHaveIDs(t *testing.T) {
	var out text
	p := start(t, Config{APIListen: "127.0.0.1:0", Source: "slowdb:?latency=20ms", API: APIConfig{SlowRequest: time.Millisecond}})
	log := NewLogger(&out, slog.LevelInfo, "c1", "n1")
	p.api.requests.log = log
	ask := func(url string, header ...string) *http.Response {
		r := httptest.NewRequest("GET", url, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		p.server.Handler.ServeHTTP(w, r)
		return w.Result()
	}
	for _, c := range []struct {
		url    string
		header []string
		status int
		id     string // "made": one is made; empty: none
		logged string
	}{
		{"/api?key=Jack", []string{"X-Request-Id", "r1", "Geecache-Timeout", "1ms"}, 504, "r1", "request failed"},
		{"/api?key=Tom", []string{"X-Request-Id", "r2"}, 200, "r2", "request was slow"},
		{"/api?key=Tom", []string{"X-Request-Id", "r3"}, 200, "", ""}, // a hit
		{"/api", nil, 400, "made", ""},
		{"/api/nothing", []string{"X-Request-Id", "r4"}, 404, "r4", ""},
		{"/api/batch", []string{"X-Request-Id", "r5"}, 405, "r5", ""},
	} {
		before := len(lines(t, out.String()))
		resp := ask(c.url, c.header...)
		id := resp.Header.Get("X-Request-Id")
		if resp.StatusCode != c.status || c.id == "made" && id == "" || c.id != "made" && id != c.id {
			t.Errorf("%s: status %d with the ID %q, want %d with %q", c.url, resp.StatusCode, id, c.status, c.id)
		}
		all := lines(t, out.String())[before:]
		if c.logged == "" && len(all) > 0 || c.logged != "" && (len(all) != 1 || all[0]["msg"] != c.logged || all[0]["request"] != id) {
			t.Errorf("%s: the log says %v, want %q", c.url, all, c.logged)
		}
	}
}

// Under an outage each request fails: the log tells of some, and how many more there are.
func TestTheLogOfRequestsIsBounded(t *testing.T) {
	var out text
	l := requestLog{log: NewLogger(&out, slog.LevelInfo, "c", "n")}
	r := httptest.NewRequest("GET", "/api?key=k", nil)
	begun := time.Now().Unix()
	for range 1000 {
		l.failed(httptest.NewRecorder(), r, 502, geecache.CodeSource, "the source is down")
	}
	seconds := int(time.Now().Unix()-begun) + 1
	if n := len(lines(t, out.String())); n < requestsASecond || n > requestsASecond*seconds {
		t.Errorf("%d lines within %d seconds", n, seconds)
	}
}
