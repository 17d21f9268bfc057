package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/geecache/geecache/registry"
)

// A keeper keeps a member's key in etcd.
type keeper struct {
	self   registry.Member
	lease  clientv3.LeaseID // of the goroutine's until done is closed
	cancel context.CancelFunc
	done   chan struct{}
}

// stop ends the keeper, and leaves the key to its lease.
func (k *keeper) stop() {
	if k != nil {
		k.cancel()
		<-k.done
	}
}

// enter waits for its turn among Register and Leave.
func (r *Registry) enter(ctx context.Context) (leave func(), err error) {
	select {
	case r.registering <- struct{}{}:
		return func() { <-r.registering }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("etcd: %w", context.Cause(ctx))
	}
}

// Register implements [registry.Registrar]. The member stays registered as long as this
// process lives: if its lease gets lost it is entered anew.
func (r *Registry) Register(ctx context.Context, self registry.Member) error {
	if self.ID == "" {
		self.ID = self.Addr
	}
	if self.ID == "" {
		return errors.New("etcd: the member to register has neither ID nor Addr")
	}
	if !utf8.ValidString(self.ID) {
		return fmt.Errorf("etcd: the ID to register is %q: use UTF-8", self.ID)
	}
	leave, err := r.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if r.closed.Err() != nil {
		return errClosed
	}
	if r.left {
		return errLeft
	}
	before := r.keeper
	before.stop() // so that it does not write the old member over the new one
	lease, err := r.put(ctx, self)
	if err != nil {
		if before != nil { // what was registered stays
			r.keeper = r.keep(before.self, before.lease)
		}
		return errorOf("register "+self.ID, ctx, err)
	}
	r.keeper = r.keep(self, lease)
	if before != nil { // the key is the new lease's, unless the ID was another
		_ = r.revoke(ctx, before.lease) // else it ends by itself
	}
	return nil
}

// put enters a member under a lease of its own.
func (r *Registry) put(ctx context.Context, self registry.Member) (clientv3.LeaseID, error) {
	value, err := json.Marshal(self)
	if err != nil {
		return 0, err
	}
	c, err := r.client(ctx)
	if err != nil {
		return 0, err
	}
	lease, err := c.Grant(ctx, int64(r.cfg.TTL/time.Second))
	if err != nil {
		return 0, err
	}
	if _, err = c.Put(ctx, r.key(self.ID), string(value), clientv3.WithLease(lease.ID)); err != nil {
		return 0, err
	}
	return lease.ID, nil
}

func (r *Registry) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	c, err := r.client(ctx)
	if err != nil {
		return err
	}
	_, err = c.Revoke(ctx, lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// Leave implements [registry.Registrar]. If etcd cannot be reached it returns an error,
// and the member is gone when its lease ends.
func (r *Registry) Leave(ctx context.Context) error {
	leave, err := r.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	r.left = true
	k := r.keeper
	if k == nil {
		return nil
	}
	k.stop()
	r.keeper = nil
	return errorOf("leave", ctx, r.revoke(ctx, k.lease))
}

// keep starts a keeper.
func (r *Registry) keep(self registry.Member, lease clientv3.LeaseID) *keeper {
	ctx, cancel := context.WithCancel(r.closed)
	k := &keeper{self: self, lease: lease, cancel: cancel, done: make(chan struct{})}
	r.running.Go(func() {
		defer close(k.done)
		defer cancel()
		r.run(ctx, k)
	})
	return k
}

// run keeps the lease alive, and registers again when it is lost.
func (r *Registry) run(ctx context.Context, k *keeper) {
	for ctx.Err() == nil {
		err := r.alive(ctx, k)
		if ctx.Err() != nil {
			return
		}
		r.cfg.Log.Warn("the lease in etcd was lost: registering again", "id", k.self.ID, "err", err)
		for failed := 0; ctx.Err() == nil; failed++ {
			bounded, cancel := r.timeout(ctx)
			lease, err := r.put(bounded, k.self)
			cancel()
			if err == nil {
				k.lease = lease
				r.cfg.Log.Info("registered again in etcd", "id", k.self.ID)
				break
			}
			r.cfg.Log.Debug("not registered again in etcd yet", "id", k.self.ID, "err", err)
			pause(ctx, failed, rand.Float64())
		}
	}
}

// alive returns when etcd says that the lease is lost, or ctx ends. The library's own
// loop gives up a lease when answers are late; the question is what keeps it.
func (r *Registry) alive(ctx context.Context, k *keeper) error {
	for failed := 0; ctx.Err() == nil; failed++ {
		c, err := r.client(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		err = r.ask(ctx, c, k)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		r.cfg.Log.Debug("the stream that keeps the lease in etcd has ended: trying again", "id", k.self.ID, "err", err)
		if time.Since(began) > r.cfg.TTL {
			failed = 0
		}
		pause(ctx, failed, rand.Float64())
	}
	return ctx.Err()
}

// ask asks for the lease to be kept, again and again, until the stream ends.
func (r *Registry) ask(ctx context.Context, c *clientv3.Client, k *keeper) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := etcdserverpb.NewLeaseClient(c.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	r.running.Go(func() {
		for {
			answer, err := stream.Recv()
			if err == nil && answer.TTL <= 0 {
				err = rpctypes.ErrLeaseNotFound
			}
			if err != nil {
				ended <- err
				return
			}
		}
	})
	again := time.NewTicker(r.cfg.TTL / 4)
	defer again.Stop()
	look := time.NewTicker(r.cfg.Interval)
	defer look.Stop()
	for {
		if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(k.lease)}); err != nil {
			return errors.Join(err, <-ended) // Recv says why
		}
		select {
		case <-again.C:
		case <-look.C:
			if err := r.restore(ctx, c, k); errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

// restore puts the key back if somebody has deleted it.
func (r *Registry) restore(ctx context.Context, c *clientv3.Client, k *keeper) error {
	value, err := json.Marshal(k.self)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TTL/4) // what keeps the lease must not wait long
	defer cancel()
	key := r.key(k.self.ID)
	_, err = c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(value), clientv3.WithLease(k.lease))).Commit()
	return err
}
