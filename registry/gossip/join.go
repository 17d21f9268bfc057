package gossip

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/geecache/geecache/geecache"
)

// lostMost and lostFor bound who is looked for that fell silent without leaving: it
// may have died, or be on the other side of a partition, where nobody may look for
// this side either.
const (
	lostMost = 256
	lostFor  = time.Hour
)

// aloneFirst is how soon who is alone asks the seeds again; it takes twice as long each
// time. Nodes that start together do not find each other at the first attempt.
const aloneFirst = 50 * time.Millisecond

// keepJoined looks for the seeds, and again for whoever is missing, and exchanges
// the secret.
func (r *Registry) keepJoined(ctx context.Context) {
	alone := r.join(r.missingSeeds(ctx), false)
	close(r.joined)
	pause := min(aloneFirst, r.cfg.Interval)
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		if !alone {
			pause = r.cfg.Interval
		}
		t.Reset(pause)
		pause = min(2*pause, r.cfg.Interval)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.exchangeKeys(); err != nil {
			r.log.Warn("the secret stays as it is", "err", err)
		}
		// One of the lost at a time: each may take until its timeout.
		alone = r.join(append(r.missingSeeds(ctx), r.oneLost()...), alone)
	}
}

// join speaks to each of the addresses, and reports whether this one is alone in
// spite of that. before says that it was so: the log need not say it again.
func (r *Registry) join(addrs []string, before bool) (alone bool) {
	if len(addrs) == 0 {
		return false
	}
	r.refuse(nil)
	r.net.forget()
	err := r.joinWithAny(addrs)
	if err != nil && r.list.NumMembers() <= 1 {
		r.findSecretWrong(addrs)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	alone = len(r.heard) <= 1
	if !alone {
		r.refused = nil // some take it in
	}
	switch {
	case alone && !before && err != nil && r.refused == nil:
		r.log.Warn("no seed answers: alone until one does", "seeds", addrs, "err", err)
	case !alone && before:
		r.log.Info("no longer alone", "members", len(r.heard))
	case err != nil:
		r.log.Debug("a member that is looked for does not answer", "err", err)
	}
	r.told = r.refused
	r.notifyLocked()
	return alone
}

// joinWithAny speaks to each of the addresses. While a secret is exchanged, others may not
// have read yet the one that this one uses: alone, it tries those that it merely accepts. The
// next exchangeKeys, an Interval later, uses the first one again; by then all have read it.
func (r *Registry) joinWithAny(addrs []string) error {
	_, err := r.list.Join(addrs)
	if err == nil || r.keyring == nil {
		return err
	}
	all := r.keyring.GetKeys() // the one that is used is the first
	for _, key := range all[1:] {
		if r.list.NumMembers() > 1 {
			return err
		}
		if use := r.keyring.UseKey(key); use != nil {
			return fmt.Errorf("gossip: %w", use)
		}
		if _, again := r.list.Join(addrs); r.list.NumMembers() > 1 {
			return again
		}
	}
	if use := r.keyring.UseKey(all[0]); use != nil {
		return fmt.Errorf("gossip: %w", use)
	}
	return err
}

// findSecretWrong finds out whether somebody is there who understands nothing of what this
// one says: he answers with an error.
func (r *Registry) findSecretWrong(addrs []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if addr := r.net.answered(addrs); addr != "" && r.refused == nil {
		r.refused = geecache.NewRefusal(geecache.RefusedSecret,
			fmt.Sprintf("who gossips at %s does not understand this node: has the cluster another secret, or none? Give both the same (--secret-file)", addr))
	}
}

// refuse notes why this one is not taken in. Watchers are told when it is certain.
func (r *Registry) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = err
}

// missingSeeds returns the addresses of the seeds that do not take part now, this
// one aside.
func (r *Registry) missingSeeds(ctx context.Context) (missing []string) {
	here := make(map[string]bool)
	r.mu.Lock()
	for _, h := range r.heard {
		here[h.addr] = true
	}
	r.mu.Unlock()
	for _, seed := range r.cfg.Seeds {
		for _, addr := range resolve(ctx, seed, r.cfg.Interval) {
			if !here[addr] && !slices.Contains(missing, addr) {
				missing = append(missing, addr)
			}
		}
	}
	return missing
}

// resolve returns the addresses of a seed; the seed itself if it has none, for
// the message that then follows.
func resolve(ctx context.Context, seed string, timeout time.Duration) []string {
	host, port, err := net.SplitHostPort(seed)
	if err != nil || net.ParseIP(host) != nil {
		return []string{seed}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return []string{seed}
	}
	addrs := make([]string, 0, len(ips))
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip, port))
	}
	return addrs
}

// oneLost returns the address of one that fell silent, if there is any.
func (r *Registry) oneLost() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr, since := range r.lost {
		if time.Since(since) > lostFor {
			delete(r.lost, addr)
			continue
		}
		return []string{addr} // the order of a map is a random one
	}
	return nil
}

// exchangeKeys makes the keyring hold the keys of the secrets of now.
func (r *Registry) exchangeKeys() error {
	if r.keyring == nil {
		return nil
	}
	now, err := keys(r.cfg.Secrets())
	if err != nil {
		return err
	}
	if before := r.keyring.GetKeys(); slices.EqualFunc(before, now, slices.Equal[[]byte]) {
		return nil
	}
	for _, key := range now {
		if err := r.keyring.AddKey(key); err != nil {
			return fmt.Errorf("gossip: %w", err)
		}
	}
	if err := r.keyring.UseKey(now[0]); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	for _, key := range r.keyring.GetKeys() {
		if !slices.ContainsFunc(now, func(k []byte) bool { return slices.Equal(k, key) }) {
			if err := r.keyring.RemoveKey(key); err != nil {
				return fmt.Errorf("gossip: %w", err)
			}
		}
	}
	r.log.Info("the secret was exchanged", "valid", len(now))
	return nil
}
