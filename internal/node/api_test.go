package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

// scores is the source of most tests.
func scores(_ context.Context, key string) (geecache.Value, error) {
	values := map[string]string{"Tom": "630", "Jack": "589", "Sam": "567", "": "the empty key", "bytes": "\xff\x00"}
	v, ok := values[key]
	switch {
	case ok:
		return geecache.Value{Bytes: []byte(v)}, nil
	case key == "broken":
		return geecache.Value{}, errors.New("disk on fire")
	case key == "panics":
		panic("oh")
	case key == "large":
		return geecache.Value{Bytes: make([]byte, 9<<20)}, nil
	case key == "busy":
		return geecache.Value{}, fmt.Errorf("%w: go away", geecache.ErrOverloaded)
	}
	return geecache.Value{}, geecache.ErrNotFound
}

// newTestNode returns a node alone with the groups "scores" and "users".
func newTestNode(t testing.TB, getter geecache.GetterFunc, cfg geecache.GroupConfig) *geecache.Node {
	t.Helper()
	n, err := geecache.New(geecache.Config{ID: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	for _, name := range []string{"scores", "users"} {
		if _, err := n.NewGroup(name, getter, cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func newTestAPI(t testing.TB, cfg APIConfig) *API {
	t.Helper()
	a, err := NewAPI(newTestNode(t, scores, geecache.GroupConfig{}), "scores", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask sends a request with headers, given as name and value in turns.
func ask(h http.Handler, method, target, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAPIKey(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	for _, c := range []struct {
		method, target string
		status         int
		body           string // exact; "..." at its end means more may follow
		code           string
	}{
		{"GET", "/api?key=Tom", 200, "630", ""},
		{"GET", "/api?key=Tom&group=users", 200, "630", ""},
		{"GET", "/api?other=1&key=Tom", 200, "630", ""},
		{"GET", "/api?key=", 200, "the empty key", ""},
		{"GET", "/api?key", 200, "the empty key", ""},
		{"GET", "/api?key=bytes", 200, "\xff\x00", ""},
		{"HEAD", "/api?key=Tom", 200, "", ""},
		{"GET", "/api?key=kkk", 404, "kkk not exist\n", "not-found"},
		{"GET", "/api", 400, "parameter \"key\" is missing: use /api?key=K\n", "bad-request"},
		{"GET", "/api?group=scores", 400, "parameter \"key\" is missing...", "bad-request"},
		{"GET", "/api?key=a&key=b", 400, "parameter \"key\" is given twice...", "bad-request"},
		{"GET", "/api?key=%zz", 400, "parameter \"key\": invalid URL escape...", "bad-request"},
		{"GET", "/api?key=Tom&group=x", 404, "no such group: \"x\"; there are: scores, users\n", "no-group"},
		{"GET", "/api?key=broken", 502, "source failed: disk on fire\n", "source"},
		{"GET", "/api?key=panics", 502, "source failed: ...", "source"},
		{"GET", "/api?key=large", 413, "too large: ...", "too-large"},
		{"GET", "/api?key=" + strings.Repeat("k", 17<<10), 413, "too large: ...", "too-large"},
		{"POST", "/api?key=Tom", 405, "use GET, HEAD\n", "bad-request"},
		{"GET", "/api/batch", 405, "use POST\n", "bad-request"},
		{"GET", "/api/other", 404, "nothing is here...", "bad-request"},
	} {
		resp := ask(a, c.method, c.target, "")
		body := bodyOf(t, resp)
		name := c.method + " " + c.target[:min(len(c.target), 40)]
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d; body %q", name, resp.StatusCode, c.status, body)
		}
		if prefix, more := strings.CutSuffix(c.body, "..."); more && !strings.HasPrefix(body, prefix) || !more && body != c.body {
			t.Errorf("%s: body %q, want %q", name, body, c.body)
		}
		if got := resp.Header.Get("Geecache-Error"); got != c.code {
			t.Errorf("%s: Geecache-Error %q, want %q", name, got, c.code)
		}
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options %q", name, got)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", name)
		}
	}
}

func TestAPIHeadersOfAValue(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	get := func(ctx context.Context, key string) (geecache.Value, error) {
		if key == "long" {
			return geecache.Value{Bytes: []byte(long), TTL: time.Hour}, nil
		}
		return scores(ctx, key)
	}
	a, err := NewAPI(newTestNode(t, get, geecache.GroupConfig{}), "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a) // net/http has a share in the headers
	defer s.Close()
	for _, key := range []string{"Tom", "long", ""} {
		want, _ := get(t.Context(), key)
		for i, from := range []string{"load", "hit", "hit"} {
			method := []string{"GET", "GET", "HEAD"}[i]
			r, _ := http.NewRequest(method, s.URL+"/api?key="+key, nil)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body := bodyOf(t, resp)
			_ = resp.Body.Close()
			if method == "GET" && body != string(want.Bytes) {
				t.Errorf("%q, request %d: body of %d bytes", key, i, len(body))
			}
			h := resp.Header
			if h.Get("Geecache-From") != from || h.Get("Geecache-Node") != "n1" {
				t.Errorf("%q, request %d: from %q by %q, want %q by n1", key, i, h.Get("Geecache-From"), h.Get("Geecache-Node"), from)
			}
			if length := fmt.Sprint(len(want.Bytes)); h.Get("Content-Type") != "application/octet-stream" || h.Get("Content-Length") != length {
				t.Errorf("%q, request %d: %q of %q bytes, want %s", key, i, h.Get("Content-Type"), h.Get("Content-Length"), length)
			}
			if (h.Get("Geecache-Ttl") != "") != (want.TTL > 0) {
				t.Errorf("%q, request %d: TTL %q", key, i, h.Get("Geecache-Ttl"))
			}
			if h.Get("Etag") == "" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%q, request %d: headers %v", key, i, h)
			}
		}
	}
}

// A tag is remembered with the version that it was made of.
func TestAPITagFollowsTheValue(t *testing.T) {
	n := 0
	get := func(context.Context, string) (geecache.Value, error) {
		n++
		return geecache.Value{Bytes: fmt.Append(nil, n), TTL: -1}, nil // not kept: each request loads
	}
	a, err := NewAPI(newTestNode(t, get, geecache.GroupConfig{}), "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range 5 {
		seen[ask(a, "GET", "/api?key=k", "").Header.Get("Etag")] = true
	}
	if len(seen) != 5 {
		t.Errorf("5 values have %d tags", len(seen))
	}
}

func TestAPIHitAllocates(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	r := httptest.NewRequest("GET", "/api?key=Tom", nil)
	w := &discard{h: make(http.Header)}
	a.ServeHTTP(w, r)
	// The deadline, and the steps of Lookup.
	const most = 2
	if n := testing.AllocsPerRun(1000, func() {
		clear(w.h)
		a.ServeHTTP(w, r)
	}); n > most {
		t.Errorf("a hit makes %v allocations, want at most %d", n, most)
	}
}

func TestAPIAnyKey(t *testing.T) {
	echo := func(_ context.Context, key string) (geecache.Value, error) {
		return geecache.Value{Bytes: []byte("<" + key + ">")}, nil
	}
	a, err := NewAPI(newTestNode(t, echo, geecache.GroupConfig{}), "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"", ".", "..", "a/b", "%2F", "a b", "a+b", "a&b=c", "a;b", "\x00", "\xff\xfe", "a\r\nb", "ключ",
		strings.Repeat("k", 8<<10),
	} {
		resp := ask(a, "GET", "/api?key="+url.QueryEscape(key), "")
		if got := bodyOf(t, resp); got != "<"+key+">" {
			t.Errorf("key %.20q: status %d, body %.40q", key, resp.StatusCode, got)
		}
	}
}

func TestAPIEntityTag(t *testing.T) {
	a, b := newTestAPI(t, APIConfig{}), newTestAPI(t, APIConfig{})
	tag := ask(a, "GET", "/api?key=Tom", "").Header.Get("Etag")
	if !strings.HasPrefix(tag, `"`) || len(tag) < 4 {
		t.Fatalf("ETag %q is not a strong tag", tag)
	}
	if other := ask(b, "GET", "/api?key=Tom", "").Header.Get("Etag"); other != tag {
		t.Errorf("another node's tag of the same bytes is %q, not %q", other, tag)
	}
	if other := ask(a, "GET", "/api?key=Jack", "").Header.Get("Etag"); other == tag {
		t.Error("other bytes have the same tag")
	}
	for _, c := range []struct {
		match  string
		status int
	}{
		{tag, 304}, {`"x", ` + tag, 304}, {"W/" + tag, 304}, {"*", 304}, {`"x"`, 200}, {strings.Trim(tag, `"`), 200},
	} {
		resp := ask(a, "GET", "/api?key=Tom", "", "If-None-Match", c.match)
		if body := bodyOf(t, resp); resp.StatusCode != c.status || (body == "") != (c.status == 304) {
			t.Errorf("If-None-Match %s: status %d, want %d; body %q", c.match, resp.StatusCode, c.status, body)
		}
		if resp.Header.Get("Etag") != tag {
			t.Errorf("If-None-Match %s: the answer has no tag", c.match)
		}
	}
	if resp := ask(a, "GET", "/api?key=kkk", "", "If-None-Match", "*"); resp.StatusCode != 404 {
		t.Errorf("a key that does not exist: status %d with If-None-Match *", resp.StatusCode)
	}
}

func TestAPIOverload(t *testing.T) {
	if resp := ask(newTestAPI(t, APIConfig{}), "GET", "/api?key=Tom&group=users", ""); resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := func(context.Context, string) (geecache.Value, error) {
		entered <- struct{}{}
		<-leave
		return geecache.Value{Bytes: []byte("x")}, nil
	}
	a, err := NewAPI(newTestNode(t, slow, geecache.GroupConfig{}), "scores", APIConfig{MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() { done <- ask(a, "GET", "/api?key=k", "").StatusCode }()
	<-entered
	resp := ask(a, "GET", "/api?key=other", "")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Geecache-Error") != "overloaded" {
		t.Errorf("beyond the limit: status %d, headers %v", resp.StatusCode, resp.Header)
	}
	close(leave)
	if status := <-done; status != 200 {
		t.Errorf("within the limit: status %d", status)
	}
	go func() { <-entered }()
	if resp := ask(a, "GET", "/api?key=other", ""); resp.StatusCode != 200 {
		t.Errorf("after the limit was left: status %d", resp.StatusCode)
	}
}

func TestAPIDeadline(t *testing.T) {
	hang := func(ctx context.Context, _ string) (geecache.Value, error) {
		<-ctx.Done()
		return geecache.Value{}, ctx.Err()
	}
	a, err := NewAPI(newTestNode(t, hang, geecache.GroupConfig{}), "scores", APIConfig{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	resp := ask(a, "GET", "/api?key=k", "", "Geecache-Timeout", "1ms")
	if resp.StatusCode != 504 || resp.Header.Get("Geecache-Error") != "deadline" {
		t.Errorf("past the deadline: status %d %q", resp.StatusCode, bodyOf(t, resp))
	}
	a.cfg.Timeout = time.Millisecond // a longer wish does not prolong it
	if resp := ask(a, "GET", "/api?key=k", "", "Geecache-Timeout", "1h"); resp.StatusCode != 504 {
		t.Errorf("past the API's deadline: status %d", resp.StatusCode)
	}
	for _, bad := range []string{"x", "0", "-1s", "5"} {
		if resp := ask(a, "GET", "/api?key=k", "", "Geecache-Timeout", bad); resp.StatusCode != 400 {
			t.Errorf("Geecache-Timeout %s: status %d, want 400", bad, resp.StatusCode)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  time.Duration
	}{
		{geecache.ErrNotFound, 404, 0},
		{geecache.ErrNoGroup, 404, 0},
		{geecache.ErrOverloaded, 503, time.Second},
		{&geecache.RemoteError{Code: geecache.CodeOverloaded, RetryAfter: 7 * time.Second}, 503, 7 * time.Second},
		{geecache.ErrUnavailable, 503, time.Second},
		{geecache.ErrClosed, 503, time.Second},
		{geecache.ErrSource, 502, 0},
		{geecache.ErrTooLarge, 413, 0},
		{geecache.ErrLoadTimeout, 504, 0},
		{context.DeadlineExceeded, 504, 0},
		{errors.New("something else"), 500, 0},
	} {
		o := outcomeOf("k", fmt.Errorf("wrapped: %w", c.err))
		if o.status != c.status || o.retryAfter != c.retry || o.msg == "" {
			t.Errorf("%v: %+v, want status %d, retry after %v", c.err, o, c.status, c.retry)
		}
	}
	if o := outcomeOf("a\xffb", geecache.ErrNotFound); o.msg != "a\xffb not exist" {
		t.Errorf("a key is told as %q", o.msg)
	}
}

func TestAPIExplain(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	for _, from := range []string{"load", "hit"} {
		resp := ask(a, "GET", "/api/explain?key=Tom", "")
		var e explanation
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 || e.From != from || e.Node != "n1" || len(e.Steps) == 0 || len(e.Owners) != 1 || e.Bytes != 3 || e.Error != "" {
			t.Errorf("status %d, %+v, want from %s", resp.StatusCode, e, from)
		}
	}
	resp := ask(a, "GET", "/api/explain?key=%ff", "")
	var e explanation
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 404 || e.Code != "not-found" || string(e.KeyBase64) != "\xff" || !strings.HasSuffix(e.Error, " not exist") {
		t.Errorf("status %d, %+v", resp.StatusCode, e)
	}
	if resp := ask(a, "GET", "/api/explain", ""); resp.StatusCode != 400 {
		t.Errorf("without a key: status %d", resp.StatusCode)
	}
}

func BenchmarkAPIHit(b *testing.B) {
	a := newTestAPI(b, APIConfig{})
	if resp := ask(a, "GET", "/api?key=Tom", ""); resp.StatusCode != 200 {
		b.Fatal(resp.Status)
	}
	r := httptest.NewRequest("GET", "/api?key=Tom", nil)
	w := &discard{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		a.ServeHTTP(w, r)
	}
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
