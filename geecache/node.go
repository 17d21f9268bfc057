package geecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/internal/plain"
)

// A Node is one member of a cluster: an identity, a place on the ring, and
// groups with their caches. There are no globals: many nodes can live in one
// process. A Node is safe for concurrent use.
//
//	New -> starting --Start--> joining --> serving --Drain--> draining --Close--> stopped
//
// A starting node answers Get already; it serves no peer yet. A joining one
// listens and connects to the peers of its view; it becomes serving, and
// [Node.Ready], once each of them has been reached or has failed once, unless
// they refuse it as a stranger (see [Node.Refused]): then it stays joining. A
// draining one tells its peers, gives its keys and the hottest entries to their
// new owners, and still answers what it has in memory.
type Node struct {
	cfg      Config
	log      *slog.Logger
	clock    *coarseClock
	versions hybridClock
	started  time.Time

	current atomic.Pointer[placement]
	groups  atomic.Pointer[map[string]*Group] // copied on write, under mu
	state   atomic.Int32

	streams  *streamServer
	welcome  welcome
	cutOff   cutOff // of a client
	door     door
	refusals refusalCounts // by this node, and of this node by others
	server   *http.Server
	dates    plain.Dater

	stop   chan struct{} // closed by Close
	wg     sync.WaitGroup
	copies tasks

	run uint64 // tells this run from another one of the same node

	mu    sync.Mutex // guards what follows
	peers []Peer     // the view, this node included
	membership
	members     map[string]*member
	retired     []*member // left the view, may be asked for a while
	newUntil    int64     // of the clock: until then the node is a newcomer; 0: it has met nobody yet
	viewChanges int64
	zones       zoneTable // of members that are asked no more
	listener    net.Listener
}

// The states of a node.
const (
	stateStarting int32 = iota
	stateJoining
	stateServing
	stateDraining
	stateStopped
)

var stateNames = [...]string{"starting", "joining", "serving", "draining", "stopped"}

// New makes a node. It connects to the peers of its view, if it has any, in the
// background; call [Node.Start] to serve peers too. Close it when done.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.takePort(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg:     cfg,
		log:     cfg.Logger.With("node", cfg.ID),
		clock:   newCoarseClock(),
		started: time.Now(),
		stop:    make(chan struct{}),
		run:     rand.Uint64() | 1,
	}
	n.groups.Store(&map[string]*Group{})
	n.current.Store(&placement{})
	n.door = newDoor(&n.cfg, &n.refusals)
	n.streams = newStreamServer(n.streamConfig())
	n.server = n.newServer()
	if err := n.SetView(cfg.Peers); err != nil {
		n.streams.close()
		if cfg.Listener != nil {
			_ = cfg.Listener.Close()
		}
		return nil, err
	}
	n.wg.Go(func() { n.clock.run(n.stop) })
	n.wg.Go(n.watchPeers)
	n.wg.Go(n.keepMembers)
	return n, nil
}

// ID returns the node's identity.
func (n *Node) ID() string { return n.cfg.ID }

// Addr returns the address that peers reach the node at.
func (n *Node) Addr() string { return n.cfg.Addr }

// NewGroup adds a group. Its name is the same on all nodes of the cluster; 1 to
// 128 bytes of printable ASCII without spaces, '/' and '%'. A client's getter may
// be nil, since it never loads.
func (n *Node) NewGroup(name string, getter Getter, cfg GroupConfig) (*Group, error) {
	g, err := newGroup(n, name, getter, cfg)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	groups := maps.Clone(*n.groups.Load())
	if groups[name] != nil {
		return nil, fmt.Errorf("geecache: group %q is there already: names must differ within a node", name)
	}
	groups[name] = g
	n.groups.Store(&groups)
	return g, nil
}

// Group returns the group with the given name, nil if there is none.
func (n *Node) Group(name string) *Group { return (*n.groups.Load())[name] }

// Groups returns the node's groups, sorted by name.
func (n *Node) Groups() []*Group {
	return slices.SortedFunc(maps.Values(*n.groups.Load()), func(a, b *Group) int { return strings.Compare(a.name, b.name) })
}

// place returns the placement of the moment.
func (n *Node) place() *placement { return n.current.Load() }

// Start listens, as the configuration says, and serves in the background until
// Close. It returns once the node listens and has tried each peer of its view,
// or when ctx ends, which is no error: the node goes on trying.
func (n *Node) Start(ctx context.Context) error {
	if !n.state.CompareAndSwap(stateStarting, stateJoining) {
		return fmt.Errorf("geecache: Start: the node is %s", n.State())
	}
	l, err := n.listen()
	if err != nil {
		n.state.CompareAndSwap(stateJoining, stateStarting)
		return err
	}
	if l != nil {
		n.mu.Lock()
		n.listener = l
		n.mu.Unlock()
		n.wg.Go(func() { n.serve(l) })
	}
	n.announce()
	n.awaitPeers(ctx)
	n.welcome.mu.Lock()
	n.welcome.tried = true
	n.welcome.mu.Unlock()
	n.settle()
	return nil
}

func (n *Node) listen() (net.Listener, error) {
	l := n.cfg.Listener
	if l == nil {
		if n.cfg.Listen == "" {
			return nil, nil
		}
		var err error
		if l, err = net.Listen("tcp", n.cfg.Listen); err != nil {
			return nil, fmt.Errorf("geecache: Config.Listen: %w", err)
		}
	}
	if err := n.cfg.checkExposure(l.Addr()); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// awaitPeers returns when no peer is in its first attempt to connect any more.
func (n *Node) awaitPeers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timings.DialTimeout)
	defer cancel()
	t := time.NewTicker(tick)
	defer t.Stop()
	for n.connecting() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		case <-n.stop:
			return
		}
	}
}

func (n *Node) connecting() bool {
	for _, m := range n.place().members {
		if m.client != nil && m.state() == peerConnecting {
			return true
		}
	}
	return false
}

// State returns the node's state: "starting", "joining", "serving", "draining"
// or "stopped".
func (n *Node) State() string { return stateNames[n.state.Load()] }

// Ready reports whether the node should be sent requests.
//
// A client that knows of no node is not ready: it could answer nothing.
func (n *Node) Ready() bool {
	return n.state.Load() == stateServing && (n.cfg.Role != RoleClient || len(n.place().members) > 0)
}

// busy reports whether a request is in flight.
func (n *Node) busy() bool {
	if n.streams.busy() {
		return true
	}
	for _, m := range n.asked() {
		if m.busy() {
			return true
		}
	}
	for _, g := range *n.groups.Load() {
		if g.loads.Stats().InFlight > 0 || g.fetches.Stats().InFlight > 0 || g.plain.Stats().InFlight > 0 {
			return true
		}
	}
	return false
}

// asked returns all members that requests may be in flight to.
func (n *Node) asked() []*member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.AppendSeq(slices.Clone(n.retired), maps.Values(n.members))
}

// Close stops the node at once and waits for its goroutines. Drain first to
// leave without failing anybody's request.
func (n *Node) Close() error {
	if n.state.Swap(stateStopped) == stateStopped {
		return nil
	}
	close(n.stop)
	err := n.server.Close()
	n.mu.Lock()
	if n.pending != nil {
		n.pending.Stop()
	}
	if l := n.listener; l == nil && n.cfg.Listener != nil {
		_ = n.cfg.Listener.Close()
	}
	members := slices.Collect(maps.Values(n.members))
	members = append(members, n.retired...)
	n.retired = nil
	n.mu.Unlock()
	n.streams.close()
	for _, m := range members {
		if m.client != nil {
			err = errors.Join(err, m.client.Close())
		}
	}
	n.copies.close()
	n.wg.Wait()
	return err
}

// closedErr returns ErrClosed if the node has been closed.
func (n *Node) closedErr() error {
	if n.state.Load() == stateStopped {
		return ErrClosed
	}
	return nil
}

// Stats describes the node, its peers and its groups.
func (n *Node) Stats() NodeStats {
	p := n.place()
	st := n.streams.stats()
	s := NodeStats{
		Cluster: n.cfg.Cluster, ID: n.cfg.ID, Addr: n.cfg.Addr, Role: n.cfg.Role, Zone: n.cfg.Zone, CrossZone: n.crossZone(),
		State: n.State(), Version: n.cfg.ProtocolVersion, Started: n.started,
		Epoch:       epochText(p.epoch),
		Connections: st.connections, FrameErrors: st.frameErrors,
	}
	s.HandshakesRefused = n.refusals.all()
	n.mu.Lock()
	s.ViewChanges = n.viewChanges
	n.mu.Unlock()
	for _, m := range p.members {
		s.Peers = append(s.Peers, m.stats())
	}
	for _, m := range p.clients {
		s.Peers = append(s.Peers, m.stats())
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	for _, g := range n.Groups() {
		s.Groups = append(s.Groups, g.Stats())
	}
	return s
}

func epochText(epoch uint64) string { return fmt.Sprintf("%016x", epoch) }

// Owners returns who answers for a key: its owner first, then up to most-1
// stand-ins in their order.
func (n *Node) Owners(key string, most int) []Peer {
	p := n.place()
	var peers []Peer
	for _, i := range p.ring.Successors(hashOf(key), most) {
		peers = append(peers, p.members[i].peer)
	}
	return peers
}
