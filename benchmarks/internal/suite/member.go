package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/process"
	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/etcd"
)

// askEvery is how often members ask the registry. It is more often than by default,
// so that each measurement sees them ask.
const askEvery = time.Second

// A member is a node that follows etcd, and is registered there.
type member struct {
	node     *geecache.Node
	group    *geecache.Group
	registry *etcd.Registry
	follower *registry.Follower
	end      context.CancelFunc
	running  sync.WaitGroup
}

// newMember starts a node, and what follows the etcd at an address. It keeps nothing
// of what it fetches from other nodes.
func newMember(ctx context.Context, id, addr string) (_ *member, err error) {
	m := &member{}
	ctx, m.end = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.node, err = geecache.New(geecache.Config{ID: id, Listen: "127.0.0.1:0", Logger: quietLogger(), Timings: patient()}); err != nil {
		return nil, err
	}
	if m.group, err = m.node.NewGroup(benchGroup, geecache.GetterFunc(benchSource), geecache.GroupConfig{HotTTL: -1}); err != nil {
		return nil, err
	}
	if err := m.node.Start(ctx); err != nil {
		return nil, err
	}
	if m.registry, err = etcd.New(etcd.Config{Endpoints: []string{addr}, Interval: askEvery, Log: quietLogger()}); err != nil {
		return nil, err
	}
	if err := m.registry.Register(ctx, registry.Self(m.node.Stats())); err != nil {
		return nil, err
	}
	m.follower = &registry.Follower{Name: "etcd", Node: m.node, From: m.registry, Log: quietLogger()}
	m.running.Go(func() { m.follower.Run(ctx) })
	return m, nil
}

// Close ends the node without a word to the registry, which may not listen.
func (m *member) Close() error {
	m.end()
	m.running.Wait()
	var errs []error
	if m.registry != nil {
		errs = append(errs, m.registry.Close())
	}
	if m.node != nil {
		errs = append(errs, m.node.Close())
	}
	return errors.Join(errs...)
}

// A memberStatus is how a member stands.
type memberStatus struct {
	Members int           // of its view, that it can reach
	Age     time.Duration // of the registry's last good answer
	Failing bool          // the last answer was an error
	Error   string        `json:",omitempty"` // why there is no member
}

func (m *member) status() memberStatus {
	st := m.follower.Status()
	s := memberStatus{Age: time.Since(st.Confirmed), Failing: st.Err != nil}
	for _, p := range m.node.Stats().Peers {
		if p.Self || p.State == "up" {
			s.Members++
		}
	}
	return s
}

// beMember is the role of a member in a process of its own: it answers each line with
// its status.
func beMember(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 2 {
		return fmt.Errorf("member takes two arguments, not %d", len(args))
	}
	m, failed := newMember(ctx, args[0], args[1])
	if failed == nil {
		defer func() { err = errors.Join(err, m.Close()) }()
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var st memberStatus
		if failed != nil {
			st.Error = failed.Error()
		} else {
			st = m.status()
		}
		if err := process.Tell(out, st); err != nil {
			return err
		}
	}
	return lines.Err()
}

// beRegistry is the role of a registry in a process of its own: etcd behind a proxy,
// whose address it tells first. Each line is a state to enter.
func beRegistry(ctx context.Context, _ []string, in io.Reader, out io.Writer) (err error) {
	r := &registryServer{}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return process.Tell(out, serverInfo{Error: err.Error()})
	}
	if err := process.Tell(out, serverInfo{Addrs: []string{r.proxy.Addr}}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var state string
		if err := json.Unmarshal(lines.Bytes(), &state); err != nil {
			return err
		}
		var resp response
		if err := r.enter(ctx, state); err != nil {
			resp.Error = err.Error()
		}
		if err := process.Tell(out, resp); err != nil {
			return err
		}
	}
	return lines.Err()
}

// A registryServer is an etcd, and the proxy before it.
type registryServer struct {
	dir, port string
	proxy     *process.Proxy
	stop      func() // nil: etcd does not run
}

func (r *registryServer) open(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", "geecache-bench-"); err != nil {
		return err
	}
	if r.port, err = process.FreePort(); err != nil {
		return err
	}
	if r.proxy, err = process.NewProxy(net.JoinHostPort("127.0.0.1", r.port)); err != nil {
		return err
	}
	return r.enter(ctx, answering)
}

func (r *registryServer) enter(ctx context.Context, state string) (err error) {
	switch {
	case state == stopped && r.stop != nil:
		r.stop()
		r.stop = nil
	case state != stopped && r.stop == nil:
		if r.stop, err = process.Etcd(r.dir+"/data").Start(ctx, r.port); err != nil {
			return err
		}
	}
	if state == late {
		r.proxy.SetDelay(lateBy)
	} else {
		r.proxy.SetDelay(0)
	}
	return nil
}

func (r *registryServer) close() error {
	if r.proxy != nil {
		r.proxy.Close()
	}
	if r.stop != nil {
		r.stop()
	}
	if r.dir == "" {
		return nil
	}
	return os.RemoveAll(r.dir)
}
