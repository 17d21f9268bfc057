package peergrpc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/geecache/geecache/geecache"
)

const (
	oldSecret = "a secret of thirty-two old bytes"
	newSecret = "a secret of thirty-two new bytes"
)

// guardedNode starts a node with a secret that answers gRPC too. It returns the
// gRPC server, and the address.
func guardedNode(t *testing.T, secrets func() []string) (*Server, string) {
	t.Helper()
	var s *Server
	n, err := geecache.New(geecache.Config{
		Listen: "127.0.0.1:0", Cluster: testCluster, Secrets: secrets, Logger: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	_, err = n.NewGroup("g", geecache.GetterFunc(func(_ context.Context, key string) (geecache.Value, error) {
		return geecache.Value{Bytes: []byte("value of " + key)}, nil
	}), geecache.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if s, err = NewServer(n, Options{Check: n.CheckPeer, Authorize: n.AuthorizeToken}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SetServing(true)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, n.Addr()
}

func secretsOf(secrets ...string) func() []string { return func() []string { return secrets } }

// Every method of every service, as the server itself lists them, answers
// strangers with nothing.
func TestStrangersGetNothingFromAnyMethod(t *testing.T) {
	s, shared := guardedNode(t, secretsOf(oldSecret))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-served })
	credentials := map[string]metadata.MD{
		"none":         {},
		"wrong scheme": metadata.Pairs("authorization", "Basic dXNlcjpwYXNz"),
		"wrong token":  metadata.Pairs("authorization", "Bearer ffffffff.0000000000000000."+strings.Repeat("0", 64)),
		"the secret":   metadata.Pairs("authorization", "Bearer "+oldSecret),
		"peer":         metadata.Pairs(MetadataCluster, testCluster, MetadataNode, "n", MetadataVersion, geecache.ProtocolVersion),
	}
	methods := 0
	for _, addr := range []string{shared, l.Addr().String()} {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for service, info := range s.byHTTP.GetServiceInfo() {
			for _, m := range info.Methods {
				methods++
				for name, md := range credentials {
					ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), md), 10*time.Second)
					err := callAny(ctx, conn, "/"+service+"/"+m.Name)
					cancel()
					if status.Code(err) != codes.Unauthenticated {
						t.Errorf("%s %s/%s, credentials %s: %v", addr, service, m.Name, name, err)
					}
				}
			}
		}
	}
	if methods < 10 { // get, get many, health's, two versions of reflection, at two doors
		t.Errorf("only %d methods were tried", methods)
	}
}

// callAny calls any method with an empty message and returns its error.
func callAny(ctx context.Context, conn *grpc.ClientConn, method string) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(new(emptypb.Empty)); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil { // a call of one message begins once that is whole
		return err
	}
	return stream.RecvMsg(new(emptypb.Empty))
}

func TestPeersProveTheSecret(t *testing.T) {
	var mu sync.Mutex
	secrets := []string{oldSecret}
	_, addr := guardedNode(t, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return secrets
	})
	peer := func(secrets ...string) geecache.PeerClient {
		tr := &Transport{Cluster: testCluster, Version: geecache.ProtocolVersion, Secrets: secretsOf(secrets...)}
		c, err := tr.New(geecache.Peer{ID: "asking"}, geecache.Peer{ID: addr}, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c geecache.PeerClient) (geecache.PeerReply, error) {
		return c.Get(t.Context(), &geecache.PeerRequest{Group: "g", Key: "k"})
	}
	if r, err := ask(peer(newSecret)); err == nil {
		t.Errorf("with another secret: %v", r)
	}
	c := peer(newSecret, oldSecret)
	for _, now := range [][]string{{oldSecret}, {newSecret, oldSecret}, {newSecret}} {
		mu.Lock()
		secrets = now
		mu.Unlock()
		if r, err := ask(c); err != nil || string(r.Value) != "value of k" {
			t.Errorf("while the node has %q: %v, %v", now, r, err)
		}
	}
}
