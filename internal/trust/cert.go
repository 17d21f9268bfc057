package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// backdate lets a certificate be used where the clock is a little behind.
const backdate = 5 * time.Minute

// MakeCA makes a certificate authority and writes its certificate and key, which
// must not exist.
func MakeCA(certFile, keyFile, name string, life time.Duration) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := newTemplate(name, life)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(certFile, keyFile, template, template, key, key)
}

// MakeNode makes the certificate of a node that is reached at the hosts (names or
// addresses), signs it with the authority, and writes it and its key, which must
// not exist. It is good for serving and for dialing.
func MakeNode(caCert, caKey, certFile, keyFile string, hosts []string, life time.Duration) error {
	if len(hosts) == 0 {
		return errors.New("no host: name the addresses and names that others reach the node at")
	}
	for _, h := range hosts {
		if err := CheckHost(h); err != nil {
			return err
		}
	}
	pair, err := tls.LoadX509KeyPair(caCert, caKey)
	if err != nil {
		return fmt.Errorf("the authority: %w", err)
	}
	if !pair.Leaf.IsCA {
		return fmt.Errorf("%s is no authority's certificate: make one with `geecache cert ca`", caCert)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s cannot sign", caKey)
	}
	template, err := newTemplate(hosts[0], life)
	if err != nil {
		return err
	}
	if template.NotAfter.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the authority ends on %s, before the certificate would: use a shorter --days, or make another authority", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return sign(certFile, keyFile, template, pair.Leaf, key, signer)
}

// CheckHost fails unless a certificate can name a host: an IP address, or a DNS
// name, whose first label may be a "*" that stands for any one label.
func CheckHost(host string) error {
	if net.ParseIP(host) != nil {
		return nil
	}
	if h, port, err := net.SplitHostPort(host); err == nil && h != "" && strings.Trim(port, "0123456789") == "" {
		return fmt.Errorf("%q has the port %q, and a certificate is good for all ports: use %s alone", host, port, h)
	}
	labels := strings.Split(host, ".")
	if len(labels) > 1 && labels[0] == "*" {
		labels = labels[1:]
	}
	last := labels[len(labels)-1]
	ok := len(host) <= 253 && strings.Trim(last, "0123456789") != "" // 10.0.0.256 is no name
	for _, l := range labels {
		ok = ok && l != "" && len(l) <= 63 && l[0] != '-' && l[len(l)-1] != '-' && strings.Trim(l, labelBytes) == ""
	}
	if !ok {
		return fmt.Errorf("%q is neither an IP address nor a DNS name: use such as 10.0.0.5, fd00::5, cache-1.internal or *.internal", host)
	}
	return nil
}

// labelBytes is what a label of a DNS name may consist of. Underscores are against
// the rules, and in use.
const labelBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func newTemplate(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
	}, nil
}

// sign makes a certificate for key and writes both.
func sign(certFile, keyFile string, template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, "PRIVATE KEY", keyDER); err != nil {
		return err
	}
	if err := writeNew(certFile, "CERTIFICATE", der); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

// writeNew writes a PEM file that only its owner can read. It overwrites nothing.
func writeNew(path, kind string, der []byte) error {
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not overwritten: move it away, or choose another place", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	return errors.Join(err, f.Close())
}
