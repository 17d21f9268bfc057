package geecache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// streamClientConfig is what a streamClient needs to know.
type streamClientConfig struct {
	self     func() hello    // this node's identity and epoch, now
	secrets  func() []string // nil: the cluster has none; the first one proves, then the others are tried
	refusals *refusalCounts  // nil: its own
	peer     Peer
	addr     string                                                            // host:port
	dial     func(ctx context.Context, network, addr string) (net.Conn, error) // nil: a net.Dialer
	tls      func() *tls.Config                                                // nil: plain
	timings  streamTimings
	maxValue int // bytes; larger replies are refused. 0: 4 GiB

	// onState is called on each change of the state, in order, from one
	// goroutine, for which Close waits. It must not block. remote is the hello of
	// the peer when it was last up, err why it no longer is.
	onState func(st peerState, remote hello, err error)
	onPong  func()         // is called when the peer has answered a ping, and must not block; nil: nobody
	rand    func() float64 // in [0, 1), for jitter; nil: math/rand/v2
	log     *slog.Logger   // nil: none

	// onMember is told of members that the peer tells of. It must not block.
	onMember func(a announcement)

	// announce returns what this node says of itself, if it has something to say.
	announce func() (announcement, bool)
}

// A streamClient is the [PeerClient] of a peer that speaks the stream. One
// goroutine keeps one connection to the peer, and makes a new one, with a growing
// and jittered pause, whenever there is none. So it knows at any time whether the
// peer can be asked, and no request pays for finding out that it cannot.
type streamClient struct {
	cfg    streamClientConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{}
	calls  sync.Pool // of *singleCall

	first     chan struct{} // closed when the first attempt to connect has ended
	bytesIn   atomic.Int64
	bytesOut  atomic.Int64
	fetches   atomic.Int64 // requests sent by fetch, on connections that have ended
	current   atomic.Pointer[streamStatus]
	latency   latency
	closely   atomic.Bool // ping it often even when there is no traffic
	firstOnce sync.Once
}

// streamStatus is a state of a streamClient with what belongs to it. It is
// replaced whole.
type streamStatus struct {
	state  peerState
	conn   *clientConn // with peerUp
	remote hello       // of the last connection
	err    error       // with peerDown and peerDraining; wraps ErrPeerTrouble
}

var _ PeerClient = (*streamClient)(nil)

// newStreamClient returns a client and begins to connect.
func newStreamClient(cfg streamClientConfig) *streamClient {
	cfg.timings = cfg.timings.withDefaults()
	if cfg.maxValue <= 0 {
		cfg.maxValue = math.MaxUint32
	}
	if cfg.rand == nil {
		cfg.rand = rand.Float64
	}
	if cfg.dial == nil {
		cfg.dial = new(net.Dialer).DialContext
	}
	if cfg.log == nil {
		cfg.log = slog.New(slog.DiscardHandler)
	}
	if cfg.refusals == nil {
		cfg.refusals = new(refusalCounts)
	}
	c := &streamClient{cfg: cfg, wake: make(chan struct{}, 1), first: make(chan struct{})}
	c.calls.New = func() any {
		s := new(singleCall)
		s.waiter, s.done = &s.callWaiter, make(chan struct{}, 1)
		return s
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.current.Store(&streamStatus{state: peerConnecting})
	c.tasks.Go(c.run)
	return c
}

// name is how errors and logs call the peer.
func (c *streamClient) name() string {
	if c.cfg.peer.ID != "" {
		return c.cfg.peer.ID
	}
	return c.cfg.addr
}

// trouble wraps an error in ErrPeerTrouble and the peer's name.
func (c *streamClient) trouble(err error) error {
	if errors.Is(err, ErrPeerTrouble) {
		return err
	}
	return fmt.Errorf("peer %s: %w: %w", c.name(), ErrPeerTrouble, err)
}

// Get implements [PeerClient].
func (c *streamClient) Get(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	if reply, bad := unsendable(req); bad {
		return reply, nil
	}
	conn, err := c.conn(ctx)
	if err != nil && req.Mode == ModeMemory {
		if conn = c.remembering(); conn != nil {
			err = nil
		}
	}
	if err != nil {
		return PeerReply{}, err
	}
	return conn.get(ctx, req)
}

// fetch is Get on behalf of several callers, who share one request; see
// clientConn.fetch. Only a peer that is up is asked.
func (c *streamClient) fetch(ctx context.Context, f *fetch) (*singleCall, error) {
	st := c.current.Load()
	if st.state == peerUp && sendable(&f.PeerRequest) {
		return st.conn.fetch(ctx, f)
	}
	return c.fetchNothing(f, st.state)
}

// fetchNothing is fetch of what no frame can carry, or from a peer that is not up.
func (c *streamClient) fetchNothing(f *fetch, st peerState) (*singleCall, error) {
	reply, bad := unsendable(&f.PeerRequest)
	if !bad {
		return nil, c.trouble(fmt.Errorf("it is %s", st))
	}
	s := c.newCall()
	s.reply, s.lead = reply, true
	return s, nil
}

func (c *streamClient) newCall() *singleCall {
	s := c.calls.Get().(*singleCall)
	s.left.Store(1)
	return s
}

// putCall takes a call back that nobody refers to any more.
func (c *streamClient) putCall(s *singleCall) {
	s.call = call{waiter: s.waiter}
	s.hash, s.group, s.key, s.limit, s.expires, s.lead, s.linked = 0, "", "", 0, 0, false, false
	s.prev, s.next, s.chain, s.watcher = nil, nil, nil, nil
	c.calls.Put(s)
}

// GetMany implements [PeerClient].
func (c *streamClient) GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error) {
	var m manyCall
	m.wait.done = make(chan struct{}, 1)
	c.sendMany(ctx, &m, reqs, nil)
	m.await(ctx)
	replies, errs := make([]PeerReply, len(reqs)), make([]error, len(reqs))
	for i := range m.calls {
		replies[i], errs[i] = m.calls[i].reply, m.calls[i].err
	}
	return replies, errs
}

// sendable reports whether a frame can carry a request.
func sendable(req *PeerRequest) bool {
	return len(req.Group) <= math.MaxUint16 && len(req.Key) <= maxSkip
}

// unsendable answers a request that no frame can carry.
func unsendable(req *PeerRequest) (PeerReply, bool) {
	switch {
	case len(req.Group) > math.MaxUint16:
		return PeerReply{Code: CodeBadRequest, Message: fmt.Sprintf("group name of %d bytes; the limit is %d", len(req.Group), math.MaxUint16)}, true
	case len(req.Key) > maxSkip:
		return PeerReply{Code: CodeTooLarge, Message: fmt.Sprintf("key of %d bytes; the limit is %d", len(req.Key), maxSkip)}, true
	}
	return PeerReply{}, false
}

// conn returns the connection. Only as long as no attempt to connect has ended
// does it wait for one; it fails at once when the peer is down.
func (c *streamClient) conn(ctx context.Context) (*clientConn, error) {
	st := c.current.Load()
	if st.state == peerConnecting {
		timer := time.NewTimer(c.cfg.timings.dialTimeout)
		defer timer.Stop()
		select {
		case <-c.first:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
		}
		st = c.current.Load()
	}
	switch {
	case c.ctx.Err() != nil:
		return nil, c.trouble(ErrClosed)
	case st.state == peerUp:
		return st.conn, nil
	case st.err != nil:
		return nil, st.err
	}
	return nil, c.trouble(errors.New("no connection yet"))
}

// State returns what is known of the peer's health.
func (c *streamClient) State() peerState { return c.current.Load().state }

// retryNow makes the client try to connect at once, if it is down: the peer has
// told that it is there.
func (c *streamClient) retryNow() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// A streamClientStats is what a client knows of its traffic.
type streamClientStats struct {
	bytesIn, bytesOut int64
	fetches           int64 // requests sent by fetch
	inFlight          int64 // all requests
	lastErr           error // unless the peer is up: what is wrong with it
	remote            hello // of the last connection
}

func (c *streamClient) stats() streamClientStats {
	st := c.current.Load()
	s := streamClientStats{
		bytesIn: c.bytesIn.Load(), bytesOut: c.bytesOut.Load(), fetches: c.fetches.Load(), lastErr: st.err, remote: st.remote,
	}
	if cc := st.conn; cc != nil {
		cc.w.mu.Lock()
		s.inFlight, s.fetches = int64(cc.used), s.fetches+cc.fetches
		cc.w.mu.Unlock()
	}
	return s
}

// fetched returns the number of requests that fetch has sent.
func (c *streamClient) fetched() int64 {
	n := c.fetches.Load()
	if cc := c.current.Load().conn; cc != nil {
		cc.w.mu.Lock()
		n += cc.fetches
		cc.w.mu.Unlock()
	}
	return n
}

// overdue returns how long the peer has not answered a ping; 0 if it has, or if
// there is no connection.
func (c *streamClient) overdue() time.Duration {
	if st := c.current.Load(); st.state == peerUp {
		return st.conn.overdue()
	}
	return 0
}

// fetchesOf returns the number of fetches in flight for a group.
func (c *streamClient) fetchesOf(group string) int64 {
	if cc := c.current.Load().conn; cc != nil {
		return cc.fetchesOf(group)
	}
	return 0
}

// Close ends the connection and the client's goroutines, and waits for them.
// Requests in flight fail with ErrClosed and ErrPeerTrouble.
func (c *streamClient) Close() error {
	c.cancel()
	c.tasks.Wait()
	return nil
}

// set changes the state.
func (c *streamClient) set(st streamStatus) {
	old := c.current.Swap(&st)
	c.firstOnce.Do(func() { close(c.first) })
	if c.ctx.Err() != nil || old.state == st.state && RefusalOf(old.err) == RefusalOf(st.err) {
		return
	}
	c.cfg.log.Debug("peer's state changed", "peer", c.name(), "from", old.state.String(), "to", st.state.String(), "err", st.err)
	if c.cfg.onState != nil {
		c.cfg.onState(st.state, st.remote, st.err)
	}
}

// run keeps a connection until the client is closed.
func (c *streamClient) run() {
	for attempt := 0; ; attempt++ {
		conn, err := c.connect(c.ctx)
		if err == nil {
			if c.serve(conn) {
				attempt = 0
			}
		} else if c.ctx.Err() == nil {
			if reason := RefusalOf(err); reason != "" {
				c.cfg.refusals.add(reason)
			}
			st := peerDown
			if errors.Is(err, ErrDraining) {
				st = peerDraining
			}
			c.set(streamStatus{state: st, remote: c.current.Load().remote, err: c.trouble(err)})
		}
		pause := time.NewTimer(c.backoff(attempt))
		select {
		case <-pause.C:
		case <-c.wake:
			attempt = -1
		case <-c.ctx.Done():
		}
		pause.Stop()
		if c.ctx.Err() != nil {
			c.set(streamStatus{state: peerDown, err: c.trouble(ErrClosed)})
			return
		}
	}
}

// backoff returns the pause after an attempt: it doubles each time, and jitter
// takes up to half of it away, so that a node that comes back is not dialed by
// all others at one moment.
func (c *streamClient) backoff(attempt int) time.Duration {
	t := c.cfg.timings
	d := t.redialMax
	if attempt < 20 {
		d = min(t.redialMin<<attempt, t.redialMax)
	}
	return d - time.Duration(c.cfg.rand()*float64(d)/2)
}

// serve is the life of a connection. It returns when the connection has ended,
// and reports whether it has lasted.
func (c *streamClient) serve(conn *clientConn) (lasted bool) {
	begin := time.Now()
	defer conn.tasks.Wait()
	c.latency.forget()
	c.set(streamStatus{state: peerUp, conn: conn, remote: conn.remote})
	c.announce()
	select {
	case <-conn.done:
	case <-conn.draining:
	case <-c.ctx.Done():
		conn.fail(ErrClosed)
		return time.Since(begin) >= c.cfg.timings.redialMax
	}
	// A peer that has little to do ends the connection right after it has said that it
	// leaves: by the time this goroutine runs both may be so, and what was said counts.
	select {
	case <-conn.draining:
		c.set(streamStatus{state: peerDraining, conn: conn, remote: conn.remote, err: c.trouble(ErrDraining)})
		c.letDrain(conn)
	default:
		c.set(streamStatus{state: peerDown, remote: conn.remote, err: conn.err()})
	}
	return time.Since(begin) >= c.cfg.timings.redialMax
}

// letDrain keeps the connection to a draining peer until nothing is in flight on
// it. The state stays: the peer will be gone, or come back.
func (c *streamClient) letDrain(conn *clientConn) {
	grace := time.NewTimer(c.cfg.timings.drainGrace)
	defer grace.Stop()
	select {
	case <-conn.emptied:
	case <-conn.done:
	case <-grace.C:
	case <-c.ctx.Done():
		conn.fail(ErrClosed)
		return
	}
	conn.fail(ErrDraining)
	c.set(streamStatus{state: peerDraining, remote: conn.remote, err: c.trouble(ErrDraining)})
}
