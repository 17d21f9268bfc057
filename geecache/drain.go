package geecache

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// leaveTimeout bounds Config.Leave.
const leaveTimeout = 5 * time.Second

// Drain makes the node leave. In this order:
//
//  1. it is ready no more;
//  2. its peers are told, and ask others for its keys: from now on it loads nothing
//     for them, but answers what it has in memory;
//  3. [Config.Leave] takes it out of the registry, and at the same time the entries
//     that are used most are pushed to their new owners;
//  4. [Config.Save] keeps what is in memory elsewhere;
//  5. it waits until the requests in flight have ended;
//  6. its port is closed.
//
// If ctx ends before, Drain returns its error. A node that has been drained can only
// be closed.
func (n *Node) Drain(ctx context.Context) error {
	if err := n.giveUp(ctx); err != nil {
		return err
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	for n.busy() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("geecache: drain: requests are still in flight: %w", context.Cause(ctx))
		}
	}
	n.streams.close() // all is written; under TLS, Shutdown would wait for them
	if err := n.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("geecache: drain: connections are still busy: %w", err)
	}
	return nil
}

// giveUp does the first four steps, once. Requests that are in flight end meanwhile.
func (n *Node) giveUp(ctx context.Context) error {
	for {
		st := n.state.Load()
		if st >= stateDraining {
			return nil
		}
		if n.state.CompareAndSwap(st, stateDraining) {
			break
		}
	}
	n.log.Info("draining")
	n.streams.drain()
	n.mu.Lock()
	err := n.setViewLocked(n.peers) // gives the node's own place up
	n.mu.Unlock()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { n.leaveRegistry(ctx) })
	n.handOff(ctx)
	wg.Wait()
	if n.cfg.Save != nil {
		n.cfg.Save(ctx)
	}
	return nil
}

func (n *Node) leaveRegistry(ctx context.Context) {
	if n.cfg.Leave == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	if err := n.cfg.Leave(ctx); err != nil {
		n.log.Warn("the registry was not told that this node leaves: it will find out", "err", err)
	}
}
