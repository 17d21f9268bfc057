package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/sourcetest"
)

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// serve starts an origin.
func serve(t *testing.T, h nethttp.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func TestContract(t *testing.T) {
	for name, tt := range map[string]struct {
		template string
		key      func(r *nethttp.Request) (string, bool)
	}{
		"path": {"/a/scores/{key}", func(r *nethttp.Request) (string, bool) {
			if strings.Count(r.URL.EscapedPath(), "/") != 3 || r.URL.RawQuery != "" {
				return "", false
			}
			return strings.CutPrefix(r.URL.Path, "/a/scores/")
		}},
		"middle of the path": {"/a/{key}/score?full=1", func(r *nethttp.Request) (string, bool) {
			if strings.Count(r.URL.EscapedPath(), "/") != 3 || r.URL.RawQuery != "full=1" {
				return "", false
			}
			key, ok := strings.CutPrefix(r.URL.Path, "/a/")
			if !ok {
				return "", false
			}
			return strings.CutSuffix(key, "/score")
		}},
		"query": {"/score?of={key}&full=1", func(r *nethttp.Request) (string, bool) {
			q := r.URL.Query()
			return q.Get("of"), r.URL.Path == "/score" && len(q) == 2 && len(q["of"]) == 1 && q.Get("full") == "1"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture { return newFixture(t, tt.template, tt.key) })
		})
	}
}

func newFixture(t *testing.T, template string, keyOf func(r *nethttp.Request) (string, bool)) sourcetest.Fixture {
	var values sync.Map
	origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		key, ok := keyOf(r)
		if !ok {
			nethttp.Error(w, "not a request that the template can make: "+r.RequestURI, nethttp.StatusBadRequest)
			return
		}
		value, ok := values.Load(key)
		if !ok {
			nethttp.NotFound(w, r)
			return
		}
		_, _ = w.Write(value.([]byte))
	})
	hanging := serve(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) { <-r.Context().Done() })
	return sourcetest.Fixture{
		Open: func(t *testing.T) sourcetest.Source { return open(t, Config{URL: origin.URL + template}) },
		Put:  func(_ *testing.T, key string, value []byte) { values.Store(key, value) },
		OpenSlow: func(t *testing.T) sourcetest.Source {
			return open(t, Config{URL: hanging.URL + template, Timeout: time.Hour})
		},
		Break: func(*testing.T) { origin.CloseClientConnections() },
	}
}

// FuzzExpand: no key changes what the URL is apart from the key.
func FuzzExpand(f *testing.F) {
	for _, key := range sourcetest.Keys() {
		f.Add(key)
	}
	tmpl, err := parseTemplate("http://user:pw@origin.example:81/a/{key}/b?x={key}&y=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string) {
		req, err := nethttp.NewRequest(nethttp.MethodGet, tmpl.expand(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		u := req.URL
		if u.Host != "origin.example:81" || u.User.String() != "user:pw" || u.Fragment != "" {
			t.Errorf("key %q leads to %v", key, u)
		}
		parts := strings.Split(u.EscapedPath(), "/")
		if len(parts) != 4 || parts[1] != "a" || parts[3] != "b" || parts[2] == "." || parts[2] == ".." {
			t.Errorf("key %q makes the path %s", key, u.EscapedPath())
		}
		if u.Path != "/a/"+key+"/b" {
			t.Errorf("key %q arrives in the path as %q", key, u.Path)
		}
		if q := u.Query(); len(q) != 2 || q.Get("x") != key || q.Get("y") != "1" {
			t.Errorf("key %q arrives in the query as %v", key, q)
		}
	})
}

func TestValidate(t *testing.T) {
	const secret = "s3kr1t"
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"empty":       {Config{}, "URL: is empty"},
		"no key":      {Config{URL: "http://h/x"}, "URL: has no {key}"},
		"scheme":      {Config{URL: "ftp://h/{key}"}, "URL: begins with neither"},
		"host":        {Config{URL: "http:///{key}"}, "URL: has no host"},
		"key in host": {Config{URL: "http://{key}.example/{key}"}, "the path and in the query only"},
		"key as host": {Config{URL: "http://h{key}"}, "the path and in the query only"},
		"key in user": {Config{URL: "http://{key}@h/"}, "the path and in the query only"},
		"key as port": {Config{URL: "http://h:{key}/"}, "URL: is not a valid URL"},
		"fragment":    {Config{URL: "http://h/x#{key}"}, "URL: has a fragment"},
		"bad escape":  {Config{URL: "http://u:" + secret + "%zz@h/{key}"}, "URL: is not a valid URL"},
		"Timeout":     {Config{URL: "http://h/{key}", Timeout: -1}, "Timeout"},
		"MaxBytes":    {Config{URL: "http://h/{key}", MaxBytes: -1}, "MaxBytes"},
	} {
		err := tt.cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: Validate = %v, want an error with %q", name, err, tt.want)
		}
		if _, err := Open(t.Context(), tt.cfg); err == nil {
			t.Errorf("%s: Open accepts it", name)
		}
	}
	if _, err := ParseURL("https://h/a/{key}?again={key}"); err != nil {
		t.Error(err)
	}
}

func TestFreshness(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		header string
		want   time.Duration
	}{
		"nothing":             {"", 0},
		"max-age":             {"Cache-Control: max-age=60", time.Minute},
		"case and spaces":     {"Cache-Control: Public ,  MAX-AGE=60 , x", time.Minute},
		"quoted":              {`Cache-Control: x="a,max-age=1", max-age="60"`, time.Minute},
		"two lines":           {"Cache-Control: public\nCache-Control: max-age=60", time.Minute},
		"twice":               {"Cache-Control: max-age=60, max-age=90", time.Minute},
		"s-maxage first":      {"Cache-Control: max-age=60, s-maxage=10", 10 * time.Second},
		"max-age 0":           {"Cache-Control: max-age=0", notKept},
		"s-maxage 0":          {"Cache-Control: s-maxage=0, max-age=60", notKept},
		"no number":           {"Cache-Control: max-age=soon", notKept},
		"negative":            {"Cache-Control: max-age=-1", notKept},
		"no argument":         {"Cache-Control: max-age", notKept},
		"huge":                {"Cache-Control: max-age=99999999999999999999999", maxFreshness},
		"large":               {"Cache-Control: max-age=9223372036854775807", maxFreshness},
		"no-store":            {"Cache-Control: no-store, max-age=60", notKept},
		"no-cache":            {"Cache-Control: max-age=60, no-cache", notKept},
		"private":             {"Cache-Control: private, max-age=60", notKept},
		"age":                 {"Cache-Control: max-age=60\nAge: 20", 40 * time.Second},
		"too old":             {"Cache-Control: max-age=60\nAge: 60", notKept},
		"bad age":             {"Cache-Control: max-age=60\nAge: old", time.Minute},
		"only age":            {"Age: 20", 0},
		"expires":             {"Expires: Thu, 02 Jan 2020 00:00:00 GMT\nDate: Wed, 01 Jan 2020 00:00:00 GMT", day},
		"expires, age":        {"Expires: Thu, 02 Jan 2020 00:00:00 GMT\nDate: Wed, 01 Jan 2020 00:00:00 GMT\nAge: 3600", 23 * time.Hour},
		"expired":             {"Expires: Thu, 02 Jan 2020 00:00:00 GMT", notKept},
		"expires 0":           {"Expires: 0", notKept},
		"max-age and expires": {"Cache-Control: max-age=60\nExpires: 0", time.Minute},
		"pragma":              {"Pragma: no-cache", notKept},
		"pragma overruled":    {"Pragma: no-cache\nCache-Control: max-age=60", time.Minute},
		"vary":                {"Vary: *\nCache-Control: max-age=60", notKept},
		"other":               {"Cache-Control: must-revalidate", 0},
	} {
		h := nethttp.Header{}
		for line := range strings.SplitSeq(tt.header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				h.Add(name, value)
			}
		}
		if got := freshness(h); got != tt.want {
			t.Errorf("%s: freshness = %v, want %v", name, got, tt.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		status := 0
		_, _ = fmt.Sscan(strings.Trim(r.URL.Path, "/"), &status)
		w.WriteHeader(status)
		if status != nethttp.StatusNoContent {
			_, _ = fmt.Fprint(w, "begin", strings.Repeat(".", 1000), "end")
		}
	})
	s := open(t, Config{URL: origin.URL + "/{key}"})
	for _, status := range []int{200, 203, 204} {
		v, err := s.Get(t.Context(), fmt.Sprint(status))
		if err != nil || v.Bytes == nil || v.TTL != time.Minute || (len(v.Bytes) == 0) != (status == 204) {
			t.Errorf("%d: Get = %d bytes, %v, %v", status, len(v.Bytes), v.TTL, err)
		}
	}
	for _, status := range []int{404, 410} {
		if _, err := s.Get(t.Context(), fmt.Sprint(status)); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("%d: Get = %v, want ErrNotFound", status, err)
		}
	}
	for _, status := range []int{201, 206, 304, 400, 401, 403, 414, 429, 500, 503} {
		_, err := s.Get(t.Context(), fmt.Sprint(status))
		if err == nil || errors.Is(err, geecache.ErrNotFound) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("%d: Get = %v, want an error with the status", status, err)
			continue
		}
		if status != 304 && !strings.Contains(err.Error(), "begin...") || strings.Contains(err.Error(), "end") {
			t.Errorf("%d: Get = %v, want the first bytes of the body, not all", status, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	for name, chunked := range map[string]bool{"declared": false, "chunked": true} {
		t.Run(name, func(t *testing.T) {
			origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				n := 0
				_, _ = fmt.Sscan(strings.Trim(r.URL.Path, "/"), &n)
				if chunked {
					w.(nethttp.Flusher).Flush()
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), n))
			})
			s := open(t, Config{URL: origin.URL + "/{key}", MaxBytes: 1000})
			if v, err := s.Get(t.Context(), "1000"); err != nil || len(v.Bytes) != 1000 {
				t.Errorf("Get of the largest = %d bytes, %v", len(v.Bytes), err)
			}
			if _, err := s.Get(t.Context(), "1001"); !errors.Is(err, geecache.ErrTooLarge) {
				t.Errorf("Get of one byte more = %v, want ErrTooLarge", err)
			}
			whole := open(t, Config{URL: origin.URL + "/{key}"})
			if v, err := whole.Get(t.Context(), fmt.Sprint(8<<20)); err != nil || len(v.Bytes) != 8<<20 {
				t.Errorf("Get of 8 MiB = %d bytes, %v", len(v.Bytes), err)
			}
			if _, err := whole.Get(t.Context(), fmt.Sprint(8<<20+1)); !errors.Is(err, geecache.ErrTooLarge) {
				t.Errorf("Get of more than 8 MiB = %v, want ErrTooLarge", err)
			}
		})
	}
}

func TestCutOffBodyIsAnError(t *testing.T) {
	origin := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("only this"))
	})
	if v, err := open(t, Config{URL: origin.URL + "/{key}"}).Get(t.Context(), "k"); err == nil {
		t.Errorf("Get = %q, want an error", v.Bytes)
	}
}

func TestRedirects(t *testing.T) {
	other := serve(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		t.Errorf("another host is asked for %s", r.URL)
	})
	origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch key := strings.Trim(r.URL.Path, "/"); key {
		case "other":
			nethttp.Redirect(w, r, other.URL, nethttp.StatusFound)
		case "0":
			_, _ = fmt.Fprint(w, "there")
		default:
			n := 0
			_, _ = fmt.Sscan(key, &n)
			nethttp.Redirect(w, r, fmt.Sprintf("/%d", n-1), nethttp.StatusFound)
		}
	})
	for _, tt := range []struct{ max, good int }{{0, 3}, {1, 1}, {-1, 0}} {
		s := open(t, Config{URL: origin.URL + "/{key}", MaxRedirects: tt.max})
		if v, err := s.Get(t.Context(), fmt.Sprint(tt.good)); err != nil || string(v.Bytes) != "there" {
			t.Errorf("MaxRedirects %d: Get after %d = %q, %v", tt.max, tt.good, v.Bytes, err)
		}
		if _, err := s.Get(t.Context(), fmt.Sprint(tt.good+1)); err == nil || !strings.Contains(err.Error(), "redirects") {
			t.Errorf("MaxRedirects %d: Get after %d = %v, want an error", tt.max, tt.good+1, err)
		}
	}
	_, err := open(t, Config{URL: origin.URL + "/{key}"}).Get(t.Context(), "other")
	if err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("Get = %v, want an error that tells of another host", err)
	}
}

func TestTimeout(t *testing.T) {
	origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.(nethttp.Flusher).Flush() // the body, not the header, hangs
		<-r.Context().Done()
	})
	s := open(t, Config{URL: origin.URL + "/{key}", Timeout: 50 * time.Millisecond})
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, geecache.ErrLoadTimeout) {
		t.Errorf("Get = %v, want ErrLoadTimeout", err)
	}
}

func TestHeader(t *testing.T) {
	origin := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = fmt.Fprint(w, r.Host, " ", r.Header.Get("Authorization"))
	})
	h := nethttp.Header{"Authorization": {"Bearer x"}, "Host": {"virtual.example"}}
	s := open(t, Config{URL: origin.URL + "/{key}", Header: h})
	h.Set("Authorization", "changed by the caller")
	if v, err := s.Get(t.Context(), "k"); err != nil || string(v.Bytes) != "virtual.example Bearer x" {
		t.Errorf("the origin got %q, %v", v.Bytes, err)
	}
}

func TestErrorsAndLogsHoldNoSecret(t *testing.T) {
	const secret = "s3kr1t"
	origin := httptest.NewServer(nil)
	addr := origin.Listener.Addr().String()
	origin.Close() // nobody listens there now
	cfg := Config{
		URL:    "http://user:" + secret + "@" + addr + "/{key}?token=" + secret,
		Header: nethttp.Header{"Authorization": {secret}},
	}
	_, err := open(t, cfg).Get(context.Background(), "k")
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("Get = %v; want an error that names %s", err, addr)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("source", "config", cfg, "err", err)
	fmt.Fprintf(&log, "%v %+v %#v %s", cfg, cfg, cfg, err)
	if strings.Contains(log.String(), secret) {
		t.Errorf("the secret is told: %s", &log)
	}
}
