package geecache

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// In a cluster with a secret, HTTP and gRPC answer whoever shows a token, which
// proving the secret yields. The exchange is that of the stream, but for the
// nonce of the server: two requests over HTTP may come on two connections, so the
// nonce comes back, with a seal that tells that it was made here a moment ago. A
// token is good at the node that gave it, for a few minutes by that node's own
// clock. docs/STREAM.md describes the exchange.

// The headers of the exchange, besides those of a stream's handshake.
const (
	headerChallenge = "Geecache-Challenge" // the server's nonce, sealed
	headerToken     = "Geecache-Token"
	headerTokenLife = "Geecache-Token-Life" // a Go duration
)

// The directions of a token's proofs, and what tokens and challenges are sealed
// with, so that none of them is of use as another.
const (
	tokenOfClient = "geecache token: client"
	tokenOfServer = "geecache token: server"
	tokenItself   = "geecache token"
	tokenNonce    = "geecache token: challenge"
)

const (
	tokenLife     = 5 * time.Minute
	challengeLife = 30 * time.Second
	bearer        = "Bearer "
)

// errNoCredentials answers a stranger.
var errNoCredentials = &refusedError{RefusedSecret, "only nodes and clients of the cluster are answered here: prove its secret (--secret-file) or show a client certificate (--tls-cert)"}

// A door keeps strangers out of what is not a stream.
type door struct {
	secrets  func() []string // nil: none
	verifies bool            // a client's certificate that was verified is welcome
	cluster  string
	id       string
	version  string
	key      string // of this process, for challenges
	refusals *refusalCounts
}

func newDoor(cfg *Config, refusals *refusalCounts) door {
	return door{
		secrets: cfg.Secrets, verifies: cfg.verifiesClients(), cluster: cfg.Cluster, id: cfg.ID,
		version: cfg.ProtocolVersion, key: newNonce(), refusals: refusals,
	}
}

// certified fails if clients' certificates are verified and a request has none.
func (d *door) certified(r *http.Request) error {
	if d.verifies && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return errNoCredentials
	}
	return nil
}

// closed reports whether strangers are kept out at all.
func (d *door) closed() bool { return d.secrets != nil || d.verifies }

// Guarded reports whether the node asks for credentials: it has a secret, or
// verifies clients' certificates.
func (n *Node) Guarded() bool { return n.door.closed() }

// Authorize returns nil if a request may be answered: the node asks for no
// credentials, or the request has them, which are a token or a client's
// certificate that was verified. Config.Handler calls it for whatever is not for
// strangers. The error wraps ErrRefused.
func (n *Node) Authorize(r *http.Request) error {
	if !n.door.closed() {
		return nil
	}
	return n.AuthorizeToken(r.Header.Get("Authorization"), r.TLS != nil && len(r.TLS.VerifiedChains) > 0)
}

// AuthorizeToken is Authorize for other transports: authorization is a header of
// the form "Bearer TOKEN", and verified tells of a client's certificate.
func (n *Node) AuthorizeToken(authorization string, verified bool) error {
	d := &n.door
	if !d.closed() || d.verifies && verified {
		return nil
	}
	if d.secrets != nil && len(authorization) > len(bearer) && strings.EqualFold(authorization[:len(bearer)], bearer) &&
		d.valid(authorization[len(bearer):], time.Now()) {
		return nil
	}
	d.refusals.add(RefusedSecret)
	return errNoCredentials
}

// newToken returns a token that the secret seals.
func (d *door) newToken(secret string, now time.Time) string {
	expires, serial := strconv.FormatInt(now.Add(tokenLife).Unix(), 16), newNonce()[:16]
	return expires + "." + serial + "." + d.sealToken(secret, expires, serial)
}

func (d *door) sealToken(secret, expires, serial string) string {
	return seal(secret, tokenItself, d.cluster, d.id, expires, serial)
}

// valid reports whether a token was given by this node and has not expired.
func (d *door) valid(token string, now time.Time) bool {
	expires, rest, ok := strings.Cut(token, ".")
	serial, sealed, ok2 := strings.Cut(rest, ".")
	end, err := strconv.ParseInt(expires, 16, 64)
	if !ok || !ok2 || err != nil || now.Unix() >= end || time.Unix(end, 0).Sub(now) > tokenLife+time.Second {
		return false
	}
	_, ok = sealedBy(d.secrets(), sealed, func(s string) string { return d.sealToken(s, expires, serial) })
	return ok
}

// newChallenge returns a nonce with its seal.
func (d *door) newChallenge(now time.Time) string {
	nonce := fmt.Sprintf("%016x", now.Add(challengeLife).Unix()) + newNonce()[:48]
	return nonce + "." + seal(d.key, tokenNonce, nonce)
}

// ours reports whether a challenge was made here, a moment ago.
func (d *door) ours(challenge string, now time.Time) bool {
	nonce, sealed, _ := strings.Cut(challenge, ".")
	if checkNonce(nonce) != nil || !hmac.Equal([]byte(sealed), []byte(seal(d.key, tokenNonce, nonce))) {
		return false
	}
	end, err := strconv.ParseInt(nonce[:16], 16, 64)
	return err == nil && now.Unix() < end
}

// serveToken answers a request for a token: with a challenge, or with the token
// if the challenge has been met.
func (n *Node) serveToken(w http.ResponseWriter, r *http.Request) {
	d := &n.door
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(headerVersion, escapeHeader(d.version))
	if d.secrets == nil {
		n.refuseStranger(w, http.StatusUnauthorized, refusedf(RefusedSecret, "%s", noSecretHere))
		return
	}
	now := time.Now()
	challenge := r.Header.Get(headerChallenge)
	if challenge == "" {
		h.Set(headerChallenge, d.newChallenge(now))
		h.Set(headerReason, string(RefusedSecret))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	t, secret, err := d.check(r, challenge, now)
	if err != nil {
		status := http.StatusUnauthorized
		if RefusalOf(err) != RefusedSecret {
			status = CodeOf(err).HTTPStatus()
		}
		n.refuseStranger(w, status, err)
		return
	}
	t.server = hello{Cluster: d.cluster, ID: d.id, Version: d.version, Role: n.cfg.Role, Epoch: n.place().epoch}
	t.server.set(h)
	h.Set(headerProof, t.proof(secret, tokenOfServer))
	h.Set(headerToken, d.newToken(secret, now))
	h.Set(headerTokenLife, tokenLife.String())
	w.WriteHeader(http.StatusNoContent)
}

// check returns what a request for a token has proved, and the secret that it
// was proved with.
func (d *door) check(r *http.Request, challenge string, now time.Time) (*transcript, string, error) {
	if !d.ours(challenge, now) {
		return nil, "", refusedf(RefusedSecret, "header %s is too old, or not of this node: ask again", headerChallenge)
	}
	t := &transcript{clientNonce: r.Header.Get(headerNonce), serverNonce: challenge[:2*nonceBytes]}
	if err := checkNonce(t.clientNonce); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	var err error
	if t.client, err = readHello(r.Header); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if t.expect, err = url.PathUnescape(r.Header.Get(headerExpect)); err != nil {
		return nil, "", fmt.Errorf("%w: header %s: %w", ErrBadRequest, headerExpect, err)
	}
	secret, ok := sealedBy(d.secrets(), r.Header.Get(headerProof), func(s string) string { return t.proof(s, tokenOfClient) })
	switch {
	case !ok:
		return nil, "", refusedf(RefusedSecret, "%s", otherSecret)
	case t.client.Cluster != "" && t.client.Cluster != d.cluster: // a tool knows the secret alone
		return nil, "", checkCluster(d.cluster, t.client.Cluster)
	case t.expect != "" && t.expect != d.id:
		return nil, "", refusedf(RefusedNode, "this is node %q, not %q", d.id, t.expect)
	}
	return t, secret, checkVersion(d.version, t.client.version())
}

// refuseStranger answers with a refusal that tells what is wrong.
func (n *Node) refuseStranger(w http.ResponseWriter, status int, err error) {
	reason := RefusalOf(err)
	if reason == "" {
		reason = RefusedOther
	}
	if !errors.Is(err, errNoCredentials) { // those have been counted
		n.refusals.add(reason)
	}
	w.Header().Set(headerReason, string(reason))
	w.Header().Set(headerRefusal, CodeOf(err).String())
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="geecache"`)
	}
	refuse(w, status, CodeOf(err), err.Error())
}

// RefuseStranger answers a request that Authorize returned err for.
func (n *Node) RefuseStranger(w http.ResponseWriter, err error) {
	n.refuseStranger(w, http.StatusUnauthorized, err)
}
