package geecache

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

// A plain answer is the one that net/http would give, and counts as that.
func TestHTTPPlainIsTheSame(t *testing.T) {
	n, err := New(Config{Logger: quiet(), Listener: listenLoopback(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	get := GetterFunc(func(_ context.Context, key string) (Value, error) {
		v := Value{Bytes: bytes.Repeat([]byte("v"), len(key)*1000)}
		if key == "ttl" {
			v.TTL = time.Hour
		}
		return v, nil
	})
	g, err := n.NewGroup("g", get, GroupConfig{TTLJitter: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "Tom", "a/../b", "ttl", "a=b:c@d", "a%2Fb", "a%20b", "%ff!*"} {
		target := "/_geecache/g/" + key
		ask := func() *http.Response {
			w := httptest.NewRecorder()
			n.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
			return w.Result()
		}
		ask() // loads it
		want, before := ask(), g.Stats()
		b, ok := n.answerPlain([]byte("GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n"), nil)
		if !ok {
			t.Fatalf("%q is not answered plainly", key)
		}
		if s := g.Stats(); s.Served != before.Served+1 || s.ServedHits != before.ServedHits+1 {
			t.Errorf("%q: it counts as %d", key, s.Served-before.Served)
		}
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			t.Fatal(err)
		}
		gotBody, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		if wantBody, _ := io.ReadAll(want.Body); !bytes.Equal(gotBody, wantBody) {
			t.Errorf("%q: %d bytes, want %d", key, len(gotBody), len(wantBody))
		}
		for _, h := range []http.Header{got.Header, want.Header} {
			h.Del("Date") // net/http's, as is the length of a small body
			h.Del("Content-Length")
			if h.Get(headerTTL) != "" {
				h.Set(headerTTL, "some")
			}
		}
		if !reflect.DeepEqual(got.Header, want.Header) {
			t.Errorf("%q: %v, want %v", key, got.Header, want.Header)
		}
	}
}

func TestHTTPPlainLeavesTheRestAlone(t *testing.T) {
	n := runNode(t, &testSource{}, Config{}, GroupConfig{NotFoundTTL: time.Hour})
	plainly := func(request string, want bool) {
		t.Helper()
		if _, ok := n.answerPlain([]byte(request), nil); ok != want {
			t.Errorf("%q is answered plainly: %v", request, ok)
		}
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }
	plainly(get("/_geecache/g/Tom"), false) // it is not in memory
	for _, key := range []string{"Tom", "none"} {
		n.AnswerClient(t.Context(), "g", key)
	}
	before := n.Group("g").Stats()
	for _, path := range []string{
		"/_geecache/g/none", "/_geecache/g/other", "/_geecache/x/Tom", "/_geecache/g", "/_geecache/", "/_geecache/g/Tom?x", "/healthz",
	} {
		plainly(get(path), false)
	}
	plainly("GET /_geecache/g/Tom HTTP/1.1\r\nHost: h\r\n"+headerMode+": 0\r\n\r\n", false)
	if after := n.Group("g").Stats(); !reflect.DeepEqual(after, before) {
		t.Errorf("what is not answered plainly has been counted: %+v, before %+v", after, before)
	}
	plainly(get("/_geecache/g/Tom"), true)
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	plainly(get("/_geecache/g/Tom"), false)
}
