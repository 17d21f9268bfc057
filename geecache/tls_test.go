package geecache

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// testCertificate returns a certificate for loopback, and a pool that trusts it.
func testCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "geecache test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestClusterOverMutualTLS(t *testing.T) {
	cert, pool := testCertificate(t)
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		},
		ClientTLS: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool},
	}, GroupConfig{HotTTL: -1})
	for _, key := range weirdKeys() {
		for _, n := range nodes {
			mustGet(t, n.Group("g"), key)
		}
		wantCount(t, "loads", src.count(key), 1)
	}

	// A client with the certificate is answered over HTTP/1.1 and HTTP/2 alike, one
	// without is not.
	for _, version := range []int{1, 2} {
		var p http.Protocols
		p.SetHTTP1(version == 1)
		p.SetHTTP2(version == 2)
		trusted := &http.Client{Transport: &http.Transport{
			Protocols:       &p,
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool},
		}}
		resp, err := trusted.Get("https://" + nodes[0].Addr() + "/_geecache/g/k")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.ProtoMajor != version || resp.StatusCode != 200 || len(body) == 0 {
			t.Errorf("HTTP/%d: %s %s", version, resp.Proto, resp.Status)
		}
		trusted.CloseIdleConnections()
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if resp, err := stranger.Get("https://" + nodes[0].Addr() + "/_geecache/g/k"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("a client without a certificate got %s", resp.Status)
	}
}
