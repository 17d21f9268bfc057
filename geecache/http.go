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
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
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
		tlsConfig.NextProtos = append(slices.Clone(tlsConfig.NextProtos), streamProtocol, "h2", "http/1.1")
	}
	return &http.Server{
		Handler:   n,
		TLSConfig: tlsConfig,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			streamProtocol: n.streams.serveALPN,
		},
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: min(n.cfg.MaxStreamRequests, maxHTTP2Streams)},
		MaxHeaderBytes:    max(maxHeaderBytes, 16<<10+3*n.cfg.MaxKeyBytes), // a key's bytes may all be escaped
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// serve serves l until the node is closed.
func (n *Node) serve(l net.Listener) {
	l = &boundedListener{Listener: l, most: int64(n.cfg.MaxConns)}
	var err error
	if n.cfg.TLS != nil {
		err = n.server.ServeTLS(l, "", "")
	} else {
		err = n.server.Serve(l)
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
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), basePath)
	switch {
	case ok:
		n.servePeer(w, r, path)
	case n.cfg.Handler != nil:
		n.cfg.Handler.ServeHTTP(w, r)
	default:
		refuse(w, http.StatusNotFound, CodeBadRequest, "nothing is here: keys are at "+basePath+"<group>/<key>")
	}
}

// servePeer answers a request under /_geecache/. The path is still escaped: a
// key may hold any byte, slashes and dots included, so nothing may clean it.
func (n *Node) servePeer(w http.ResponseWriter, r *http.Request, path string) {
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
	group, key, err := splitPath(path)
	if err != nil {
		refuse(w, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	start := time.Now()
	reply, marked, err := n.answerHTTP(r, group, key)
	if err != nil {
		refuse(w, CodeOf(err).HTTPStatus(), CodeOf(err), err.Error())
		return
	}
	writeReply(w, r, &reply)
	if marked || reply.From != FromMain && reply.From != FromHot {
		n.ReportServed(group, "http", time.Since(start), reply.Code)
	}
}

// splitPath takes <group>/<key> apart. The key may be empty.
func splitPath(path string) (group, key string, err error) {
	g, k, ok := strings.Cut(path, "/")
	if !ok || g == "" {
		return "", "", fmt.Errorf("%w: path is %s<group>/<key>, with the key path-escaped", ErrBadRequest, basePath)
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
func (n *Node) answerHTTP(r *http.Request, group, key string) (reply PeerReply, marked bool, err error) {
	mode := r.Header.Get(headerMode)
	if mode == "" {
		return n.AnswerClient(r.Context(), group, key), false, nil
	}
	if c := r.Header.Get(headerCluster); c != escapeHeader(n.cfg.Cluster) {
		return reply, true, fmt.Errorf("%w: this is cluster %q, not %q", ErrRefused, n.cfg.Cluster, abbreviate(c))
	}
	req := &PeerRequest{Group: group, Key: key}
	number, err := strconv.ParseUint(mode, 10, 8)
	if err != nil || number > uint64(ModeMemory) {
		return reply, true, fmt.Errorf("%w: header %s is %q: use 0, 1 or 2", ErrBadRequest, headerMode, abbreviate(mode))
	}
	req.Mode = Mode(number)
	if t := r.Header.Get(headerTimeout); t != "" {
		if req.Timeout, err = time.ParseDuration(t); err != nil || req.Timeout < 0 {
			return reply, true, fmt.Errorf("%w: header %s is %q: use a duration such as 1.5s", ErrBadRequest, headerTimeout, abbreviate(t))
		}
	}
	if e := r.Header.Get(headerEpoch); e != "" {
		if req.Epoch, err = strconv.ParseUint(e, 16, 64); err != nil {
			return reply, true, fmt.Errorf("%w: header %s is %q: use 16 hexadecimal digits", ErrBadRequest, headerEpoch, abbreviate(e))
		}
	}
	return n.Answer(r.Context(), req), true, nil
}

// writeReply writes a reply as the protocol has it: the value as field 1 of a
// protobuf Response, everything else in headers.
func writeReply(w http.ResponseWriter, r *http.Request, reply *PeerReply) {
	h := w.Header()
	h.Set(headerEpoch, epochText(reply.Epoch))
	if reply.From != FromNone {
		h.Set(headerFrom, reply.From.String())
	}
	if reply.Took > 0 {
		h.Set(headerTook, reply.Took.String())
	}
	if reply.TTL != 0 {
		h.Set(headerTTL, reply.TTL.String())
	}
	if reply.Version != 0 {
		h.Set(headerEntry, strconv.FormatUint(reply.Version, 10))
	}
	if reply.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((reply.RetryAfter+time.Second-1)/time.Second)))
	}
	if reply.Code != CodeOK {
		msg := reply.Message
		if msg == "" {
			msg = reply.Code.String()
		}
		refuse(w, reply.Code.HTTPStatus(), reply.Code, msg)
		return
	}
	// A Response of its field 1 alone, by hand: the value is not copied, however
	// many slow clients it is sent to.
	var head []byte
	if len(reply.Value) > 0 {
		head = protowire.AppendTag(make([]byte, 0, 16), 1, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(len(reply.Value)))
	}
	h.Set("Content-Type", protobufType)
	h.Set("Content-Length", strconv.Itoa(len(head)+len(reply.Value)))
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(head); err == nil {
		_, _ = w.Write(reply.Value) // an error is the client's loss
	}
}

// refuse answers with an error: a status, its code's name in a header, and a
// line of text.
func refuse(w http.ResponseWriter, status int, code Code, msg string) {
	w.Header().Set(headerError, code.String())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.Error(w, msg, status)
}

// A boundedListener closes connections beyond a number at once, so that those
// that others hold open cost a bounded number of descriptors.
type boundedListener struct {
	net.Listener
	most int64
	open atomic.Int64
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &boundedConn{Conn: c, l: l}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

type boundedConn struct {
	net.Conn
	l      *boundedListener
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	if !c.closed.Swap(true) {
		c.l.open.Add(-1)
	}
	return c.Conn.Close()
}

// withTimeout bounds ctx, if d is positive.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}
