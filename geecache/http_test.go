package geecache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// runNode starts a node on a loopback port of its own, with the group "g".
func runNode(t testing.TB, src *testSource, cfg Config, gc GroupConfig) *Node {
	t.Helper()
	n := newListeningNode(t, src, cfg, gc)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// newListeningNode is runNode without the start.
func newListeningNode(t testing.TB, src *testSource, cfg Config, gc GroupConfig) *Node {
	t.Helper()
	if cfg.Listener == nil {
		cfg.Listener = listenLoopback(t)
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	setDefault(&gc.TTLJitter, -1)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	if _, err := n.NewGroup("g", src.at(n.ID()), gc); err != nil {
		t.Fatal(err)
	}
	return n
}

func listenLoopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fetchPlain gets a value as any GeeCache-style client does: it knows the path and
// field 1 of the body, and nothing else.
func fetchPlain(t testing.TB, base, group, escapedKey string) ([]byte, *http.Response) {
	t.Helper()
	resp, err := http.Get(base + "/_geecache/" + group + "/" + escapedKey)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || len(body) == 0 {
		return body, resp
	}
	num, typ, n := protowire.ConsumeTag(body)
	if n < 0 || num != 1 || typ != protowire.BytesType {
		t.Fatalf("body does not begin with field 1 of bytes: %x", body[:min(len(body), 16)])
	}
	value, m := protowire.ConsumeBytes(body[n:])
	if m < 0 || n+m != len(body) {
		t.Fatalf("body holds more than field 1")
	}
	return value, resp
}

func TestPlainHTTPClientGetsTheRightBytes(t *testing.T) {
	n := runNode(t, &testSource{}, Config{}, GroupConfig{})
	for _, key := range weirdKeys() {
		value, resp := fetchPlain(t, "http://"+n.Addr(), "g", escapeKey(key))
		if resp.StatusCode != http.StatusOK || string(value) != "value of "+key {
			t.Errorf("key %.20q: status %d, value %.40q", key, resp.StatusCode, value)
		}
	}
	_, resp := fetchPlain(t, "http://"+n.Addr(), "g", "nothing")
	wantCount(t, "status of what does not exist", resp.StatusCode, 404)
	wantCount(t, "its error", resp.Header.Get(headerError), "not-found")
	_, resp = fetchPlain(t, "http://"+n.Addr(), "h", "k")
	wantCount(t, "status of no such group", resp.StatusCode, 404)
	wantCount(t, "its error", resp.Header.Get(headerError), "no-group")
}

func TestHTTPRefusesWhatMakesNoSense(t *testing.T) {
	n := runNode(t, &testSource{}, Config{MaxKeyBytes: 100}, GroupConfig{})
	tests := []struct {
		request string
		status  int
		says    string
	}{
		{"POST /_geecache/g/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "use GET"},
		{"DELETE /_geecache/g/k HTTP/1.1\r\nHost: x\r\n\r\n", 405, "use GET"},
		{"GET /_geecache/g HTTP/1.1\r\nHost: x\r\n\r\n", 400, "<group>/<key>"},
		{"GET /_geecache/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "<group>/<key>"},
		{"GET /_geecache//k HTTP/1.1\r\nHost: x\r\n\r\n", 400, "<group>/<key>"},
		{"GET /_geecache/g/k?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "%3F"},
		{"GET /_geecache/g/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		{"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 404, "/_geecache/"},
		{"GET /_geecache/g/" + strings.Repeat("k", 101) + " HTTP/1.1\r\nHost: x\r\n\r\n", 413, "MaxKeyBytes"},
		{"GET /_geecache/g/" + strings.Repeat("k", 200<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, ""},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413, "no body"},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413, "no body"},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nGeecache-Mode: 0\r\nGeecache-Cluster: other\r\n\r\n", 403, "not \"other\""},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nGeecache-Mode: 9\r\nGeecache-Cluster: geecache\r\n\r\n", 400, "Geecache-Mode"},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nGeecache-Mode: 0\r\nGeecache-Cluster: geecache\r\nGeecache-Timeout: soon\r\n\r\n", 400, "Geecache-Timeout"},
		{"GET /_geecache/g/k HTTP/1.1\r\nHost: x\r\nGeecache-Mode: 2\r\nGeecache-Cluster: geecache\r\n\r\n", 404, "miss"},
		{"hello, is anybody there, on this port?\r\n\r\n", 400, ""},
	}
	for _, tt := range tests {
		resp, body := raw(t, n.Addr(), tt.request)
		if resp == nil {
			t.Errorf("%.60q: no answer", tt.request)
			continue
		}
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%.60q: status %d, %q; want %d and %q", tt.request, resp.StatusCode, body, tt.status, tt.says)
		}
	}
}

// raw sends bytes and reads one response.
func raw(t testing.TB, addr, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(c, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, ""
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, string(body)
}

// discard is an http.ResponseWriter that keeps nothing but the headers.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func TestHTTPHitAllocates(t *testing.T) {
	o := &noObserver{}
	n, err := New(Config{Logger: quiet(), Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	getter, _ := constant("630")
	if _, err := n.NewGroup("g", getter, GroupConfig{}); err != nil {
		t.Fatal(err)
	}
	for _, marked := range []bool{false, true} {
		r := httptest.NewRequest("GET", "/_geecache/g/Tom", nil)
		if marked {
			r.Header[headerMode], r.Header[headerCluster] = []string{"0"}, []string{"geecache"}
		}
		w := &discard{h: make(http.Header)}
		n.ServeHTTP(w, r)
		o.calls.Store(0)
		// The version, as text and as the values of a header.
		const most = 3
		if n := testing.AllocsPerRun(1000, func() {
			clear(w.h)
			n.ServeHTTP(w, r)
		}); n > most {
			t.Errorf("marked: %v: a hit makes %v allocations, want at most %d", marked, n, most)
		}
		if n := o.calls.Load(); n != 0 {
			t.Errorf("marked: %v: %d hits were timed", marked, n)
		}
	}
}

// The length of the body is told, by this node or by net/http.
func TestHTTPLengths(t *testing.T) {
	get := GetterFunc(func(_ context.Context, key string) (Value, error) {
		n, err := strconv.Atoi(key)
		return Value{Bytes: bytes.Repeat([]byte("x"), n)}, err
	})
	n, err := New(Config{Logger: quiet(), Listener: listenLoopback(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	if _, err := n.NewGroup("g", get, GroupConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 127, 128, 1 << 10, 1<<10 + 1, 4 << 10, 8 << 10, 10 << 10, 1 << 20} {
		value, resp := fetchPlain(t, "http://"+n.Addr(), "g", strconv.Itoa(size))
		if len(value) != size || resp.ContentLength < int64(size) {
			t.Errorf("%d bytes: the body has %d, its length %d", size, len(value), resp.ContentLength)
		}
		head, err := http.Head("http://" + n.Addr() + "/_geecache/g/" + strconv.Itoa(size))
		if err != nil {
			t.Fatal(err)
		}
		_ = head.Body.Close()
		if head.ContentLength != resp.ContentLength {
			t.Errorf("%d bytes: HEAD says %d, GET %d", size, head.ContentLength, resp.ContentLength)
		}
	}
}

func FuzzHTTPPath(f *testing.F) {
	for _, key := range weirdKeys() {
		if len(key) < 100 {
			f.Add("/_geecache/g/" + escapeKey(key))
			f.Add("/_geecache/g/" + key)
		}
	}
	f.Add("/_geecache/" + "\x7f/../..//")
	src := &testSource{}
	n, err := New(Config{Logger: quiet()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	if _, err := n.NewGroup("g", src.at(""), GroupConfig{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		if w.Code == http.StatusOK {
			rest, ok := strings.CutPrefix(u.EscapedPath(), "/_geecache/g/")
			key, err := url.PathUnescape(rest)
			if !ok || err != nil {
				t.Fatalf("%q was answered with 200", path)
			}
			if body := w.Body.Bytes(); len(body) > 0 {
				_, _, n := protowire.ConsumeTag(body)
				v, _ := protowire.ConsumeBytes(body[n:])
				if string(v) != "value of "+key {
					t.Fatalf("%q: key %q has value %q", path, key, v)
				}
			}
		}
	})
}

// A node of another implementation: it knows the path and the body.
func originServer(t *testing.T, hits map[string]int) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/_geecache/"), "/", 2)
		hits[parts[1]]++
		if strings.HasPrefix(parts[1], "no") {
			http.Error(w, parts[1]+" not exist", http.StatusInternalServerError)
			return
		}
		body := protowire.AppendTag(nil, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, []byte("origin's "+parts[1]))
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestNodeFetchesFromANodeOfAnotherImplementation(t *testing.T) {
	hits := map[string]int{}
	origin := originServer(t, hits)
	src := &testSource{}
	n := runNode(t, src, Config{Peers: []Peer{{ID: "origin", Addr: origin.URL}}}, GroupConfig{HotTTL: -1})
	g := n.Group("g")
	find := func(prefix string) string {
		for i := 0; ; i++ {
			if key := fmt.Sprint(prefix, i); n.Owners(key, 1)[0].ID == "origin" {
				return key
			}
		}
	}
	key := find("a b/")
	v, err := g.Get(t.Context(), key)
	if err != nil || v.String() != "origin's "+key {
		t.Fatalf("Get = %q, %v", v, err)
	}
	_, err = g.Get(t.Context(), find("no"))
	if err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("an error that does not say what it is became %v", err)
	}
	wantCount(t, "loads here", src.total(), 0)
	// It may be the one that asks us, so it is not asked on its own behalf.
	before := hits[key]
	value, _ := fetchPlain(t, "http://"+n.Addr(), "g", escapeKey(key))
	wantCount(t, "value loaded here", string(value), "value of "+key)
	wantCount(t, "requests to the origin", hits[key], before)
	// It goes away: this node stands in.
	origin.Close()
	key = find("later")
	wantCount(t, "origin", mustGet(t, g, key).From, FromLoad)
}

func TestNodesSpeakPlainHTTPWhenToldTo(t *testing.T) {
	src := &testSource{}
	b := runNode(t, src, Config{ID: "b"}, GroupConfig{})
	a := runNode(t, src, Config{ID: "a", Peers: []Peer{{ID: "b", Addr: "http://" + b.Addr()}}}, GroupConfig{HotTTL: -1})
	for _, key := range weirdKeys() {
		mustGet(t, a.Group("g"), key)
	}
	for i := range 50 {
		mustGet(t, a.Group("g"), fmt.Sprint("k", i))
		_, err := a.Group("g").Get(t.Context(), fmt.Sprint("no", i))
		wantErr(t, err, ErrNotFound)
	}
	if b.Group("g").Stats().Served < 40 || b.Group("g").Stats().LoadsOther != 0 {
		t.Errorf("b served %+v", b.Group("g").Stats())
	}
	_, err := a.Group("g").GetMany(t.Context(), "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8")
	if err != nil {
		t.Error(err)
	}
}

func TestHalfOpenConnectionsCostNothingLasting(t *testing.T) {
	n := newListeningNode(t, &testSource{}, Config{MaxConns: 20}, GroupConfig{})
	n.server.ReadHeaderTimeout = 200 * time.Millisecond
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 50 {
		c, err := net.Dial("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /_geecache/g/k HTTP/1.1\r\nHo")
		}
		conns = append(conns, c)
	}
	for _, c := range conns { // each is closed by the node
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Error("a half-open connection was left open")
		}
		_ = c.Close()
	}
	waitUntil(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+2 })
	if v, _ := fetchPlain(t, "http://"+n.Addr(), "g", "k"); string(v) != "value of k" {
		t.Errorf("afterwards a request gets %q", v)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// waitUntil polls until ok, for at most 10 seconds.
func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waitFor(t, 10*time.Second, what, ok)
}

func waitFor(t testing.TB, most time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(most)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", most, what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// A body that never comes used to hold its connection for ever.
func TestStalledBodyDoesNotHoldTheConnection(t *testing.T) {
	n := runNode(t, &testSource{}, Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
	}, GroupConfig{})
	var wg sync.WaitGroup
	for _, path := range []string{"/_geecache/g/k", "/healthz"} {
		wg.Go(func() {
			c, err := net.Dial("tcp", n.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Errorf("%s: the connection was left open", path)
			}
		})
	}
	wg.Wait()
}
