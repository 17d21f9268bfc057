//go:build unix

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// A saved cluster is one whose nodes save snapshots, and find each other by a file, so
// that others can take their place while its API server goes on.
type savedCluster struct {
	cluster
	list string // the file
	args []string
}

// startSaved starts a cluster of nodes that have more flags.
func startSaved(t *testing.T, nodes int, source string, more ...string) *savedCluster {
	t.Helper()
	s := &savedCluster{list: filepath.Join(t.TempDir(), "nodes")}
	s.args = append([]string{"--registry", "file:" + s.list, "--source", source, "--hot-copies=false", "--cache-bytes=256MiB"}, more...)
	s.startNodes(t, nodes)
	api := freeAddr(t)
	s.api = start(t, "api", "node", "--role", "client", "--listen", api, "--registry", "file:"+s.list, "--hot-copies=false")
	s.api.addr = api
	s.await(t)
	return s
}

// startNodes starts nodes whose names nobody has had before, as tasks of ECS do.
func (s *savedCluster) startNodes(t *testing.T, n int) {
	t.Helper()
	var addrs []string
	for range n {
		addrs = append(addrs, freeAddr(t))
	}
	if err := os.WriteFile(s.list, []byte(strings.Join(addrs, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.nodes = nil
	for i, addr := range addrs {
		node := start(t, fmt.Sprintf("node %d at %s", i+1, addr), append([]string{"node", "--listen", addr}, s.args...)...)
		node.addr = addr
		s.nodes = append(s.nodes, node)
	}
}

func (s *savedCluster) await(t *testing.T) {
	t.Helper()
	for _, p := range s.all() {
		p.awaitConnected(t, len(s.nodes))
	}
}

// replaceAll ends all nodes at once, as a deployment does that allows for it, and starts
// as many others. It returns when the last one was started.
func (s *savedCluster) replaceAll(t *testing.T) time.Time {
	t.Helper()
	begin := time.Now()
	for _, n := range s.nodes {
		n.signal(t, syscall.SIGTERM)
	}
	for _, n := range s.nodes {
		if code := n.wait(t); code != 0 {
			t.Errorf("after SIGTERM the exit status of %s is %d, want 0", n.name, code)
		}
	}
	t.Logf("all have ended after %v", time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("they took %v to end", took)
	}
	s.startNodes(t, len(s.nodes))
	return time.Now()
}

// noise is a value of a key that compresses to a half at best.
func noise(key string, length int) []byte {
	var text bytes.Buffer
	for i := uint64(0); text.Len() < length; i++ {
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(key), i))
		text.WriteString(hex.EncodeToString(sum[:]))
	}
	return text.Bytes()[:length]
}

// newBucket makes a bucket at an emulator of S3, and returns its URL for the program.
func newBucket(t *testing.T, variable string) string {
	t.Helper()
	endpoint := os.Getenv(variable)
	if endpoint == "" {
		const remedy = `%s is not set; run eval "$(scripts/test-servers up)"`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatalf(remedy, variable)
		}
		t.Skipf(remedy, variable)
	}
	bucket := fmt.Sprintf("e2e-%d", time.Now().UnixNano())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, endpoint+"/"+bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the bucket is not made: %s", resp.Status)
	}
	return "s3://" + bucket + "/snapshots?region=us-east-1&endpoint=" + endpoint
}

// TestRestartWithSnapshots restarts all nodes at once, under load, with other names and
// addresses. With snapshots the hit ratio is soon what it was.
func TestRestartWithSnapshots(t *testing.T) {
	const nodes, length = 5, 4 << 10
	n := 20_000 // 80 MiB in all
	if raceEnabled {
		n = 4000
	}
	for name, flags := range map[string]func(t *testing.T) []string{
		"file":    func(t *testing.T) []string { return []string{"--snapshot=file://" + t.TempDir()} },
		"S3":      func(t *testing.T) []string { return []string{"--snapshot=" + newBucket(t, "GEECACHE_TEST_MOTO")} },
		"without": func(*testing.T) []string { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, 2*time.Millisecond)
			o.value = func(key string) ([]byte, bool) { return noise(key, length), true }
			s := startSaved(t, nodes, o.url(), flags(t)...)
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("user:%d", i)
			}
			cfg := s.loadConfig(t, keys)
			cfg.Expect = loadgen.ExpectStatus()
			stop := loadMeanwhile(t, cfg)
			take := func() sample {
				g := s.api.group(t)
				all := sample{requests: g.Gets - g.Errors}
				for _, queries := range o.log() {
					all.queries += int64(queries)
				}
				return all
			}
			const promised = 5 * time.Second
			back := false
			for try := 0; try < 3 && !back; try++ { // a machine that is busy with other things may need several
				for i := 0; i < n; i += 200 {
					s.fetch(t, keys[i:i+200])
				}
				before := level(take, time.Second)
				last := s.replaceAll(t)
				at, ok := backAt(recovery(t, take, last, promised, 250*time.Millisecond), 0.9*before)
				back = ok && at <= promised
				t.Logf("the hit ratio was %.1f%%; it is back at 90%% of that: %v, after %v", 100*before, ok, at.Round(10*time.Millisecond))
				s.await(t)
				if name == "without" {
					break
				}
			}
			stop()
			switch {
			case name == "without" && back:
				t.Error("without snapshots it is back as well: this test shows nothing")
			case name != "without" && !back:
				t.Errorf("it was not back within %v of the last start", promised)
			}
			if name == "without" {
				return
			}
			loaded, bytes := int64(0), int64(0)
			for _, p := range s.nodes {
				st := p.status(t).Snapshot
				t.Logf("%s: %+v", p.name, st)
				loaded += st.LoadedNow
				bytes += p.group(t).Main.Bytes
			}
			if loaded < int64(n)/2 { // what was asked for before it came has been loaded from the source
				t.Errorf("%d of %d entries were loaded", loaded, n)
			}
			t.Logf("%d entries were loaded; the nodes hold %d MiB", loaded, bytes>>20)
		})
	}
}

// fetch asks the API for many keys, whatever their values are.
func (c *cluster) fetch(t *testing.T, keys []string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"group": "scores", "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post(c.api.url("/api/batch"), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct{ Values map[string]json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || len(got.Values) != len(keys) {
		t.Fatalf("batch: %s, %d values: %v", resp.Status, len(got.Values), err)
	}
}

// A snapshot of another cluster or format is refused with both named; of one that is
// torn, what is whole is loaded.
func TestSnapshotsThatAreRefused(t *testing.T) {
	const keys = 5000
	for name, tt := range map[string]struct {
		spoil  func(t *testing.T, dir, part string)
		args   []string
		said   string
		loaded func(n int64) bool
	}{
		"another cluster": {
			func(t *testing.T, dir, _ string) {
				if err := os.Rename(filepath.Join(dir, "geecache"), filepath.Join(dir, "shop")); err != nil {
					t.Fatal(err)
				}
			}, []string{"--cluster-id=shop"}, `the snapshot is of cluster \"geecache\", and this node's cluster is \"shop\"`, func(n int64) bool { return n == 0 },
		},
		"another format": {
			func(t *testing.T, _, part string) { change(t, part, func(b []byte) []byte { b[8] = 9; return b }) },
			nil, "the snapshot has format 9, and this program reads format 1", func(n int64) bool { return n == 0 },
		},
		"torn": {
			func(t *testing.T, _, part string) {
				change(t, part, func(b []byte) []byte { return b[:2*len(b)/3] })
			}, nil, "snapshot is torn: it ends too early", func(n int64) bool { return n > keys/10 && n < keys },
		},
		"as it was": {func(*testing.T, string, string) {}, nil, "snapshots loaded", func(n int64) bool { return n == keys }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			addr := freeAddr(t)
			args := []string{"node", "--listen", addr, "--snapshot=file://" + dir}
			o := newOrigin(t, 0)
			o.value = func(key string) ([]byte, bool) { return noise(key, 500), true }
			door := freeAddr(t)
			n := start(t, "node", append(args, "--api", "--api-listen", door, "--source", o.url())...)
			n.addr = addr
			n.awaitConnected(t, 1)
			api := &cluster{nodes: []*process{n}, api: &process{addr: door}}
			list := make([]string, keys)
			for i := range list {
				list[i] = fmt.Sprint("key:", i)
			}
			for i := 0; i < keys; i += 500 {
				api.fetch(t, list[i:i+500])
			}
			n.signal(t, syscall.SIGTERM)
			if code := n.wait(t); code != 0 {
				t.Fatalf("the exit status is %d", code)
			}
			var parts []string
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					parts = append(parts, path)
				}
				return err
			})
			if err != nil || len(parts) != 1 {
				t.Fatalf("%q: %v", parts, err)
			}
			if info, err := os.Stat(parts[0]); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file's mode is %v: %v", info.Mode(), err)
			}
			tt.spoil(t, dir, parts[0])
			again := start(t, "node, again", append(append(args, "--source", o.url()), tt.args...)...)
			again.addr = addr
			again.awaitConnected(t, 1)
			st := again.status(t).Snapshot
			if !strings.Contains(again.out.String(), tt.said) || !tt.loaded(st.LoadedNow) || !st.Loaded {
				t.Errorf("%+v; it has not said %q", st, tt.said)
			}
			if g := again.group(t); g.Main.Entries != st.LoadedNow {
				t.Errorf("%d entries were loaded, and there are %d", st.LoadedNow, g.Main.Entries)
			}
		})
	}
}

func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, how(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// snapshotStatus is what /statusz says of snapshots, as far as tests read it.
type snapshotStatus struct {
	Saves     int64   `json:"saves"`
	Loaded    bool    `json:"loaded"`
	LoadedNow int64   `json:"loaded_entries"`
	Snapshots int     `json:"loaded_snapshots"`
	Seconds   float64 `json:"load_seconds"`
	Refused   int64   `json:"refused_parts"`
	Cut       string  `json:"load_cut_because"`
}
