package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// TLSFiles name the files of a process's certificate.
type TLSFiles struct {
	Cert, Key string // PEM; both or none
	CA        string // PEM: who signs the certificates of others. Empty: others need none, and servers one of the system's authorities
}

// Given reports whether there is TLS at all.
func (f TLSFiles) Given() bool { return f != TLSFiles{} }

// Validate returns an error that names the flag that is missing.
func (f TLSFiles) Validate() error {
	switch {
	case (f.Cert == "") != (f.Key == ""):
		return errors.New("--tls-cert and --tls-key belong together: give both or neither")
	case f.CA != "" && f.Cert == "":
		return errors.New("--tls-ca without --tls-cert and --tls-key: a node needs a certificate of its own")
	}
	return nil
}

// TLS is a process's certificate and whom it trusts. It is safe for concurrent
// use.
type TLS struct {
	files  *files[material]
	verify bool // clients' certificates
}

// material is what the files hold.
type material struct {
	certs []tls.Certificate
	ca    *x509.CertPool // nil: the system's
}

// OpenTLS reads the files. They are read again when they have changed;
// connections that are open live on.
func OpenTLS(f TLSFiles, log *slog.Logger) (*TLS, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var paths []string
	what := ""
	if f.Cert != "" {
		paths, what = append(paths, f.Cert, f.Key), "--tls-cert, --tls-key"
	}
	if f.CA != "" {
		paths, what = append(paths, f.CA), what+", --tls-ca"
	}
	read, err := open(what, log, func(contents [][]byte) (material, error) { return parseTLS(f, contents, time.Now()) }, paths...)
	if err != nil {
		return nil, err
	}
	return &TLS{files: read, verify: f.CA != ""}, nil
}

// OpenClientTLS reads the files of a client, which may lack a certificate.
func OpenClientTLS(f TLSFiles, log *slog.Logger) (*TLS, error) {
	if f.CA == "" || f.Cert != "" {
		return OpenTLS(f, log)
	}
	read, err := open("--tls-ca", log, func(contents [][]byte) (material, error) { return parseTLS(f, contents, time.Now()) }, f.CA)
	if err != nil {
		return nil, err
	}
	return &TLS{files: read}, nil
}

func parseTLS(f TLSFiles, contents [][]byte, now time.Time) (m material, err error) {
	if f.Cert != "" {
		cert, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return m, fmt.Errorf("%s and %s are no certificate with its key: %w", f.Cert, f.Key, err)
		}
		leaf := cert.Leaf
		switch {
		case now.After(leaf.NotAfter):
			return m, fmt.Errorf("%s: the certificate has expired on %s: make another one (geecache cert node)", f.Cert, leaf.NotAfter.Format(time.RFC3339))
		case now.Before(leaf.NotBefore):
			return m, fmt.Errorf("%s: the certificate is valid from %s on, and it is %s: set the clock", f.Cert, leaf.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		m.certs, contents = []tls.Certificate{cert}, contents[2:]
	}
	if f.CA != "" {
		m.ca = x509.NewCertPool()
		if !m.ca.AppendCertsFromPEM(contents[0]) {
			return m, fmt.Errorf("%s: no certificate in it: give a PEM file", f.CA)
		}
	}
	return m, nil
}

// Life returns from when until when the process's certificate is valid; zero times if it
// has none.
func (t *TLS) Life() (from, until time.Time) {
	if t == nil {
		return from, until
	}
	if certs := t.files.get().certs; len(certs) > 0 {
		from, until = certs[0].Leaf.NotBefore, certs[0].Leaf.NotAfter
	}
	return from, until
}

// Server returns the configuration to serve with. With a CA, a client's
// certificate is verified if it has one: whoever serves asks whether it had.
func (t *TLS) Server() *tls.Config {
	now := func() *tls.Config {
		m := t.files.get()
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: m.certs, ClientCAs: m.ca}
		if t.verify {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return c
	}
	c := now()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return now(), nil }
	return c
}

// Client returns the configuration for one connection to another node.
func (t *TLS) Client() *tls.Config {
	m := t.files.get()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: m.certs, RootCAs: m.ca}
}
