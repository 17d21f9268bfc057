package geecache

import (
	"context"
	"fmt"
	"testing"
	"time"
)

type fakePeer struct {
	err   error
	code  Code
	asked int
}

func (p *fakePeer) Get(context.Context, *PeerRequest) (PeerReply, error) {
	p.asked++
	return PeerReply{Code: p.code}, p.err
}

func (p *fakePeer) GetMany(context.Context, []PeerRequest) ([]PeerReply, []error) { return nil, nil }
func (p *fakePeer) Close() error                                                  { return nil }

// breakerAt returns a member without a stream, and its breaker's clock.
func breakerAt(peer PeerClient) (m *member, now *int64, opened *int) {
	m, now, opened = &member{peer: Peer{ID: "p"}, client: peer}, new(int64), new(int)
	m.guard(func() int64 { return *now }, func() float64 { return 0 }, time.Second, func(to breakerState, _ error) {
		if to == breakerOpen {
			*opened++
		}
	})
	return m, now, opened
}

func (m *member) breakerState() breakerState {
	state, _ := m.breaker.stats()
	return state
}

func TestBreakerLetsATryThroughAndForgivesCallersWhoLeave(t *testing.T) {
	peer := &fakePeer{}
	m, now, _ := breakerAt(peer)
	ask := func(ctx context.Context) error {
		_, err := m.ask(ctx, &PeerRequest{})
		return err
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	peer.err = context.Canceled
	wantErr(t, ask(left), context.Canceled)
	wantCount(t, "state after a caller has left", m.state(), peerUp)

	peer.err = fmt.Errorf("%w: gone", ErrPeerTrouble)
	wantErr(t, ask(t.Context()), ErrPeerTrouble)
	wantCount(t, "state after trouble", m.state(), peerDown)
	wantCount(t, "the short way is open", m.fast.Load(), false)
	asked := peer.asked
	wantErr(t, ask(t.Context()), ErrPeerTrouble)
	wantCount(t, "requests that reached the peer", peer.asked, asked)

	for i, pause := range []time.Duration{50, 100, 200, 400, 800, 1000, 1000} {
		*now += int64(pause*time.Millisecond) - 1
		wantCount(t, fmt.Sprint("state before pause ", i, " is over"), m.state(), peerDown)
		*now++
		wantErr(t, ask(t.Context()), ErrPeerTrouble)
		asked++
		wantCount(t, "requests that reached the peer", peer.asked, asked)
	}
	*now += int64(time.Second)
	peer.err = nil
	if err := ask(t.Context()); err != nil {
		t.Error(err)
	}
	wantCount(t, "state after an answer", m.breakerState(), breakerClosed)
	wantCount(t, "the short way is open", m.fast.Load(), true)
	_, entered := m.breaker.stats()
	wantCount(t, "times it was open", entered[breakerOpen], 8)
	wantCount(t, "times it was closed again", entered[breakerClosed], 1)
}

func TestBreakerThatRelapsesIsTrustedLess(t *testing.T) {
	peer := &fakePeer{}
	m, now, opened := breakerAt(peer)
	ask := func(fail bool) {
		peer.err = nil
		if fail {
			peer.err = fmt.Errorf("%w: gone", ErrPeerTrouble)
		}
		_, _ = m.ask(t.Context(), &PeerRequest{})
	}
	for i, proofs := range []int{1, 2, 3, 3} {
		ask(true)
		wantCount(t, "times it opened", *opened, i+1)
		*now += int64(time.Second)
		for n := range proofs {
			wantCount(t, fmt.Sprintf("round %d: closed after %d answers", i, n), m.breakerState() == breakerClosed, false)
			ask(false)
		}
		wantCount(t, fmt.Sprintf("round %d: closed after %d answers", i, proofs), m.breakerState(), breakerClosed)
	}
	*now += int64(breakerSteps * breakerStep) // well for long
	ask(true)
	*now += int64(breakerPause)
	ask(false)
	wantCount(t, "state after a long time without trouble", m.breakerState(), breakerClosed)
}

func TestBreakerLetsFewThroughAtATime(t *testing.T) {
	m, now, _ := breakerAt(&fakePeer{})
	m.breaker.note(lost, ErrPeerTrouble)
	*now += int64(breakerPause)
	for range breakerTrials {
		if trial, err := m.breaker.enter(); !trial || err != nil {
			t.Fatalf("a trial: %v, %v", trial, err)
		}
	}
	if _, err := m.breaker.enter(); err == nil {
		t.Error("one more than the limit was let through")
	}
	wantCount(t, "usable", m.usable(), false)
	m.breaker.leave(true, unknown, nil) // its caller has left
	wantCount(t, "usable when a trial has ended", m.usable(), true)
	m.breaker.leave(true, lost, ErrPeerTrouble)
	wantCount(t, "state after a failed trial", m.breakerState(), breakerOpen)
}

func TestBreakerWatchesTheShareOfFailures(t *testing.T) {
	peer := &fakePeer{}
	m, now, opened := breakerAt(peer)
	m.breaker.eager = false
	ask := func(n int, code Code) {
		peer.code = code
		for range n {
			if _, err := m.ask(t.Context(), &PeerRequest{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	step := func(n int) {
		for range n {
			*now += int64(breakerStep)
			m.breaker.roll()
		}
	}
	// Answers of the source, of the caller's making or about load are none.
	for _, code := range []Code{CodeSource, CodeNotFound, CodeOverloaded, CodeTooLarge, CodeLoadTimeout, CodeDeadline, CodeNoGroup, CodeMiss} {
		ask(breakerFailures, code)
	}
	wantCount(t, "opened for what is no failure", *opened, 0)
	step(breakerSteps)
	ask(breakerFailures-1, CodeInternal)
	wantCount(t, "opened for few", *opened, 0)
	step(breakerSteps)
	ask(2*breakerFailures, CodeOK)
	ask(breakerFailures, CodeInternal)
	wantCount(t, "opened for a third", *opened, 0)
	ask(breakerFailures, CodeInternal)
	wantCount(t, "opened for the half", *opened, 1)

	*now += int64(breakerPause)
	ask(breakerProofs-1, CodeOK)
	wantCount(t, "state after few answers", m.breakerState(), breakerHalfOpen)
	ask(1, CodeOK)
	wantCount(t, "state after some answers", m.breakerState(), breakerClosed)
	ask(breakerFailures-1, CodeInternal)
	wantCount(t, "opened for what came before", *opened, 1)
}

func TestBreakerOfAConnectionFollowsIt(t *testing.T) {
	m, now, _ := breakerAt(&fakePeer{})
	m.breaker.disconnected(fmt.Errorf("%w: reset", ErrPeerTrouble))
	*now += int64(time.Minute)
	wantCount(t, "state without a connection", m.state(), peerDown)
	m.breaker.connected()
	wantCount(t, "state with a new one", m.breakerState(), breakerClosed)
	_, entered := m.breaker.stats()
	wantCount(t, "times in each state", entered, [...]int64{1, 1, 1})

	m.breaker.disconnected(fmt.Errorf("%w: reset", ErrPeerTrouble))
	m.breaker.connected()
	wantCount(t, "state with a third, at once", m.breakerState(), breakerOpen)
	*now += int64(time.Second)
	m.breaker.alive()
	wantCount(t, "state after a pong", m.breakerState(), breakerHalfOpen)
	m.breaker.alive()
	wantCount(t, "state after two pongs", m.breakerState(), breakerClosed)

	*now += int64(time.Hour)
	m.breaker.disconnected(fmt.Errorf("%w: %w", ErrPeerTrouble, ErrDraining))
	wantCount(t, "state when the peer drains", m.breakerState(), breakerClosed)
}
