package loadgen

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestTemplate(t *testing.T) {
	for _, tt := range []struct{ raw, group, key, want string }{
		{"http://h:1", "", "a b&c", "/api?key=a+b%26c"},
		{"http://h:1/", "g/1", "k", "/api?key=k&group=g%2F1"},
		{"http://h:1/api?key={key}", "", "%2F", "/api?key=%252F"},
		{"http://h:1?q={key}", "", "k", "/?q=k"},
		{"http://h:1/_geecache", "g/1", "a/b c", "/_geecache/g%2F1/a%2Fb%20c"},
		{"http://h:1/_geecache/scores/{key}", "", "", "/_geecache/scores/"},
		{"http://h:1/_geecache/scores/{key}", "", ".", "/_geecache/scores/%2E"},
		{"http://h:1/_geecache/scores/{key}", "", "..", "/_geecache/scores/%2E%2E"},
		{"http://h:1/_geecache/scores/{key}", "", "\x00\xff", "/_geecache/scores/%00%FF"},
		{"http://h:1/a/{key}/b?x={key}&y=1", "", "a b", "/a/a%20b/b?x=a+b&y=1"},
	} {
		tmpl, err := parseTemplate(tt.raw, tt.group)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if got := tmpl.uri(tt.key); got != tt.want {
			t.Errorf("%s with %q: %s, want %s", tt.raw, tt.key, got, tt.want)
		}
		if want := strings.HasPrefix(tt.want, peerPath); tmpl.peer != want {
			t.Errorf("%s: peer is %v", tt.raw, tmpl.peer)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"localhost:9999":              "write it as http://",
		"ftp://h/{key}":               "write it as http://",
		"http://":                     "write it as http://",
		"http://h/api":                "write {key}",
		"http://h/_geecache":          "name the group",
		"http://h/{group}/{key}":      "name the group",
		"http://u:p@h/{key}":          "user",
		"http://h/{key}#f":            "fragment",
		"http://h/a b/{key}":          "escape spaces",
		"http://h/%zz/{key}":          "invalid URL escape",
		"http://h/?key={key}\r\nX: 1": "invalid control character",
	} {
		if _, err := parseTemplate(raw, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", raw, err, want)
		}
	}
}

// The keys arrive as they were, through net/http's own parsing.
func TestKeysArriveAsTheyAre(t *testing.T) {
	keys := []string{"", ".", "..", "a/b", "%2F", "a b+c", "\x00", "\xff\xfe", "?&=#", strings.Repeat("k", 8<<10)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Query().Get("key")
		if path, ok := strings.CutPrefix(r.URL.Path, "/_geecache/scores/"); ok {
			key = path
			body := protowire.AppendTag(nil, 7, protowire.VarintType) // a field of a later version
			body = protowire.AppendVarint(body, 1)
			body = protowire.AppendTag(body, 1, protowire.BytesType)
			_, _ = w.Write(protowire.AppendString(body, "v:"+key))
			return
		}
		_, _ = w.Write([]byte("v:" + key))
	}))
	defer server.Close()
	for _, raw := range []string{server.URL, server.URL + "/_geecache/scores/{key}"} {
		target, err := newHTTPTarget(raw, &Config{HTTP: HTTPOptions{Connections: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			var buf bytes.Buffer
			a, err := target.get(context.Background(), key, &buf)
			if err != nil || a.Status != http.StatusOK || string(a.Value) != "v:"+key {
				t.Errorf("%s, key %q: %d %q, error %v", raw, key, a.Status, a.Value, err)
			}
		}
		target.close()
	}
}

func FuzzDecodePeerBody(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x03, 'a', 'b', 'c'})
	f.Add([]byte{0x0a, 0xff, 0x01})
	f.Add([]byte{0x08, 0x01, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		value, err := decodePeerBody(body)
		if err == nil && len(value) > len(body) {
			t.Errorf("%d bytes of value in a body of %d", len(value), len(body))
		}
		again, err := decodePeerBody(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body))
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("a message of %q decodes to %q, %v", body, again, err)
		}
	})
}
