package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/consistenthash"
	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// run runs a command line as main does.
func run(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

// A fakeNode answers as a node does: an API server too, if api is set.
type fakeNode struct {
	*httptest.Server
	values map[string]string
	api    bool
	stats  geecache.NodeStats
	top    []geecache.KeyCount
}

func newFakeNode(t *testing.T, id string) *fakeNode {
	t.Helper()
	n := &fakeNode{values: map[string]string{}}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	n.stats = geecache.NodeStats{ID: id, Addr: n.addr(), Role: geecache.RoleNode, State: "serving", Epoch: "00000000000000aa"}
	return n
}

func (n *fakeNode) addr() string { return n.Listener.Addr().String() }

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	path := r.URL.EscapedPath()
	switch {
	case path == "/statusz":
		reply(n.stats)
	case path == "/topz":
		reply(topKeys{Group: r.FormValue("group"), Keys: n.top})
	case path == "/api" && n.api:
		n.answer(w, r.FormValue("group"), r.FormValue("key"), false)
	case path == "/api/explain" && n.api:
		reply(explanation{
			Key: r.FormValue("key"), Group: r.FormValue("group"), From: "peer", Node: "b", PeerFrom: "load", TTL: "1m0s", Bytes: 3, Took: "51.02ms",
			Owners: []string{"b", "c"},
			Steps: []geecache.Step{
				{Node: "a", What: "main cache: miss, hot cache: miss"},
				{Node: "b", What: "load from the source", Took: 50123456},
			},
		})
	case strings.HasPrefix(path, "/_geecache/scores/"):
		key, _ := strings.CutPrefix(r.URL.Path, "/_geecache/scores/")
		n.answer(w, "scores", key, true)
	default:
		http.NotFound(w, r)
	}
}

func (n *fakeNode) answer(w http.ResponseWriter, group, key string, encode bool) {
	value, ok := n.values[key]
	switch {
	case group != "scores":
		w.Header().Set("Geecache-Error", "no-group")
		http.Error(w, "no such group: "+group, http.StatusNotFound)
	case !ok:
		w.Header().Set("Geecache-Error", "not-found")
		http.Error(w, key+" not exist", http.StatusNotFound)
	case encode:
		body, _ := proto.Marshal(&geecachepb.Response{Value: []byte(value)})
		_, _ = w.Write(body)
	default:
		w.Header().Set("Geecache-From", "hit")
		_, _ = w.Write([]byte(value))
	}
}

func TestGetWritesTheValueAsItIs(t *testing.T) {
	for _, api := range []bool{true, false} {
		n := newFakeNode(t, "a")
		n.api = api
		n.values = map[string]string{"Tom": "630", "": "empty key", ".": "dot", "a/b %2F": "odd", "bin": "\x00\xff\n"}
		for key, want := range n.values {
			out, errOut, code := run(t, "get", "--addr", n.addr(), "--", key)
			if out != want || errOut != "" || code != 0 {
				t.Errorf("api=%v: get %q: %q, %q, status %d; want %q", api, key, out, errOut, code, want)
			}
		}
	}
}

func TestGetStatuses(t *testing.T) {
	n := newFakeNode(t, "a")
	n.api = true
	n.values["Tom"] = "630"
	closed := closedAddr(t)
	for _, tc := range []struct {
		args []string
		code int
		want string // in what is written to standard error
	}{
		{[]string{"kkk", "--addr", n.addr()}, 1, "kkk not exist"},
		{[]string{"k\x00", "Tom", "--addr", n.addr()}, 1, `"k\x00" not exist`},
		{[]string{"Tom", "--group", "nope", "--addr", n.addr()}, 2, "no such group: nope"},
		{[]string{"Tom", "--addr", closed}, 2, "nothing listens on " + closed + ": start a cluster with `geecache cluster`"},
		{[]string{"Tom", "--addr", "localhost"}, 2, "use host:port"},
		{[]string{"Tom", "--addr", "ftp://localhost:1"}, 2, "use http or https"},
		{[]string{"Tom", "--timeout", "0s"}, 2, "--timeout"},
		{[]string{}, 2, "no key given"},
		{[]string{"--nonsense"}, 2, "--nonsense"},
	} {
		_, errOut, code := run(t, append([]string{"get"}, tc.args...)...)
		if code != tc.code || !strings.Contains(errOut, tc.want) {
			t.Errorf("get %q: status %d, %q; want %d, %q", tc.args, code, errOut, tc.code, tc.want)
		}
	}
}

// closedAddr returns an address on which nothing listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestGetTellsAHangingNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the backlog, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, errOut, code := run(t, "get", "Tom", "--addr", l.Addr().String(), "--timeout", "50ms")
	if code != 2 || !strings.Contains(errOut, "did not answer within 50ms") {
		t.Errorf("status %d, %q", code, errOut)
	}
}

func TestGetJSON(t *testing.T) {
	n := newFakeNode(t, "a")
	n.api = true
	n.values = map[string]string{"Tom": "630", "bin": "\xff"}
	out, _, code := run(t, "get", "Tom", "bin", "kkk", "--json", "--addr", n.addr())
	if code != 1 {
		t.Errorf("status %d, want 1", code)
	}
	var got []valueJSON
	for line := range strings.Lines(out) {
		var v valueJSON
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, v)
	}
	if len(got) != 3 {
		t.Fatalf("%d lines, want 3: %s", len(got), out)
	}
	if v := got[0]; v.Value == nil || *v.Value != "630" || v.From != "hit" || !v.Found {
		t.Errorf("Tom: %s", out)
	}
	if v := got[1]; v.Value != nil || string(v.ValueBase64) != "\xff" {
		t.Errorf("bin: %s", out)
	}
	if got[2].Found || got[2].Value != nil {
		t.Errorf("kkk: %s", out)
	}
}

func TestGetExplain(t *testing.T) {
	n := newFakeNode(t, "a")
	n.api = true
	out, errOut, code := run(t, "get", "Tom", "--explain", "--addr", n.addr())
	want := `Tom  group scores  owner b  stand-ins c

NODE  STEP                                  TIME
a     main cache: miss, hot cache: miss        -
b     load from the source               50.12ms

from: peer b (load)  3 bytes  ttl 1m0s  in 51.02ms
`
	if out != want || errOut != "" || code != 0 {
		t.Errorf("status %d, %q\n%s\nwant\n%s", code, errOut, out, want)
	}
	n.api = false
	if _, errOut, code = run(t, "get", "Tom", "--explain", "--addr", n.addr()); code != 2 || !strings.Contains(errOut, "is a cache node") {
		t.Errorf("of a cache node: status %d, %q", code, errOut)
	}
}

// fakeCluster is an API server a, and nodes b and c; d is in the view and gone.
func fakeCluster(t *testing.T) (a, b, c *fakeNode, gone string) {
	t.Helper()
	a, b, c = newFakeNode(t, "a"), newFakeNode(t, "b"), newFakeNode(t, "c")
	gone = closedAddr(t)
	a.stats.Role = geecache.RoleClient
	a.stats.Peers = []geecache.PeerStats{
		{Peer: geecache.Peer{ID: "a", Addr: a.addr(), Role: geecache.RoleClient, Weight: 1}, Self: true, State: "self"},
		{Peer: geecache.Peer{ID: "b", Addr: b.addr(), Role: geecache.RoleNode, Weight: 1}, State: "up"},
		{Peer: geecache.Peer{ID: "c", Addr: "http://" + c.addr(), Role: geecache.RoleNode, Weight: 2}, State: "up"},
		{Peer: geecache.Peer{ID: "d", Addr: gone, Role: geecache.RoleNode, Weight: 1}, State: "down"},
	}
	return a, b, c, gone
}

func TestRing(t *testing.T) {
	a, _, c, gone := fakeCluster(t)
	out, errOut, code := run(t, "ring", "Tom", "\x00", "--addr", a.addr())
	if code != 0 {
		t.Fatalf("status %d: %s", code, errOut)
	}
	for _, want := range []string{"all that answer agree", "nothing listens on " + gone, `"\x00"`, "epoch 00000000000000aa", "█"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours, though it is no terminal:\n%q", out)
	}

	c.stats.Epoch = "00000000000000bb"
	out, errOut, code = run(t, "ring", "Tom", "--addr", a.addr())
	if code != 1 || !strings.Contains(out, "c has 00000000000000bb") || !strings.Contains(errOut, "do not agree") {
		t.Errorf("with two epochs: status %d, %q\n%s", code, errOut, out)
	}
}

func TestRingJSONAgreesWithTheRing(t *testing.T) {
	a, _, _, _ := fakeCluster(t)
	out, _, code := run(t, "ring", "Tom", "user:7", "--json", "--addr", a.addr())
	var v ringView
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 {
		t.Fatalf("status %d, %v: %s", code, err, out)
	}
	ring, err := consistenthash.New([]consistenthash.Node{{ID: "b"}, {ID: "c", Weight: 2}, {ID: "d"}}, consistenthash.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range v.Keys {
		want := ring.GetN(k.Key, 3)
		if k.Owner != want[0] || strings.Join(k.StandIns, " ") != strings.Join(want[1:], " ") {
			t.Errorf("%s: %s, %v; want %v", k.Key, k.Owner, k.StandIns, want)
		}
	}
	for _, n := range v.Nodes {
		want := map[string]float64{"a": 0, "b": 0.25, "c": 0.5, "d": 0.25}[n.ID]
		if n.Share < want*0.9 || n.Share > want*1.1 {
			t.Errorf("share of %s: %v, want about %v", n.ID, n.Share, want)
		}
	}
	if !v.Agree || v.Nodes[3].Error == "" {
		t.Errorf("%s", out)
	}
}

func TestStats(t *testing.T) {
	a, b, c, gone := fakeCluster(t)
	a.stats.Groups = []geecache.GroupStats{{Name: "scores", Gets: 100, HotHits: 20, Misses: 80, PeerRequests: 80}}
	b.stats.Groups = []geecache.GroupStats{{
		Name: "scores", Served: 50, ServedHits: 40, LoadsOwner: 10,
		Main: geecache.CacheStats{Entries: 10, Bytes: 2048, EvictedCapacity: 3},
	}}
	c.stats.Groups = []geecache.GroupStats{{Name: "scores", Served: 30, ServedHits: 20, LoadsStandIn: 10}, {Name: "other", Served: 7}}
	out, errOut, code := run(t, "stats", "--group", "scores", "--json", "--addr", a.addr())
	if code != 0 {
		t.Fatalf("status %d: %s", code, errOut)
	}
	var s clusterStats
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	want := nodeCounts{
		Requests: 180, Hits: 80, Misses: 100, Loads: 20, PeerRequests: 80,
		Entries: 10, Bytes: 2048, Evicted: 3,
	}
	if s.Total != want {
		t.Errorf("total %+v, want %+v", s.Total, want)
	}
	if s.Total.outside() != 100 || s.Total.hitsOutside() != 80 {
		t.Errorf("from outside: %d, hits %d; want 100, 80", s.Total.outside(), s.Total.hitsOutside())
	}
	out, _, _ = run(t, "stats", "--addr", a.addr())
	for _, want := range []string{"nothing listens on " + gone, "2.0 KiB", "20.0%", "80.0%"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if _, errOut, code = run(t, "stats", "--group", "nope", "--addr", a.addr()); code != 2 || !strings.Contains(errOut, "there are: scores, other") {
		t.Errorf("unknown group: status %d, %q", code, errOut)
	}
	if _, errOut, code = run(t, "stats", "extra"); code != 2 {
		t.Errorf("an argument: status %d, %q", code, errOut)
	}
}

func TestStatsRatesOutliveARestart(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	look := func(second int, started time.Time, loads int64) *clusterStats {
		status := &memberStatus{NodeStats: geecache.NodeStats{ID: "b", Started: started, Groups: []geecache.GroupStats{{Name: "g", LoadsOwner: loads}}}}
		s, err := newClusterStats([]nodeReport{{ID: "b", Status: status}}, "", at.Add(time.Duration(second)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := look(0, at, 1000)
	if text := look(2, at, 1500).text(palette{}, first); !strings.Contains(text, "250/s") {
		t.Errorf("no rate of 250/s:\n%s", text)
	}
	again := look(2, at.Add(time.Second), 100).text(palette{}, first)
	if strings.Contains(again, "-4") {
		t.Errorf("a negative rate after a restart:\n%s", again)
	}
	if !strings.Contains(again, "50/s") {
		t.Errorf("the total has no rate of 50/s:\n%s", again)
	}
}

func TestTopMergesNodes(t *testing.T) {
	a, b, c, _ := fakeCluster(t)
	b.top = []geecache.KeyCount{{Key: "hot", Count: 640}, {Key: "warm\n", Count: 128}}
	c.top = []geecache.KeyCount{{Key: "hot", Count: 64}, {Key: "cold", Count: 64}}
	out, errOut, code := run(t, "top", "-n", "2", "--addr", a.addr())
	if code != 0 {
		t.Fatalf("status %d: %s", code, errOut)
	}
	lines := strings.Split(out, "\n")
	if !strings.HasPrefix(lines[1], " 704  78.6%      2  hot") || !strings.HasSuffix(lines[2], `"warm\n"`) {
		t.Errorf("got\n%s", out)
	}
	if strings.Contains(out, "cold") {
		t.Errorf("more than two keys:\n%s", out)
	}
	if _, errOut, code := run(t, "top", "-n", "0"); code != 2 || !strings.Contains(errOut, "-n") {
		t.Errorf("-n 0: status %d, %q", code, errOut)
	}
}

func TestWatchGoesOnAfterAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	n := 0
	err := watch(ctx, &out, time.Millisecond, func(context.Context) (string, error) {
		n++
		switch n {
		case 2:
			return "", errors.New("gone")
		case 3:
			defer cancel()
			return "back\n", nil
		}
		return "there\n", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The look during which the user ends the view is not shown.
	if got := out.String(); got != "there\ngone\nback\n" && got != "there\ngone\n" {
		t.Errorf("got %q", got)
	}
	first := errors.New("first")
	if err := watch(t.Context(), &out, time.Second, func(context.Context) (string, error) { return "", first }); !errors.Is(err, first) {
		t.Errorf("first error: %v", err)
	}
}

func TestSlowDB(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "a.db")
	csv := filepath.Join(dir, "a.csv")
	writeFile(t, csv, "key,value\nuser:1,one\nuser:2,two\n")
	out, errOut, code := run(t, "slowdb", "import", csv, "--db", "slowdb://"+db)
	if code != 0 || errOut != "" || !strings.HasPrefix(out, "imported 2 rows into "+db+" in ") {
		t.Fatalf("status %d, %q, %q", code, out, errOut)
	}
	if out, _, code := run(t, "slowdb", "query", "user:2", "--db", db); out != "two" || code != 0 {
		t.Errorf("query: %q, status %d", out, code)
	}
	if _, errOut, code := run(t, "slowdb", "query", "Tom", "--db", db); code != 1 || !strings.Contains(errOut, "Tom not exist") {
		t.Errorf("a new database has the demonstration's rows: status %d, %q", code, errOut)
	}
	lines := filepath.Join(dir, "rows") // no ending: it goes by the brace
	writeFile(t, lines, ` {"key":"user:1","value":"uno"}`)
	if _, errOut, code := run(t, "slowdb", "import", lines, "--db", db); code != 0 {
		t.Errorf("import of JSON lines: status %d, %q", code, errOut)
	}
	if out, _, _ := run(t, "slowdb", "query", "user:1", "--db", db); out != "uno" {
		t.Errorf("after the second import: %q", out)
	}
}

func TestSlowDBErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.csv")
	writeFile(t, bad, "a,b\nc\n")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"import", bad, "--db", filepath.Join(dir, "x.db")}, "line 2"},
		{[]string{"import", bad}, "--db is missing"},
		{[]string{"import", bad, "--db", "slowdb:"}, "in memory"},
		{[]string{"import", bad, "--db", "postgres://host/db"}, "is no slow database"},
		{[]string{"import", bad, "--db", "x.db", "--format", "xml"}, "--format"},
		{[]string{"import", filepath.Join(dir, "none"), "--db", "x.db"}, "no such file"},
		{[]string{"import", "--db", "x.db"}, "give one FILE"},
		{[]string{"query", "k", "--db", filepath.Join(dir, "none.db")}, "there is no database"},
		{[]string{"query", "--db", "x.db"}, "give one KEY"},
		{[]string{"drop"}, "there are import and query"},
	} {
		_, errOut, code := run(t, append([]string{"slowdb"}, tc.args...)...)
		if code != 2 || !strings.Contains(errOut, tc.want) {
			t.Errorf("slowdb %q: status %d, %q; want 2, %q", tc.args, code, errOut, tc.want)
		}
	}
}

func TestKeyText(t *testing.T) {
	for key, want := range map[string]string{
		"Tom": "Tom", "a b": "a b", "ключ": "ключ", "": `""`, " a": `" a"`, "\x00": `"\x00"`, "\xff": `"\xff"`, `"q"`: `"\"q\""`,
	} {
		if got := keyText(key); got != want {
			t.Errorf("keyText(%q) = %s, want %s", key, got, want)
		}
	}
}
