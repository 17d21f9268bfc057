package geecache

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
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
				if rnd.IntN(10) == 0 {
					cancel() // some leave at once
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
	if _, _, inFlight, err := c.stats(); inFlight != 0 || err != nil {
		t.Errorf("%d in flight at the end, %v", inFlight, err)
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

func TestLargeValueDoesNotDelaySmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := make([]byte, 8<<20)
		for i := range large {
			large[i] = byte(i * 7 >> 3)
		}
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			if req.Key == "large" {
				reply.Value = large
				return true
			}
			return echo(req, reply)
		}}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		p.write(appendRequest(nil, 1, &PeerRequest{Key: "large"}, 0))
		if f := p.next(); f.kind != kindReply {
			t.Fatalf("kind %d", f.kind)
		}
		pieces, answered, got := 0, 0, make([]byte, 0, len(large))
		for len(got) < len(large) {
			if pieces == 10 {
				p.write(appendRequest(nil, 2, &PeerRequest{Key: "small"}, 0))
				answered = -1
			}
			switch f := p.next(); f.kind {
			case kindPiece:
				pieces++
				got = append(got, f.rest...)
			case kindReply:
				answered = pieces
			}
		}
		if answered < 10 || answered > 14 {
			t.Errorf("the small reply, asked for after piece 10 of %d, came after piece %d", pieces, answered)
		}
		if !bytes.Equal(got, large) {
			t.Error("the large value was garbled")
		}
		// The same through a client, two at a time.
		c := n.client(nil)
		defer c.Close()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				r, err := c.Get(t.Context(), &PeerRequest{Key: "large"})
				if err != nil || !bytes.Equal(r.Value, large) || cap(r.Value) != len(large) {
					t.Errorf("%d bytes, %v", len(r.Value), err)
				}
			})
		}
		wg.Wait()
	})
}

func TestCanceledLargeValueIsNotSentToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			reply.Value = make([]byte, 8<<20)
			return true
		}}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		p.write(appendRequest(nil, 1, &PeerRequest{}, 0))
		p.next() // the reply
		p.next() // the first piece
		p.write(appendNumber(nil, kindCancel, 1))
		for i := 0; ; i++ {
			f := p.next()
			var piece pieceFrame
			if err := parsePiece(&f, &piece); err != nil {
				t.Fatal(err)
			}
			if piece.flags&flagAbort != 0 {
				break
			}
			if i > 5 {
				t.Fatal("pieces go on after the request was canceled")
			}
		}
		p.write(appendNumber(nil, kindPing, 5))
		if f := p.next(); f.kind != kindPong {
			t.Errorf("kind %d after the end of a canceled value, want a pong", f.kind)
		}
	})
}

func TestClientForgetsALargeValueWhoseCallerHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.Get(ctx, &PeerRequest{Key: "k"})
			left <- err
		}()
		f := p.next()
		var req requestFrame
		parseRequest(&f, &req)
		p.write(appendReply(nil, req.id, &PeerReply{Value: make([]byte, 1<<20)}))
		p.write(appendPiece(nil, &pieceFrame{id: req.id, value: make([]byte, pieceSize)}))
		cancel()
		if err := <-left; err != context.Canceled {
			t.Errorf("Get: %v", err)
		}
		if f := p.next(); f.kind != kindCancel {
			t.Errorf("kind %d, want cancel", f.kind)
		}
		p.write(appendPiece(nil, &pieceFrame{id: req.id, flags: flagAbort}))
		p.write(appendReply(nil, req.id, &PeerReply{Value: []byte("late")}))
		synctest.Wait()
		if got := len(c.current.Load().conn.values); got != 0 {
			t.Errorf("%d values are still expected", got)
		}
		if st := c.State(); st != peerUp {
			t.Errorf("state %v", st)
		}
	})
}

func TestValueBeyondTheLimitIsTooLarge(t *testing.T) {
	for _, size := range []int{1001, pieceSize + 1} {
		for _, limit := range []string{"client", "server"} {
			t.Run(fmt.Sprint(limit, size), func(t *testing.T) {
				server := streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
					n, _ := strconv.Atoi(req.Key)
					reply.Value = make([]byte, n)
					return true
				}}}
				if limit == "server" {
					server.maxValue = 1000
				}
				c := startTCP(t, server, func(cfg *streamClientConfig) {
					if limit == "client" {
						cfg.maxValue = 1000
					}
				})
				r, err := c.Get(t.Context(), &PeerRequest{Key: strconv.Itoa(size)})
				if err != nil || r.Code != CodeTooLarge || !strings.Contains(r.Message, "1000") || r.Value != nil {
					t.Errorf("%v %q, %v", r.Code, r.Message, err)
				}
				conn := c.current.Load().conn
				r, err = c.Get(t.Context(), &PeerRequest{Key: "1000"})
				if err != nil || len(r.Value) != 1000 {
					t.Errorf("a value of the limit's size: %d, %v", len(r.Value), err)
				}
				if c.current.Load().conn != conn {
					t.Error("the connection was given up")
				}
			})
		}
	}
}

func TestKeyBeyondTheLimitIsTooLarge(t *testing.T) {
	c := startTCP(t, streamServerConfig{maxKey: 100, handler: testHandler{now: echo}}, nil)
	for _, size := range []int{101, 1 << 20, 3 << 20, maxSkip + 1} {
		r, err := c.Get(t.Context(), &PeerRequest{Group: "g", Key: strings.Repeat("k", size)})
		if err != nil || r.Code != CodeTooLarge {
			t.Errorf("key of %d bytes: %v %q, %v", size, r.Code, r.Message, err)
		}
	}
	if r, err := c.Get(t.Context(), &PeerRequest{Key: strings.Repeat("k", 100)}); err != nil || len(r.Value) != 100 {
		t.Errorf("key of 100 bytes: %+v, %v", r, err)
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

func TestTooManyRequestsInFlightAreOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := startNode(streamServerConfig{maxInFlight: 2, handler: testHandler{slow: func(context.Context, *PeerRequest) PeerReply {
			<-release
			return PeerReply{}
		}}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		var ok, overloaded atomic.Int32
		for range 5 {
			go func() {
				r, err := c.Get(context.Background(), &PeerRequest{})
				switch {
				case err == nil && r.Code == CodeOK:
					ok.Add(1)
				case err == nil && r.Code == CodeOverloaded && r.RetryAfter > 0:
					overloaded.Add(1)
				default:
					t.Errorf("%+v, %v", r, err)
				}
			}()
		}
		synctest.Wait()
		if got := overloaded.Load(); got != 3 {
			t.Errorf("%d of 5 requests were refused, want 3", got)
		}
		close(release)
		synctest.Wait()
		if got := ok.Load(); got != 2 {
			t.Errorf("%d of 5 requests were answered, want 2", got)
		}
	})
}

func TestRecycledAddressIsRefused(t *testing.T) {
	ours := func(change func(*hello)) func() hello {
		return func() hello {
			h := hello{Cluster: "test", ID: "server", Version: "1.1"}
			change(&h)
			return h
		}
	}
	plain := ours(func(*hello) {})
	for name, test := range map[string]struct {
		server, client func() hello
		peer           Peer
		check          error
		want           []string // in the error's text; none: accepted
	}{
		"same":             {plain, plain, Peer{ID: "server"}, nil, nil},
		"known by address": {plain, plain, Peer{ID: "server:1", Addr: "server:1"}, nil, nil},
		"other cluster":    {ours(func(h *hello) { h.Cluster = "theirs" }), plain, Peer{}, nil, []string{`"test"`, `"theirs"`}},
		"other node":       {ours(func(h *hello) { h.ID = "stranger" }), plain, Peer{ID: "server"}, nil, []string{`"server"`, `"stranger"`}},
		"previous minor":   {plain, ours(func(h *hello) { h.Version = "1.0" }), Peer{}, nil, nil},
		"next minor":       {plain, ours(func(h *hello) { h.Version = "1.2" }), Peer{}, nil, nil},
		"later minor":      {plain, ours(func(h *hello) { h.Version = "1.3" }), Peer{}, nil, []string{"1.1", "1.3"}},
		"other major":      {plain, ours(func(h *hello) { h.Version = "2.1" }), Peer{}, nil, []string{"1.1", "2.1"}},
		"no version":       {plain, ours(func(h *hello) { h.Version = "new" }), Peer{}, nil, []string{"1.1", "new"}},
		"checked":          {plain, plain, Peer{}, errors.New("you are not known"), []string{"you are not known"}},
		"odd names":        {ours(func(h *hello) { h.ID = "a\r\nb %" }), plain, Peer{ID: "a\r\nb %"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := startNode(streamServerConfig{
					self: test.server, handler: testHandler{now: echo},
					check: func(hello) error { return test.check },
				})
				defer n.stop()
				c := n.client(func(cfg *streamClientConfig) { cfg.self, cfg.peer = test.client, test.peer })
				defer c.Close()
				_, err := c.Get(t.Context(), &PeerRequest{})
				if test.want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if !errors.Is(err, ErrRefused) || !errors.Is(err, ErrPeerTrouble) {
					t.Errorf("got %v, want ErrRefused and ErrPeerTrouble", err)
				}
				for _, text := range test.want {
					if err != nil && !strings.Contains(err.Error(), text) {
						t.Errorf("%q does not tell %q", err, text)
					}
				}
				if got := n.stats().handshakesRefused; got == 0 {
					t.Error("the refusal was not counted")
				}
			})
		})
	}
}

func TestClientRefusesANodeThatAcceptsButIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, change := range map[string]func(*streamClientConfig){
			"cluster": func(cfg *streamClientConfig) {
				cfg.self = func() hello { return hello{Cluster: "another"} }
			},
			"node": func(cfg *streamClientConfig) { cfg.peer.ID = "another" },
			"version": func(cfg *streamClientConfig) {
				cfg.self = func() hello { return hello{Cluster: "test", Version: "1.9"} }
			},
		} {
			s := newRawServers(t) // accepts everybody
			cfg := streamClientConfig{self: helloOf("client"), addr: "server:1", dial: s.dial}
			change(&cfg)
			c := newStreamClient(cfg)
			if _, err := c.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
			c.Close()
			(<-s.peers).conn.Close()
		}
	})
}

func TestOtherWebServersAreNoNodes(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"404 Not Found": http.NotFound,
		"200 OK":        func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) },
	} {
		web := httptest.NewServer(answer)
		c := newStreamClient(streamClientConfig{self: helloOf("client"), addr: web.Listener.Addr().String()})
		_, err := c.Get(t.Context(), &PeerRequest{})
		if !errors.Is(err, ErrPeerTrouble) || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no GeeCache node") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if st := c.State(); st != peerDown {
			t.Errorf("%s: state %v", name, st)
		}
		c.Close()
		web.Close()
	}
}

func TestUpgradeRefusalsAreClearToStrangers(t *testing.T) {
	s := newStreamServer(streamServerConfig{self: helloOf("server"), maxConns: 1, handler: testHandler{now: echo}})
	defer s.close()
	ask := func(change func(http.Header)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, streamPath, nil)
		r.Header.Set("Upgrade", streamProtocol)
		helloOf("client")().set(r.Header)
		change(r.Header)
		w := httptest.NewRecorder()
		s.serveUpgrade(w, r)
		return w
	}
	for _, test := range []struct {
		name   string
		change func(http.Header)
		status int
		code   Code
	}{
		{"no upgrade", func(h http.Header) { h.Del("Upgrade") }, http.StatusUpgradeRequired, CodeBadRequest},
		{"websocket", func(h http.Header) { h.Set("Upgrade", "websocket") }, http.StatusUpgradeRequired, CodeBadRequest},
		{"no hello", func(h http.Header) { h.Del(headerVersion) }, http.StatusBadRequest, CodeBadRequest},
		{"epoch", func(h http.Header) { h.Set(headerEpoch, "many") }, http.StatusBadRequest, CodeBadRequest},
		{"escape", func(h http.Header) { h.Set(headerNode, "%zz") }, http.StatusBadRequest, CodeBadRequest},
		{"version", func(h http.Header) { h.Set(headerVersion, "7.0") }, http.StatusUpgradeRequired, CodeRefused},
		{"cluster", func(h http.Header) { h.Set(headerCluster, "x") }, http.StatusForbidden, CodeRefused},
		{"node", func(h http.Header) { h.Set(headerExpect, "x") }, http.StatusForbidden, CodeRefused},
		{"no hijacker", func(http.Header) {}, http.StatusBadRequest, CodeBadRequest},
	} {
		w := ask(test.change)
		if w.Code != test.status || w.Header().Get(headerRefusal) != test.code.String() || w.Body.Len() < 10 {
			t.Errorf("%s: %d %v %q", test.name, w.Code, w.Header(), w.Body)
		}
	}
	s.drain()
	if w := ask(func(http.Header) {}); w.Code != http.StatusServiceUnavailable || w.Header().Get(headerRefusal) != "draining" {
		t.Errorf("draining: %d %v", w.Code, w.Header())
	}
}

func TestTooManyConnectionsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{maxConns: 1, handler: testHandler{now: echo}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		synctest.Wait()
		c2 := n.client(nil)
		defer c2.Close()
		if _, err := c2.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrOverloaded) || !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("Get: %v", err)
		}
	})
}

func TestGarbageEndsOneConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		for i, garbage := range [][]byte{
			[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			appendHeader(nil, kindPing, 8, 1<<30),
			append(appendHeader(nil, kindRequest, 4, 0), 1, 2, 3, 4),
		} {
			p := rawClient(t, n)
			p.write(garbage)
			f := p.next()
			if code, reason, err := parseGoaway(&f); f.kind != kindGoaway || code != CodeBadRequest || reason == "" || err != nil {
				t.Errorf("the server says %v %q, %v", code, reason, err)
			}
			if _, err := p.read(); err == nil {
				t.Error("the connection goes on")
			}
			if got := n.stats().frameErrors; got != int64(i+1) {
				t.Errorf("%d frame errors", got)
			}
		}
		if _, err := c.Get(t.Context(), &PeerRequest{}); err != nil {
			t.Errorf("another connection: %v", err)
		}
	})
}

func TestClientSurvivesGarbageAndKindsItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		p.write(append(appendHeader(nil, 200, 3, 4), "abcdefg"...))
		synctest.Wait()
		if st := c.State(); st != peerUp {
			t.Errorf("state %v after a frame of a kind that is not known", st)
		}
		errs := make(chan error)
		for _, garbage := range [][]byte{
			[]byte("HTTP/1.1 200 OK\r\n\r\n"),
			appendHeader(nil, kindReply, replyFixed, 1<<24),
			appendGoaway(nil, CodeRefused, "we have had enough"),
		} {
			go func() {
				_, err := c.Get(context.Background(), &PeerRequest{})
				errs <- err
			}()
			p.next()
			p.write(garbage)
			if err := <-errs; !errors.Is(err, ErrPeerTrouble) {
				t.Errorf("Get: %v", err)
			}
			p = <-s.peers // it has dialed again
			synctest.Wait()
		}
		p.conn.Close()
	})
}

func TestWrongPiecesEndTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		errs := make(chan error)
		for _, piece := range []pieceFrame{
			{offset: 1, value: []byte("v")}, {offset: 0}, {offset: 1 << 31, value: []byte("v")},
		} {
			go func() {
				_, err := c.Get(context.Background(), &PeerRequest{})
				errs <- err
			}()
			f := p.next()
			var req requestFrame
			parseRequest(&f, &req)
			piece.id = req.id
			p.write(appendReply(nil, req.id, &PeerReply{Value: make([]byte, pieceSize+1)}))
			p.write(appendPiece(nil, &piece))
			if err := <-errs; !errors.Is(err, ErrPeerTrouble) || !errors.Is(err, errFrame) {
				t.Errorf("piece at %d: %v", piece.offset, err)
			}
			p = <-s.peers
			synctest.Wait()
		}
		p.conn.Close()
	})
}

func TestStreamOverTLS(t *testing.T) {
	for name, alpn := range map[string]bool{"http/1.1": false, streamProtocol: true} {
		t.Run(name, func(t *testing.T) { testStreamOverTLS(t, name, alpn) })
	}
}

func testStreamOverTLS(t *testing.T, name string, alpn bool) {
	var proto atomic.Value
	s := newStreamServer(streamServerConfig{self: helloOf("server"), handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
		if req.Key == "large" {
			reply.Value = make([]byte, 1<<20)
			return true
		}
		return echo(req, reply)
	}}})
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.TLS.NegotiatedProtocol)
		s.serveUpgrade(w, r)
	}))
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	if alpn {
		web.TLS = &tls.Config{NextProtos: []string{streamProtocol, "http/1.1"}}
		web.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			streamProtocol: func(srv *http.Server, conn *tls.Conn, h http.Handler) {
				proto.Store(conn.ConnectionState().NegotiatedProtocol)
				s.serveALPN(srv, conn, h)
			},
		}
	}
	web.StartTLS()
	defer web.Close()
	defer s.close()
	trust := web.Client().Transport.(*http.Transport).TLSClientConfig
	client := func(change func(*streamClientConfig)) *streamClient {
		cfg := streamClientConfig{self: helloOf("client"), addr: web.Listener.Addr().String(), tls: trust}
		change(&cfg)
		c := newStreamClient(cfg)
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := client(func(*streamClientConfig) {})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				key := strconv.Itoa(i)
				if r, err := c.Get(t.Context(), &PeerRequest{Key: key}); err != nil || string(r.Value) != key {
					t.Errorf("Get: %q, %v", r.Value, err)
					return
				}
			}
			if r, err := c.Get(t.Context(), &PeerRequest{Key: "large"}); err != nil || len(r.Value) != 1<<20 {
				t.Errorf("large: %d bytes, %v", len(r.Value), err)
			}
		})
	}
	wg.Wait()
	if got := proto.Load(); got != name {
		t.Errorf("ALPN chose %q, want %q", got, name)
	}
	c = client(func(cfg *streamClientConfig) { cfg.peer.ID = "another" })
	if _, err := c.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `"another"`) {
		t.Errorf("a node of another ID: %v", err)
	}
	c = client(func(cfg *streamClientConfig) { cfg.tls = &tls.Config{} })
	if _, err := c.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrPeerTrouble) {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
}

func TestHitsAllocateNothingAtTheServer(t *testing.T) {
	value := make([]byte, 100)
	c := &serverConn{
		s:      newStreamServer(streamServerConfig{self: helloOf("server"), handler: memoryHandler{value}}),
		ctx:    t.Context(),
		groups: make(map[string]string),
	}
	b := appendRequest(nil, 1, &PeerRequest{Group: "g", Key: "key"}, 0)
	f := onlyFrame(t, b)
	if n := testing.AllocsPerRun(100, func() {
		if err := c.handle(&f); err != nil {
			t.Fatal(err)
		}
		c.w.buf = c.w.buf[:0]
	}); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
}
