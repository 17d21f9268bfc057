// Package registry tells the nodes of a cluster of each other. It defines what a
// registry is, and keeps a node's view at what one says, in the background; the
// packages below it speak to registries that exist. No request of a cache ever waits
// for a registry.
//
// A node that finds its peers by DNS, with everything that it needs:
//
//	peers, err := dns.New(dns.Config{Name: "cache.default.svc.cluster.local", Port: 8000})
//	...
//	go (&registry.Follower{Node: node, From: peers}).Run(ctx)
package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/geecache/geecache/geecache"
)

// A Member is a peer as a registry knows it.
type Member struct {
	geecache.Peer

	// Metadata is what else the registry tells, such as a version. It is for
	// people; nobody decides by it. It must not be changed.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Self returns the member that a node is, with the version of its
// protocol as metadata, for [Registrar.Register].
func Self(stats geecache.NodeStats) Member {
	self := Member{Peer: geecache.Peer{ID: stats.ID, Addr: stats.Addr, Role: stats.Role}}
	for _, p := range stats.Peers {
		if p.Self {
			self.Peer = p.Peer
		}
	}
	if stats.Version != "" {
		self.Metadata = map[string]string{"protocol": stats.Version}
	}
	return self
}

// A Registrar tells a registry of this node. A registry that knows its nodes
// without being told (DNS, a list, the ECS API) has none.
type Registrar interface {
	// Register enters self, and sees to it in the background that it stays
	// there until Leave. It may be called again, with another self. After an
	// error it is the caller who tries again. The background's end is Leave,
	// not ctx, which bounds the call alone.
	Register(ctx context.Context, self Member) error

	// Leave takes self out, and ends what Register has begun even when it
	// returns an error. It does nothing if self is not there. Register must not
	// be called after it.
	Leave(ctx context.Context) error
}

// A Discoverer tells who is in the cluster.
type Discoverer interface {
	// Watch yields the members at once, and again, all of them, whenever they
	// may have changed; or an error, and then goes on. It also yields what has
	// not changed, every few seconds, as long as the registry answers: so one
	// can tell how old a view is. It ends with ctx, and only then.
	// What has been yielded belongs to who asked.
	//
	// An empty view is what the registry says, and no error.
	Watch(ctx context.Context) iter.Seq2[[]Member, error]
}

// A Looker is a Discoverer that can be asked once, by itself.
type Looker interface {
	// Lookup asks the registry now for all members, and remembers nothing of what
	// was answered before. An empty answer is no error.
	Lookup(ctx context.Context) ([]Member, error)
}

// ErrThrottled is what an error wraps if the registry was asked too often: the next
// time is later.
var ErrThrottled = errors.New("the registry asks for fewer requests")

// A ThrottledError is an ErrThrottled that says how long to wait.
type ThrottledError struct {
	RetryAfter time.Duration // zero if it is not known
	Err        error
}

// Error implements error.
func (e *ThrottledError) Error() string {
	if e.RetryAfter == 0 {
		return fmt.Sprintf("%v: %v", ErrThrottled, e.Err)
	}
	return fmt.Sprintf("%v, %v from now at the earliest: %v", ErrThrottled, e.RetryAfter, e.Err)
}

// Unwrap returns ErrThrottled and the registry's own error.
func (e *ThrottledError) Unwrap() []error { return []error{ErrThrottled, e.Err} }
