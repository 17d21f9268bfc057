package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlinePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadline(t.Context(), time.Second)
		defer d.end()
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Second {
			t.Errorf("deadline in %v, want 1s", time.Until(at))
		}
		if d.armed != nil {
			t.Error("asking when it is has made the timer")
		}
		if d.Err() != nil {
			t.Errorf("it has ended at once: %v", d.Err())
		}
		begun := time.Now()
		child, cancel := context.WithCancel(d)
		defer cancel()
		<-child.Done()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it ended after %v, want 1s", took)
		}
		for _, err := range []error{d.Err(), child.Err(), context.Cause(d), context.Cause(child)} {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it ended with %v", err)
			}
		}
	})
}

func TestDeadlineArmedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadline(t.Context(), time.Second)
		defer d.end()
		time.Sleep(2 * time.Second)
		select {
		case <-d.Done():
		default:
			t.Error("it has not ended, though its time has passed")
		}
	})
}

func TestDeadlineEndsWithItsParent(t *testing.T) {
	gone := errors.New("gone")
	parent, cancel := context.WithCancelCause(t.Context())
	d := newDeadline(parent, time.Hour)
	defer d.end()
	cancel(gone)
	<-d.Done()
	if !errors.Is(d.Err(), context.Canceled) || !errors.Is(context.Cause(d), gone) {
		t.Errorf("it ended with %v because of %v", d.Err(), context.Cause(d))
	}
	sooner, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	want, _ := sooner.Deadline()
	if at, _ := newDeadline(sooner, time.Hour).Deadline(); !at.Equal(want) {
		t.Errorf("its parent's deadline is %v, and its own %v", want, at)
	}
}

func TestDeadlineEnd(t *testing.T) {
	for _, armedBefore := range []bool{true, false} {
		d := newDeadline(t.Context(), time.Hour)
		if armedBefore {
			d.arm()
		}
		d.end()
		<-d.Done()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("armed before: %v: it ended with %v", armedBefore, d.Err())
		}
	}
}
