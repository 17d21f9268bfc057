package peergrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/geecache/geecache/geecache"
)

// authorize fails if whoever asks may not be answered. It is asked before anything is
// read but the header: who has no credentials must not make the server hold a message.
func (s *Server) authorize(authorization string, state *tls.ConnectionState) error {
	if s.opts.Authorize == nil {
		return nil
	}
	return s.opts.Authorize(authorization, state != nil && len(state.VerifiedChains) > 0)
}

// tap authorizes what comes through a listener of the server's own.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	authorization := ""
	if v := info.Header.Get("authorization"); len(v) > 0 {
		authorization = v[0]
	}
	var state *tls.ConnectionState
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			state = &info.State
		}
	}
	if err := s.authorize(authorization, state); err != nil {
		return ctx, status.Error(codes.Unauthenticated, err.Error())
	}
	return ctx, nil
}

// writeStatus answers a request that came through net/http with a status alone. gRPC
// has not seen the request, and its body has not been read.
func writeStatus(w http.ResponseWriter, code codes.Code, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	h.Set("Grpc-Message", url.PathEscape(message))
	w.WriteHeader(http.StatusOK)
}

// tokens shows a peer its tokens, which are got over HTTP at the same address.
// They implement credentials.PerRPCCredentials.
type tokens struct {
	credentials *geecache.Credentials
	host        string // with a scheme
	via         *http.Transport

	mu  sync.Mutex // guards bad
	bad string     // a token that the peer no longer takes
}

func newTokens(c *geecache.Credentials, addr string, secure func() *tls.Config) *tokens {
	scheme := "http://"
	if secure != nil {
		scheme = "https://"
	}
	t := &tokens{
		credentials: c, host: scheme + addr,
		via: &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	}
	if secure != nil {
		t.via.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: secure()}).DialContext(ctx, network, addr)
		}
	}
	return t
}

// changingTLS are credentials whose configuration may be another one for each
// connection.
type changingTLS struct {
	credentials.TransportCredentials
	now func() *tls.Config
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *changingTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.now()).ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (c *changingTLS) Clone() credentials.TransportCredentials {
	return &changingTLS{c.TransportCredentials.Clone(), c.now}
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: a token on
// a network without TLS is the user's choice.
func (t *tokens) RequireTransportSecurity() bool { return false }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t *tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	text, err := t.get(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return map[string]string{"authorization": "Bearer " + text}, nil
}

func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	bad := t.bad
	t.mu.Unlock()
	return t.credentials.Token(ctx, t.via, t.host, bad)
}

// renew makes the next request get a token anew.
func (t *tokens) renew(ctx context.Context) error {
	text, err := t.get(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad = text
	return nil
}

// dial connects after the peer has proved that it knows the secret: it may be
// another process than before.
func (t *tokens) dial(ctx context.Context, addr string) (net.Conn, error) {
	if err := errors.Join(t.renew(ctx), func() error { _, err := t.get(ctx); return err }()); err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}
