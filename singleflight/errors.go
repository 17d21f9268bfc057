package singleflight

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrTimeout is what all callers of a flight get that took longer than
	// Config.Timeout. It is also the cause of the end of fn's context then.
	ErrTimeout = errors.New("singleflight: flight timed out")

	// ErrTooManyAbandoned is returned instead of starting a flight while
	// Config.MaxAbandoned functions are still running whose flights have ended.
	ErrTooManyAbandoned = errors.New("singleflight: too many abandoned flights are still running")

	// ErrGoexit is what all callers get when fn called [runtime.Goexit].
	ErrGoexit = errors.New("singleflight: function called runtime.Goexit")

	// errAllLeft is the cause of the end of fn's context when nobody waits.
	errAllLeft = errors.New("singleflight: every caller has left")
)

// A PanicError is what all callers get when fn panicked.
type PanicError struct {
	Value any    // what was given to panic
	Stack []byte // of the goroutine that panicked
}

func newPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

// Error returns the panic's value as text, without the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("singleflight: function panicked: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
