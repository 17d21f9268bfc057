package node

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/plain"
)

// plainly asks for what has to be answered plainly if ok, and not otherwise.
func plainly(t *testing.T, a *API, target, header string, ok bool) []byte {
	t.Helper()
	b, got := a.answerPlain([]byte("GET "+target+" HTTP/1.1\r\nHost: h\r\n"+header+"\r\n"), nil)
	if got != ok {
		t.Errorf("%s %q: is answered plainly: %v, want %v", target, header, got, ok)
	}
	return b
}

// A plain answer is the one that net/http would give, and counts as that.
func TestAPIPlainIsTheSame(t *testing.T) {
	values := func(_ context.Context, key string) (geecache.Value, error) {
		v := geecache.Value{Bytes: bytes.Repeat([]byte("v"), len(key)*1000)}
		if key == "ttl" {
			v.TTL = time.Hour
		}
		return v, nil
	}
	a, err := NewAPI(newTestNode(t, values, geecache.GroupConfig{TTLJitter: -1}), "scores", APIConfig{})
	if err != nil {
		t.Fatal(err)
	}
	hits := func() int64 { return a.node.Group("scores").Stats().Hits }
	for _, target := range []string{"/api?key=", "/api?key=Tom", "/api?key=a%2Fb+c&other=1", "/api?group=scores&key=x", "/api?key=ttl"} {
		ask(a, "GET", target, "")
		want := ask(a, "GET", target, "")
		before := hits()
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(plainly(t, a, target, "", true))), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := hits() - before; n != 1 {
			t.Errorf("%s: counts as %d hits", target, n)
		}
		if x, y := bodyOf(t, got), bodyOf(t, want); x != y {
			t.Errorf("%s: %d bytes, want %d", target, len(x), len(y))
		}
		for _, h := range []http.Header{got.Header, want.Header} {
			h.Del("Date") // net/http's, as is the length of a small body
			h.Del("Content-Length")
			if h.Get(headerTTL) != "" {
				h.Set(headerTTL, "some")
			}
		}
		if !reflect.DeepEqual(got.Header, want.Header) {
			t.Errorf("%s: %v, want %v", target, got.Header, want.Header)
		}
	}
}

func TestAPIPlainLeavesTheRestAlone(t *testing.T) {
	loads := 0
	values := func(_ context.Context, key string) (geecache.Value, error) {
		loads++
		switch key {
		case "large":
			return geecache.Value{Bytes: make([]byte, plain.MaxBody+1)}, nil
		case "none":
			return geecache.Value{}, geecache.ErrNotFound
		}
		return geecache.Value{Bytes: []byte("v")}, nil
	}
	a, err := NewAPI(newTestNode(t, values, geecache.GroupConfig{NotFoundTTL: time.Hour}), "scores", APIConfig{MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	plainly(t, a, "/api?key=Tom", "", false) // it is not in memory
	if loads != 0 {
		t.Fatal("a plain answer has loaded")
	}
	for _, key := range []string{"Tom", "large", "none"} {
		ask(a, "GET", "/api?key="+key, "")
	}
	before := a.node.Group("scores").Stats()
	for _, target := range []string{
		"/api?key=large", "/api?key=none", "/api?key=other", "/api?group=scores", "/api", "/api?key=Tom&key=Tom",
		"/api?key=%zz", "/api?key=Tom&group=x", "/api/explain?key=Tom", "/healthz", "/_geecache/scores/Tom",
	} {
		plainly(t, a, target, "", false)
	}
	plainly(t, a, "/api?key=Tom", "If-None-Match: *\r\n", false)
	plainly(t, a, "/api?key=Tom", headerTimeout+": 1s\r\n", false)
	plainly(t, a, "/api?key=Tom", "Connection: close\r\n", false)
	a.inFlight.Add(1)
	plainly(t, a, "/api?key=Tom", "", false)
	a.inFlight.Add(-1)
	if after := a.node.Group("scores").Stats(); !reflect.DeepEqual(after, before) {
		t.Errorf("what is not answered plainly has been counted: %+v, before %+v", after, before)
	}
	plainly(t, a, "/api?key=Tom", "", true)
	if err := a.node.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	plainly(t, a, "/api?key=Tom", "", false) // net/http tells the client to go
}

func TestAPIPlainAllocates(t *testing.T) {
	a := newTestAPI(t, APIConfig{})
	ask(a, "GET", "/api?key=Tom", "")
	request, buf := []byte("GET /api?key=Tom HTTP/1.1\r\nHost: h\r\n\r\n"), make([]byte, 0, 4096)
	const most = 2 // path and query
	if n := testing.AllocsPerRun(1000, func() { a.answerPlain(request, buf) }); n > most {
		t.Errorf("a plain hit makes %v allocations, want at most %d", n, most)
	}
}

func BenchmarkAPIPlain(b *testing.B) {
	a := newTestAPI(b, APIConfig{})
	_, _ = io.Copy(io.Discard, ask(a, "GET", "/api?key=Tom", "").Body)
	request, buf := []byte("GET /api?key=Tom HTTP/1.1\r\nHost: h\r\n\r\n"), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		a.answerPlain(request, buf)
	}
}
