package plain

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

const browser = "Host: localhost:8001\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n"

// plainRequests are read, as path and query say.
var plainRequests = []struct{ request, path, query string }{
	{"GET /api?key=Tom HTTP/1.1\r\nHost: h\r\n\r\n", "/api", "key=Tom"},
	{"GET /api?key=a%2Fb+c&group=g?x HTTP/1.1\r\nhost:127.0.0.1:80\r\n\r\n", "/api", "key=a%2Fb+c&group=g?x"},
	{"GET /_geecache/scores/a//b/.. HTTP/1.1\r\n" + browser, "/_geecache/scores/a//b/..", ""},
	{"GET /a%20b%2f%C3!*'() HTTP/1.1\r\nHost: h\r\n\r\n", "/a%20b%2f%C3!*'()", ""},
	{"GET / HTTP/1.1\r\nHost: [::1]:80\r\nCONNECTION: Keep-Alive \r\n\r\n", "/", ""},
}

// otherRequests are for net/http: as they are, or with an error.
var otherRequests = []string{
	"", "G", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n\n",
	"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "get / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%zzb HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /a\" HTTP/1.1\r\nHost: h\r\n\r\n", "GET /? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: geecache/1\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nGeecache-Timeout: 1s\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nA-Name-That-Is-Longer-Than-Any: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nAccept : x\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n Accept: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nAccept\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nAccept: x\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nAccept: x\ry\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nAccept: \xff\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nAccept: x\x00\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

func TestParse(t *testing.T) {
	for _, tc := range plainRequests {
		r, ok := Parse([]byte(tc.request))
		if !ok || r.Path != tc.path || r.Query != tc.query {
			t.Errorf("%q: %+v, %v", tc.request, r, ok)
		}
	}
	for _, s := range otherRequests {
		if r, ok := Parse([]byte(s)); ok {
			t.Errorf("%q is taken for plain: %+v", s, r)
		}
	}
}

// What is read here is read alike by net/http, and asks for nothing else.
func FuzzParse(f *testing.F) {
	for _, tc := range plainRequests {
		f.Add([]byte(tc.request))
	}
	for _, s := range otherRequests {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := Parse(b)
		if !ok {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		want, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Errorf("%q: net/http leaves %q", b, rest)
		}
		u := want.URL
		if r.Path != u.EscapedPath() || r.Query != u.RawQuery || u.ForceQuery || u.Host != "" || u.Fragment != "" {
			t.Errorf("%q: %+v, want %+v", b, r, u)
		}
		if want.Method != "GET" || want.Proto != "HTTP/1.1" || want.Close || want.Body != http.NoBody || want.Host == "" {
			t.Errorf("%q: %+v", b, want)
		}
		for name := range want.Header {
			switch {
			case strings.HasPrefix(name, "If-"), strings.HasPrefix(name, "Geecache-"), name == "Upgrade", name == "Expect",
				name == "Range", name == "Authorization", name == "Content-Length", name == "Te", name == "Trailer":
				t.Errorf("%q: it has a %s", b, name)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	request := []byte("GET /api?key=Tom HTTP/1.1\r\n" + browser)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Parse(request); !ok {
			b.Fatal("not plain")
		}
	}
}
