package gossip

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// The pace of the gossip: a change is with all of 50 members in half a second, and
// one that died is noticed in two to four.
const (
	gossipInterval = 100 * time.Millisecond
	probeInterval  = 500 * time.Millisecond
	probeTimeout   = 250 * time.Millisecond
	tcpTimeout     = 2 * time.Second

	// What is said to those who died not long ago is lost, and a message is said a
	// few times only: after 30 members had left, the next change reached some
	// with the next exchange of all, half a minute later.
	deadInterval = 2 * time.Second
	allInterval  = 5 * time.Second
)

// listen begins to take part.
func (r *Registry) listen() error {
	host, port, err := split("Listen", r.cfg.Listen)
	if err != nil {
		return err
	}
	c := memberlist.DefaultLANConfig()
	// Two that run on one machine, one after the other, must not be taken for each
	// other; so the node's ID, which comes with Register, is not the name.
	c.Name = fmt.Sprintf("%016x-%08x", time.Now().UnixNano(), rand.Uint32())
	r.name, r.meta = c.Name, r.listening()
	c.BindAddr, c.BindPort, c.AdvertisePort = host, port, port
	if r.cfg.Advertise != "" {
		if c.AdvertiseAddr, c.AdvertisePort, err = split("Advertise", r.cfg.Advertise); err != nil {
			return err
		}
	}
	c.GossipInterval, c.ProbeInterval, c.ProbeTimeout, c.TCPTimeout = gossipInterval, probeInterval, probeTimeout, tcpTimeout
	c.GossipToTheDeadTime, c.PushPullInterval = deadInterval, allInterval
	c.EnableCompression = false // what is said is short
	c.Delegate, c.Events, c.Merge, c.Alive = delegate{r}, events{r}, gate{r}, gate{r}
	c.Logger = log.New(logWriter{r.log, &r.ending, new(atomic.Int64)}, "", 0)
	if r.cfg.Secrets != nil {
		all, err := keys(r.cfg.Secrets())
		if err != nil {
			return err
		}
		if r.keyring, err = memberlist.NewKeyring(all, all[0]); err != nil {
			return fmt.Errorf("gossip: %w", err)
		}
		c.Keyring = r.keyring
	}
	if r.net, err = newTransport(c); err != nil {
		return fmt.Errorf("gossip: listening on %s: %w: choose another port (?listen= in the URL), or stop what uses it",
			net.JoinHostPort(host, fmt.Sprint(port)), err)
	}
	c.Transport, c.BindPort = r.net, r.net.GetAutoBindPort()
	if c.AdvertisePort == 0 {
		c.AdvertisePort = c.BindPort
	}
	if r.list, err = memberlist.Create(c); err != nil {
		return fmt.Errorf("gossip: %w", errors.Join(err, r.net.Shutdown()))
	}
	r.addr = r.list.LocalNode().Address() // before anybody can change it
	return nil
}

// minSecretBytes is the shortest secret that is taken, as for the nodes' other doors:
// who hears the gossip can try secrets at leisure.
const minSecretBytes = 16

// keys derives the keys of the gossip from the cluster's secrets.
func keys(secrets []string) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("gossip: Secrets gives none: give one, or leave it nil")
	}
	all := make([][]byte, 0, len(secrets))
	for i, s := range secrets {
		if len(s) < minSecretBytes {
			return nil, fmt.Errorf("gossip: secret %d has %d bytes: use at least %d random ones", i+1, len(s), minSecretBytes)
		}
		key, err := hkdf.Key(sha256.New, []byte(s), nil, "geecache gossip 1", 32)
		if err != nil {
			return nil, fmt.Errorf("gossip: %w", err)
		}
		all = append(all, key)
	}
	return all, nil
}

// listening returns what one says that only listens.
func (r *Registry) listening() []byte {
	meta, err := encode(r.cfg.Cluster, registry.Member{}, r.name)
	if err != nil {
		panic(err) // Validate has tried it
	}
	return meta
}

// delegate says what this member is.
type delegate struct{ r *Registry }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	return d.r.meta
}

// NotifyMsg implements memberlist.Delegate. Nobody says anything but who he is.
func (d delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d delegate) MergeRemoteState([]byte, bool) {}

// heardOf is what was heard of one who takes part.
type heardOf struct {
	addr string
	said said
}

// events hears who comes and goes. What it is given may change once it returns.
type events struct{ r *Registry }

// NotifyJoin implements memberlist.EventDelegate.
func (e events) NotifyJoin(n *memberlist.Node) {
	s, err := decode(n.Meta)
	if err != nil {
		return // the gate has let nobody in who says such a thing
	}
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	h := heardOf{addr: n.Address(), said: s}
	e.r.heard[n.Name] = h
	delete(e.r.lost, h.addr)
	e.r.notifyLocked()
}

// NotifyUpdate implements memberlist.EventDelegate.
func (e events) NotifyUpdate(n *memberlist.Node) { e.NotifyJoin(n) }

// NotifyLeave implements memberlist.EventDelegate.
func (e events) NotifyLeave(n *memberlist.Node) {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	h := e.r.heard[n.Name]
	delete(e.r.heard, n.Name)
	if h.said.ID != "" && len(e.r.lost) < lostMost && n.Name != e.r.name {
		e.r.lost[h.addr] = time.Now() // without having said that it is a member no more
	}
	e.r.notifyLocked()
}

// gate lets in who is of this cluster.
type gate struct{ r *Registry }

// NotifyAlive implements memberlist.AliveDelegate.
func (g gate) NotifyAlive(n *memberlist.Node) error {
	s, err := decode(n.Meta)
	switch {
	case err != nil:
		return fmt.Errorf("%s says of itself what cannot be read: %w", n.Address(), err)
	case s.Cluster != g.r.cfg.Cluster:
		return geecache.NewRefusal(geecache.RefusedCluster,
			fmt.Sprintf("this node is of cluster %q, the one that gossips at %s of %q", g.r.cfg.Cluster, n.Address(), s.Cluster))
	}
	return nil
}

// NotifyMerge implements memberlist.MergeDelegate.
func (g gate) NotifyMerge(all []*memberlist.Node) error {
	for _, n := range all {
		if err := g.NotifyAlive(n); err != nil {
			if geecache.RefusalOf(err) != "" {
				g.r.refuse(err) // the library keeps its text alone
			}
			return err
		}
	}
	return nil
}

// logWriter hands on what the gossip logs: a line with its level in brackets.
// What is a warning there is often how a member's death looks, so all is
// one level lower here; errors are warnings, one a second at most: whoever
// reaches the port could make more of them.
type logWriter struct {
	log  *slog.Logger
	end  *atomic.Bool  // the gossip is being ended, and fails for that
	last *atomic.Int64 // when the last warning was, in Unix nanoseconds
}

// Write implements io.Writer.
func (w logWriter) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "[ERR] "); ok {
		text = rest
		now, last := time.Now().UnixNano(), w.last.Load()
		if !w.end.Load() && now-last >= int64(time.Second) && w.last.CompareAndSwap(last, now) {
			level = slog.LevelWarn
		}
	} else if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
		text = rest
	}
	w.log.Log(context.Background(), level, strings.TrimPrefix(text, "memberlist: "))
	return len(line), nil
}
