package peergrpc

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

func TestAPeerThatIsNotThereIsTrouble(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	peer := newPeer(t, addr, Transport{})
	_, err := peer.Get(testContext(t), &geecache.PeerRequest{})
	_, errs := peer.GetMany(testContext(t), make([]geecache.PeerRequest, 3))
	for _, err := range append(errs, err) {
		if !errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("got %v, want trouble", err)
		}
	}
}

func TestAPeerThatComesBackIsFound(t *testing.T) {
	s := newServer(t, echo, testOptions())
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	peer := newPeer(t, l.Addr().String(), Transport{Timings: geecache.Timings{RedialMax: 50 * time.Millisecond}})
	ctx := testContext(t)
	if _, err := peer.Get(ctx, &geecache.PeerRequest{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	<-served
	if _, err := peer.Get(ctx, &geecache.PeerRequest{}); !errors.Is(err, geecache.ErrPeerTrouble) {
		t.Fatalf("got %v, want trouble", err)
	}
	again := newServer(t, echo, testOptions())
	serveAt(t, again, l.Addr().String())
	for {
		_, err := peer.Get(ctx, &geecache.PeerRequest{})
		if err == nil {
			return
		}
		if !errors.Is(err, geecache.ErrPeerTrouble) {
			t.Fatalf("got %v, want trouble until the peer is back", err)
		}
	}
}

// A peer that something else listens for is trouble, and not an answer.
func TestAServerThatIsNoGeeCacheIsTrouble(t *testing.T) {
	l := listen(t)
	srv := &http.Server{Handler: http.NotFoundHandler(), Protocols: new(http.Protocols)}
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-served })
	_, err := newPeer(t, l.Addr().String(), Transport{}).Get(testContext(t), &geecache.PeerRequest{})
	if !errors.Is(err, geecache.ErrPeerTrouble) {
		t.Errorf("got %v, want trouble", err)
	}
}

// A peer whose process has stopped keeps its connections open.
func TestAStoppedPeerIsTrouble(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		f := newFreezer(t, serve(t, newServer(t, echo, testOptions())))
		peer := newPeer(t, f.addr(), Transport{})
		ctx := testContext(t)
		if _, err := peer.Get(ctx, &geecache.PeerRequest{}); err != nil {
			t.Fatal(err)
		}
		close(f.frozen)
		_, err := peer.Get(ctx, &geecache.PeerRequest{})
		if !errors.Is(err, geecache.ErrPeerTrouble) || !errors.Is(err, errSilent) {
			t.Errorf("got %v, want trouble: %v", err, errSilent)
		}
	})
}

// A peer that was stopped before the first request accepts the connection (its
// kernel does) and says nothing.
func TestAPeerThatWasStoppedBeforeIsTrouble(t *testing.T) {
	l := listen(t) // nobody accepts
	t.Cleanup(func() { l.Close() })
	_, err := newPeer(t, l.Addr().String(), Transport{}).Get(testContext(t), &geecache.PeerRequest{})
	if !errors.Is(err, geecache.ErrPeerTrouble) {
		t.Errorf("got %v, want trouble", err)
	}
}

// A slow source is not trouble: the peer answers pings.
func TestASlowPeerIsNotTrouble(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		timings := geecache.Timings{PingBusy: time.Millisecond, DeadAfter: 10 * time.Second}
		release := make(chan struct{})
		a := both(func(context.Context, string, string) geecache.PeerReply {
			<-release
			return geecache.PeerReply{Value: []byte("late")}
		})
		c := newPeer(t, serve(t, newServer(t, a, testOptions())), Transport{Timings: timings}).(*client)
		pings, ping := 0, c.guard.ping
		c.guard.ping = func(ctx context.Context) error {
			if pings++; pings == 5 {
				close(release)
			}
			return ping(ctx)
		}
		reply, err := c.Get(testContext(t), &geecache.PeerRequest{})
		if err != nil || string(reply.Value) != "late" {
			t.Errorf("got %q, %v", reply.Value, err)
		}
	})
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		asked, release := make(chan struct{}), make(chan struct{})
		a := both(func(_ context.Context, _, key string) geecache.PeerReply {
			if key == "slow" {
				close(asked)
				<-release
			}
			return geecache.PeerReply{Value: []byte("630")}
		})
		s := newServer(t, a, testOptions())
		peer := newPeer(t, serve(t, s), Transport{})
		ctx := testContext(t)
		got := make(chan error, 1)
		go func() {
			reply, err := peer.Get(ctx, &geecache.PeerRequest{Key: "slow"})
			if err == nil && string(reply.Value) != "630" {
				err = reply.Code.Err()
			}
			got <- err
		}()
		<-asked
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(ctx) }()
		// New requests are refused, as trouble, while the old one goes on.
		var err error
		for err == nil {
			_, err = peer.Get(ctx, &geecache.PeerRequest{})
		}
		if !errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("a new request got %v, want trouble", err)
		}
		close(release)
		if err := <-got; err != nil {
			t.Errorf("the request that was being answered got %v", err)
		}
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		asked := make(chan struct{})
		a := both(func(ctx context.Context, _, _ string) geecache.PeerReply {
			close(asked)
			<-ctx.Done()
			return geecache.PeerReply{Code: geecache.CodeCanceled}
		})
		s := newServer(t, a, testOptions())
		peer := newPeer(t, serve(t, s), Transport{})
		got := make(chan error, 1)
		go func() {
			_, err := peer.Get(testContext(t), &geecache.PeerRequest{})
			got <- err
		}()
		<-asked
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v, want %v", err, context.Canceled)
		}
		if err := <-got; !errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("the request that was cut off got %v, want trouble", err)
		}
	})
}

func TestAfterCloseTheClientFails(t *testing.T) {
	peer := newPeer(t, serveListener(t, newServer(t, echo, testOptions())), Transport{})
	peer.Close()
	if _, err := peer.Get(testContext(t), &geecache.PeerRequest{}); !errors.Is(err, geecache.ErrPeerTrouble) {
		t.Errorf("got %v, want trouble", err)
	}
}

func TestStatusesThatAreNoNodesAnswer(t *testing.T) {
	c := &client{name: "there"}
	for code, want := range map[codes.Code]geecache.Code{
		codes.NotFound:          geecache.CodeNotFound,
		codes.InvalidArgument:   geecache.CodeBadRequest,
		codes.ResourceExhausted: geecache.CodeTooLarge,
		codes.Unknown:           geecache.CodeSource,
		codes.Internal:          geecache.CodeInternal,
	} {
		if reply, err := c.failed(status.New(code, "x"), nil); err != nil || reply.Code != want || reply.Message != "x" {
			t.Errorf("%v is %+v, %v, want %v", code, reply, err, want)
		}
	}
	for _, code := range []codes.Code{codes.Unavailable, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.Canceled} {
		if _, err := c.failed(status.New(code, "x"), nil); !errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("%v is %v, want trouble", code, err)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	if _, err := NewServer(nil, Options{}); err == nil {
		t.Error("NewServer takes no Answerer")
	}
	for _, o := range []Options{{MaxKeyBytes: -1}, {MaxValueBytes: -1}, {MaxBatch: -1}, {MaxParallel: -1}, {MaxStreams: -1}, {ConnectTimeout: -1}} {
		if _, err := NewServer(echo, o); err == nil {
			t.Errorf("NewServer takes %+v", o)
		}
	}
	if _, err := (&Transport{Cluster: "c", MaxValueBytes: -1}).New(geecache.Peer{ID: "n"}, geecache.Peer{}, "127.0.0.1:1"); err == nil {
		t.Error("New takes a negative MaxValueBytes")
	}
	if _, err := (&Transport{}).New(geecache.Peer{}, geecache.Peer{}, "127.0.0.1:1"); err == nil {
		t.Error("New takes a node without an ID of no cluster")
	}
}

var _ GroupCacheServer = (*service)(nil)

// An answer that is missing must not read as an empty value.
func TestBatchAnswersWhatIsMissing(t *testing.T) {
	b := batch{left: 100, resps: make([]*geecachepb.Response, 1)}
	if got := b.response().Responses[0].Code; got != geecachepb.Code_CODE_INTERNAL {
		t.Errorf("got %v, want CODE_INTERNAL", got)
	}
}
