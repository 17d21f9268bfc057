package geecache

import (
	"context"
	"time"
)

// Role says what a member of the cluster does.
type Role string

// The roles. A node owns keys and loads them. A client (the API server) has a
// hot cache, but owns nothing and never loads.
const (
	RoleNode   Role = "node"
	RoleClient Role = "client"
)

// Peer describes a member of the cluster: this node or another one.
type Peer struct {
	// ID is the member's identity, and its place on the ring. Empty means Addr.
	ID string `json:"id"`

	// Addr is where it listens: "host:port". A scheme before it chooses the
	// protocol that it is spoken to: "http://" is the plain HTTP protocol
	// without a handshake (for nodes of other GeeCache implementations; one that
	// hangs with its connections open is not noticed), any other one is looked
	// up in [Config.Transports]; none is the stream.
	Addr string `json:"addr"`

	Role   Role    `json:"role,omitempty"`   // empty means RoleNode
	Zone   string  `json:"zone,omitempty"`   // e.g. an availability zone
	Weight float64 `json:"weight,omitempty"` // share of the keys, at most MaxWeight; zero means 1
}

// MaxWeight is the largest weight of a member: each costs all others memory and time
// in proportion to its weight.
const MaxWeight = 100

// Mode says what a request between nodes may do at the node that is asked.
type Mode uint8

// The modes. None of them is ever forwarded to a third node.
const (
	ModeOwner   Mode = 0 // you own the key: answer from memory, else load
	ModeStandIn Mode = 1 // its owner is in trouble: answer in its stead
	ModeMemory  Mode = 2 // answer from memory or with CodeMiss
)

// PeerRequest is one node's request to another for one key.
type PeerRequest struct {
	Group string
	Key   string // any bytes
	Mode  Mode
	Epoch uint64 // of the asking node's view; 0 if it has none

	// Timeout is what is left until the asking side gives up; 0 means that it
	// did not say. Deadlines travel as durations, so clocks need not agree.
	Timeout time.Duration
}

// PeerReply is the answer to a [PeerRequest].
type PeerReply struct {
	Code    Code
	Message string // for codes other than CodeOK and CodeNotFound

	// Value is the value, if Code is CodeOK. Whoever receives a reply owns it.
	Value []byte

	TTL        time.Duration // what is left of the entry's TTL; 0 means no limit, negative: do not keep
	Version    uint64        // the entry's version (a hybrid logical clock)
	From       Origin        // where the answering node had it from
	Took       time.Duration // how long the answering node took
	Epoch      uint64        // of the answering node's view
	RetryAfter time.Duration // with CodeOverloaded
}

// A PeerClient asks one other node. It is safe for concurrent use.
//
// Get returns an error only when the node could not be asked or did not answer:
// it could not be reached, refused the handshake, is draining, or showed no
// sign of life (all of these wrap [ErrPeerTrouble]), or ctx ended (ctx's error).
// What the node answered, a failure included, is in the reply.
type PeerClient interface {
	Get(ctx context.Context, req *PeerRequest) (PeerReply, error)

	// GetMany asks for several keys in one round trip. Replies are in the order
	// of the requests, of which each has an answer or an error of its own in
	// the second slice.
	GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error)

	Close() error
}

// A Transport makes the client for a peer whose address has a scheme.
// The address is without the scheme. Dialing is the client's own affair: New
// returns at once.
type Transport interface {
	New(self, peer Peer, addr string) (PeerClient, error)
}

// Origin says where an answer came from.
type Origin uint8

// The origins, in the order of the read path.
const (
	FromNone Origin = iota
	FromMain        // this node's main cache
	FromHot         // this node's hot cache
	FromPeer        // another node
	FromLoad        // the source, loaded by this node
)

var originNames = [...]string{"none", "hit", "hot", "peer", "load"}

// String returns "hit", "hot", "peer", "load" or "none".
func (o Origin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return "unknown"
}
