package geecache

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
)

type streamClientConfig struct {
	self     func() hello // this node's identity and epoch, now
	peer     Peer
	addr     string // host:port
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	tls      *tls.Config // nil: plain
	timings  streamTimings
	maxValue int // bytes; larger replies are refused
	onState  func(st peerState, remote hello, err error)
	rand     func() float64
	log      *slog.Logger
}

type streamClient struct{}

func newStreamClient(cfg streamClientConfig) *streamClient { return &streamClient{} }

func (c *streamClient) Get(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	return PeerReply{}, ErrPeerTrouble
}

func (c *streamClient) GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error) {
	return nil, nil
}

func (c *streamClient) State() peerState { return peerDown }

func (c *streamClient) retryNow() {}

func (c *streamClient) stats() (bytesIn, bytesOut, inFlight int64, lastErr error) { return }

func (c *streamClient) Close() error { return nil }
