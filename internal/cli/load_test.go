package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// runLoad runs `geecache load` and returns what it printed and its exit status.
// How busy the machine is that the tests run on does not count.
func runLoad(t *testing.T, ctx context.Context, args ...string) (out, errOut string, code int) {
	t.Helper()
	return runLoadStrictly(t, ctx, append(args, "--allow-saturated")...)
}

func runLoadStrictly(t *testing.T, ctx context.Context, args ...string) (out, errOut string, code int) {
	t.Helper()
	var outBuf, errBuf bytes.Buffer
	code = Run(ctx, append([]string{"load"}, args...), strings.NewReader(""), &outBuf, &errBuf)
	return outBuf.String(), errBuf.String(), code
}

// loadTarget answers v:KEY on /api, but "not exist" for keys that start with no.
func loadTarget(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.FormValue("key")
		if r.URL.Path != "/api" || strings.HasPrefix(key, "no") {
			http.Error(w, key+" not exist", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "v:"+key)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestLoadReportsForPeopleAndScripts(t *testing.T) {
	dir := t.TempDir()
	jsonFile, benchFile := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.bench")
	args := []string{
		"--target", loadTarget(t), "--rate", "500", "--count", "50", "--keys", "10",
		"--expect", "sprintf:v:%s", "--json", jsonFile, "--bench", benchFile,
	}
	for range 2 {
		out, errOut, code := runLoad(t, t.Context(), args...)
		if code != 0 || errOut != "" || !strings.Contains(out, "50 requests in ") || !strings.Contains(out, "outcomes:  ok 50\n") {
			t.Fatalf("status %d\n%s\n%s", code, out, errOut)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("escapes in a pipe: %q", out)
		}
	}
	data, err := os.ReadFile(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Completed int64
		Latency   struct{ Hdr string }
	}
	if err := json.Unmarshal(data, &result); err != nil || result.Completed != 50 || result.Latency.Hdr == "" {
		t.Errorf("JSON of the last run: %+v, %v", result, err)
	}
	bench, err := os.ReadFile(benchFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(bench), "\nBenchmarkLoad/target=api/rate=500-"); n != 2 || strings.Count(string(bench), "goos:") != 1 {
		t.Errorf("benchmark lines of both runs:\n%s", bench)
	}
}

func TestLoadToStandardOutput(t *testing.T) {
	out, errOut, code := runLoad(t, t.Context(), "--target", loadTarget(t), "--callers", "2", "--count", "10", "--json", "-")
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(errOut, "closed loop, 2 callers") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
	out, errOut, code = runLoad(t, t.Context(), "--target", loadTarget(t), "--callers", "2", "--count", "10", "--bench", "-", "--quiet", "--label", "x")
	if code != 0 || errOut != "" || !strings.Contains(out, "BenchmarkLoad/target=x/callers=2-") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
}

func TestLoadFailuresDecideTheStatus(t *testing.T) {
	dir := t.TempDir()
	values := filepath.Join(dir, "values.csv")
	keys := filepath.Join(dir, "keys")
	for path, text := range map[string]string{values: "a,v:a\nb,v:other\n", keys: "a\nb\nnobody\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{
		"--target", loadTarget(t), "--rate", "500", "--count", "9", "--key-file", keys,
		"--dist", "sequential", "--expect", "file:" + values,
	}
	out, errOut, code := runLoad(t, t.Context(), args...)
	if code != 1 || !strings.Contains(errOut, "3 of 9 requests failed (--max-errors 0)") ||
		!strings.Contains(out, "ok 3  expected_not_found 3  wrong_value 3") || !strings.Contains(out, `expected "v:other"; got 200 "v:b"`) {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
	if _, errOut, code := runLoad(t, t.Context(), append(args, "--max-errors", "3")...); code != 0 {
		t.Errorf("three failures are allowed: status %d, %s", code, errOut)
	}
}

func TestLoadUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		args string // separated by spaces
		want string
	}{
		{"", "no target"},
		{"localhost:9999", "--target"},
		{"--frequency 3", "unknown flag"},
		{"--target localhost:9999", "URLs[0]"},
		{"--target http://h --rate 1 --callers 1", "not both"},
		{"--target http://h --dist hot", "Keys.Dist"},
		{"--target http://h --expect maybe", "--expect"},
		{"--target http://h --header X", "'Name: value'"},
		{"--target http://h --max-errors -1", "--max-errors"},
		{"--target http://h --key-file " + missing, "--key-file"},
		{"--target http://h --json " + missing + "/r", "--json"},
		{"--target http://h --bench " + missing + "/r", "--bench"},
		{"--target https://h --tls-ca " + missing, "--tls-ca"},
		{"--target http://h --api-token-file " + missing, "--api-token-file"},
		{"--target https://h --tls-cert " + missing, "give both or neither"},
	} {
		out, errOut, code := runLoad(t, t.Context(), strings.Fields(tt.args)...)
		if code != 2 || out != "" || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: status %d, %s%s, want %q", tt.args, code, out, errOut, tt.want)
		}
	}
}

func TestLoadShowsTheAPIItsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("a token of the API's own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := r.Header.Get("Authorization") == "Bearer a token of the API's own"
		if shown != (r.URL.Path == "/api") { // who speaks the peer protocol must not see it
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		args   []string
		status int
	}{
		{[]string{"--target", server.URL, "--api-token-file", file}, 0},
		{[]string{"--target", server.URL}, 1},
		{[]string{"--target", server.URL + "/_geecache", "--group", "g", "--api-token-file", file}, 0},
	} {
		if out, errOut, status := runLoad(t, t.Context(), append(c.args, "--callers", "1", "--count", "3")...); status != c.status {
			t.Errorf("%v: status %d, want %d: %s%s", c.args, status, c.status, out, errOut)
		}
	}
}

// What Ctrl-C does, by way of the command's context: the run ends, and reports.
func TestLoadStopsAndReports(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if n == 20 {
			cancel()
		}
		if n > 10 {
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	out, errOut, code := runLoad(t, ctx, "--target", server.URL, "--rate", "200", "--duration", "1h", "--timeout", "1h")
	if code != 0 || !strings.Contains(out, "note: interrupted before the end") || !strings.Contains(out, "ok 10  interrupted ") {
		t.Errorf("status %d\n%s\n%s", code, out, errOut)
	}
}
