package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long to wait for what should happen soon: a bound for what is broken.
const patience = 60 * time.Second

// start starts a program that ends with the test. Its output is shown if the test fails.
func start(t *testing.T, name, program string, args ...string) *exec.Cmd {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GEECACHE_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION="+region)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text := out.String()
			t.Logf("%s wrote:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	return cmd
}

// freeAddrs returns addresses on which nothing listens. Their ports lie below the range from
// which systems take the ports of outgoing connections, so that none of those takes one before
// the program does.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	var last error
	for tries := 0; len(addrs) < n; tries++ {
		if tries == 1000 {
			t.Fatalf("no %d free ports between 10000 and 20000: %v", n, last)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(10_000)))
		if err != nil {
			last = err
			continue
		}
		defer l.Close() // all at once, so that no address is given twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	if err := eventuallyBy(time.Now().Add(patience), ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// eventuallyBy polls until ok returns nil, and returns its last error if it has not by
// the deadline.
func eventuallyBy(deadline time.Time, ok func() error) error {
	for {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func get(ctx context.Context, client *http.Client, url string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// clusterID is what the cluster is called, and what its targets' label is.
const clusterID = "monitored"

// A cluster is three nodes in two zones and an API server, with a secret, certificates that
// expire soon, snapshots, a token for Prometheus, and a source that fails for some keys.
type cluster struct {
	dir    string // with the secret, the token, the authority and the targets
	addrs  []string
	nodes  []*exec.Cmd
	apis   []string // of the API server, and of the last node
	client *http.Client
}

// startCluster starts the cluster, which forwards its metrics to an emulator of CloudWatch.
func startCluster(t *testing.T, cloudwatch string) *cluster {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "geecache")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{"secret", "token"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"-of-a-test-0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := makeCertificates(t, binary, dir)
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond) // long enough for callers to share flights
		switch {
		case strings.HasPrefix(r.URL.Path, "/bad"):
			http.Error(w, "the source fails", http.StatusInternalServerError)
		case strings.HasPrefix(r.URL.Path, "/none"):
			http.NotFound(w, r)
		default:
			_, _ = w.Write(bytes.Repeat([]byte("v"), 4096))
		}
	}))
	t.Cleanup(source.Close)
	free := freeAddrs(t, 5)
	c := &cluster{dir: dir, addrs: free[:4], apis: free[3:], client: client}
	peers := filepath.Join(dir, "peers")
	if err := os.WriteFile(peers, []byte(strings.Join(c.addrs[:3], "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, addr := range c.addrs {
		args := []string{
			"node", "--listen", addr, "--cluster-id", clusterID, "--registry", "file:" + peers,
			"--secret-file", filepath.Join(dir, "secret"), "--admin-token-file", filepath.Join(dir, "token"),
			"--tls-cert", filepath.Join(dir, "node.pem"), "--tls-key", filepath.Join(dir, "node-key.pem"), "--tls-ca", filepath.Join(dir, "ca.pem"),
			"--cloudwatch-endpoint", cloudwatch, "--cloudwatch-interval", "1s",
			"--zone", []string{"a", "b", "a", "b"}[i], "--memory-limit", "512MiB", "--cache-bytes", "512KiB",
		}
		if i == 3 {
			args = append(args, "--role", "client")
		} else {
			args = append(args, "--source", source.URL+"/{key}", "--snapshot", "file://"+filepath.Join(dir, "snapshots"), "--snapshot-interval", "2s")
		}
		if i == 2 {
			args = append(args, "--api", "--api-listen", c.apis[1])
		}
		c.nodes = append(c.nodes, start(t, addr, binary, args...))
	}
	for _, addr := range c.addrs {
		eventually(t, addr+" is ready", func() error {
			code, _, err := get(t.Context(), client, "https://"+addr+"/readyz")
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("status %d", code)
			}
			return err
		})
	}
	c.writeTargets(t)
	return c
}

// makeCertificates makes an authority, and a certificate for a day that all processes
// share. It returns a client that trusts it, and shows it: the API asks for one.
func makeCertificates(t *testing.T, binary, dir string) *http.Client {
	t.Helper()
	for _, args := range [][]string{{"ca"}, {"node", "--host", "127.0.0.1", "--days", "1"}} {
		if out, err := exec.Command(binary, append([]string{"cert", args[0], "--dir", dir}, args[1:]...)...).CombinedOutput(); err != nil {
			t.Fatalf("geecache cert %s: %v\n%s", args[0], err, out)
		}
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		t.Fatal("ca.pem holds no certificate")
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// writeTargets tells Prometheus of the processes, with the labels that dashboards and
// rules ask for.
func (c *cluster) writeTargets(t *testing.T) {
	t.Helper()
	data, err := json.Marshal([]any{map[string]any{
		"targets": c.addrs, "labels": map[string]string{"environment": "local", "cluster": clusterID},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "targets.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// load asks for keys until the test ends: more than the caches hold, some that fail and
// some that are not there, and each by several callers at a time.
func (c *cluster) load(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	for caller := range 8 {
		wg.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond) // the machine has other things to do
			defer pace.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("key%d", i%1000)
				switch {
				case i%10 == 0:
					key = fmt.Sprintf("bad%d", i%100)
				case i%10 == 1:
					key = fmt.Sprintf("none%d", i)
				case i%2 == 0:
					key = fmt.Sprintf("hot%d", i%8)
				}
				_, _, _ = get(ctx, c.client, "https://"+c.apis[caller%2]+"/api?key="+key) // also while a node is dead
				<-pace.C
			}
		})
	}
}
