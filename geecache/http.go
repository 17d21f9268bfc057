package geecache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/listen"
	"github.com/geecache/geecache/internal/plain"
)

// basePath is where the peer protocols live on a node's port.
const basePath = "/_geecache/"

// The headers of the HTTP protocol. Each is optional: a client that knows none
// of them gets the value from the body.
const (
	headerError   = "Geecache-Error"   // a Code's name
	headerFrom    = "Geecache-From"    // an Origin
	headerTTL     = "Geecache-Ttl"     // a Go duration; absent: no limit
	headerEntry   = "Geecache-Entry"   // the entry's version, decimal
	headerTook    = "Geecache-Took"    // a Go duration
	headerMode    = "Geecache-Mode"    // a Mode, decimal; marks a request as a node's
	headerTimeout = "Geecache-Timeout" // a Go duration
)

const protobufType = "application/x-protobuf"

// The bounds of the node's HTTP server.
const (
	maxHeaderBytes    = 128 << 10
	maxHTTP2Streams   = 1024
	readHeaderTimeout = 5 * time.Second
	bodyTimeout       = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	writeTimeout      = 2 * time.Minute
)

// newServer makes the HTTP server of the node's port.
func (n *Node) newServer() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC, if Config.Handler answers it
	tlsConfig := n.cfg.TLS
	if tlsConfig != nil {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.NextProtos = withProtocols(tlsConfig.NextProtos)
		if get := tlsConfig.GetConfigForClient; get != nil {
			tlsConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				c, err := get(hello)
				if c != nil {
					c = c.Clone()
					c.NextProtos = withProtocols(c.NextProtos)
				}
				return c, err
			}
		}
	}
	return &http.Server{
		Handler:   n,
		TLSConfig: tlsConfig,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			streamProtocol: func(s *http.Server, c *tls.Conn, h http.Handler) {
				listen.Exact(c)
				n.streams.serveALPN(s, c, h)
			},
		},
		ConnContext:       listen.ConnContext,
		ConnState:         listen.ConnState,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: min(n.cfg.MaxStreamRequests, maxHTTP2Streams)},
		MaxHeaderBytes:    max(maxHeaderBytes, 16<<10+3*n.cfg.MaxKeyBytes), // a key's bytes may all be escaped
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// withProtocols adds the protocols of the node's port.
func withProtocols(protocols []string) []string {
	return append(slices.Clone(protocols), streamProtocol, "h2", "http/1.1")
}

// serve serves l until the node is closed.
func (n *Node) serve(l net.Listener) {
	bounded := listen.New(l, n.cfg.MaxConns)
	bounded.SetEarly(listen.Early{Answer: n.answerPlain, Whole: plain.Whole, Idle: idleTimeout, Write: writeTimeout})
	var err error
	if n.cfg.TLS != nil {
		err = n.server.ServeTLS(bounded, "", "")
	} else {
		err = n.server.Serve(bounded)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		n.log.Error("the node's port is served no more", "err", err)
	}
}

// ServeHTTP answers the peer protocols under /_geecache/, and hands all other
// requests to Config.Handler. [Node.Start] serves it; mount it yourself if the
// node is to share a server of yours.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// net/http reads what is left of a body before it goes on: one that never
		// comes must not hold the connection. A longer load is not affected.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	path, escaped := r.URL.Path, false
	if r.URL.RawPath != "" { // there are bytes in it whose escaping matters
		path, escaped = r.URL.EscapedPath(), true
	}
	path, ok := strings.CutPrefix(path, basePath)
	switch {
	case ok:
		n.servePeer(w, r, path, escaped)
	case n.cfg.Handler != nil:
		n.cfg.Handler.ServeHTTP(w, r)
	default:
		refuse(w, http.StatusNotFound, CodeBadRequest, "nothing is here: keys are at "+basePath+"<group>/<key>")
	}
}

// servePeer answers a request under /_geecache/. The path is as it came: a key
// may hold any byte, slashes and dots included, so nothing may clean it. It is
// still escaped, unless that makes no difference.
func (n *Node) servePeer(w http.ResponseWriter, r *http.Request, path string, escaped bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, CodeBadRequest, "use GET: the peer protocol only reads")
		return
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		refuse(w, http.StatusBadRequest, CodeBadRequest, "a query string means nothing here: write a '?' in a key as %3F")
		return
	}
	if r.ContentLength != 0 {
		// Not read, and the connection is not used again.
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestEntityTooLarge, CodeTooLarge, "a GET takes no body")
		return
	}
	if path == "" && r.Header.Get("Upgrade") != "" {
		n.streams.serveUpgrade(w, r)
		return
	}
	if path == "" && r.Header.Get(headerNonce) != "" {
		n.serveToken(w, r)
		return
	}
	if err := n.Authorize(r); err != nil {
		n.RefuseStranger(w, err)
		return
	}
	group, key, err := splitPath(path, escaped)
	if err != nil {
		refuse(w, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	if err := n.Refused(); err != nil {
		refuse(w, CodeOf(err).HTTPStatus(), CodeOf(err), err.Error())
		return
	}
	reply, err := n.answerHTTP(r, group, key)
	if err != nil {
		refuse(w, CodeOf(err).HTTPStatus(), CodeOf(err), err.Error())
		return
	}
	n.writeReply(w, r, &reply)
	if reply.From != FromMain && reply.From != FromHot {
		n.ReportServed(group, "http", reply.Took, reply.Code)
	}
}

// splitPath takes <group>/<key> apart. The key may be empty.
func splitPath(path string, escaped bool) (group, key string, err error) {
	g, k, ok := strings.Cut(path, "/")
	switch {
	case !ok || g == "":
		return "", "", fmt.Errorf("%w: path is %s<group>/<key>, with the key path-escaped", ErrBadRequest, basePath)
	case !escaped:
		return g, k, nil
	}
	if group, err = url.PathUnescape(g); err != nil {
		return "", "", fmt.Errorf("%w: group in path: %w", ErrBadRequest, err)
	}
	if key, err = url.PathUnescape(k); err != nil {
		return "", "", fmt.Errorf("%w: key in path: %w", ErrBadRequest, err)
	}
	return group, key, nil
}

// answerHTTP answers a request that may be marked as a node's.
func (n *Node) answerHTTP(r *http.Request, group, key string) (reply PeerReply, err error) {
	mode := r.Header.Get(headerMode)
	if mode == "" {
		return n.AnswerClient(r.Context(), group, key), nil
	}
	if c := r.Header.Get(headerCluster); c != escapeHeader(n.cfg.Cluster) {
		return reply, fmt.Errorf("%w: this is cluster %q, not %q", ErrRefused, n.cfg.Cluster, abbreviate(c))
	}
	req := &PeerRequest{Group: group, Key: key}
	number, err := strconv.ParseUint(mode, 10, 8)
	if err != nil || number > uint64(ModeMemory) {
		return reply, fmt.Errorf("%w: header %s is %q: use 0, 1 or 2", ErrBadRequest, headerMode, abbreviate(mode))
	}
	req.Mode = Mode(number)
	if t := r.Header.Get(headerTimeout); t != "" {
		if req.Timeout, err = time.ParseDuration(t); err != nil || req.Timeout < 0 {
			return reply, fmt.Errorf("%w: header %s is %q: use a duration such as 1.5s", ErrBadRequest, headerTimeout, abbreviate(t))
		}
	}
	if e := r.Header.Get(headerEpoch); e != "" {
		if req.Epoch, err = strconv.ParseUint(e, 16, 64); err != nil {
			return reply, fmt.Errorf("%w: header %s is %q: use 16 hexadecimal digits", ErrBadRequest, headerEpoch, abbreviate(e))
		}
	}
	return n.Answer(r.Context(), req), nil
}

// withTimeout bounds ctx, if d is positive.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}
