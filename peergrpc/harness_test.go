package peergrpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/geecache/geecache/geecache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is an Answerer made of functions.
type answers struct {
	peer   func(ctx context.Context, req *geecache.PeerRequest) geecache.PeerReply
	client func(ctx context.Context, group, key string) geecache.PeerReply
}

func (a answers) Answer(ctx context.Context, req *geecache.PeerRequest) geecache.PeerReply {
	return a.peer(ctx, req)
}

func (a answers) AnswerClient(ctx context.Context, group, key string) geecache.PeerReply {
	return a.client(ctx, group, key)
}

// both answers peers and strangers alike.
func both(f func(ctx context.Context, group, key string) geecache.PeerReply) answers {
	return answers{
		peer: func(ctx context.Context, req *geecache.PeerRequest) geecache.PeerReply {
			return f(ctx, req.Group, req.Key)
		},
		client: f,
	}
}

// echo answers with the key.
var echo = both(func(_ context.Context, _, key string) geecache.PeerReply {
	return geecache.PeerReply{Value: []byte(key)}
})

const testCluster = "test"

// testOptions accepts the peers of testCluster.
func testOptions() Options {
	return Options{
		Check: func(cluster, _, _ string) error {
			if cluster != testCluster {
				return errors.New("this is cluster " + testCluster)
			}
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// doors are the two ways to serve gRPC. Each starts to serve s and returns the
// address; the test's cleanup stops it.
var doors = map[string]func(t *testing.T, s *Server) string{
	"own listener": serveListener,
	"net/http":     serveHTTP,
}

func eachDoor(t *testing.T, test func(t *testing.T, serve func(*testing.T, *Server) string)) {
	for name, serve := range doors {
		t.Run(name, func(t *testing.T) { test(t, serve) })
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serveListener(t *testing.T, s *Server) string {
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func serveHTTP(t *testing.T, s *Server) string {
	l := listen(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if IsGRPC(r) {
				s.ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		}),
		HTTP2:     s.HTTP2Config(),
		Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		srv.Close()
		<-served
	})
	return l.Addr().String()
}

func newServer(t *testing.T, a Answerer, opts Options) *Server {
	t.Helper()
	s, err := NewServer(a, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// newPeer returns a client of the node at addr that speaks as a peer of cluster.
func newPeer(t *testing.T, addr string, tr Transport) geecache.PeerClient {
	t.Helper()
	setDefault(&tr.Cluster, testCluster)
	c, err := tr.New(geecache.Peer{ID: "node \u00e9"}, geecache.Peer{ID: "there"}, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newStranger returns a connection that says nothing about who asks.
func newStranger(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// testContext bounds a test that would hang if it failed.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A freezer is a TCP proxy that can stop to forward while its connections stay
// open, like a peer whose process or machine has stopped.
type freezer struct {
	l      net.Listener
	target string
	frozen chan struct{} // closed: frozen
	wg     sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newFreezer(t *testing.T, target string) *freezer {
	f := &freezer{l: listen(t), target: target, frozen: make(chan struct{})}
	f.wg.Go(f.accept)
	t.Cleanup(func() {
		f.l.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *freezer) addr() string { return f.l.Addr().String() }

func (f *freezer) accept() {
	for {
		in, err := f.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", f.target)
		if err != nil {
			in.Close()
			continue
		}
		f.mu.Lock()
		f.conns = append(f.conns, in, out)
		f.mu.Unlock()
		f.wg.Go(func() { f.forward(in, out) })
		f.wg.Go(func() { f.forward(out, in) })
	}
}

func (f *freezer) forward(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		select {
		case <-f.frozen:
			io.Copy(io.Discard, src) // until the test ends
			return
		default:
		}
		if err != nil {
			dst.Close()
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			src.Close()
			return
		}
	}
}

// serveAt serves s on the address of a listener that was closed.
func serveAt(t *testing.T, s *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
}
