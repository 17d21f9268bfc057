//go:build unix

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	gc "github.com/geecache/geecache/geecache"
)

// run runs the program to its end and returns what it writes.
func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(geecache, args...)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("geecache %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// makeCerts makes an authority in dir, unless it has one, and a certificate.
func makeCerts(t *testing.T, dir, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); err != nil {
		run(t, "cert", "ca", "--dir", dir)
	}
	run(t, "cert", "node", "--dir", dir, "--name", name, "--host", "127.0.0.1,localhost")
}

func tlsArgs(dir, name string) []string {
	return []string{
		"--tls-cert", filepath.Join(dir, name+".pem"), "--tls-key", filepath.Join(dir, name+"-key.pem"), "--tls-ca", filepath.Join(dir, "ca.pem"),
	}
}

// replace puts files in others' place, as a careful operator does: at one moment.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A rotation is a cluster whose secret and certificates are exchanged.
type rotation struct {
	t      *testing.T
	dir    string // what is in force
	secret string // file
	addrs  []string
	args   []string
	nodes  []*process
	trust  *x509.CertPool // of the old authority and the new one
}

// start starts the node with a number.
func (r *rotation) start(i int) {
	p := start(r.t, fmt.Sprint("node-", i), append([]string{"node", "--listen", r.addrs[i]}, r.args...)...)
	p.addr = r.addrs[i]
	r.nodes[i] = p
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.trust}, DisableKeepAlives: true}}
	eventually(r.t, p.name+" is ready", func() error {
		resp, err := c.Get("https://" + p.addr + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

// awaitSecret returns once every process takes a secret, or no longer takes it.
func (r *rotation) awaitSecret(secret string, want bool) {
	for _, addr := range r.addrs {
		eventually(r.t, addr+" and the exchange of the secret", func() error {
			via := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.trust}, DisableKeepAlives: true}
			_, err := (&gc.Credentials{Secrets: func() []string { return []string{secret} }}).Token(context.Background(), via, "https://"+addr, "")
			if (err == nil) == want {
				return nil
			}
			return fmt.Errorf("a proof with it: %w", errOr(err))
		})
	}
}

// awaitCertificate returns once every process shows a certificate that a pool
// trusts.
func (r *rotation) awaitCertificate(pool *x509.CertPool) {
	for _, addr := range r.addrs {
		eventually(r.t, addr+" shows its new certificate", func() error {
			conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
}

// restartOne restarts a node, which shakes hands with all others anew.
func (r *rotation) restartOne(i int) {
	r.nodes[i].signal(r.t, syscall.SIGTERM)
	if code := r.nodes[i].wait(r.t); code != 0 {
		r.t.Errorf("%s ended with status %d", r.nodes[i].name, code)
	}
	r.start(i)
}

func TestRotationFailsNoRequest(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	makeCerts(t, old, "node")
	makeCerts(t, next, "node")
	r := &rotation{t: t, dir: old, secret: tempFile(t, "secret", "the old secret of the cluster ...\n"), trust: x509.NewCertPool(), nodes: make([]*process, 3)}
	oldCA, newCA := mustRead(t, filepath.Join(old, "ca.pem")), mustRead(t, filepath.Join(next, "ca.pem"))
	r.trust.AppendCertsFromPEM([]byte(oldCA + newCA))
	for range r.nodes {
		r.addrs = append(r.addrs, freeAddr(t))
	}
	r.args = append([]string{"--peers", strings.Join(r.addrs, ","), "--secret-file", r.secret, "--hot-copies=false"}, tlsArgs(old, "node")...)
	var wg sync.WaitGroup
	for i := range r.nodes {
		wg.Go(func() { r.start(i) })
	}
	wg.Wait()

	// The API server is not restarted, and asks all the time.
	api := freeAddr(t)
	token := tempFile(t, "token", apiToken)
	p := start(t, "api", append([]string{"node", "--role", "client", "--listen", api, "--api-token-file", token}, r.args...)...)
	p.addr = api
	stop := make(chan struct{})
	var asked, failed atomic.Int64
	var first sync.Once
	driver := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.trust}, MaxIdleConnsPerHost: 8}, Timeout: patience}
	ask := func(i int) error {
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://%s/api?key=%s", api, []string{"Tom", "Jack", "Sam", "kkk"}[i%4]), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+apiToken)
		resp, err := driver.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if want := []int{200, 200, 200, 404}[i%4]; err == nil && resp.StatusCode != want {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return err
	}
	eventually(t, "the API answers", func() error { return ask(0) })
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if err := ask(i); err != nil {
					failed.Add(1)
					first.Do(func() { t.Errorf("request %d: %v", i, err) })
				}
			}
		})
	}
	r.exchange(next, oldCA, newCA)
	close(stop)
	wg.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if failed.Load() > 0 || asked.Load() < 100 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
}

// exchange exchanges the secret and the certificates, and restarts a node in each
// step, so that there are handshakes between those who have what is new alone and
// those who have been running all the time.
func (r *rotation) exchange(next, oldCA, newCA string) {
	const before, after = "the old secret of the cluster ...", "the new secret of the cluster ..."
	at := func(name string) string { return filepath.Join(r.dir, name) }
	replace(r.t, r.secret, after+"\n"+before+"\n")
	r.awaitSecret(after, true)
	r.restartOne(0)
	replace(r.t, r.secret, after+"\n")
	r.awaitSecret(before, false)
	r.restartOne(1)

	both, fresh := r.trust, x509.NewCertPool()
	fresh.AppendCertsFromPEM([]byte(newCA))
	replace(r.t, at("ca.pem"), oldCA+newCA)
	r.awaitCertificate(both)
	r.restartOne(2)
	for _, name := range []string{"node-key.pem", "node.pem"} { // for a moment they do not match
		replace(r.t, at(name), mustRead(r.t, filepath.Join(next, name)))
	}
	r.awaitCertificate(fresh)
	r.restartOne(0)
	replace(r.t, at("ca.pem"), newCA)
	r.restartOne(1)
}
