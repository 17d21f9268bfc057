package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"
)

// startServer starts an etcd of one member with its own data.
func startServer(t *testing.T, scheme string, args ...string) *registrytest.Server {
	t.Helper()
	program := registrytest.Program(t, "etcd")
	addr, peers := registrytest.FreeAddr(t), "http://"+registrytest.FreeAddr(t)
	s := &registrytest.Server{Path: program, Addr: addr, Args: append([]string{
		"--name=test", "--data-dir=" + filepath.Join(t.TempDir(), "data"), "--logger=zap", "--log-level=warn",
		"--listen-client-urls=" + scheme + "://" + addr, "--advertise-client-urls=" + scheme + "://" + addr,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=test=" + peers,
		"--heartbeat-interval=50", "--election-timeout=250",
	}, args...)}
	s.Start(t)
	return s
}

func open(t *testing.T, cfg Config) *Registry {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return r
}

func TestEtcdKeepsTheContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		s := startServer(t, "http")
		proxy := registrytest.NewProxy(t, s.Addr)
		cfg := Config{
			Endpoints: []string{"http://" + proxy.Addr}, TTL: 2 * time.Second, Interval: 500 * time.Millisecond,
			Log: slog.New(slog.DiscardHandler),
		}
		return registrytest.Harness{
			Open: func(t *testing.T) registrytest.Handle {
				r, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return registrytest.Handle{Discoverer: r, Registrar: r, Close: r.Close, Kill: func() {
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}}
			},
			Vanish: 2 * time.Second,
			Stop:   func(t *testing.T) { s.Stop(t) },
			Start:  func(t *testing.T) { s.Start(t) },
			Delay:  func(_ *testing.T, d time.Duration) { proxy.SetDelay(d) },
		}
	})
}

// client returns a client of the server, as an operator has it.
func client(t *testing.T, cfg clientv3.Config) *clientv3.Client {
	t.Helper()
	cfg.Logger = zap.NewNop()
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func member(id string) registry.Member {
	return registry.Member{Peer: geecache.Peer{ID: id, Addr: "10.0.0.1:8000"}}
}

// until reads views until ok says that one is right.
func until(t *testing.T, r *Registry, what string, ok func(ids []string) bool) {
	t.Helper()
	var last []string
	for members, err := range r.Watch(bounded(t)) {
		if err != nil {
			t.Logf("watch: %v", err)
			continue
		}
		last = nil
		for _, m := range members {
			last = append(last, m.ID)
		}
		if ok(last) {
			return
		}
	}
	t.Fatalf("not in time: %s; the last view is %q", what, last)
}

func is(want ...string) func([]string) bool {
	return func(ids []string) bool { return strings.Join(ids, " ") == strings.Join(want, " ") }
}

// A key that was deleted, and one whose lease was revoked, comes back.
func TestALostKeyOrLeaseIsRegisteredAgain(t *testing.T) {
	s := startServer(t, "http")
	c := client(t, clientv3.Config{Endpoints: []string{s.Addr}})
	cfg := Config{Endpoints: []string{s.Addr}, TTL: 2 * time.Second, Interval: 100 * time.Millisecond}
	a, watching := open(t, cfg), open(t, cfg)
	if err := a.Register(bounded(t), member("a")); err != nil {
		t.Fatal(err)
	}
	const key = DefaultPrefix + DefaultCluster + "/a"
	for name, lose := range map[string]func(){
		"deleted": func() {
			if _, err := c.Delete(bounded(t), key); err != nil {
				t.Fatal(err)
			}
		},
		"revoked": func() {
			got, err := c.Get(bounded(t), key)
			if err != nil || len(got.Kvs) != 1 {
				t.Fatal(got, err)
			}
			if _, err := c.Revoke(bounded(t), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			lose()
			if got, err := c.Get(bounded(t), key); err != nil {
				t.Fatal(got, err)
			}
			until(t, watching, "it is back", is("a"))
		})
	}
	if err := a.Leave(bounded(t)); err != nil {
		t.Fatal(err)
	}
	until(t, watching, "it has left", is())
	if err := a.Register(bounded(t), member("a")); err == nil {
		t.Error("Register after Leave is fine")
	}
}

// Another ID takes the place of the first one.
func TestRegisterOfAnotherIDRemovesTheFirst(t *testing.T) {
	s := startServer(t, "http")
	r := open(t, Config{Endpoints: []string{s.Addr}})
	for _, id := range []string{"a", "b"} {
		if err := r.Register(bounded(t), member(id)); err != nil {
			t.Fatal(err)
		}
		until(t, r, id+" is alone", is(id))
	}
	if err := r.Register(bounded(t), registry.Member{}); err == nil {
		t.Error("a member with neither ID nor Addr was registered")
	}
	if err := r.Register(bounded(t), member("\xff")); err == nil {
		t.Error("an ID that is not UTF-8 was registered")
	}
}

// A watch that was cut off, and whose revisions were compacted away in the meantime,
// begins anew, without an error.
func TestCompactionIsNoError(t *testing.T) {
	s := startServer(t, "http")
	proxy := registrytest.NewProxy(t, s.Addr)
	c := client(t, clientv3.Config{Endpoints: []string{s.Addr}})
	direct := open(t, Config{Endpoints: []string{s.Addr}})
	if err := direct.Register(bounded(t), member("a")); err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{Endpoints: []string{proxy.Addr}, Interval: time.Hour}) // it hears of changes by its watch alone
	views := 0
	for members, err := range r.Watch(bounded(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if views++; views == 1 {
			proxy.SetDown(true)
			if err := direct.Register(bounded(t), member("b")); err != nil {
				t.Fatal(err)
			}
			put, err := c.Put(bounded(t), "other", "x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Compact(bounded(t), put.Header.Revision); err != nil {
				t.Fatal(err)
			}
			proxy.SetDown(false)
			continue
		}
		if len(members) == 1 && members[0].ID == "b" {
			return
		}
	}
	t.Errorf("b was not seen in %d views", views)
}

func TestOtherKeysAndClustersAreNoMembers(t *testing.T) {
	s := startServer(t, "http")
	c := client(t, clientv3.Config{Endpoints: []string{s.Addr}})
	for key, value := range map[string]string{
		"/geecache/one/broken": "{", "/geecache/one/other": `{"id":"another"}`, "/geecache/one": "x", "/geecache/onex/a": `{"id":"a","addr":"a:1"}`,
	} {
		if _, err := c.Put(bounded(t), key, value); err != nil {
			t.Fatal(err)
		}
	}
	var logged lockedBuffer
	one := open(t, Config{Endpoints: []string{s.Addr}, Cluster: "one", Interval: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	two := open(t, Config{Endpoints: []string{s.Addr}, Cluster: "two"})
	if err := one.Register(bounded(t), member("a")); err != nil {
		t.Fatal(err)
	}
	if err := two.Register(bounded(t), member("b")); err != nil {
		t.Fatal(err)
	}
	views := 0
	until(t, one, "a is alone", func(ids []string) bool { views++; return views > 3 && is("a")(ids) })
	until(t, two, "b is alone", is("b"))
	for _, key := range []string{"broken", "other"} {
		if n := strings.Count(logged.String(), "/geecache/one/"+key); n != 1 {
			t.Errorf("%d lines in the log of %s:\n%s", n, key, logged.String())
		}
	}
}

// lockedBuffer is a log that is written and read at the same time.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestUserAndPassword(t *testing.T) {
	s := startServer(t, "http")
	c := client(t, clientv3.Config{Endpoints: []string{s.Addr}})
	for _, step := range []func() error{
		func() error { _, err := c.UserAdd(bounded(t), "root", "secret"); return err },
		func() error { _, err := c.UserGrantRole(bounded(t), "root", "root"); return err },
		func() error { _, err := c.RoleAdd(bounded(t), "node"); return err },
		func() error {
			const from = DefaultPrefix + DefaultCluster + "/"
			_, err := c.RoleGrantPermission(bounded(t), "node", from, clientv3.GetPrefixRangeEnd(from), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserAdd(bounded(t), "node", "n0de"); return err },
		func() error { _, err := c.UserGrantRole(bounded(t), "node", "node"); return err },
		func() error { _, err := c.AuthEnable(bounded(t)); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	right := open(t, Config{Endpoints: []string{s.Addr}, Username: "node", Password: "n0de"})
	if err := right.Register(bounded(t), member("a")); err != nil {
		t.Fatal(err)
	}
	until(t, right, "a is there", is("a"))
	for name, cfg := range map[string]Config{
		"wrong password": {Endpoints: []string{s.Addr}, Username: "node", Password: "wrong"},
		"nobody":         {Endpoints: []string{s.Addr}},
		"another prefix": {Endpoints: []string{s.Addr}, Username: "node", Password: "n0de", Cluster: "another"},
	} {
		if err := open(t, cfg).Register(bounded(t), member("b")); err == nil {
			t.Errorf("%s: registered", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func TestTLSInBothDirections(t *testing.T) {
	dir := t.TempDir()
	cert, pool := certificate(t, dir)
	s := startServer(t, "https", "--cert-file="+filepath.Join(dir, "cert"), "--key-file="+filepath.Join(dir, "key"),
		"--client-cert-auth", "--trusted-ca-file="+filepath.Join(dir, "cert"))
	endpoints := []string{"https://" + s.Addr}
	r := open(t, Config{Endpoints: endpoints, TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}})
	if err := r.Register(bounded(t), member("a")); err != nil {
		t.Fatal(err)
	}
	until(t, r, "a is there", is("a"))
	for name, conf := range map[string]*tls.Config{"of the system": nil, "without a certificate": {RootCAs: pool}} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := open(t, Config{Endpoints: endpoints, TLS: conf}).Register(ctx, member("b")); err == nil {
			t.Errorf("%s: registered", name)
		}
		cancel()
	}
}

// certificate makes a certificate that is its own authority, for both ends.
func certificate(t *testing.T, dir string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for name, text := range map[string][]byte{"cert": certPEM, "key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, pool
}

func TestAClosedRegistryRefuses(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Register(t.Context(), member("a")); err == nil {
		t.Error("Register is fine")
	}
	for _, err := range r.Watch(t.Context()) {
		if err == nil {
			t.Error("Watch is fine")
		}
		break
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for want, cfg := range map[string]Config{
		"":          {Endpoints: []string{"a:2379", "http://a:2379", "https://a:2379"}, TTL: 2 * time.Second},
		"Endpoints": {Endpoints: []string{"ftp://a"}},
		"Cluster":   {Cluster: "a/b"},
		"TTL is 1s": {TTL: time.Second},
		"TTL":       {TTL: 2500 * time.Millisecond},
		"Username":  {Username: "a"},
		"Interval":  {Interval: -1},
		"Timeout":   {Timeout: -1},
	} {
		_, err := New(cfg)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}
