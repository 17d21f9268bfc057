package geecache

import (
	"context"
	"time"
)

// A Getter is a group's source: it loads the value of a key that is not cached.
//
// Get is called by many goroutines at once, but for one key by one at a time on
// a node. Its context ends when the last caller who waits for the value has
// left, or at the group's load timeout; a Getter should return soon after.
// To say that a key has no value, return an error that wraps [ErrNotFound].
// The key may be any string of bytes, the empty one included.
type Getter interface {
	Get(ctx context.Context, key string) (Value, error)
}

// A GetterFunc is a function that is a [Getter].
type GetterFunc func(ctx context.Context, key string) (Value, error)

// Get calls f.
func (f GetterFunc) Get(ctx context.Context, key string) (Value, error) { return f(ctx, key) }

// A Value is what a [Getter] returns.
type Value struct {
	// Bytes is the value. The cache takes it over: the Getter must not change
	// it after Get has returned.
	Bytes []byte

	// TTL says for how long the value may be kept. Zero means the group's
	// default; a negative TTL means that the value is not kept at all.
	TTL time.Duration
}
