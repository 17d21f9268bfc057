package geecache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

const (
	oldSecret = "a secret of thirty-two old bytes"
	newSecret = "a secret of thirty-two new bytes"
)

func secretsOf(secrets ...string) func() []string { return func() []string { return secrets } }

// exactly returns the same secrets, or nil for none.
func exactly(secrets []string) func() []string {
	if secrets == nil {
		return nil
	}
	return secretsOf(secrets...)
}

func TestSecretIsProvedByBothSides(t *testing.T) {
	for name, test := range map[string]struct {
		server, client []string
		cluster        string // the client's
		peer           string
		want           Refusal
		tell           string
	}{
		"same":             {[]string{oldSecret}, []string{oldSecret}, "test", "server", "", ""},
		"none":             {nil, nil, "test", "server", "", ""},
		"server is ahead":  {[]string{newSecret, oldSecret}, []string{oldSecret}, "test", "server", "", ""},
		"client is ahead":  {[]string{oldSecret}, []string{newSecret, oldSecret}, "test", "server", "", ""},
		"other secret":     {[]string{oldSecret}, []string{newSecret}, "test", "server", RefusedSecret, "is not this node's"},
		"server has none":  {nil, []string{oldSecret}, "test", "server", RefusedSecret, "the other side proves none"},
		"client has none":  {[]string{oldSecret}, nil, "test", "server", RefusedSecret, "this node has none"},
		"other cluster":    {[]string{oldSecret}, []string{oldSecret}, "theirs", "server", RefusedCluster, `this node is of cluster "theirs", the other one of "test"`},
		"both differ":      {[]string{oldSecret}, []string{newSecret}, "theirs", "server", RefusedSecret, "is not this node's"},
		"another node":     {[]string{oldSecret}, []string{oldSecret}, "test", "another", RefusedNode, `"another"`},
		"known by address": {[]string{oldSecret}, []string{oldSecret}, "test", "server:1", RefusedNode, `"server:1"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := startNode(streamServerConfig{handler: testHandler{now: echo}, secrets: exactly(test.server)})
				defer n.stop()
				c := n.client(func(cfg *streamClientConfig) {
					cfg.secrets, cfg.peer = exactly(test.client), Peer{ID: test.peer, Addr: test.peer}
					cfg.self = func() hello { return hello{Cluster: test.cluster, ID: "client", Role: RoleNode} }
				})
				defer c.Close()
				reply, err := c.Get(t.Context(), &PeerRequest{Key: "k"})
				if test.want == "" {
					if err != nil || string(reply.Value) != "k" {
						t.Errorf("got %q, %v", reply.Value, err)
					}
					return
				}
				if !errors.Is(err, ErrRefused) || !errors.Is(err, ErrPeerTrouble) || RefusalOf(err) != test.want || !strings.Contains(err.Error(), test.tell) {
					t.Errorf("got %v (%q), want %q and %q", err, RefusalOf(err), test.want, test.tell)
				}
				here, there := c.cfg.refusals.all(), n.cfg.refusals.all()
				if here[test.want] == 0 || there[test.want] == 0 {
					t.Errorf("the refusal was counted as %v by the client and as %v by the server", here, there)
				}
			})
		})
	}
}

// rawExchange sends a request by hand and returns the answer.
func rawExchange(t *testing.T, conn net.Conn, br *bufio.Reader, header http.Header) *http.Response {
	t.Helper()
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", streamProtocol)
	req := &http.Request{Method: http.MethodGet, Host: "server", Header: header, URL: mustURL(streamPath)}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestStrangersLearnNothingFromTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{
			self:    func() hello { return hello{Cluster: "CLUSTER", ID: "NODE", Role: RoleNode, Epoch: 0xe0e0e0} },
			handler: testHandler{now: echo}, secrets: secretsOf(oldSecret),
		})
		defer n.stop()
		who := hello{Cluster: "guess", ID: "stranger", Role: RoleNode}
		plain, nonce, wrong := http.Header{}, http.Header{}, http.Header{}
		who.set(plain)
		nonce.Set(headerVersion, ProtocolVersion)
		nonce.Set(headerNonce, newNonce())
		who.set(wrong)
		wrong.Set(headerProof, strings.Repeat("0", 64))
		for name, headers := range map[string][]http.Header{
			"hello alone":      {plain},
			"nonce alone":      {nonce},
			"wrong proof":      {nonce, wrong},
			"proof without":    {wrong},
			"nonce of garbage": {{headerVersion: {ProtocolVersion}, headerNonce: {"00"}}},
			"nothing":          {{}},
		} {
			conn, err := n.dial(t.Context(), "tcp", "")
			if err != nil {
				t.Fatal(err)
			}
			var all bytes.Buffer
			br := bufio.NewReader(io.TeeReader(conn, &all))
			for _, h := range headers {
				if resp := rawExchange(t, conn, br, h.Clone()); resp.StatusCode == http.StatusSwitchingProtocols {
					t.Errorf("%s: the stranger is let in", name)
				}
			}
			conn.Close()
			for _, secret := range []string{"CLUSTER", "NODE", "e0e0e0", oldSecret, headerProof, headerEpoch} {
				if strings.Contains(all.String(), secret) {
					t.Errorf("%s: %q is told:\n%s", name, secret, &all)
				}
			}
		}
	})
}

func TestProofsAreOfNoUseASecondTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}, secrets: secretsOf(oldSecret)})
		defer n.stop()
		// A whole handshake is recorded, and sent again.
		var sent [][]byte
		var mu sync.Mutex
		c := n.client(func(cfg *streamClientConfig) {
			cfg.secrets, cfg.peer = secretsOf(oldSecret), Peer{ID: "server"}
			cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := n.dial(ctx, network, addr)
				return &recordedConn{Conn: conn, record: func(b []byte) {
					mu.Lock()
					defer mu.Unlock()
					sent = append(sent, bytes.Clone(b))
				}}, err
			}
		})
		if _, err := c.Get(t.Context(), &PeerRequest{}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		conn, err := n.dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		br := bufio.NewReader(conn)
		for i, status := range []int{http.StatusUnauthorized, http.StatusUnauthorized} {
			if _, err := conn.Write(sent[i]); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != status {
				t.Fatalf("request %d: %v, %v", i, resp, err)
			}
		}
	})
}

type recordedConn struct {
	net.Conn
	record func([]byte)
}

func (c *recordedConn) Write(b []byte) (int, error) {
	c.record(b)
	return c.Conn.Write(b)
}

// A stranger who has taken a node's address may pass on what it is asked, but
// gets in nowhere with the answer: a proof is for one node and one direction.
func TestProofsCannotBePassedOn(t *testing.T) {
	both := &transcript{
		clientNonce: newNonce(), serverNonce: newNonce(), expect: "b",
		client: hello{Cluster: "test", ID: "a", Version: "1.0", Role: RoleNode},
	}
	given := both.proof(oldSecret, proofOfClient)
	for name, change := range map[string]func(*transcript){
		"another node":         func(c *transcript) { c.expect = "c" },
		"another sender":       func(c *transcript) { c.client.ID = "x" },
		"another cluster":      func(c *transcript) { c.client.Cluster = "x" },
		"another role":         func(c *transcript) { c.client.Role = RoleClient },
		"another version":      func(c *transcript) { c.client.Version = "1.1" },
		"another server nonce": func(c *transcript) { c.serverNonce = newNonce() },
		"another client nonce": func(c *transcript) { c.clientNonce = newNonce() },
		"fields moved":         func(c *transcript) { c.client.Cluster, c.client.ID = "tes", "ta" },
		"both directions":      func(c *transcript) { c.server = c.client },
	} {
		other := *both
		change(&other)
		p := proved{transcript: other, given: given}
		if _, ok := p.knows([]string{oldSecret}); ok {
			t.Errorf("%s: the proof is taken", name)
		}
	}
	p := proved{transcript: *both, given: strings.ToUpper(given)}
	if _, ok := p.knows([]string{newSecret, oldSecret}); !ok {
		t.Error("the right proof is not taken")
	}
	if both.proof(oldSecret, proofOfServer) == given {
		t.Error("a proof can be sent back")
	}
	if err := both.checkProof(oldSecret, http.Header{headerProof: {given}}, hello{}); RefusalOf(err) != RefusedSecret {
		t.Errorf("the client's own proof, sent back, is taken: %v", err)
	}
}

func TestRecycledAddressLearnsNoEpochAndNoProofForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		asked := make(chan string, 1)
		go func() {
			var all bytes.Buffer
			br := bufio.NewReader(io.TeeReader(there, &all))
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(there, "HTTP/1.1 401 Unauthorized\r\n"+headerNonce+": "+newNonce()+"\r\nContent-Length: 0\r\n\r\n")
			_, _ = http.ReadRequest(br)
			header := http.Header{"Upgrade": {streamProtocol}, headerProof: {strings.Repeat("0", 64)}}
			hello{Cluster: "test", ID: "server"}.set(header)
			var b bytes.Buffer
			b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
			_ = header.Write(&b)
			b.WriteString("\r\n")
			_, _ = there.Write(b.Bytes())
			asked <- all.String()
		}()
		c := newStreamClient(streamClientConfig{
			self: func() hello { return hello{Cluster: "test", ID: "client", Epoch: 0xe0e0e0} }, addr: "server:1",
			secrets: secretsOf(oldSecret), peer: Peer{ID: "server"},
			dial: func(context.Context, string, string) (net.Conn, error) {
				if here == nil {
					return nil, errors.New("connection refused")
				}
				conn := here
				here = nil
				return conn, nil
			},
		})
		defer c.Close()
		if _, err := c.Get(t.Context(), &PeerRequest{}); RefusalOf(err) != RefusedSecret {
			t.Errorf("a server that proves nothing: %v", err)
		}
		if all := <-asked; strings.Contains(all, "e0e0e0") || strings.Contains(all, oldSecret) {
			t.Errorf("the stranger was told:\n%s", all)
		}
	})
}

func TestSecretIsExchangedWithoutAFailedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		server, client := []string{oldSecret}, []string{oldSecret}
		read := func(of *[]string) func() []string {
			return func() []string {
				mu.Lock()
				defer mu.Unlock()
				return *of
			}
		}
		n := startNode(streamServerConfig{handler: testHandler{now: echo}, secrets: read(&server)})
		defer n.stop()
		ask := func(step string) {
			t.Helper()
			c := n.client(func(cfg *streamClientConfig) { cfg.secrets, cfg.peer = read(&client), Peer{ID: "server"} })
			defer c.Close()
			if _, err := c.Get(t.Context(), &PeerRequest{}); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		set := func(of *[]string, secrets ...string) {
			mu.Lock()
			defer mu.Unlock()
			*of = secrets
		}
		ask("before")
		set(&client, newSecret, oldSecret)
		ask("one side has the new one")
		set(&server, newSecret, oldSecret)
		ask("both sides have both")
		set(&server, newSecret)
		ask("one side has dropped the old one")
		set(&client, newSecret)
		ask("after")
	})
}

func TestStrangersDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		n := startNode(streamServerConfig{
			handler: testHandler{now: echo}, secrets: secretsOf(oldSecret), log: slog.New(slog.NewTextHandler(&out, nil)),
		})
		for range 50 {
			conn, err := n.dial(t.Context(), "tcp", "")
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			hello{Cluster: "test", ID: "stranger"}.set(h)
			rawExchange(t, conn, bufio.NewReader(conn), h)
			conn.Close()
		}
		n.stop()
		synctest.Wait()
		if got := strings.Count(out.String(), "msg="); got != 1 || !strings.Contains(out.String(), "reason=secret") {
			t.Errorf("%d lines:\n%s", got, &out)
		}
		if got := n.stats().handshakesRefused; got != 50 {
			t.Errorf("%d refusals were counted, want 50", got)
		}
	})
}

func TestShortSecretIsRefused(t *testing.T) {
	for _, secrets := range [][]string{{}, {"short"}, {oldSecret, "short"}} {
		if _, err := New(Config{Secrets: secretsOf(secrets...), Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "Config.Secrets") {
			t.Errorf("%q: %v", secrets, err)
		}
	}
}
