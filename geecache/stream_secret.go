package geecache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// In a cluster with a secret, a stream begins with two requests on one
// connection. The first tells nothing but a nonce; its answer, 401, tells the
// other side's. The second one says who asks, and proves that it knows the
// secret; only then does the other side say who it is, with a proof of its own.
// The nonces live as long as the handshake, so nothing can be replayed.

// The headers of the proof.
const (
	headerNonce  = "Geecache-Nonce"
	headerProof  = "Geecache-Proof"
	headerReason = "Geecache-Reason" // a Refusal
)

// noSecretHere and noSecretThere are what a refusal says when one side has no
// secret.
const (
	noSecretHere  = "the other side has a cluster secret and this node has none: give it the cluster's with --secret-file (Config.Secrets)"
	noSecretThere = "this cluster has a secret, and the other side proves none (protocol 1.0 knows none): give it the cluster's with --secret-file (Config.Secrets)"
	otherSecret   = "the other side's cluster secret is not this node's: give both the same one (--secret-file, Config.Secrets)"
)

// serveSecret is serveUpgrade in a cluster with a secret.
func (s *streamServer) serveSecret(w http.ResponseWriter, r *http.Request, self hello) {
	if status, err := s.admitStranger(r, self); err != nil {
		s.refuse(w, r, nil, status, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, nil, http.StatusBadRequest, fmt.Errorf("%w: the connection cannot be upgraded: %w", ErrBadRequest, err))
		return
	}
	defer conn.Close()
	p, err := s.challenge(conn, buffered.Reader, r, self)
	if err != nil {
		s.cfg.log.Debug("stream's handshake broken off", "from", r.RemoteAddr, "err", err)
		return
	}
	raw := &alpnResponse{conn: conn, header: make(http.Header)}
	secret, known := p.knows(s.cfg.secrets())
	if !known {
		s.refuse(raw, r, nil, http.StatusUnauthorized, refusedf(RefusedSecret, "%s", otherSecret))
		return
	}
	remote, status, err := s.admit(p.request, self)
	if err != nil {
		s.refuse(raw, r, &self, status, err)
		return
	}
	p.server = self
	s.serveConn(conn, r, remote, self, p.proof(secret, proofOfServer), p.ahead)
}

// admitStranger decides whether a handshake may begin, knowing nothing of who
// asks.
func (s *streamServer) admitStranger(r *http.Request, self hello) (int, error) {
	if err := checkUpgrade(r); err != nil {
		return http.StatusUpgradeRequired, err
	}
	there, err := url.PathUnescape(r.Header.Get(headerVersion))
	if err != nil || there == "" {
		return http.StatusBadRequest, fmt.Errorf("%w: header %s is missing or makes no sense", ErrBadRequest, headerVersion)
	}
	if err := checkVersion(self.version(), there); err != nil {
		return http.StatusUpgradeRequired, err
	}
	nonce := r.Header.Get(headerNonce)
	if nonce == "" {
		return http.StatusUnauthorized, refusedf(RefusedSecret, "%s", noSecretThere)
	}
	if err := checkNonce(nonce); err != nil {
		return http.StatusBadRequest, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return 0, nil
}

// A proved is a request that comes with a proof.
type proved struct {
	transcript
	request *http.Request
	given   string // the proof
	ahead   []byte // what was read beyond the request
}

// knows returns the secret that the request was proved with.
func (p *proved) knows(secrets []string) (string, bool) {
	return sealedBy(secrets, p.given, func(s string) string { return p.proof(s, proofOfClient) })
}

// challenge asks for a proof, and reads it.
func (s *streamServer) challenge(conn net.Conn, br *bufio.Reader, first *http.Request, self hello) (*proved, error) {
	if err := conn.SetDeadline(time.Now().Add(s.cfg.timings.handshakeTimeout)); err != nil {
		return nil, err
	}
	p := &proved{transcript: transcript{clientNonce: first.Header.Get(headerNonce), serverNonce: newNonce()}}
	_, err := fmt.Fprintf(conn, "HTTP/1.1 401 Unauthorized\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\nContent-Length: 0\r\n\r\n",
		headerVersion, escapeHeader(self.version()), headerNonce, p.serverNonce, headerReason, RefusedSecret)
	if err != nil {
		return nil, err
	}
	limited := bufio.NewReader(io.LimitReader(br, handshakeMost))
	if p.request, err = http.ReadRequest(limited); err != nil {
		return nil, err
	}
	if p.client, err = readHello(p.request.Header); err != nil {
		return nil, err
	}
	if p.expect, err = url.PathUnescape(p.request.Header.Get(headerExpect)); err != nil {
		return nil, err
	}
	p.given = p.request.Header.Get(headerProof)
	ahead, _ := limited.Peek(limited.Buffered())
	more, _ := br.Peek(br.Buffered())
	p.ahead = append(bytes.Clone(ahead), more...)
	return p, nil
}

// prove is what a client does between its request for the upgrade and the
// answer, in a cluster with a secret. It returns the answer.
func (c *streamClient) prove(conn net.Conn, br *bufio.Reader, self hello, secret string) (*http.Response, *transcript, error) {
	t := &transcript{clientNonce: newNonce(), expect: c.expected(true), client: self}
	// Whoever listens at the address has proved nothing yet.
	t.client.Version, t.client.Epoch = self.version(), 0
	header := http.Header{}
	header.Set(headerVersion, escapeHeader(t.client.Version))
	header.Set(headerNonce, t.clientNonce)
	resp, err := c.exchange(conn, br, header)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, nil, refusedf(RefusedSecret, "%s", noSecretThere)
	}
	t.serverNonce = resp.Header.Get(headerNonce)
	if resp.StatusCode != http.StatusUnauthorized || t.serverNonce == "" {
		return nil, nil, refusal(resp, self)
	}
	if err := checkNonce(t.serverNonce); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	header = http.Header{}
	t.client.set(header)
	header.Set(headerExpect, escapeHeader(t.expect))
	header.Set(headerProof, t.proof(secret, proofOfClient))
	resp, err = c.exchange(conn, br, header)
	return resp, t, err
}

// checkProof fails unless the answering side knows the secret, too.
func (t *transcript) checkProof(secret string, answer http.Header, server hello) error {
	t.server = server
	if _, ok := sealedBy([]string{secret}, answer.Get(headerProof), func(s string) string { return t.proof(s, proofOfServer) }); !ok {
		return refusedf(RefusedSecret, "%s", otherSecret)
	}
	return nil
}

// checkUpgrade fails if a request is not for a stream.
func checkUpgrade(r *http.Request) error {
	if up := r.Header.Get("Upgrade"); !strings.EqualFold(up, streamProtocol) {
		return fmt.Errorf("%w: this path takes the header Upgrade: %s alone, not %q", ErrBadRequest, streamProtocol, up)
	}
	return nil
}
