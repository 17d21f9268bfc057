package geecache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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
	t := c.cfg.timings
	ctx, cancel := context.WithTimeout(ctx, t.dialTimeout)
	defer cancel()
	raw, err := c.cfg.dial(ctx, "tcp", c.cfg.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.cfg.addr, err)
	}
	raw = socket.New(raw)
	conn, remote, ahead, err := c.handshake(ctx, raw)
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
func (c *streamClient) handshake(ctx context.Context, raw net.Conn) (net.Conn, hello, []byte, error) {
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
	self := c.cfg.self()
	if err := c.writeUpgrade(conn, self); err != nil {
		return nil, hello{}, nil, err
	}
	br := bufio.NewReader(io.LimitReader(conn, handshakeMost))
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("connection closed by the peer")
		}
		return nil, hello{}, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, hello{}, nil, refusal(resp)
	}
	remote, err := c.checkAnswer(resp.Header, self)
	if err != nil {
		return nil, hello{}, nil, err
	}
	if !stop() {
		return nil, hello{}, nil, ctx.Err()
	}
	ahead, _ := br.Peek(br.Buffered())
	return conn, remote, bytes.Clone(ahead), conn.SetDeadline(time.Time{})
}

func (c *streamClient) startTLS(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if c.cfg.tls == nil {
		return raw, nil
	}
	cfg := c.cfg.tls.Clone()
	// http/1.1 is there for what stands between two nodes and ends TLS; the
	// Upgrade header then chooses the protocol.
	cfg.NextProtos = []string{streamProtocol, "http/1.1"}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(c.cfg.addr)
		if err != nil {
			return nil, err
		}
		cfg.ServerName = host
	}
	conn := tls.Client(raw, cfg)
	return conn, conn.HandshakeContext(ctx)
}

// writeUpgrade sends the request that the stream begins with.
func (c *streamClient) writeUpgrade(conn net.Conn, self hello) error {
	header := http.Header{}
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", streamProtocol)
	self.set(header)
	if id := c.expected(); id != "" {
		header.Set(headerExpect, escapeHeader(id))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", streamPath, c.cfg.addr)
	if err := header.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	_, err := conn.Write(b.Bytes())
	return err
}

// expected returns the ID that the peer must have, or "" if any will do, because
// the peer is known by its address alone.
func (c *streamClient) expected() string {
	if id := c.cfg.peer.ID; id != c.cfg.peer.Addr && id != c.cfg.addr {
		return id
	}
	return ""
}

// checkAnswer reads the peer's hello, and refuses a peer that is not the one to
// be dialed: its address may have been given to another process since.
func (c *streamClient) checkAnswer(header http.Header, self hello) (hello, error) {
	if up := header.Get("Upgrade"); !strings.EqualFold(up, streamProtocol) {
		return hello{}, fmt.Errorf("%w: the other side switched to %q, not to %s", ErrRefused, up, streamProtocol)
	}
	remote, err := readHello(header)
	if err != nil {
		return hello{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := checkVersion(self.version(), remote.Version); err != nil {
		return hello{}, err
	}
	if err := checkCluster(self.Cluster, remote.Cluster); err != nil {
		return hello{}, err
	}
	if want := c.expected(); want != "" && want != remote.ID {
		return hello{}, fmt.Errorf("%w: node %q answers where %q was expected", ErrRefused, remote.ID, want)
	}
	return remote, nil
}

// refusal turns an answer other than "switching protocols" into an error.
func refusal(resp *http.Response) error {
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
	return fmt.Errorf("%w: %s", code.Err(), reason)
}
