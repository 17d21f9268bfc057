package geecache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// startTCP starts a node on loopback and returns a client of it.
func startTCP(t *testing.T, cfg streamServerConfig, change func(*streamClientConfig)) *streamClient {
	t.Helper()
	cfg.self = helloOf("server")
	s := newStreamServer(cfg)
	web := httptest.NewServer(http.HandlerFunc(s.serveUpgrade))
	client := streamClientConfig{self: helloOf("client"), peer: Peer{ID: "server"}, addr: web.Listener.Addr().String()}
	if change != nil {
		change(&client)
	}
	c := newStreamClient(client)
	t.Cleanup(func() {
		c.Close()
		s.close()
		web.Close()
	})
	return c
}

func TestStreamCarriesEverything(t *testing.T) {
	want := PeerReply{
		Value: []byte("v"), TTL: time.Minute, Version: 1 << 60, From: FromLoad,
		Took: time.Second, Epoch: 1 << 63, Message: "m", RetryAfter: time.Hour,
	}
	var got PeerRequest
	for _, slow := range []bool{false, true} {
		c := startTCP(t, streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			if slow {
				return false
			}
			got, *reply = *req, want
			got.Key = strings.Clone(got.Key)
			return true
		}, slow: func(_ context.Context, req *PeerRequest) PeerReply {
			got = *req
			return want
		}}}, nil)
		for _, key := range []string{"", "k", ".", "..", "a/b", "%2F", "a b", "\x00\xff\xfe", strings.Repeat("long", 10000)} {
			req := PeerRequest{Group: "a group/with %", Key: key, Mode: ModeStandIn, Epoch: 99, Timeout: time.Hour}
			reply, err := c.Get(t.Context(), &req)
			if err != nil || !reflect.DeepEqual(reply, want) {
				t.Errorf("key %q: %+v, %v", abbreviate(key), reply, err)
			}
			if got != req {
				t.Errorf("key %q arrived as %+v", abbreviate(key), got)
			}
		}
	}
}

func TestRemoteErrorsKeepTheirType(t *testing.T) {
	c := startTCP(t, streamServerConfig{handler: testHandler{slow: func(_ context.Context, req *PeerRequest) PeerReply {
		n, _ := strconv.Atoi(req.Key)
		return PeerReply{Code: Code(n), Message: "why"}
	}}}, nil)
	for code := CodeNotFound; code <= CodeMiss; code++ {
		reply, err := c.Get(t.Context(), &PeerRequest{Key: strconv.Itoa(int(code))})
		if err != nil || reply.Code != code || reply.Message != "why" {
			t.Errorf("%v: %+v, %v", code, reply, err)
		}
		remote := &RemoteError{Node: "server", Code: reply.Code}
		if want := code.Err(); want != nil && !errors.Is(remote, want) {
			t.Errorf("%v does not wrap %v", remote, want)
		}
	}
}

func TestStreamUnderManyCallers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := newStreamServer(streamServerConfig{self: helloOf("server"), handler: testHandler{
		now: func(req *PeerRequest, reply *PeerReply) bool {
			return len(req.Key)%3 != 0 && echo(req, reply)
		},
		slow: func(ctx context.Context, req *PeerRequest) PeerReply {
			if len(req.Key)%2 == 0 {
				runtime.Gosched()
			}
			if len(req.Key)%5 == 0 {
				return PeerReply{Value: bytes.Repeat([]byte(req.Key), 1+200_000/(1+len(req.Key)))}
			}
			return PeerReply{Value: []byte(req.Key)}
		},
	}})
	web := httptest.NewServer(http.HandlerFunc(s.serveUpgrade))
	c := newStreamClient(streamClientConfig{self: helloOf("client"), addr: web.Listener.Addr().String()})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range 100 {
				key := strings.Repeat(string(rune('a'+i)), rnd.IntN(40))
				ctx, cancel := context.WithCancel(context.Background())
				if rnd.IntN(3) == 0 {
					go cancel() // some leave at once, or just when the reply comes
				}
				reply, err := c.Get(ctx, &PeerRequest{Group: "g", Key: key})
				cancel()
				if errors.Is(err, context.Canceled) {
					continue
				}
				if err != nil || !bytes.HasPrefix(reply.Value, []byte(key)) || len(bytes.Trim(reply.Value, string(rune('a'+i)))) > 0 {
					t.Errorf("key %q: %d bytes %.20q, %v", key, len(reply.Value), reply.Value, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := c.stats(); s.inFlight != 0 || s.lastErr != nil {
		t.Errorf("%d in flight at the end, %v", s.inFlight, s.lastErr)
	}
	c.Close()
	s.close()
	web.Close()
}

// countingConn counts writes.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestGetManyIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{maxKey: 100, handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			return req.Key != "slow" && echo(req, reply)
		}, slow: func(context.Context, *PeerRequest) PeerReply { return PeerReply{Code: CodeNotFound} }}})
		defer n.stop()
		var writes atomic.Int64
		c := n.client(func(cfg *streamClientConfig) {
			cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := n.dial(ctx, network, addr)
				return countingConn{conn, &writes}, err
			}
		})
		defer c.Close()
		if replies, errs := c.GetMany(t.Context(), nil); len(replies)+len(errs) != 0 {
			t.Errorf("GetMany of nothing: %v, %v", replies, errs)
		}
		synctest.Wait()
		reqs := make([]PeerRequest, 500)
		for i := range reqs {
			reqs[i].Key = "key " + strconv.Itoa(i)
		}
		reqs[3].Key = "slow"
		reqs[4].Key = strings.Repeat("k", 101)
		reqs[5].Group = strings.Repeat("g", 1<<16)
		before := writes.Load()
		replies, errs := c.GetMany(t.Context(), reqs)
		if got := writes.Load() - before; got != 1 {
			t.Errorf("%d writes", got)
		}
		for i, r := range replies {
			want := map[int]Code{3: CodeNotFound, 4: CodeTooLarge, 5: CodeBadRequest}[i]
			if errs[i] != nil || r.Code != want || want == CodeOK && string(r.Value) != reqs[i].Key {
				t.Errorf("reply %d: %+v, %v", i, r, errs[i])
			}
		}
	})
}

func TestGetManyLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			return req.Key != "slow" && echo(req, reply)
		}, slow: func(ctx context.Context, _ *PeerRequest) PeerReply {
			<-ctx.Done()
			return PeerReply{}
		}}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		replies, errs := c.GetMany(ctx, []PeerRequest{{Key: "a"}, {Key: "slow"}, {Key: "b"}, {Key: "slow"}})
		if string(replies[0].Value) != "a" || string(replies[2].Value) != "b" || errs[0] != nil || errs[2] != nil {
			t.Errorf("what was answered: %+v, %v", replies, errs)
		}
		if errs[1] != context.Canceled || errs[3] != context.Canceled {
			t.Errorf("what was not: %v", errs)
		}
		synctest.Wait()
		if got := n.stats().inFlight; got != 0 {
			t.Errorf("%d requests still in flight at the server", got)
		}
	})
}

func TestGetManyLargerThanTheBuffer(t *testing.T) {
	c := startTCP(t, streamServerConfig{handler: testHandler{now: echo}}, nil)
	reqs := make([]PeerRequest, 300)
	for i := range reqs {
		reqs[i].Key = strconv.Itoa(i) + strings.Repeat("k", 10_000)
	}
	replies, errs := c.GetMany(t.Context(), reqs)
	for i, r := range replies {
		if errs[i] != nil || string(r.Value) != reqs[i].Key {
			t.Fatalf("reply %d: %d bytes, %v", i, len(r.Value), errs[i])
		}
	}
}

func TestPanickingHandlerEndsNothing(t *testing.T) {
	handler := func(key string) {
		switch key {
		case "panic":
			panic("boom")
		case "goexit":
			runtime.Goexit()
		}
	}
	c := startTCP(t, streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
		if req.Group == "now" {
			handler(req.Key)
		}
		return req.Group == "now"
	}, slow: func(_ context.Context, req *PeerRequest) PeerReply {
		handler(req.Key)
		return PeerReply{}
	}}}, nil)
	for _, req := range []PeerRequest{{Group: "now", Key: "panic"}, {Key: "panic"}, {Key: "goexit"}} {
		r, err := c.Get(t.Context(), &req)
		if err != nil || r.Code != CodeInternal || strings.Contains(r.Message, "boom") {
			t.Errorf("%+v: %+v, %v", req, r, err)
		}
	}
	if r, err := c.Get(t.Context(), &PeerRequest{Group: "now", Key: "k"}); err != nil || r.Code != CodeOK {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
}
