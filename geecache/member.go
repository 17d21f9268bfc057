package geecache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A member is one member of the cluster as this node sees it, itself included.
// It outlives the views that it is in.
type member struct {
	peer     Peer
	self     bool
	protocol string

	// marked says that the peer shakes hands as GeeCache, and so never forwards
	// what this node asks of it. Others are never stand-ins, and are never asked
	// on behalf of an unmarked request, which may have come from them.
	marked bool

	closing *time.Timer // closes a member that has left the view

	client PeerClient       // nil for this node and for clients
	stream *streamClient    // client, if it is one
	state  func() peerState // of the connection

	// What stream.fetch has asked is not in them: it counts by itself.
	requests, failures, inFlight atomic.Int64
}

// usable reports whether a request to the member is worth a try.
func (m *member) usable() bool {
	if m.self {
		return true
	}
	if m.client == nil {
		return false
	}
	st := m.state()
	return st == peerUp || st == peerConnecting
}

// inTrouble reports whether the member was in trouble when it was last asked or
// probed, and has not answered since. It may be worth a try even so.
func (m *member) inTrouble() bool {
	if b, ok := m.client.(*breaker); ok {
		return b.lastError() != nil
	}
	return !m.usable()
}

// ask sends one request. An error means that the member is in trouble, or that
// ctx ended.
func (m *member) ask(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	m.requests.Add(1)
	m.inFlight.Add(1)
	reply, err := m.client.Get(ctx, req)
	m.inFlight.Add(-1)
	return reply, m.judge(&reply, err, ctx.Err() == nil)
}

// judge tells trouble from an answer: a node that drains, or that refuses this
// one as a stranger, is asked no more. A deadline is never the peer's trouble.
// count says that a failure is to be counted.
func (m *member) judge(reply *PeerReply, err error, count bool) error {
	if err == nil && (reply.Code == CodeDraining || reply.Code == CodeRefused) {
		err = fmt.Errorf("%w: %s: %w", ErrPeerTrouble, m.peer.ID, reply.Code.Err())
	}
	if err == nil {
		return nil
	}
	if count {
		m.failures.Add(1)
	}
	if errors.Is(err, ErrPeerTrouble) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrPeerTrouble, m.peer.ID, err)
}

// askMany sends several requests in one round trip. Each call has a reply or an
// error of its own: the member is in trouble, or ctx ended.
func (m *member) askMany(ctx context.Context, reqs []PeerRequest) []call {
	m.beginMany(len(reqs))
	replies, errs := m.client.GetMany(ctx, reqs)
	calls := make([]call, len(reqs))
	for i := range calls {
		calls[i].reply, calls[i].err = replies[i], errs[i]
	}
	m.endMany(ctx, calls)
	return calls
}

// beginMany and endMany are the parts of askMany before and after the asking.
func (m *member) beginMany(n int) {
	m.requests.Add(int64(n))
	m.inFlight.Add(int64(n))
}

func (m *member) endMany(ctx context.Context, calls []call) {
	m.inFlight.Add(-int64(len(calls)))
	for i := range calls {
		k := &calls[i]
		k.err = m.judge(&k.reply, k.err, ctx.Err() == nil)
	}
}

// stateText names the connection's state.
func (m *member) stateText() string {
	switch {
	case m.self:
		return "self"
	case m.client == nil:
		return string(RoleClient)
	}
	return m.state().String()
}

// stats describes the member.
func (m *member) stats() PeerStats {
	s := PeerStats{
		Peer:     m.peer,
		Self:     m.self,
		Protocol: m.protocol,
		Requests: m.requests.Load(),
		Failures: m.failures.Load(),
		InFlight: m.inFlight.Load(),
		State:    m.stateText(),
	}
	switch c := m.client.(type) {
	case *streamClient:
		st := c.stats()
		s.BytesIn, s.BytesOut, s.LastError = st.bytesIn, st.bytesOut, errorText(st.lastErr)
		s.Requests, s.InFlight = s.Requests+st.fetches, st.inFlight
	case *breaker:
		s.LastError = errorText(c.lastError())
	}
	return s
}

// busy reports whether a request to the member is in flight.
func (m *member) busy() bool {
	return m.inFlight.Load() > 0 || m.stream != nil && m.stream.stats().inFlight > 0
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A breaker keeps requests away from a peer in trouble whose client does not
// watch its connection by itself: after a failure it lets nothing through for a
// while that doubles up to a limit, then one request, on whose outcome it opens
// or closes. So no request waits for a connect timeout twice.
type breaker struct {
	client PeerClient
	now    func() int64
	onUp   func()
	min    time.Duration
	max    time.Duration

	mu      sync.Mutex // guards what follows
	err     error      // why it is open; nil: it is closed
	backoff time.Duration
	until   int64 // of now: when the next request may try
	trying  bool
}

func newBreaker(c PeerClient, now func() int64, most time.Duration, onUp func()) *breaker {
	if most <= 0 {
		most = time.Second
	}
	return &breaker{client: c, now: now, onUp: onUp, min: 50 * time.Millisecond, max: most}
}

// state says whether a request would be let through.
func (b *breaker) state() peerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil && (b.trying || b.now() < b.until) {
		return peerDown
	}
	return peerUp
}

// enter returns an error if the peer must not be asked now. trial says that the
// request is the one that is let through to see whether the peer is back.
func (b *breaker) enter() (trial bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return false, nil
	}
	if b.trying || b.now() < b.until {
		return false, b.err
	}
	b.trying = true
	return true, nil
}

// leave takes note of a request's outcome: trouble, or an answer. A request
// whose caller has left (ended) says nothing.
func (b *breaker) leave(trial bool, err error, ended bool) {
	b.mu.Lock()
	wasOpen := b.err != nil
	switch {
	case err == nil:
		b.err, b.backoff = nil, 0
	case !ended && (trial || !wasOpen): // of many that fail at once, one counts
		b.err = err
		b.backoff = min(max(2*b.backoff, b.min), b.max)
		b.until = b.now() + int64(b.backoff)
	}
	if trial {
		b.trying = false
	}
	recovered := wasOpen && b.err == nil
	b.mu.Unlock()
	if recovered {
		b.onUp()
	}
}

func (b *breaker) lastError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Get implements PeerClient.
func (b *breaker) Get(ctx context.Context, req *PeerRequest) (reply PeerReply, err error) {
	trial, err := b.enter()
	if err != nil {
		return PeerReply{}, err
	}
	err = errPanicked
	defer func() { b.leave(trial, err, ctx.Err() != nil) }()
	reply, err = b.client.Get(ctx, req)
	return reply, err
}

// errPanicked is what a breaker takes for the outcome of a client that panics.
var errPanicked = fmt.Errorf("%w: its client panicked", ErrPeerTrouble)

// GetMany implements PeerClient.
func (b *breaker) GetMany(ctx context.Context, reqs []PeerRequest) ([]PeerReply, []error) {
	trial, err := b.enter()
	if err != nil {
		errs := make([]error, len(reqs))
		for i := range errs {
			errs[i] = err
		}
		return make([]PeerReply, len(reqs)), errs
	}
	trouble := errPanicked
	defer func() { b.leave(trial, trouble, ctx.Err() != nil) }()
	replies, errs := b.client.GetMany(ctx, reqs)
	trouble = nil
	for _, err := range errs {
		if errors.Is(err, ErrPeerTrouble) {
			trouble = err
			break
		}
	}
	if trouble == nil && ctx.Err() != nil {
		trouble = ctx.Err() // no answer, and no trouble either
	}
	return replies, errs
}

// Close implements PeerClient.
func (b *breaker) Close() error { return b.client.Close() }
