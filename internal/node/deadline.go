package node

import (
	"context"
	"sync"
	"time"
)

// A deadline is a context with a timeout whose timer is made only when somebody
// waits for it. Most requests are hits, which wait for nothing, and a timer
// would cost them more than the cache does.
type deadline struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex // guards what follows
	armed  context.Context
	cancel context.CancelFunc
	ended  bool
}

// newDeadline returns a context that ends with its parent or after timeout.
// Call end when done with it.
func newDeadline(parent context.Context, timeout time.Duration) *deadline {
	return &deadline{parent: parent, at: time.Now().Add(timeout)}
}

// arm makes the timer, if it has not been made.
func (d *deadline) arm() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.armed == nil {
		d.armed, d.cancel = context.WithDeadline(d.parent, d.at)
		if d.ended {
			d.cancel()
		}
	}
	return d.armed
}

// end releases the timer, and ends the context for whoever still waits for it.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.cancel != nil {
		d.cancel()
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if t, ok := d.parent.Deadline(); ok && t.Before(d.at) {
		return t, true
	}
	return d.at, true
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} { return d.arm().Done() }

// Err implements context.Context.
func (d *deadline) Err() error { return d.arm().Err() }

// Value implements context.Context. Package context finds through it what
// belongs to Done, so it must be that of the same context.
func (d *deadline) Value(key any) any { return d.arm().Value(key) }
