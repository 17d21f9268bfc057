package geecache

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecachepb"
)

// manyHTTP bounds the requests of one GetMany over HTTP that run at a time: the
// protocol has no batch.
const manyHTTP = 16

// An httpClient asks a peer over the plain HTTP protocol: a node of another
// GeeCache implementation, or one behind something that only lets HTTP through.
type httpClient struct {
	node     *Node
	peer     Peer
	base     string // e.g. http://10.0.0.1:8001/_geecache/
	maxValue int
	client   *http.Client
}

func newHTTPClient(n *Node, peer Peer, base string) *httpClient {
	t := &http.Transport{
		DialContext:         dialWithin(n.cfg.Dial, n.cfg.Timings.DialTimeout),
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
	dial := t.DialContext
	secure := func() *tls.Config {
		if n.cfg.GetClientTLS == nil {
			return nil
		}
		return n.cfg.GetClientTLS()
	}
	t.DialTLSContext = dialTLS(dial, secure, n.cfg.Timings.DialTimeout)
	var rt http.RoundTripper = t
	if n.cfg.Secrets != nil {
		_, id := scheme(peer.ID)
		c := &Credentials{
			Secrets: n.cfg.Secrets, Cluster: n.cfg.Cluster, Self: n.cfg.ID, Expect: id, Version: n.cfg.ProtocolVersion,
		}
		t.DialContext = c.dial(dial, "http", n.cfg.Timings.DialTimeout)
		t.DialTLSContext = c.dial(t.DialTLSContext, "https", n.cfg.Timings.DialTimeout)
		rt = c.Transport(t)
	}
	return &httpClient{
		node: n, peer: peer, base: strings.TrimSuffix(base, "/") + basePath, maxValue: n.cfg.MaxValueBytes,
		client: &http.Client{
			Transport: rt,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a peer answers for itself
			},
		},
	}
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialWithin bounds how long dial may take.
func dialWithin(dial dialFunc, most time.Duration) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		return dial(ctx, network, addr)
	}
}

// escapeKey escapes a key so that it stays one segment of a path, whatever a
// proxy or a client on the way makes of dots.
func escapeKey(key string) string {
	switch key {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(key)
}

// Get implements PeerClient.
func (c *httpClient) Get(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	ctx, cancel := withTimeout(ctx, req.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+escapeKey(req.Group)+"/"+escapeKey(req.Key), nil)
	if err != nil {
		return PeerReply{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	r.Header.Set(headerMode, strconv.Itoa(int(req.Mode)))
	r.Header.Set(headerCluster, escapeHeader(c.node.cfg.Cluster))
	if req.Epoch != 0 {
		r.Header.Set(headerEpoch, epochText(req.Epoch))
	}
	if req.Timeout > 0 {
		r.Header.Set(headerTimeout, req.Timeout.String())
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return PeerReply{}, c.trouble(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply := replyOfHeaders(resp)
	// 16 bytes more than the largest value's encoding: one too many tells.
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(c.maxValue)+16))
	if err != nil {
		return PeerReply{}, c.trouble(ctx, err)
	}
	if reply.Code != CodeOK {
		reply.Message = strings.TrimSpace(string(body[:min(len(body), 512)]))
		return reply, nil
	}
	var pb geecachepb.Response
	if err := proto.Unmarshal(body, &pb); err != nil || len(pb.Value) > c.maxValue {
		if len(body) > c.maxValue {
			return PeerReply{Code: CodeTooLarge, Message: fmt.Sprintf("value is larger than %d bytes (Config.MaxValueBytes)", c.maxValue)}, nil
		}
		return PeerReply{Code: CodeInternal, Message: fmt.Sprintf("body is no protobuf Response: %v", err)}, nil
	}
	reply.Value = pb.Value
	return reply, nil
}

// trouble tells the caller's own end from the peer's trouble.
func (c *httpClient) trouble(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %s: %w", ErrPeerTrouble, c.peer.ID, err)
}

// replyOfHeaders reads what a response's status and headers tell.
func replyOfHeaders(resp *http.Response) PeerReply {
	reply := PeerReply{From: originOf(resp.Header.Get(headerFrom))}
	if resp.StatusCode != http.StatusOK {
		reply.Code = ParseCode(resp.Header.Get(headerError)) // of another implementation: internal
		if reply.Code == CodeOK {
			reply.Code = CodeInternal
		}
	}
	reply.TTL, _ = time.ParseDuration(resp.Header.Get(headerTTL))
	reply.Took, _ = time.ParseDuration(resp.Header.Get(headerTook))
	reply.Version, _ = strconv.ParseUint(resp.Header.Get(headerEntry), 10, 64)
	reply.Epoch, _ = strconv.ParseUint(resp.Header.Get(headerEpoch), 16, 64)
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		reply.RetryAfter = time.Duration(s) * time.Second
	}
	return reply
}

func originOf(name string) Origin {
	for i, s := range originNames {
		if s == name {
			return Origin(i)
		}
	}
	return FromNone
}

// GetMany implements PeerClient.
func (c *httpClient) GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error) {
	replies, errs := make([]PeerReply, len(reqs)), make([]error, len(reqs))
	slots := make(chan struct{}, manyHTTP)
	var wg sync.WaitGroup
	for i := range reqs {
		slots <- struct{}{}
		wg.Go(func() {
			replies[i], errs[i] = c.Get(ctx, &reqs[i])
			<-slots
		})
	}
	wg.Wait()
	return replies, errs
}

// Close implements PeerClient.
func (c *httpClient) Close() error {
	c.client.CloseIdleConnections()
	return nil
}
