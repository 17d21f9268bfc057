package geecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A streamHandler answers the requests of a stream.
type streamHandler interface {
	// answerNow answers a request if memory suffices for it. It must not keep
	// req.Key, which aliases the read buffer. reply is zero before; its Value
	// stays valid and must not be changed by anybody. answerNow is called by one
	// goroutine per connection and must return at once.
	answerNow(req *PeerRequest, reply *PeerReply) bool

	// keysOf returns what touches the keys of a group before answerNow is called for
	// them, or nil.
	keysOf(group string) keyToucher

	// answer answers what answerNow did not. It runs in a goroutine of its own,
	// may load, and may keep the key. It must return soon after ctx has ended:
	// the asking node has left or given up, or the server is being closed.
	answer(ctx context.Context, req *PeerRequest) PeerReply
}

// streamServerConfig is what a streamServer needs to know.
type streamServerConfig struct {
	self        func() hello              // this node's identity and epoch, now
	check       func(remote hello) error  // nil: all of this cluster are welcome. The error's text goes to the other side
	secrets     func() []string           // nil: the cluster has none; the first one is the newest
	refusals    *refusalCounts            // nil: its own
	authorize   func(*http.Request) error // nil: whoever is of the cluster is welcome. Asked if there is no secret
	handler     streamHandler
	life        lifeHandler // nil: nobody wants to hear how others come and go
	maxValue    int         // bytes; a larger value is answered with CodeTooLarge. 0: 4 GiB
	maxKey      int         // bytes; a request for a longer key is answered with CodeTooLarge. 0: 64 KiB
	maxInFlight int         // requests of one connection that answer works at; more are answered with CodeOverloaded. 0: 4096
	maxConns    int         // connections; more are refused. 0: 4096
	timings     streamTimings
	log         *slog.Logger // nil: none
}

// streamServerStats counts what a streamServer has done.
type streamServerStats struct {
	connections       int64 // open now
	handshakesRefused int64 // those of the client side as well, if they share the counts
	frameErrors       int64 // connections ended by a malformed frame
	inFlight          int64 // requests that answer works at now
	bytesIn           int64
	bytesOut          int64
}

// A streamServer holds all connections that other nodes have opened to this one.
type streamServer struct {
	cfg    streamServerConfig
	ctx    context.Context // ends with close
	cancel context.CancelFunc

	frameErrors, inFlight atomic.Int64

	zones zoneTable // all bytes, by the zone of the other end

	refusals refusalLog

	mu       sync.Mutex // guards conns, draining, closed
	conns    map[*serverConn]struct{}
	draining bool
	closed   bool
	tasks    sync.WaitGroup // connections; added to under mu, while not closed
}

// newStreamServer returns a server that has no connection.
func newStreamServer(cfg streamServerConfig) *streamServer {
	cfg.timings = cfg.timings.withDefaults()
	if cfg.maxValue <= 0 {
		cfg.maxValue = math.MaxUint32
	}
	if cfg.maxKey <= 0 {
		cfg.maxKey = 64 << 10
	}
	if cfg.maxInFlight <= 0 {
		cfg.maxInFlight = 4096
	}
	if cfg.maxConns <= 0 {
		cfg.maxConns = 4096
	}
	if cfg.log == nil {
		cfg.log = slog.New(slog.DiscardHandler)
	}
	if cfg.refusals == nil {
		cfg.refusals = new(refusalCounts)
	}
	s := &streamServer{cfg: cfg, conns: make(map[*serverConn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// serveUpgrade answers the request that a stream begins with, and then serves the
// stream until it ends. What is refused gets an HTTP status, a header that names
// the [Code], and the reason as text.
func (s *streamServer) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	self := s.cfg.self()
	self.Version = self.version()
	if s.cfg.secrets != nil {
		s.serveSecret(w, r, self)
		return
	}
	if s.cfg.authorize != nil {
		if err := s.cfg.authorize(r); err != nil {
			s.refuse(w, r, nil, http.StatusUnauthorized, err)
			return
		}
	}
	if r.Header.Get(headerNonce) != "" {
		s.refuse(w, r, nil, http.StatusUnauthorized, refusedf(RefusedSecret, "%s", noSecretHere))
		return
	}
	remote, status, err := s.admit(r, self)
	if err != nil {
		s.refuse(w, r, &self, status, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, &self, http.StatusBadRequest, fmt.Errorf("%w: the connection cannot be upgraded: %w", ErrBadRequest, err))
		return
	}
	defer conn.Close()
	ahead, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	s.serveConn(conn, r, remote, self, "", ahead)
}

// serveConn tells the other side that it is welcome, with a proof if that is
// not empty, and serves the stream until it ends.
func (s *streamServer) serveConn(conn net.Conn, r *http.Request, remote, self hello, proof string, ahead []byte) {
	if err := s.switchProtocols(conn, self, proof); err != nil {
		s.cfg.log.Debug("stream's handshake broken off", "from", r.RemoteAddr, "err", err)
		return
	}
	c := newServerConn(s, conn, remote, ahead)
	if !s.add(c) {
		return // closed or draining since: the other side sees the end of the connection
	}
	defer s.tasks.Done()
	c.serve()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// admit decides whether a stream may begin.
func (s *streamServer) admit(r *http.Request, self hello) (hello, int, error) {
	if err := checkUpgrade(r); err != nil {
		return hello{}, http.StatusUpgradeRequired, err
	}
	remote, err := readHello(r.Header)
	if err != nil {
		return hello{}, http.StatusBadRequest, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := checkVersion(self.version(), remote.Version); err != nil {
		return remote, http.StatusUpgradeRequired, err
	}
	if err := checkCluster(self.Cluster, remote.Cluster); err != nil {
		return remote, http.StatusForbidden, err
	}
	expect, err := url.PathUnescape(r.Header.Get(headerExpect))
	if err != nil {
		return remote, http.StatusBadRequest, fmt.Errorf("%w: header %s: %w", ErrBadRequest, headerExpect, err)
	}
	if expect != "" && expect != self.ID {
		return remote, http.StatusForbidden, refusedf(RefusedNode, "this is node %q, not %q", self.ID, expect)
	}
	if s.cfg.check != nil {
		if err := s.cfg.check(remote); err != nil {
			code := CodeOf(err)
			if code == CodeInternal {
				code, err = CodeRefused, fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return remote, code.HTTPStatus(), err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining || s.closed:
		return remote, http.StatusServiceUnavailable, ErrDraining
	case len(s.conns) >= s.cfg.maxConns:
		return remote, http.StatusServiceUnavailable, fmt.Errorf("%w: %d connections", ErrOverloaded, len(s.conns))
	}
	return remote, 0, nil
}

// refuse answers a request for a stream with a refusal. self is nil if the other
// side must not learn who this is.
func (s *streamServer) refuse(w http.ResponseWriter, r *http.Request, self *hello, status int, err error) {
	reason := RefusalOf(err)
	if reason == "" {
		reason = RefusedOther
	}
	s.cfg.refusals.add(reason)
	s.refusals.log(s.cfg.log, reason, r.RemoteAddr, err)
	if self != nil {
		self.set(w.Header())
	}
	w.Header().Set(headerReason, string(reason))
	w.Header().Set(headerRefusal, CodeOf(err).String())
	w.Header().Set("Upgrade", streamProtocol)
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, err) // a broken connection needs no reason
}

// switchProtocols tells the other side that frames begin.
func (s *streamServer) switchProtocols(conn net.Conn, self hello, proof string) error {
	// The HTTP server's own deadlines may still be set.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(s.cfg.timings.handshakeTimeout)); err != nil {
		return err
	}
	header := http.Header{}
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", streamProtocol)
	self.set(header)
	if proof != "" {
		header.Set(headerProof, proof)
	}
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := header.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	_, err := io.WriteString(conn, b.String())
	return err
}

// add enters a connection, unless the server takes none any more.
func (s *streamServer) add(c *serverConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining {
		return false
	}
	s.conns[c] = struct{}{}
	s.tasks.Add(1)
	return true
}

// drain tells all connected nodes to send no new requests. What they have sent is
// answered. New connections are refused.
func (s *streamServer) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.closed {
		return
	}
	s.draining = true
	for c := range s.conns {
		c.drain()
	}
}

// busy reports whether a request is being answered, or an answer has not been
// written yet.
func (s *streamServer) busy() bool {
	if s.inFlight.Load() > 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if !c.w.idle() {
			return true
		}
	}
	return false
}

// close ends all connections and waits until nothing works for them any more.
func (s *streamServer) close() {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for c := range s.conns {
		c.conn.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
}

// stats returns the counters.
func (s *streamServer) stats() streamServerStats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	in, out := s.zones.total()
	return streamServerStats{
		connections:       int64(n),
		handshakesRefused: s.cfg.refusals.sum(),
		frameErrors:       s.frameErrors.Load(),
		inFlight:          s.inFlight.Load(),
		bytesIn:           in,
		bytesOut:          out,
	}
}

// errPanic is what a handler's panic is answered with.
var errPanic = errors.New("the node failed to answer; its log tells why")
