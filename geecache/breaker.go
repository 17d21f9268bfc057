package geecache

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// breakerState is what a breaker does with requests.
type breakerState int8

const (
	breakerClosed   breakerState = iota // lets all through
	breakerHalfOpen                     // lets a few through, to see whether the peer is well again
	breakerOpen                         // lets none through
)

var breakerStateNames = [...]string{"closed", "half-open", "open"}

// String returns "closed", "half-open" or "open".
func (s breakerState) String() string { return breakerStateNames[s] }

const (
	// breakerSteps of breakerStep each are the window that failures are counted
	// in.
	breakerSteps = 10
	breakerStep  = time.Second

	// breakerFailures is how many failures in the window it takes to open,
	// and they must be half of the requests.
	breakerFailures = 10

	// breakerTrials is how many requests a half-open breaker has under way.
	breakerTrials = 4

	// breakerProofs is how many answers in a row it takes at most to close it.
	breakerProofs = 3

	breakerPause = 50 * time.Millisecond // the shortest pause
)

// errPanicked is the outcome of a request whose client panics.
var errPanicked = fmt.Errorf("%w: its client panicked", ErrPeerTrouble)

// An outcome is what a request says about the peer that was asked.
type outcome int8

const (
	answered outcome = iota // whatever the answer was
	unknown                 // the caller left, or the peer said that it leaves
	failed                  // an answer that only a broken peer gives
	lost                    // no answer: the peer could not be asked, or the connection broke
)

// A breaker keeps requests away from a peer in trouble. It opens when the peer
// cannot be reached, or when half of the requests of the last 10 s, and 10 at
// least, have failed. Open, it lets nothing through for a while that doubles each
// time, up to a limit, and that jitter shortens by up to a half. Then it is
// half-open: a few requests are let through at a time. It closes when they are
// answered, and opens again when one fails. So no request waits for a connect
// timeout twice, and a peer that is well for a moment only gets little to spoil.
//
// What a source did, "not found", overload and a caller's own end are no failures.
type breaker struct {
	now  func() int64
	rand func() float64
	most time.Duration // of the pause

	// eager: one lost request opens it. For clients that do not watch their
	// connection by themselves.
	eager bool

	total  func() int64 // requests that have ever been sent
	shut   func(bool)   // is told, under mu, whether the breaker is closed now
	notify func(to breakerState, err error)

	mu       sync.Mutex // guards what follows
	state    breakerState
	err      error // why it is not closed
	cut      bool  // there is no connection: it stays open
	pause    time.Duration
	until    int64 // of now: when an open one may be half-open
	trials   int   // under way
	proofs   int   // answers since it is half-open
	needs    int   // answers that close it
	relapses int   // how often in a row it has opened soon after it had closed
	closedAt int64 // of now; 0: it has never been open
	changes  [len(breakerStateNames)]int64

	// The window: what total was when each step began, and the failures since.
	step  int
	began [breakerSteps]int64
	fails [breakerSteps]int64
}

// locked calls f under mu, and tells of a change.
func (b *breaker) locked(f func()) {
	b.mu.Lock()
	was := b.state
	f()
	state, err := b.state, b.err
	if state != was {
		b.changes[state]++
		b.shut(state == breakerClosed)
	}
	b.mu.Unlock()
	if state != was {
		b.notify(state, err)
	}
}

// lookLocked makes an open breaker half-open when its time has come.
func (b *breaker) lookLocked() {
	if b.state == breakerOpen && !b.cut && b.now() >= b.until {
		b.state, b.trials, b.proofs = breakerHalfOpen, 0, 0
	}
}

// openLocked opens the breaker. needs is how many answers are to close it.
func (b *breaker) openLocked(err error, needs int) {
	now := b.now()
	switch {
	case b.state == breakerHalfOpen:
		b.pause *= 2
	case b.closedAt != 0 && now-b.closedAt < int64(breakerSteps*breakerStep):
		b.pause *= 2
		b.relapses++
	default:
		b.pause, b.relapses = 0, 0
	}
	b.pause = min(max(b.pause, min(breakerPause, b.most)), b.most)
	b.until = now + int64(b.pause) - int64(b.rand()*float64(b.pause)/2)
	b.needs = max(min(needs+b.relapses, breakerProofs), b.needs)
	b.state, b.err = breakerOpen, err
	b.fails = [breakerSteps]int64{}
}

// proveLocked takes an answer in half-open state for a proof of health.
func (b *breaker) proveLocked() {
	if b.state != breakerHalfOpen {
		return
	}
	if b.proofs++; b.proofs >= b.needs {
		b.state, b.err, b.needs = breakerClosed, nil, 0
		b.closedAt = max(b.now(), 1)
		b.began, b.fails = [breakerSteps]int64{}, [breakerSteps]int64{}
		for i := range b.began {
			b.began[i] = b.total()
		}
	}
}

// countLocked counts a failure in the window, and opens the breaker if that was one
// too many.
func (b *breaker) countLocked(err error) {
	b.fails[b.step]++
	sum := int64(0)
	for _, n := range b.fails {
		sum += n
	}
	oldest := b.began[(b.step+1)%breakerSteps]
	if sum >= breakerFailures && 2*sum >= b.total()-oldest {
		b.openLocked(err, breakerProofs)
	}
}

// admits reports whether a request would be let through.
func (b *breaker) admits() (ok bool) {
	b.locked(func() {
		b.lookLocked()
		ok = b.state == breakerClosed || b.state == breakerHalfOpen && b.trials < breakerTrials
	})
	return ok
}

// enter returns an error if the peer must not be asked now. trial says that the
// request is one of those that are to show whether the peer is well again.
func (b *breaker) enter() (trial bool, err error) {
	b.locked(func() {
		b.lookLocked()
		switch {
		case b.state == breakerClosed:
		case b.state == breakerHalfOpen && b.trials < breakerTrials:
			b.trials++
			trial = true
		default:
			err = b.err
		}
	})
	return trial, err
}

// leave takes note of the outcome of a request that was let through.
func (b *breaker) leave(trial bool, o outcome, err error) {
	b.locked(func() {
		if trial && b.state == breakerHalfOpen {
			b.trials = max(b.trials-1, 0)
			switch o {
			case answered:
				b.proveLocked()
			case failed, lost:
				b.openLocked(err, 1)
			}
			return
		}
		b.noteLocked(o, err)
	})
}

// note takes note of the outcome of a request that did not ask for leave.
func (b *breaker) note(o outcome, err error) { b.locked(func() { b.noteLocked(o, err) }) }

func (b *breaker) noteLocked(o outcome, err error) {
	if b.state != breakerClosed || o != failed && o != lost {
		return // of many that fail at once, one opens it
	}
	if o == lost && b.eager {
		b.openLocked(err, 1)
		return
	}
	b.countLocked(err)
}

// alive says that the peer has answered a ping.
func (b *breaker) alive() {
	b.locked(func() {
		b.lookLocked()
		b.proveLocked()
	})
}

// disconnected says that there is no connection to the peer, and why.
func (b *breaker) disconnected(err error) {
	b.locked(func() {
		if !b.cut && !errors.Is(err, ErrDraining) {
			b.openLocked(err, 1)
			b.cut = true
		}
	})
}

// connected says that there is one again. To make it took a pause and an answer of
// the peer's, which is proof enough: a node that has just started must not be passed
// over, since others would load for it. Only one that keeps losing its connections
// must wait, and prove more.
func (b *breaker) connected() {
	b.locked(func() {
		if !b.cut {
			return
		}
		b.cut = false
		if b.relapses == 0 {
			b.until, b.needs = 0, 1
			b.lookLocked()
			b.changes[b.state]++
			b.proveLocked()
		}
	})
}

// roll begins a new step of the window. It is to be called once each breakerStep.
func (b *breaker) roll() {
	b.locked(func() {
		b.lookLocked()
		b.step = (b.step + 1) % breakerSteps
		b.began[b.step], b.fails[b.step] = b.total(), 0
	})
}

// lastError returns why the breaker is not closed; nil if it is.
func (b *breaker) lastError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// stats returns the state, and how often each state was entered.
func (b *breaker) stats() (state breakerState, entered [len(breakerStateNames)]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.changes
}
