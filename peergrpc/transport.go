package peergrpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/geecache/geecache/geecache"
)

// A Transport makes the clients of peers that are spoken to in gRPC. It
// implements geecache.Transport: put it into the Transports of a
// geecache.Config, for instance under "grpc", and addresses that begin with
// "grpc://" use it. Its fields must not change after its first use; it is safe
// for concurrent use.
type Transport struct {
	// Cluster and Version are the asking node's, for the other side to check.
	Cluster, Version string

	// TLS returns the TLS to speak on one connection. Nil: none, for loopback
	// and trusted networks. It is called by many goroutines at once.
	TLS func() *tls.Config

	// Secrets returns the cluster's secrets, which this node and its peers prove
	// to each other; see geecache.Config.Secrets. Nil: there are none.
	Secrets func() []string

	// MaxKeyBytes and MaxValueBytes are the node's limits, which the limits of
	// messages follow. Defaults: 16 KiB and 8 MiB.
	MaxKeyBytes, MaxValueBytes int

	// Timings says when a peer counts as dead; PingIdle is not used. Default:
	// see geecache.Timings.
	Timings geecache.Timings
}

var _ geecache.Transport = (*Transport)(nil)

// New returns the client for a peer that listens on addr, "host:port". It
// returns at once: the connection is made when the first request needs it, and
// made again after it was lost. The caller closes the client.
func (t *Transport) New(self, peer geecache.Peer, addr string) (geecache.PeerClient, error) {
	maxKey, maxValue := t.MaxKeyBytes, t.MaxValueBytes
	setDefault(&maxKey, defaultMaxKeyBytes)
	setDefault(&maxValue, defaultMaxValueBytes)
	if maxKey < 0 || maxValue < 0 || maxValue > 1<<30 {
		return nil, fmt.Errorf("peergrpc: Transport.MaxKeyBytes is %d and MaxValueBytes is %d: use 1 to 2^30 bytes", t.MaxKeyBytes, t.MaxValueBytes)
	}
	timings := t.timings()
	creds := insecure.NewCredentials()
	if t.TLS != nil {
		creds = &changingTLS{credentials.NewTLS(t.TLS()), t.TLS}
	}
	id := self.ID
	if id == "" {
		id = self.Addr
	}
	if id == "" && t.Cluster == "" {
		return nil, errors.New("peergrpc: Transport.Cluster and the node's ID are both empty: the peer could not tell who asks")
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // peers are neighbours
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0), // a connection is kept as long as its peer
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: timings.RedialMax},
			MinConnectTimeout: timings.DialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: timings.DeadAfter, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallSendMsgSize(maxRequest(maxKey)),
			grpc.MaxCallRecvMsgSize(maxResponse(maxValue)),
		),
	}
	var shown *tokens
	if t.Secrets != nil {
		_, expect, ok := strings.Cut(peer.ID, "://")
		if !ok {
			expect = peer.ID
		}
		shown = newTokens(&geecache.Credentials{
			Secrets: t.Secrets, Cluster: t.Cluster, Self: id, Expect: expect, Version: t.Version,
		}, addr, t.TLS)
		options = append(options, grpc.WithPerRPCCredentials(shown), grpc.WithContextDialer(shown.dial))
	}
	// "passthrough" leaves the name to the dialer, which looks it up each time
	// it connects: a peer that comes back under another address is found.
	conn, err := grpc.NewClient("passthrough:///"+addr, options...)
	if err != nil {
		return nil, fmt.Errorf("peergrpc: peer %s: %w", addr, err)
	}
	// Pings have a connection of their own: requests that wait for a slow source
	// may have taken all streams of the other one.
	pings, err := grpc.NewClient("passthrough:///"+addr, options...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("peergrpc: peer %s: %w", addr, err), conn.Close())
	}
	c := newClient(conn, pings, peer, addr, timings, metadata.Pairs(
		MetadataCluster, url.PathEscape(t.Cluster),
		MetadataNode, url.PathEscape(id),
		MetadataVersion, url.PathEscape(t.Version),
	))
	c.tokens = shown
	return c, nil
}

// timings returns the timings with their defaults.
func (t *Transport) timings() geecache.Timings {
	tm := t.Timings
	setDefault(&tm.DialTimeout, time.Second)
	setDefault(&tm.DeadAfter, 750*time.Millisecond)
	setDefault(&tm.PingBusy, 150*time.Millisecond)
	setDefault(&tm.RedialMax, time.Second)
	return tm
}
