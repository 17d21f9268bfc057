package node

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/trust"
)

// doors are what keeps strangers out of a process.
type doors struct {
	secrets    func() []string // nil: the cluster has none
	tls        *trust.TLS      // nil: no TLS
	api, admin trust.Bearer
}

// openDoors reads the files that the configuration names.
func openDoors(cfg Config) (d doors, err error) {
	switch {
	case cfg.SecretFile != "":
		if d.secrets, err = trust.OpenSecrets("--secret-file", cfg.SecretFile, cfg.Logger); err != nil {
			return d, err
		}
	case cfg.Secret != "":
		fixed, err := trust.ParseSecrets(cfg.Secret)
		if err != nil {
			return d, err
		}
		d.secrets = func() []string { return fixed }
	}
	if cfg.TLS.Given() {
		if d.tls, err = trust.OpenTLS(cfg.TLS, cfg.Logger); err != nil {
			return d, err
		}
	}
	switch {
	case cfg.APITokenFile != "":
		if d.api, err = trust.OpenBearer("--api-token-file", cfg.APITokenFile, cfg.Logger); err != nil {
			return d, err
		}
	case cfg.APIToken != "":
		if d.api, err = trust.NewBearer(cfg.APIToken); err != nil {
			return d, err
		}
	}
	if cfg.AdminTokenFile != "" {
		d.admin, err = trust.OpenBearer("--admin-token-file", cfg.AdminTokenFile, cfg.Logger)
	}
	return d, err
}

// server and client return the TLS to serve with, and that for one connection to
// a peer; nil without TLS.
func (d *doors) server() *tls.Config {
	if d.tls == nil {
		return nil
	}
	return d.tls.Server()
}

func (d *doors) client() func() *tls.Config {
	if d.tls == nil {
		return nil
	}
	return d.tls.Client
}

// wrap makes a listener speak TLS, if there is any.
func (d *doors) wrap(l net.Listener) net.Listener {
	if c := d.server(); c != nil {
		c.NextProtos = []string{"h2", "http/1.1"}
		get := c.GetConfigForClient
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := get(hello)
			if now != nil {
				now.NextProtos = c.NextProtos
			}
			return now, err
		}
		return tls.NewListener(l, c)
	}
	return l
}

// verified reports whether a request's client has shown a certificate that was
// verified.
func verified(r *http.Request) bool { return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 }

// allowsAPI reports whether the API answers a request. The API has clients of its
// own, who need not know the cluster's secret.
func (p *Process) allowsAPI(r *http.Request) bool {
	d := &p.doors
	switch {
	case d.api.Asks():
		return d.api.Takes(r) || verified(r)
	case p.cfg.TLS.CA != "":
		return verified(r)
	case r.URL.Path == "/api/explain" || r.URL.Path == "/api/members": // they tell the members
		return p.node.Authorize(r) == nil
	}
	return true
}

// allowsAdmin returns nil if the operators' endpoints answer a request. Their own
// port asks for nothing on loopback, unless there are tokens.
func (p *Process) allowsAdmin(r *http.Request, own bool) error {
	d := &p.doors
	if d.admin.Takes(r) || own && !d.admin.Asks() && loopback(p.cfg.AdminListen) {
		return nil
	}
	if d.admin.Asks() && !p.node.Guarded() {
		return errNoToken
	}
	return p.node.Authorize(r)
}

// tokenError is what a door says whose token is missing.
type tokenError string

func (e tokenError) Error() string { return string(e) }
func (e tokenError) Unwrap() error { return geecache.ErrRefused }

const (
	errNoToken    = tokenError("this needs a token: send it as Authorization: Bearer TOKEN (--admin-token-file)")
	errNoAPIToken = tokenError("the API needs a token: send it as Authorization: Bearer TOKEN (--api-token-file), or show a client certificate")
)

func refuseToken(w http.ResponseWriter, err error) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="geecache"`)
	refuse(w, http.StatusUnauthorized, geecache.CodeRefused, err.Error())
}

// servePprof answers /debug/pprof/, on the operators' own port alone.
func servePprof(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
