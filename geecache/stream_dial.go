package geecache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/socket"
)

const (
	// handshakeMost is how many bytes of headers a node reads from another.
	handshakeMost = 64 << 10

	// refusalMost is how many bytes it reads of the reason for a refusal.
	refusalMost = 4 << 10
)

// connect dials the peer and shakes hands.
func (c *streamClient) connect(ctx context.Context) (*clientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.timings.dialTimeout)
	defer cancel()
	if c.cfg.secrets == nil {
		return c.connectWith(ctx, "")
	}
	secrets := c.cfg.secrets()
	if err := checkSecrets(secrets); err != nil {
		return nil, refusedf(RefusedSecret, "%v", err)
	}
	var conn *clientConn
	var err error
	for _, secret := range secrets { // the peer may have only the older one yet
		if conn, err = c.connectWith(ctx, secret); RefusalOf(err) != RefusedSecret {
			break
		}
	}
	return conn, err
}

// connectWith is connect with a certain secret, "" for none.
func (c *streamClient) connectWith(ctx context.Context, secret string) (*clientConn, error) {
	raw, err := c.cfg.dial(ctx, "tcp", c.cfg.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.cfg.addr, err)
	}
	raw = socket.New(raw)
	conn, remote, ahead, err := c.handshake(ctx, raw, secret)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("handshake with %s: %w", c.cfg.addr, err)
	}
	// A write to a TLS connection that times out breaks it, so callers, who
	// must be free to leave, do not write to one themselves.
	return newClientConn(c, conn, remote, ahead, c.cfg.tls == nil), nil
}

// handshake turns a connection into a stream. It returns the connection to use,
// the peer's hello, and what it has read beyond the handshake.
func (c *streamClient) handshake(ctx context.Context, raw net.Conn, secret string) (net.Conn, hello, []byte, error) {
	deadline := time.Now().Add(c.cfg.timings.handshakeTimeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if d, ok := ctx.Deadline(); ok {
		deadline = d
	}
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, hello{}, nil, err
	}
	// Close must not wait for a peer that does not answer.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()

	conn, err := c.startTLS(ctx, raw)
	if err != nil {
		return nil, hello{}, nil, err
	}
	br := bufio.NewReader(io.LimitReader(conn, handshakeMost))
	remote, err := c.greet(conn, br, secret)
	if err != nil {
		return nil, hello{}, nil, err
	}
	if !stop() {
		return nil, hello{}, nil, ctx.Err()
	}
	ahead, _ := br.Peek(br.Buffered())
	return conn, remote, bytes.Clone(ahead), conn.SetDeadline(time.Time{})
}

// greet tells the peer who this node is, and returns who the peer is.
func (c *streamClient) greet(conn net.Conn, br *bufio.Reader, secret string) (hello, error) {
	self := c.cfg.self()
	var resp *http.Response
	var said *transcript
	var err error
	if secret == "" {
		resp, err = c.upgrade(conn, br, self)
	} else {
		resp, said, err = c.prove(conn, br, self, secret)
	}
	if err != nil {
		return hello{}, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return hello{}, refusal(resp, self)
	}
	remote, err := c.readAnswer(resp.Header)
	if err == nil && said != nil {
		err = said.checkProof(secret, resp.Header, remote)
	}
	if err != nil {
		return hello{}, err
	}
	return remote, c.checkAnswer(remote, self, secret != "")
}

func (c *streamClient) startTLS(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if c.cfg.tls == nil {
		return raw, nil
	}
	cfg := c.cfg.tls().Clone()
	// http/1.1 is there for what stands between two nodes and ends TLS; the
	// Upgrade header then chooses the protocol.
	cfg.NextProtos = []string{streamProtocol, "http/1.1"}
	return clientTLS(ctx, raw, cfg, c.cfg.addr)
}

// upgrade asks for a stream, in a cluster without a secret.
func (c *streamClient) upgrade(conn net.Conn, br *bufio.Reader, self hello) (*http.Response, error) {
	header := http.Header{}
	self.set(header)
	if id := c.expected(false); id != "" {
		header.Set(headerExpect, escapeHeader(id))
	}
	return c.exchange(conn, br, header)
}

// exchange sends a request for a stream and reads the answer.
func (c *streamClient) exchange(conn net.Conn, br *bufio.Reader, header http.Header) (*http.Response, error) {
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", streamProtocol)
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", streamPath, c.cfg.addr)
	if err := header.Write(&b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(br, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("connection closed by the peer")
	}
	return resp, err
}

// expected returns the ID that the peer must have, or "" if any will do, because
// the peer is known by its address alone. A proof is always meant for one node:
// otherwise who takes a node's address could pass its proofs on to another.
func (c *streamClient) expected(proving bool) string {
	if id := c.cfg.peer.ID; proving || id != c.cfg.peer.Addr && id != c.cfg.addr {
		return id
	}
	return ""
}

// readAnswer reads the peer's hello.
func (c *streamClient) readAnswer(header http.Header) (hello, error) {
	if up := header.Get("Upgrade"); !strings.EqualFold(up, streamProtocol) {
		return hello{}, fmt.Errorf("%w: the other side switched to %q, not to %s", ErrRefused, up, streamProtocol)
	}
	remote, err := readHello(header)
	if err != nil {
		return hello{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return remote, nil
}

// checkAnswer refuses a peer that is not the one to be dialed: its address may
// have been given to another process since.
func (c *streamClient) checkAnswer(remote, self hello, proving bool) error {
	if err := checkVersion(self.version(), remote.Version); err != nil {
		return err
	}
	if err := checkCluster(self.Cluster, remote.Cluster); err != nil {
		return err
	}
	if want := c.expected(proving); want != "" && want != remote.ID {
		return refusedf(RefusedNode, "node %q answers where %q was expected", remote.ID, want)
	}
	return nil
}

// refusal turns an answer other than "switching protocols" into an error of this side's,
// self.
func refusal(resp *http.Response, self hello) error {
	defer resp.Body.Close()
	name := resp.Header.Get(headerRefusal)
	if name == "" {
		return fmt.Errorf("no GeeCache node: it answers HTTP %s to the upgrade", resp.Status)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, refusalMost)) // a part of the reason will do
	reason := strings.TrimSpace(string(body))
	code := ParseCode(name)
	if !slices.Contains([]Code{CodeDraining, CodeOverloaded, CodeRefused, CodeBadRequest}, code) {
		code = CodeRefused
	}
	if code == CodeBadRequest {
		return fmt.Errorf("%w: %w: %s", ErrRefused, ErrBadRequest, reason)
	}
	if code == CodeRefused {
		reason = strings.TrimPrefix(reason, ErrRefused.Error()+": ")
		return turnRound(parseRefusal(resp.Header.Get(headerReason)), reason, resp.Header, self)
	}
	return fmt.Errorf("%w: %s", code.Err(), reason)
}

// turnRound returns a refusal as this side sees it. The other side has told it as seen from
// there, where this one is the other one.
func turnRound(why Refusal, reason string, header http.Header, self hello) error {
	if remote, err := readHello(header); why == RefusedCluster && err == nil {
		if err := checkCluster(self.Cluster, remote.Cluster); err != nil {
			return err
		}
	}
	switch reason {
	case noSecretHere:
		reason = noSecretThere
	case noSecretThere:
		reason = noSecretHere
	case otherSecret: // is true on both sides
	default:
		reason = "the other side says: " + reason
	}
	return refusedf(why, "%s", reason)
}
