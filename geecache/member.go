package geecache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/singleflight"
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

	client  PeerClient    // nil for this node and for clients
	stream  *streamClient // client, if it is one
	breaker *breaker      // nil if client is

	// fast says that its stream is up, its breaker closed, and that it is not slow:
	// all that a request needs to know to take the short way. health, and the
	// breaker, keep it up to date.
	fast atomic.Bool
	slow atomic.Bool // it answers much later than others do

	doubt doubt // of others

	mu     sync.Mutex // guards up, closed
	up     bool       // connected, or without a connection of its own
	closed bool       // the breaker is

	// What stream.fetch has asked is not in them: it counts by itself.
	requests, failures, inFlight atomic.Int64
	bytesIn, bytesOut            atomic.Int64 // of a client that is no stream
}

// set changes what fast depends on.
func (m *member) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.fast.Store(m.up && m.closed && !m.slow.Load())
}

// guard puts a breaker before the member's client.
func (m *member) guard(now func() int64, rand func() float64, most time.Duration, notify func(to breakerState, err error)) {
	if most <= 0 {
		most = time.Second
	}
	m.breaker = &breaker{
		now: now, rand: rand, most: most, eager: m.stream == nil, total: m.asked, notify: notify,
		shut: func(closed bool) { m.set(func() { m.closed = closed }) },
	}
	m.set(func() { m.closed, m.up = true, m.up || m.stream == nil })
}

// connection is told of each state of the member's stream.
func (m *member) connection(st peerState, err error) {
	m.set(func() { m.up = st == peerUp })
	switch st {
	case peerUp:
		m.breaker.connected()
	case peerDown:
		m.breaker.disconnected(err)
	}
}

// state returns the state of the connection; without a stream, whether requests
// are let through.
func (m *member) state() peerState {
	switch {
	case m.stream != nil:
		return m.stream.State()
	case m.breaker.admits():
		return peerUp
	}
	return peerDown
}

// look has the member's stream pinged often, with or without traffic, as long as
// it is not known to be well.
func (m *member) look() {
	if m.stream != nil {
		m.stream.closely.Store(!m.fast.Load())
	}
}

// well reports whether the member is connected and its breaker closed, slow or not.
func (m *member) well() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client != nil && m.up && m.closed
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
	return (st == peerUp || st == peerConnecting) && m.breaker.admits()
}

// remembers reports whether the member's memory may be asked: it is up, or it leaves
// and has not gone.
func (m *member) remembers() bool {
	return m.marked && m.client != nil && (m.state() == peerUp || m.stream != nil && m.stream.remembering() != nil)
}

// A doubt is that other nodes find a member in trouble, and ask its stand-ins, while
// this one does not.
type doubt struct{ since, last atomic.Int64 } // of the node's clock

const (
	// doubtFor is how long this node believes the others. A member that is really in
	// trouble has shown it by then here, too.
	doubtFor = settleWithin

	// doubtEnds is how long nobody says so until a doubt is over.
	doubtEnds = 30 * time.Second
)

// lasts reports, each time that another node says so, whether the doubt has lasted
// for so long that the member is taken to be well.
func (d *doubt) lasts(now int64) bool {
	now = max(now, 1) // 0 is never
	if last := d.last.Swap(now); last == 0 || now-last > int64(doubtEnds) {
		d.since.Store(now)
	}
	return now-d.since.Load() >= int64(doubtFor)
}

// inTrouble reports whether the member was in trouble, or slow, when it was last
// asked or probed. It may be worth a try even so.
func (m *member) inTrouble() bool {
	if m.self {
		return false
	}
	return m.client == nil || !m.fast.Load() && m.state() != peerConnecting
}

// asked returns how many requests have been sent to the member.
func (m *member) asked() int64 {
	n := m.requests.Load()
	if m.stream != nil {
		n += m.stream.fetched()
	}
	return n
}

// ask sends one request, if the breaker lets it through. An error means that the
// member is in trouble, or that ctx ended.
func (m *member) ask(ctx context.Context, req *PeerRequest) (reply PeerReply, err error) {
	trial, err := m.breaker.enter()
	if err != nil {
		return PeerReply{}, m.trouble(err)
	}
	m.requests.Add(1)
	m.inFlight.Add(1)
	done := false
	defer func() {
		m.inFlight.Add(-1)
		if !done {
			err = errPanicked
		}
		m.breaker.leave(trial, outcomeOf(ctx, &reply, err), err)
	}()
	reply, err = m.client.Get(ctx, req)
	done = true
	if m.stream == nil {
		m.bytesOut.Add(int64(len(req.Group) + len(req.Key)))
		m.bytesIn.Add(int64(len(reply.Value)))
	}
	return reply, m.judge(&reply, err, ctx.Err() == nil)
}

// outcomeOf tells what a request says about the peer. The flight's own time limit
// is far longer than the peer's: not to answer within it is a failure.
func outcomeOf(ctx context.Context, reply *PeerReply, err error) outcome {
	switch {
	case err == nil && reply.Code == CodeInternal:
		return failed
	case err == nil && reply.Code == CodeDraining, errors.Is(err, ErrDraining):
		return unknown
	case err == nil && reply.Code == CodeRefused:
		return lost
	case err == nil:
		return answered
	case errors.Is(err, errNoReply), errors.Is(context.Cause(ctx), singleflight.ErrTimeout):
		return failed
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unknown
	}
	return lost
}

// trouble wraps an error in ErrPeerTrouble and the member's name.
func (m *member) trouble(err error) error {
	if errors.Is(err, ErrPeerTrouble) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrPeerTrouble, m.peer.ID, err)
}

// judge tells trouble from an answer: a node that drains, or that refuses this
// one as a stranger, is asked no more. A deadline is never the peer's trouble.
// count says that a failure is to be counted.
func (m *member) judge(reply *PeerReply, err error, count bool) error {
	if err == nil && (reply.Code == CodeDraining || reply.Code == CodeRefused) {
		err = m.trouble(reply.Code.Err())
	}
	if err == nil {
		return nil
	}
	if count {
		m.failures.Add(1)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return m.trouble(err)
}

// askMany sends several requests in one round trip. Each call has a reply or an
// error of its own: the member is in trouble, or ctx ended.
func (m *member) askMany(ctx context.Context, reqs []PeerRequest) []call {
	calls := make([]call, len(reqs))
	trial, err := m.breaker.enter()
	if err != nil {
		for i := range calls {
			calls[i].err = m.trouble(err)
		}
		return calls
	}
	m.beginMany(len(reqs))
	worst, why := lost, errPanicked
	defer func() { m.breaker.leave(trial, worst, why) }()
	replies, errs := m.client.GetMany(ctx, reqs)
	for i := range calls {
		calls[i].reply, calls[i].err = replies[i], errs[i]
	}
	worst, why = m.endMany(ctx, calls)
	if m.stream == nil {
		for i := range replies {
			m.bytesOut.Add(int64(len(reqs[i].Group) + len(reqs[i].Key)))
			m.bytesIn.Add(int64(len(replies[i].Value)))
		}
	}
	return calls
}

// beginMany and endMany are the parts of askMany before and after the asking.
// endMany returns the worst outcome.
func (m *member) beginMany(n int) {
	m.requests.Add(int64(n))
	m.inFlight.Add(int64(n))
}

func (m *member) endMany(ctx context.Context, calls []call) (worst outcome, why error) {
	m.inFlight.Add(-int64(len(calls)))
	for i := range calls {
		k := &calls[i]
		o, err := outcomeOf(ctx, &k.reply, k.err), k.err
		k.err = m.judge(&k.reply, err, ctx.Err() == nil)
		if o == failed || o == lost {
			m.breaker.note(o, errors.Join(err, k.reply.Code.Err()))
		}
		if o > worst {
			worst, why = o, errors.Join(err, k.reply.Code.Err())
		}
	}
	return worst, why
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
		BytesIn:  m.bytesIn.Load(),
		BytesOut: m.bytesOut.Load(),
	}
	if m.breaker != nil {
		state, entered := m.breaker.stats()
		s.Breaker, s.LastError, s.Slow = state.String(), errorText(m.breaker.lastError()), m.slow.Load()
		s.BreakerClosed, s.BreakerHalfOpened, s.BreakerOpened = entered[breakerClosed], entered[breakerHalfOpen], entered[breakerOpen]
	}
	if m.stream != nil {
		st := m.stream.stats()
		s.BytesIn, s.BytesOut, s.RTT = st.bytesIn, st.bytesOut, m.stream.latency.typical()
		s.LastRTT = m.stream.latency.latest()
		s.Requests, s.InFlight = s.Requests+st.fetches, st.inFlight
		if st.lastErr != nil {
			s.LastError = errorText(st.lastErr)
		}
		if st.remote != (hello{}) {
			s.Epoch = epochText(st.remote.Epoch)
		}
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
