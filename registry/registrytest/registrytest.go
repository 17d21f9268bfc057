// Package registrytest is the contract that every registry keeps, as a test suite.
package registrytest

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/geecache/geecache/registry"
)

// A Harness is a registry with its server, for the suite to use. Open must be set.
// All else says what the registry can do: what is left out is not asked of it.
//
// The suite runs each case with members of its own, which it takes out again. What a
// case finds in the registry beside them does not matter.
type Harness struct {
	// Open returns what a node has of the registry, as yet another node has it. A
	// registry that is polled should be so each 50 ms, with a longest backoff
	// of 500 ms, so that the suite does not take long.
	Open func(t *testing.T) Handle

	// Enter and Remove change the registry from outside. They are how members come
	// and go where nodes do not register by themselves (Handle.Registrar is nil
	// then). Enter of an ID that is there replaces that member.
	Enter  func(t *testing.T, m registry.Member)
	Remove func(t *testing.T, m registry.Member)

	// Within is the promise: how soon a change is in every view, with the settings
	// that Open makes. Zero means 1 s. It holds if one of three tries keeps it, for
	// a machine may be busy.
	Within time.Duration

	// Vanish is how soon a member is gone that dies without leaving, as Handle.Kill
	// does. Zero means that the registry does not find out by itself.
	Vanish time.Duration

	// Tells returns what the registry can tell of a member: without weight and
	// zone, say, or with the address as the ID. Nil means all.
	Tells func(m registry.Member) registry.Member

	// Holds reports whether the registry can hold the member; nil means any. The
	// suite does not enter others.
	Holds func(m registry.Member) bool

	// Member returns the i-th of the members that the suite enters, 0 <= i < 100.
	// Nil means IDs and addresses that need not exist. Their addresses differ.
	Member func(i int) registry.Member

	// Many is how many members are entered at once, to see that none is lost.
	// Zero means 50.
	Many int

	// Stop ends the registry's server, and Start starts it again, on the same
	// address and with what it knew. Nil if it has none.
	Stop, Start func(t *testing.T)

	// Delay makes the server answer that much later from now on, both for what is
	// open and for what is opened then; 0 ends that. Nil if there is no server.
	// A [Proxy] does that.
	Delay func(t *testing.T, d time.Duration)
}

// A Handle is what a node has of a registry.
type Handle struct {
	registry.Discoverer
	registry.Registrar // nil if nodes do not register by themselves

	// Close ends what the handle holds; nil if that is nothing. Leave may have been
	// called before, or not.
	Close func() error

	// Kill ends the handle as the death of its process does: without leaving.
	// Close may be called after it. It is used if Harness.Vanish is set.
	Kill func()
}

// patience is how long the suite waits for what must happen: much longer than any
// promise, with room for a busy machine: thirty members of a gossip in one process, with the
// race detector and a tenth of a processor, are half a minute behind what they are told.
const patience = 2 * time.Minute

// promptly is how soon something ends that was told to: much sooner than a slow
// server answers twice, with room for a busy machine.
const promptly = 4 * time.Second

// slow is how late a slow server answers.
const slow = 5 * time.Second

// Run runs the suite. It calls newHarness once; what that starts ends with t.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	h := newHarness(t)
	if h.Within == 0 {
		h.Within = time.Second
	}
	if h.Many == 0 {
		h.Many = 50
	}
	if h.Tells == nil {
		h.Tells = func(m registry.Member) registry.Member { return m }
	}
	if h.Holds == nil {
		h.Holds = func(registry.Member) bool { return true }
	}
	if h.Member == nil {
		h.Member = madeUp
	}
	for _, c := range []struct {
		name string
		run  func(*suite)
		can  bool
	}{
		{"FirstViewAtOnce", testFirstView, true},
		{"ComeAndGo", testComeAndGo, true},
		{"Changed", testChanged, true},
		{"OddMembers", testOdd, true},
		{"Many", testMany, true},
		{"Repeated", testRepeated, true},
		{"EndOfContext", testEnd, true},
		{"LeaveWithoutRegister", testLeave, true},
		{"Vanish", testVanish, h.Vanish > 0},
		{"ServerDown", testServerDown, h.Stop != nil},
		{"ServerDownAtFirst", testServerDownAtFirst, h.Stop != nil},
		{"SlowServer", testSlow, h.Delay != nil},
	} {
		if c.can {
			t.Run(c.name, func(t *testing.T) {
				current := goleak.IgnoreCurrent()
				t.Cleanup(func() { allEnd(t, current) }) // after all others
				c.run(&suite{T: t, Harness: h, in: map[string]entered{}})
			})
		}
	}
}

// allEnd checks that what a case began has ended, or does so soon: a library's last
// probe may take its time.
func allEnd(t *testing.T, before goleak.Option) {
	t.Helper()
	deadline := time.Now().Add(patience)
	err := goleak.Find(before) // it waits a moment itself
	for err != nil && time.Now().Before(deadline) {
		err = goleak.Find(before)
	}
	if err != nil {
		t.Error(err)
	}
}
