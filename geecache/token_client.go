package geecache

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Credentials are what a client of the HTTP or gRPC door proves a cluster's
// secret with. It is safe for concurrent use.
type Credentials struct {
	// Secrets returns the cluster's secrets; the first one proves, then the
	// others are tried.
	Secrets func() []string

	// Cluster and Self are the client's cluster and ID. Empty: a tool that
	// knows the secret and nothing else.
	Cluster, Self string

	// Expect is the ID of the node that must answer. Empty: any node of the
	// cluster will do, also one that somebody in between passes the proof on to.
	Expect string

	// Version is the protocol version to speak. Default: ProtocolVersion.
	Version string

	mu     sync.Mutex // guards what follows, whose keys are a node's scheme and host
	tokens map[string]nodeToken
	asking map[string]chan struct{} // closed once the node has answered whoever asks it for a token
}

// A nodeToken is good at one node.
type nodeToken struct {
	text  string
	renew time.Time
}

// exchangeFunc sends a request for a token with these headers.
type exchangeFunc func(http.Header) (*http.Response, error)

// Transport returns a transport that shows tokens, which it gets from the nodes
// that are asked. A node that does not prove that it knows the secret is not
// asked, and the request ends with ErrRefused.
func (c *Credentials) Transport(base http.RoundTripper) http.RoundTripper {
	return &tokenTransport{c, base}
}

type tokenTransport struct {
	credentials *Credentials
	base        http.RoundTripper
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *tokenTransport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. A token that is no longer taken,
// because the node has been given another secret, is replaced once.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	stale := ""
	for {
		text, err := t.credentials.Token(r.Context(), t.base, r.URL.Scheme+"://"+r.URL.Host, stale)
		if err != nil {
			if stale == "" && r.Body != nil { // later, the base has closed it
				_ = r.Body.Close()
			}
			return nil, err
		}
		again := r.Clone(r.Context())
		if stale != "" && r.GetBody != nil {
			if again.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		again.Header.Set("Authorization", bearer+text)
		resp, err := t.base.RoundTrip(again)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || stale != "" || r.Body != nil && r.GetBody == nil {
			return resp, err
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, refusalMost))
		_ = resp.Body.Close()
		stale = text
	}
}

// Token returns a token of the node at a host, such as https://10.0.0.1:8001,
// other than stale, which may be empty. If there is none yet, it is asked for
// through via, by one caller at a time; the others wait for it as long as their
// contexts last. Nobody waits for another host.
func (c *Credentials) Token(ctx context.Context, via http.RoundTripper, host, stale string) (string, error) {
	done := make(chan struct{})
	for {
		t, pending := c.keptOrAsk(host, stale, done)
		if t != "" {
			return t, nil
		}
		if pending == done {
			break
		}
		select {
		case <-pending:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	defer c.answered(host, done)
	t, err := c.prove(func(header http.Header) (*http.Response, error) {
		ask, err := http.NewRequestWithContext(ctx, http.MethodGet, host+basePath, nil)
		if err != nil {
			return nil, err
		}
		ask.Header = header
		return via.RoundTrip(ask)
	})
	if err != nil {
		return "", err
	}
	c.keep(host, t)
	return t.text, nil
}

// keptOrAsk returns the token of a host, unless there is none or it is stale.
// Then it returns what is closed when the host has answered: done, if it is the
// caller that has to ask, and to call answered.
func (c *Credentials) keptOrAsk(host, stale string, done chan struct{}) (string, chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tokens[host]; t.text != "" && t.text != stale && time.Now().Before(t.renew) {
		return t.text, nil
	}
	if asked, ok := c.asking[host]; ok {
		return "", asked
	}
	if c.asking == nil {
		c.asking = make(map[string]chan struct{})
	}
	c.asking[host] = done
	return "", done
}

// answered lets the others go on who wait for a host.
func (c *Credentials) answered(host string, done chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, host)
	close(done)
}

func (c *Credentials) keep(host string, t nodeToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		c.tokens = make(map[string]nodeToken)
	}
	c.tokens[host] = t
}

// prove gets a token with the first secret that is taken.
func (c *Credentials) prove(exchange exchangeFunc) (t nodeToken, err error) {
	secrets := c.Secrets()
	if err := checkSecrets(secrets); err != nil {
		return t, refusedf(RefusedSecret, "%v", err)
	}
	for _, secret := range secrets {
		if t, err = c.proveWith(secret, exchange); RefusalOf(err) != RefusedSecret {
			return t, err
		}
	}
	return t, err
}

func (c *Credentials) proveWith(secret string, exchange exchangeFunc) (nodeToken, error) {
	t := &transcript{
		clientNonce: newNonce(), expect: c.Expect,
		client: hello{Cluster: c.Cluster, ID: c.Self, Version: c.Version, Role: RoleClient},
	}
	t.client.Version = t.client.version()
	header := http.Header{}
	header.Set(headerVersion, escapeHeader(t.client.Version))
	header.Set(headerNonce, t.clientNonce)
	resp, err := asked(exchange(header))
	if err != nil {
		return nodeToken{}, err
	}
	challenge := resp.Header.Get(headerChallenge)
	nonce, _, _ := strings.Cut(challenge, ".")
	if resp.StatusCode != http.StatusUnauthorized || checkNonce(nonce) != nil {
		return nodeToken{}, refusedToken(resp, t.client)
	}
	_ = resp.Body.Close()
	t.serverNonce = nonce
	header = http.Header{}
	t.client.set(header)
	header.Set(headerNonce, t.clientNonce)
	header.Set(headerChallenge, challenge)
	if c.Expect != "" {
		header.Set(headerExpect, escapeHeader(c.Expect))
	}
	header.Set(headerProof, t.proof(secret, tokenOfClient))
	if resp, err = asked(exchange(header)); err != nil {
		return nodeToken{}, err
	}
	text := resp.Header.Get(headerToken)
	if resp.StatusCode != http.StatusNoContent || text == "" {
		return nodeToken{}, refusedToken(resp, t.client)
	}
	_ = resp.Body.Close()
	if t.server, err = readHello(resp.Header); err != nil {
		return nodeToken{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, ok := sealedBy([]string{secret}, resp.Header.Get(headerProof), func(s string) string { return t.proof(s, tokenOfServer) }); !ok {
		return nodeToken{}, refusedf(RefusedSecret, "%s", otherSecret)
	}
	life, err := time.ParseDuration(resp.Header.Get(headerTokenLife))
	if err != nil || life <= 0 {
		return nodeToken{}, fmt.Errorf("%w: header %s is %q", ErrRefused, headerTokenLife, resp.Header.Get(headerTokenLife))
	}
	return nodeToken{text, time.Now().Add(life / 2)}, nil
}

// asked gives an answer that breaks off the words of the stream's handshake.
func asked(resp *http.Response, err error) (*http.Response, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("connection closed by the peer")
	}
	return resp, err
}

// refusedToken turns an answer other than a token into an error.
func refusedToken(resp *http.Response, self hello) error {
	if resp.Header.Get(headerRefusal) != "" {
		return refusal(resp, self)
	}
	_ = resp.Body.Close()
	return refusedf(RefusedSecret, "the other side proves no secret, and answers HTTP %s: it is no node of this cluster, or has no secret", resp.Status)
}

// dial returns a function that dials and then gets a token over the connection,
// so that no request is sent to who does not know the secret, whoever may have
// been at the address before.
func (c *Credentials) dial(dial dialFunc, scheme string, most time.Duration) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		br := bufio.NewReader(conn)
		t, err := c.prove(func(header http.Header) (*http.Response, error) {
			r := &http.Request{Method: http.MethodGet, Host: addr, URL: &url.URL{Path: basePath}, Header: header}
			if err := r.Write(conn); err != nil {
				return nil, err
			}
			return http.ReadResponse(br, r)
		})
		if err == nil && (!stop() || br.Buffered() > 0) {
			err = errors.New("the token came too late, or with something after it")
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		c.keep(scheme+"://"+addr, t)
		return conn, nil
	}
}

// dialTLS returns a function that dials and begins TLS.
func dialTLS(dial dialFunc, cfg func() *tls.Config, most time.Duration) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		conn, err := clientTLS(ctx, raw, cfg(), addr)
		if err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
}

// clientTLS begins TLS, and verifies the other side for the host of addr unless
// the configuration names another. It returns conn with an error.
func clientTLS(ctx context.Context, conn net.Conn, cfg *tls.Config, addr string) (net.Conn, error) {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return conn, err
		}
		cfg.ServerName = host
	}
	c := tls.Client(conn, cfg)
	return c, c.HandshakeContext(ctx)
}
