package peergrpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/geecache/geecache/geecache"
)

// An Answerer answers for keys. A geecache.Node is one. Its methods are called
// by many goroutines at once and return when ctx ends. The value of a reply is
// read and never changed, so it may be the cache's own.
type Answerer interface {
	// Answer answers a request from a peer. It is never forwarded.
	Answer(ctx context.Context, req *geecache.PeerRequest) geecache.PeerReply

	// AnswerClient answers a stranger, who does not know the key's owner: the
	// request takes one hop at most.
	AnswerClient(ctx context.Context, group, key string) geecache.PeerReply
}

// A Server serves the GroupCache service, gRPC's health service and reflection,
// through net/http ([Server.ServeHTTP]), on listeners of its own
// ([Server.Serve]), or both. It is safe for concurrent use.
type Server struct {
	opts   Options
	health *health.Server

	// A grpc.Server that stops gracefully cuts off what came through net/http,
	// so each of the two doors has a server of its own.
	byListener, byHTTP *grpc.Server

	held atomic.Int64 // bytes of requests in ServeHTTP that have been read

	cutting context.Context // ends when Close cuts off requests
	cut     context.CancelFunc

	mu     sync.Mutex // guards what follows
	active int        // requests in ServeHTTP
	idle   chan struct{}
	closed bool // no more requests through ServeHTTP
}

// NewServer returns a server that asks a. Its health is "not serving" until
// SetServing(true).
func NewServer(a Answerer, opts Options) (*Server, error) {
	if a == nil {
		return nil, errors.New("peergrpc: NewServer needs an Answerer, for instance a geecache.Node")
	}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts.withDefaults(), health: health.NewServer(), idle: make(chan struct{})}
	s.cutting, s.cut = context.WithCancel(context.Background())
	svc := &service{answerer: a, opts: s.opts, cutting: s.cutting}
	s.byListener = s.newGRPC(svc)
	s.byHTTP = s.newGRPC(svc)
	s.SetServing(false)
	return s, nil
}

// newGRPC returns a gRPC server with all services.
func (s *Server) newGRPC(svc *service) *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest(s.opts.MaxKeyBytes)),
		grpc.MaxSendMsgSize(maxResponse(s.opts.MaxValueBytes)),
		grpc.MaxConcurrentStreams(uint32(s.opts.MaxStreams)),
		grpc.ConnectionTimeout(s.opts.ConnectTimeout),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		// Clients of this package ping every 10 s at the most.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.InTapHandle(s.tap), // for Serve; ServeHTTP asks by itself
		grpc.UnaryInterceptor(s.recoverUnary),
		grpc.StreamInterceptor(s.recoverStream),
	}
	if s.opts.Creds != nil {
		opts = append(opts, grpc.Creds(s.opts.Creds))
	}
	g := grpc.NewServer(opts...)
	RegisterGroupCacheServer(g, svc)
	healthpb.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// IsGRPC reports whether r is a gRPC request, which [Server.ServeHTTP] answers.
func IsGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// HTTP2Config returns what an http.Server needs in its HTTP2 field so that the
// limits of the options hold on a shared port. Without TLS, its Protocols must
// have SetUnencryptedHTTP2(true).
func (s *Server) HTTP2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          s.opts.MaxStreams,
		MaxReceiveBufferPerConnection: requestBytes + slackBytes,
		MaxReceiveBufferPerStream:     256 << 10,
	}
}

// ServeHTTP answers a gRPC request that an http.Server has received over
// HTTP/2; see [IsGRPC]. Others get a plain HTTP error. Of a request without the
// credentials that Options.Authorize asks for, only the header is read.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.authorize(r.Header.Get("Authorization"), r.TLS); err != nil {
		writeStatus(w, codes.Unauthenticated, err.Error())
		return
	}
	if !s.enter() {
		http.Error(w, "the node is draining: ask another one", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	begun := &begunWriter{ResponseWriter: w}
	body := &heldBody{ReadCloser: r.Body, held: &s.held, left: maxRequest(s.opts.MaxKeyBytes) + slackBytes}
	defer body.release()
	r.Body = body
	s.byHTTP.ServeHTTP(begun, r)
	if !begun.begun && s.cutting.Err() != nil {
		// gRPC leaves without a word, which clients take for an answer that is
		// broken; this they take for a server that is gone.
		http.Error(w, "the node was closed: ask another one", http.StatusServiceUnavailable)
	}
}

// A begunWriter knows whether the answer has begun. gRPC needs it to flush.
type begunWriter struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (w *begunWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *begunWriter) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *begunWriter) Flush() {
	w.begun = true
	_ = http.NewResponseController(w.ResponseWriter).Flush() // HTTP/2 can
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.closed && s.active == 0 {
		close(s.idle)
	}
}

// Serve answers requests on a listener of the server's own until Shutdown or
// Close, after which it returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	err := s.byListener.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// SetServing says what the health service answers, for the whole server and for
// the service by its name.
func (s *Server) SetServing(serving bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(GroupCache_ServiceDesc.ServiceName, state)
}

// Shutdown takes no new requests and waits for those that are being answered.
// When ctx ends first, it cuts them off and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.closeDoor()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.byListener.GracefulStop()
	}()
	var err error
	for _, done := range []<-chan struct{}{stopped, s.idle} {
		select {
		case <-done:
		case <-ctx.Done():
			select {
			case <-done: // before ctx ended, or at the same time
			default:
				err = ctx.Err()
			}
		}
	}
	s.Close()
	<-stopped
	return err
}

// Close cuts off all requests and connections.
func (s *Server) Close() {
	s.closeDoor()
	s.cut()
	s.byListener.Stop()
	s.byHTTP.Stop()
}

// closeDoor makes ServeHTTP refuse what comes from now on.
func (s *Server) closeDoor() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.active == 0 {
		close(s.idle)
	}
}
