package geecache

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testHandler is a streamHandler of functions. A nil now leaves all to slow.
type testHandler struct {
	now  func(req *PeerRequest, reply *PeerReply) bool
	slow func(ctx context.Context, req *PeerRequest) PeerReply
}

func (h testHandler) keysOf(string) keyToucher { return nil }

func (h testHandler) answerNow(req *PeerRequest, reply *PeerReply) bool {
	return h.now != nil && h.now(req, reply)
}

func (h testHandler) answer(ctx context.Context, req *PeerRequest) PeerReply { return h.slow(ctx, req) }

// echo answers a key with itself, at once.
func echo(req *PeerRequest, reply *PeerReply) bool {
	reply.Value = []byte(req.Key)
	return true
}

func helloOf(id string) func() hello {
	return func() hello { return hello{Cluster: "test", ID: id, Role: RoleNode, Epoch: 7} }
}

// pipeListener is a listener whose connections are pipes, so that tests can run
// in a bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A testNode is a streamServer behind a pipeListener.
type testNode struct {
	*pipeListener
	*streamServer
	web *http.Server
}

func startNode(cfg streamServerConfig) *testNode {
	if cfg.self == nil {
		cfg.self = helloOf("server")
	}
	n := &testNode{pipeListener: newPipeListener(), streamServer: newStreamServer(cfg)}
	n.web = &http.Server{Handler: http.HandlerFunc(n.serveUpgrade)}
	go n.web.Serve(n.pipeListener)
	return n
}

func (n *testNode) stop() {
	n.streamServer.close()
	n.web.Close()
}

// client returns a client of the node.
func (n *testNode) client(change func(*streamClientConfig)) *streamClient {
	cfg := streamClientConfig{self: helloOf("client"), addr: "server:1", dial: n.dial}
	if change != nil {
		change(&cfg)
	}
	return newStreamClient(cfg)
}

// A rawPeer is one end of a stream that a test plays by hand.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
	fr   *frameReader
}

// next returns the next frame.
func (p *rawPeer) next() frame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

func (p *rawPeer) read() (frame, error) {
	var f frame
	for {
		if ok, err := p.fr.next(&f); ok || err != nil {
			return f, err
		}
		if _, err := p.fr.fill(); err != nil {
			return f, err
		}
	}
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("writing a frame: %v", err)
	}
}

// rawClient shakes hands with a node.
func rawClient(t *testing.T, n *testNode) *rawPeer {
	t.Helper()
	conn, err := n.dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Upgrade": {streamProtocol}, "Connection": {"Upgrade"}}
	hello{Cluster: "test", ID: "raw"}.set(header)
	req := &http.Request{Method: http.MethodGet, Host: "server", Header: header, URL: mustURL(streamPath)}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", resp, err)
	}
	ahead, _ := br.Peek(br.Buffered())
	return &rawPeer{t: t, conn: conn, fr: newFrameReader(conn, ahead, 1<<20)}
}

// rawServers is the other end of a client's dials: each gets a handshake, and
// then is the test's.
type rawServers struct {
	t     *testing.T
	peers chan *rawPeer
	dials atomic.Int32
}

func newRawServers(t *testing.T) *rawServers {
	return &rawServers{t: t, peers: make(chan *rawPeer, 16)}
}

func (s *rawServers) dial(context.Context, string, string) (net.Conn, error) {
	s.dials.Add(1)
	here, there := net.Pipe()
	go func() {
		br := bufio.NewReader(there)
		if _, err := http.ReadRequest(br); err != nil {
			there.Close()
			return
		}
		header := http.Header{"Upgrade": {streamProtocol}, "Connection": {"Upgrade"}}
		hello{Cluster: "test", ID: "raw"}.set(header)
		io.WriteString(there, "HTTP/1.1 101 Switching Protocols\r\n")
		header.Write(there)
		io.WriteString(there, "\r\n")
		s.peers <- &rawPeer{t: s.t, conn: there, fr: newFrameReader(there, nil, 1<<20)}
	}()
	return here, nil
}

// client returns a client, and the other end of its first connection.
func (s *rawServers) client(change func(*streamClientConfig)) (*streamClient, *rawPeer) {
	cfg := streamClientConfig{self: helloOf("client"), addr: "server:1", dial: s.dial}
	if change != nil {
		change(&cfg)
	}
	c := newStreamClient(cfg)
	return c, <-s.peers
}

// transition is one call of onState.
type transition struct {
	at    time.Duration
	state peerState
	err   error
}

// transitions records the calls of onState.
type transitions struct {
	begin time.Time
	mu    sync.Mutex // guards all
	all   []transition
}

func (r *transitions) record(st peerState, _ hello, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, transition{time.Since(r.begin), st, err})
}

func (r *transitions) states() (states []peerState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.all {
		states = append(states, t.state)
	}
	return states
}

func mustURL(path string) *url.URL { return &url.URL{Path: path} }
