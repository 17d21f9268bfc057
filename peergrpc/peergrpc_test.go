package peergrpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

var anyKeys = []string{
	"", ".", "..", "a/b", "%2F", "%", "two words", "\x00", "\xff\xfe not UTF-8", "k\u00e9y", "\r\n", strings.Repeat("k", 8<<10),
}

func TestAnyKey(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		addr := serve(t, newServer(t, echo, testOptions()))
		ctx := testContext(t)
		peer, stranger := newPeer(t, addr, Transport{}), NewGroupCacheClient(newStranger(t, addr))
		reqs := make([]geecache.PeerRequest, len(anyKeys))
		for i, key := range anyKeys {
			reqs[i] = geecache.PeerRequest{Group: "g", Key: key}
			reply, err := peer.Get(ctx, &reqs[i])
			if err != nil || string(reply.Value) != key {
				t.Errorf("key %.20q: peer got %.20q, %v", key, reply.Value, err)
			}
			resp, err := stranger.Get(ctx, &geecachepb.Request{Group: "g", Key: []byte(key)})
			if err != nil || string(resp.GetValue()) != key {
				t.Errorf("key %.20q: stranger got %.20q, %v", key, resp.GetValue(), err)
			}
		}
		replies, errs := peer.GetMany(ctx, reqs)
		for i, key := range anyKeys {
			if errs[i] != nil || string(replies[i].Value) != key {
				t.Errorf("key %.20q: GetMany got %.20q, %v", key, replies[i].Value, errs[i])
			}
		}
	})
}

// sized answers a key that is a number with a value of that many bytes.
var sized = both(func(_ context.Context, _, key string) geecache.PeerReply {
	var n int
	fmt.Sscan(key, &n)
	return geecache.PeerReply{Value: bytes.Repeat([]byte{'v'}, n)}
})

func TestValuesUpToTheLimit(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		peer := newPeer(t, serve(t, newServer(t, sized, testOptions())), Transport{})
		ctx := testContext(t)
		for _, n := range []int{0, 1, 4 << 10, 1 << 20, 4<<20 + 1, 8 << 20} {
			reply, err := peer.Get(ctx, &geecache.PeerRequest{Key: fmt.Sprint(n)})
			if err != nil || reply.Code != geecache.CodeOK || len(reply.Value) != n {
				t.Errorf("%d bytes: got %d bytes, %v %q, %v", n, len(reply.Value), reply.Code, reply.Message, err)
			}
		}
		reply, err := peer.Get(ctx, &geecache.PeerRequest{Key: fmt.Sprint(16 << 20)})
		if err != nil || reply.Code != geecache.CodeTooLarge {
			t.Errorf("twice the limit: got %v, %v, want too-large", reply.Code, err)
		}
		reply, err = peer.Get(ctx, &geecache.PeerRequest{Key: strings.Repeat("k", 17<<10)})
		if err != nil || reply.Code != geecache.CodeTooLarge || !strings.Contains(reply.Message, "16384") {
			t.Errorf("a key over the limit: got %v %q, %v, want too-large and the limit", reply.Code, reply.Message, err)
		}
	})
}

// The values of one GetMany may be more than fits into a message.
func TestGetManyOfLargeValues(t *testing.T) {
	peer := newPeer(t, serveHTTP(t, newServer(t, sized, testOptions())), Transport{})
	reqs := make([]geecache.PeerRequest, 6)
	for i := range reqs {
		reqs[i].Key = fmt.Sprint(3<<20 + i)
	}
	replies, errs := peer.GetMany(testContext(t), reqs)
	for i := range reqs {
		if errs[i] != nil || len(replies[i].Value) != 3<<20+i {
			t.Errorf("value %d: %d bytes, %v %q, %v", i, len(replies[i].Value), replies[i].Code, replies[i].Message, errs[i])
		}
	}
}

// So may its keys.
func TestGetManyOfManyAndLongKeys(t *testing.T) {
	peer := newPeer(t, serveListener(t, newServer(t, echo, testOptions())), Transport{})
	reqs := make([]geecache.PeerRequest, 5000)
	for i := range reqs {
		reqs[i].Key = fmt.Sprint(i)
		if i%10 == 0 {
			reqs[i].Key += strings.Repeat("x", 10<<10)
		}
	}
	replies, errs := peer.GetMany(testContext(t), reqs)
	for i := range reqs {
		if errs[i] != nil || string(replies[i].Value) != reqs[i].Key {
			t.Fatalf("key %d: got %.20q, %v", i, replies[i].Value, errs[i])
		}
	}
	if replies, errs := peer.GetMany(testContext(t), nil); len(replies) != 0 || len(errs) != 0 {
		t.Errorf("no keys: got %d replies, %d errors", len(replies), len(errs))
	}
}

func TestEverythingOfARequestAndAReplyTravels(t *testing.T) {
	want := geecache.PeerReply{
		Value: []byte("630"), TTL: -1, Version: 1<<64 - 1, From: geecache.FromLoad,
		Took: 50 * time.Millisecond, Epoch: 1<<63 + 5,
	}
	got := make(chan geecache.PeerRequest, 2)
	var left time.Duration
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		a := answers{peer: func(ctx context.Context, req *geecache.PeerRequest) geecache.PeerReply {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			got <- *req
			return want
		}}
		peer := newPeer(t, serve(t, newServer(t, a, testOptions())), Transport{})
		ctx := testContext(t)
		req := geecache.PeerRequest{Group: "scores", Key: "Tom", Mode: geecache.ModeMemory, Epoch: 1<<64 - 2, Timeout: 30 * time.Second}
		reply, err := peer.Get(ctx, &req)
		if err != nil || !reflect.DeepEqual(reply, want) {
			t.Errorf("got %+v, %v, want %+v", reply, err, want)
		}
		if r := <-got; r != req {
			t.Errorf("the node was asked %+v, want %+v", r, req)
		}
		if left <= 0 || left > req.Timeout {
			t.Errorf("the answer may take %v, want at most %v", left, req.Timeout)
		}
		// Without one of its own, the timeout is what is left of the context.
		req.Timeout = 0
		if _, err := peer.Get(ctx, &req); err != nil {
			t.Error(err)
		}
		if r := <-got; r.Timeout <= 0 || r.Timeout > time.Minute {
			t.Errorf("the timeout is %v, want what is left of the context's", r.Timeout)
		}
	})
}

func TestEveryCodeTravels(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		code := func(_ context.Context, _, key string) geecache.PeerReply {
			return geecache.PeerReply{Code: geecache.ParseCode(key), Message: "about " + key, RetryAfter: time.Second}
		}
		addr := serve(t, newServer(t, both(code), testOptions()))
		peer, stranger := newPeer(t, addr, Transport{}), NewGroupCacheClient(newStranger(t, addr))
		ctx := testContext(t)
		var reqs []geecache.PeerRequest
		for _, c := range allCodes()[1:] {
			reqs = append(reqs, geecache.PeerRequest{Key: c.String()})
			var trailer metadata.MD
			_, err := stranger.Get(ctx, &geecachepb.Request{Key: []byte(c.String())}, grpc.Trailer(&trailer))
			if got := trailer.Get(MetadataCode); status.Code(err) != StatusCode(c) || len(got) != 1 || got[0] != c.String() {
				t.Errorf("%v: a stranger got %v, trailer %q", c, err, got)
			}
		}
		check := func(how string, c geecache.Code, reply geecache.PeerReply, err error) {
			t.Helper()
			if c == geecache.CodeDraining || c == geecache.CodeRefused {
				if !errors.Is(err, geecache.ErrPeerTrouble) || !errors.Is(err, c.Err()) {
					t.Errorf("%s: %v is %v, want trouble", how, c, err)
				}
				return
			}
			want := geecache.PeerReply{Code: c, Message: "about " + c.String(), RetryAfter: time.Second}
			if err != nil || !reflect.DeepEqual(reply, want) {
				t.Errorf("%s: got %+v, %v, want %+v", how, reply, err, want)
			}
		}
		replies, errs := peer.GetMany(ctx, reqs)
		for i, c := range allCodes()[1:] {
			reply, err := peer.Get(ctx, &reqs[i])
			check("Get", c, reply, err)
			check("GetMany", c, replies[i], errs[i])
		}
	})
}

func TestPeersAndStrangersAreToldApart(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		a := answers{
			peer: func(context.Context, *geecache.PeerRequest) geecache.PeerReply {
				return geecache.PeerReply{Value: []byte("peer")}
			},
			client: func(context.Context, string, string) geecache.PeerReply {
				return geecache.PeerReply{Value: []byte("stranger")}
			},
		}
		var seen [3]string
		opts := testOptions()
		check := opts.Check
		opts.Check = func(cluster, node, version string) error {
			seen = [3]string{cluster, node, version}
			return check(cluster, node, version)
		}
		addr := serve(t, newServer(t, a, opts))
		ctx := testContext(t)
		reply, err := newPeer(t, addr, Transport{Version: "v1.2 \u00e9"}).Get(ctx, &geecache.PeerRequest{})
		if err != nil || string(reply.Value) != "peer" {
			t.Errorf("a peer got %q, %v", reply.Value, err)
		}
		if want := [3]string{testCluster, "node \u00e9", "v1.2 \u00e9"}; seen != want {
			t.Errorf("Check saw %q, want %q", seen, want)
		}
		stranger := NewGroupCacheClient(newStranger(t, addr))
		resp, err := stranger.Get(ctx, &geecachepb.Request{})
		if err != nil || string(resp.GetValue()) != "stranger" {
			t.Errorf("a stranger got %q, %v", resp.GetValue(), err)
		}
		many, err := stranger.GetMany(ctx, &geecachepb.GetManyRequest{Requests: []*geecachepb.Request{{}}})
		if err != nil || string(many.GetResponses()[0].GetValue()) != "stranger" {
			t.Errorf("a stranger got %v, %v from GetMany", many, err)
		}
		// Half a mark is a mark.
		half := metadata.AppendToOutgoingContext(ctx, MetadataNode, "n")
		if _, err := stranger.Get(half, &geecachepb.Request{}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a node without a cluster got %v, want PermissionDenied", err)
		}
	})
}

func TestAnotherClusterIsRefused(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		addr := serve(t, newServer(t, echo, testOptions()))
		peer := newPeer(t, addr, Transport{Cluster: "other"})
		reqs := []geecache.PeerRequest{{Key: "a"}, {Key: "b"}}
		_, err := peer.Get(testContext(t), &reqs[0])
		_, errs := peer.GetMany(testContext(t), reqs)
		for _, err := range append(errs, err) {
			if !errors.Is(err, geecache.ErrPeerTrouble) || !errors.Is(err, geecache.ErrRefused) || !strings.Contains(err.Error(), testCluster) {
				t.Errorf("got %v, want trouble, refused, and the cluster's name", err)
			}
		}
	})
	t.Run("without Check", func(t *testing.T) {
		addr := serveListener(t, newServer(t, echo, Options{}))
		if _, err := newPeer(t, addr, Transport{}).Get(testContext(t), &geecache.PeerRequest{}); !errors.Is(err, geecache.ErrRefused) {
			t.Errorf("got %v, want refused", err)
		}
	})
}

func TestBadRequestsNameTheField(t *testing.T) {
	stranger := NewGroupCacheClient(newStranger(t, serveHTTP(t, newServer(t, echo, testOptions()))))
	for field, req := range map[string]*geecachepb.Request{
		"mode":       {Mode: 77},
		"timeout_ns": {TimeoutNs: -1},
	} {
		_, err := stranger.Get(testContext(t), req)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want InvalidArgument that names %s", err, field)
		}
	}
	many := &geecachepb.GetManyRequest{Requests: make([]*geecachepb.Request, defaultMaxBatch+1)}
	for i := range many.Requests {
		many.Requests[i] = &geecachepb.Request{}
	}
	if _, err := stranger.GetMany(testContext(t), many); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "4096") {
		t.Errorf("too many keys: got %v", err)
	}
	peer := newPeer(t, serveListener(t, newServer(t, echo, testOptions())), Transport{})
	if reply, err := peer.Get(testContext(t), &geecache.PeerRequest{Group: "\xff"}); err != nil || reply.Code != geecache.CodeBadRequest {
		t.Errorf("a group that is not UTF-8: got %v, %v", reply.Code, err)
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		a := both(func(_ context.Context, _, key string) geecache.PeerReply {
			if key == "panic" {
				panic("boom")
			}
			return geecache.PeerReply{Value: []byte(key)}
		})
		peer := newPeer(t, serve(t, newServer(t, a, testOptions())), Transport{})
		ctx := testContext(t)
		reply, err := peer.Get(ctx, &geecache.PeerRequest{Key: "panic"})
		if err != nil || reply.Code != geecache.CodeInternal {
			t.Errorf("got %v, %v, want internal", reply.Code, err)
		}
		replies, errs := peer.GetMany(ctx, []geecache.PeerRequest{{Key: "a"}, {Key: "panic"}, {Key: "b"}})
		if errors.Join(errs...) != nil || string(replies[0].Value) != "a" || replies[1].Code != geecache.CodeInternal || string(replies[2].Value) != "b" {
			t.Errorf("GetMany got %+v, %v", replies, errs)
		}
	})
}

func TestACheckThatPanicsIsAnswered(t *testing.T) {
	opts := testOptions()
	opts.Check = func(string, string, string) error { panic("boom") }
	peer := newPeer(t, serveHTTP(t, newServer(t, echo, opts)), Transport{})
	if reply, err := peer.Get(testContext(t), &geecache.PeerRequest{}); err != nil || reply.Code != geecache.CodeInternal {
		t.Errorf("got %v, %v, want internal", reply.Code, err)
	}
}

func TestGetManyIsParallelWithABound(t *testing.T) {
	const bound, keys = 4, 40
	running := make(chan struct{}, keys)
	full, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a := both(func(context.Context, string, string) geecache.PeerReply {
		running <- struct{}{}
		if len(running) == bound {
			once.Do(func() { close(full) })
		}
		<-release
		if n := len(running); n > bound {
			t.Errorf("%d keys at a time, want at most %d", n, bound)
		}
		<-running
		return geecache.PeerReply{}
	})
	opts := testOptions()
	opts.MaxParallel = bound
	peer := newPeer(t, serveHTTP(t, newServer(t, a, opts)), Transport{})
	done := make(chan []error, 1)
	go func() {
		_, errs := peer.GetMany(testContext(t), make([]geecache.PeerRequest, keys))
		done <- errs
	}()
	<-full // hangs if the keys are answered one after the other
	close(release)
	if err := errors.Join(<-done...); err != nil {
		t.Error(err)
	}
}

func TestTheCallersEndTravels(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		asked, ended := make(chan struct{}, 2), make(chan error, 2)
		a := both(func(ctx context.Context, _, _ string) geecache.PeerReply {
			asked <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return geecache.PeerReply{Code: geecache.CodeOf(ctx.Err())}
		})
		peer := newPeer(t, serve(t, newServer(t, a, testOptions())), Transport{})
		ctx, cancel := context.WithCancel(testContext(t))
		go func() {
			<-asked
			cancel()
		}()
		if _, err := peer.Get(ctx, &geecache.PeerRequest{}); !errors.Is(err, context.Canceled) || errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("a caller who left got %v", err)
		}
		<-ended
		ctx, cancel = context.WithTimeout(testContext(t), 20*time.Millisecond)
		defer cancel()
		reply, err := peer.Get(ctx, &geecache.PeerRequest{})
		if !errors.Is(err, context.DeadlineExceeded) && reply.Code != geecache.CodeDeadline {
			t.Errorf("a caller whose deadline passed got %v, %v", reply.Code, err)
		}
		if errors.Is(err, geecache.ErrPeerTrouble) {
			t.Errorf("the caller's own deadline is trouble: %v", err)
		}
		<-ended
	})
}

func TestHealth(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		s := newServer(t, echo, testOptions())
		h := healthpb.NewHealthClient(newStranger(t, serve(t, s)))
		for _, serving := range []bool{false, true, false} {
			s.SetServing(serving)
			for _, name := range []string{"", "geecachepb.GroupCache"} {
				resp, err := h.Check(testContext(t), &healthpb.HealthCheckRequest{Service: name})
				if got := resp.GetStatus() == healthpb.HealthCheckResponse_SERVING; err != nil || got != serving {
					t.Errorf("%q: got %v, %v, want serving: %v", name, resp, err, serving)
				}
			}
		}
	})
}

func TestReflection(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		conn := newStranger(t, serve(t, newServer(t, echo, testOptions())))
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.CloseSend()
		err = stream.Send(&reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "geecachepb.GroupCache"},
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if n := len(resp.GetFileDescriptorResponse().GetFileDescriptorProto()); err != nil || n == 0 {
			t.Errorf("got %d files, %v", n, err)
		}
	})
}

// originRequest is what a client of the origin's definition sends, where the
// key is a string, byte for byte; see TestTheOriginsClient.
var originRequest = []byte("\x0a\x06scores\x12\x03Tom")

// rawCodec passes bytes through.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (rawCodec) Name() string                       { return "proto" }

// A client that was generated from the origin's definition calls
// /geecachepb.GroupCache/Get with fields 1 and 2, and reads field 1.
func TestTheOriginsClient(t *testing.T) {
	eachDoor(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		a := answers{client: func(_ context.Context, group, key string) geecache.PeerReply {
			return geecache.PeerReply{Value: []byte(group + "/" + key)}
		}}
		conn := newStranger(t, serve(t, newServer(t, a, testOptions())))
		var resp []byte
		err := conn.Invoke(testContext(t), "/geecachepb.GroupCache/Get", &originRequest, &resp, grpc.ForceCodec(rawCodec{}))
		if want := "\x0a\x0ascores/Tom"; err != nil || !strings.HasPrefix(string(resp), want) {
			t.Errorf("got %q, %v, want %q", resp, err, want)
		}
	})
}

// originServer serves Get alone, with plain errors, as the origin does.
type originServer struct{ UnimplementedGroupCacheServer }

func (originServer) Get(_ context.Context, req *geecachepb.Request) (*geecachepb.Response, error) {
	if string(req.Key) == "kkk" {
		return nil, errors.New("kkk not exist")
	}
	return &geecachepb.Response{Value: req.Key}, nil
}

func TestTheOriginsServer(t *testing.T) {
	g := grpc.NewServer()
	RegisterGroupCacheServer(g, originServer{})
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	peer := newPeer(t, l.Addr().String(), Transport{})
	replies, errs := peer.GetMany(testContext(t), []geecache.PeerRequest{{Key: "Tom"}, {Key: "kkk"}, {Key: "Sam"}})
	if errors.Join(errs...) != nil || string(replies[0].Value) != "Tom" || replies[1].Code != geecache.CodeSource || string(replies[2].Value) != "Sam" {
		t.Errorf("got %+v, %v", replies, errs)
	}
}

func TestOtherRequestsOfTheSharedPort(t *testing.T) {
	addr := serveHTTP(t, newServer(t, echo, testOptions()))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s", resp.Status)
	}
	if IsGRPC(resp.Request) {
		t.Error("a plain request counts as gRPC")
	}
}

func TestReportTellsOfWhatMemoryDidNotAnswer(t *testing.T) {
	replies := map[string]geecache.PeerReply{
		"hit":     {From: geecache.FromMain},
		"hot":     {From: geecache.FromHot},
		"load":    {From: geecache.FromLoad},
		"missing": {Code: geecache.CodeNoGroup},
		"fails":   {Code: geecache.CodeSource},
	}
	told := make(chan string, len(replies))
	opts := testOptions()
	opts.Report = func(group, protocol string, took time.Duration, code geecache.Code) {
		told <- fmt.Sprint(group, " ", protocol, " ", code, " ", took >= 0)
	}
	a := both(func(_ context.Context, _, key string) geecache.PeerReply { return replies[key] })
	peer := newPeer(t, serveHTTP(t, newServer(t, a, opts)), Transport{})
	var reqs []geecache.PeerRequest
	for key := range replies {
		reqs = append(reqs, geecache.PeerRequest{Group: "g", Key: key})
	}
	peer.GetMany(testContext(t), reqs)
	close(told)
	got := map[string]bool{}
	for s := range told {
		got[s] = true
	}
	if want := map[string]bool{"g grpc ok true": true, "g grpc source true": true}; !reflect.DeepEqual(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}
