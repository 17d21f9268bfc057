package geecache

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

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
		"other cluster":    {ours(func(h *hello) { h.Cluster = "theirs" }), plain, Peer{}, nil, []string{`this node is of cluster "test", the other one of "theirs"`}},
		"other node":       {ours(func(h *hello) { h.ID = "stranger" }), plain, Peer{ID: "server"}, nil, []string{`"server"`, `"stranger"`}},
		"previous minor":   {plain, ours(func(h *hello) { h.Version = "1.0" }), Peer{}, nil, nil},
		"next minor":       {plain, ours(func(h *hello) { h.Version = "1.2" }), Peer{}, nil, nil},
		"later minor":      {plain, ours(func(h *hello) { h.Version = "1.3" }), Peer{}, nil, []string{"the other side says: ", "1.1", "1.3"}},
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

func TestStreamOverTLS(t *testing.T) {
	for name, alpn := range map[string]bool{"http/1.1": false, streamProtocol: true} {
		t.Run(name, func(t *testing.T) { testStreamOverTLS(t, name, alpn) })
	}
}

func testStreamOverTLS(t *testing.T, name string, alpn bool) {
	var proto atomic.Value
	s := newStreamServer(streamServerConfig{self: helloOf("server"), handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
		reply.Value = bytes.Repeat([]byte(req.Key), 1<<16)
		return true
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
		cfg := streamClientConfig{self: helloOf("client"), addr: web.Listener.Addr().String(), tls: func() *tls.Config { return trust }}
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
				if r, err := c.Get(t.Context(), &PeerRequest{Key: key}); err != nil || len(r.Value) != len(key)<<16 {
					t.Errorf("Get: %d bytes, %v", len(r.Value), err)
					return
				}
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
	c = client(func(cfg *streamClientConfig) { cfg.tls = func() *tls.Config { return &tls.Config{} } })
	if _, err := c.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrPeerTrouble) {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
}
