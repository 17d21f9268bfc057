package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/geecache/geecache/registry"
)

var (
	errClosed = errors.New("etcd: the registry is closed")
	errLeft   = errors.New("etcd: Register after Leave: a node that has left starts anew")
)

// A Registry is what etcd holds of a cluster. It is safe for concurrent use. Close ends
// it.
type Registry struct {
	cfg    Config
	prefix string // of all members' keys

	running sync.WaitGroup // what connects or keeps a lease
	closed  context.Context
	close   context.CancelFunc

	mu      sync.Mutex // guards what follows
	conn    *clientv3.Client
	dialing *dialing
	warned  map[string]int64 // by key: the revision that made no sense

	// one at a time: Register and Leave hold this for as long as they take
	registering chan struct{}
	keeper      *keeper // of the key that Register made; guarded by registering
	left        bool    // guarded by registering
}

func newRegistry(cfg Config) *Registry {
	r := &Registry{cfg: cfg, prefix: cfg.Prefix + cfg.Cluster + "/", warned: map[string]int64{}, registering: make(chan struct{}, 1)}
	r.closed, r.close = context.WithCancel(context.Background())
	return r
}

// Close ends what the registry holds. A member that has not left is there until its
// lease ends. A Watch yields errors from then on.
func (r *Registry) Close() error {
	r.close()
	r.mu.Lock()
	c := r.conn
	r.conn = nil
	r.mu.Unlock()
	var err error
	if c != nil {
		if err = c.Close(); errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	r.registering <- struct{}{} // their requests end with the connection
	defer func() { <-r.registering }()
	r.running.Wait()
	return err
}

// A dialing is an attempt to make a client, which several may wait for.
type dialing struct {
	done chan struct{}
	conn *clientv3.Client
	err  error
}

// client returns the one client. With a password, etcd is asked for a token at once, so
// making it may take a while, and may fail.
func (r *Registry) client(ctx context.Context) (*clientv3.Client, error) {
	r.mu.Lock()
	if r.closed.Err() != nil {
		r.mu.Unlock()
		return nil, errClosed
	}
	if r.conn != nil {
		defer r.mu.Unlock()
		return r.conn, nil
	}
	d := r.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		r.dialing = d
		r.running.Go(func() { r.dial(d) })
	}
	r.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *Registry) dial(d *dialing) {
	d.conn, d.err = clientv3.New(clientv3.Config{
		Endpoints: r.cfg.Endpoints, TLS: r.cfg.TLS, Username: r.cfg.Username, Password: r.cfg.Password,
		DialTimeout: r.cfg.Timeout, Context: r.closed, Logger: zap.NewNop(), // each call returns its error
		// A connection whose other end is gone is found out, and a slow one is left alone.
		DialKeepAliveTime: r.cfg.Interval, DialKeepAliveTimeout: r.cfg.Timeout,
		// And an etcd that is back after an hour is found as soon as after a second.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: r.cfg.Timeout,
		})},
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialing = nil
	if d.err == nil && r.closed.Err() != nil {
		_ = d.conn.Close()
		d.err = errClosed
	}
	if d.err == nil {
		r.conn = d.conn
	}
	close(d.done)
}

// errorOf says what etcd was asked for, and which errors ask for patience.
func errorOf(what string, ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	err = fmt.Errorf("etcd: %s: %w", what, err)
	if errors.Is(err, rpctypes.ErrTooManyRequests) {
		err = &registry.ThrottledError{Err: err}
	}
	return err
}

func (r *Registry) key(id string) string { return r.prefix + id }

// decode returns the member that a key's value describes.
func (r *Registry) decode(key string, value []byte, revision int64) (registry.Member, bool) {
	var m registry.Member
	err := json.Unmarshal(value, &m)
	if err == nil && m.ID != key[len(r.prefix):] {
		err = fmt.Errorf("it is of ID %q", m.ID)
	}
	if err == nil {
		return m, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.warned[key] != revision {
		r.warned[key] = revision
		r.cfg.Log.Warn("a key in etcd is no member: it is left out", "key", key, "err", err)
	}
	return registry.Member{}, false
}

// timeout bounds one request.
func (r *Registry) timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, r.cfg.Timeout, fmt.Errorf("no answer within %v", r.cfg.Timeout))
}

// pause waits a while that grows with each failure in a row.
func pause(ctx context.Context, failed int, jitter float64) {
	d := min(100*time.Millisecond<<min(failed, 6), 5*time.Second)
	timer := time.NewTimer(time.Duration((0.9 + 0.2*jitter) * float64(d)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
