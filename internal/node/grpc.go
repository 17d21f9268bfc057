package node

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/peergrpc"
)

// ProtocolVersion returns the version, "major.minor", of the protocol that the
// nodes of this program speak.
func ProtocolVersion() (string, error) {
	n, err := geecache.New(geecache.Config{ID: "version", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	return n.Stats().Version, n.Close()
}

// newGRPC returns the gRPC server of a node's port.
func newGRPC(n *geecache.Node, cfg Config) (*peergrpc.Server, error) {
	self := n.Stats()
	return peergrpc.NewServer(n, peergrpc.Options{
		Check:  func(cluster, id, version string) error { return checkPeer(self, cluster, id, version) },
		Report: n.ReportServed,
		Logger: cfg.Logger,
	})
}

// checkPeer decides whether a node that asks over gRPC is a peer of self.
func checkPeer(self geecache.NodeStats, cluster, id, version string) error {
	switch {
	case cluster != self.Cluster:
		return fmt.Errorf("%w: this node is of cluster %q, the other one of %q", geecache.ErrRefused, self.Cluster, cluster)
	case id == self.ID:
		return fmt.Errorf("%w: node ID %q is this node's own: give each node its own ID", geecache.ErrRefused, id)
	case !understood(self.Version, version):
		return fmt.Errorf("%w: this node speaks protocol version %s, the other one %q; update the older one", geecache.ErrRefused, self.Version, version)
	}
	return nil
}

// understood reports whether two versions differ by one minor version at most.
func understood(a, b string) bool {
	major, minor, ok := splitVersion(a)
	major2, minor2, ok2 := splitVersion(b)
	return ok && ok2 && major == major2 && minor-minor2 <= 1 && minor2-minor <= 1
}

func splitVersion(s string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(s, ".")
	major, err := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, found && err == nil && err2 == nil && major >= 0 && minor >= 0
}
