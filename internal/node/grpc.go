package node

import (
	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/peergrpc"
)

// newGRPC returns the gRPC server of a node's port.
func newGRPC(n *geecache.Node, cfg Config) (*peergrpc.Server, error) {
	return peergrpc.NewServer(n, peergrpc.Options{
		Check:     n.CheckPeer,
		Authorize: n.AuthorizeToken,
		Report:    n.ReportServed,
		Logger:    cfg.Logger,

		MaxKeyBytes: cfg.MaxKeyBytes, MaxValueBytes: cfg.MaxValueBytes,
	})
}
