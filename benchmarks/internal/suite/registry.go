package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/geecache/geecache/benchmarks/internal/process"
	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/internal/loadgen"
)

const (
	pathRate    = 5_000 // gets a second
	pathKeys    = 10_000
	pathNodes   = 3
	pathWindows = 16 // a slice is so many windows long
)

// The states of a registry.
const (
	answering = "answering"
	stopped   = "stopped"
	late      = "late"
)

// lateBy is how much later answers come from a registry that is late.
const lateBy = 5 * time.Second

// registrySuite measures what registries cost: requests nothing, and a process a
// lookup in the background.
func registrySuite() Suite {
	return Suite{
		Name:    "registry",
		Title:   "Registries: what requests and lookups notice of them",
		Servers: []string{"etcd"},
		Notes: []string{
			"On the request path: three nodes in processes of their own follow etcd (registry/etcd and registry.Follower, asked once a second) through a proxy. An open loop of 5,000 Group.Get a second (internal/loadgen) at one of them, of 10,000 keys with values of 100 bytes that are all in memory: a third in its own, two thirds in its peers', which it keeps no copies of. Each is timed from the moment at which it was to be sent.",
			"Stopped: etcd is killed, and whoever connects is cut off. Late: the connection was made while etcd answered, and then all that etcd says comes 5 s later. In both the nodes go on asking. A repetition is 4 s in each state, of the same cluster, which has to be as the state says at the end of them, and to have kept its three members.",
			"Of the 20,000 latencies of a state in a repetition, 200 are above p99. A virtual machine that stands still for a millisecond a few times a second moves it, whatever the state: so the states are measured in turns.",
			"Lookup: what a node does in the background every two seconds, with one caller; 200 a repetition. The SDK keeps its connection to MiniStack; moto ends it after each answer. registry/cloudmap asks for the revision of the instances, and reads the instances (ten) if that has changed or the last time is too long ago. MiniStack and moto are emulators of AWS on the same machine, written in Python: AWS itself is as far away as its network.",
		},
		Ready: registryReady,
		Versions: func() (all []result.Module) {
			for _, e := range emulators() {
				all = append(all, result.Module{Path: e.name, Version: os.Getenv(e.variable + "_VERSION")})
			}
			return all
		},
		Groups: func(Scale) []Group {
			path := Group{Name: "path", Title: "Gets while the registry answers, is stopped, answers after 5 s", Points: one(), Subjects: []Subject{{Ours, newPathMeasurer}}}
			for _, percentile := range []string{"p99", "p50"} {
				for _, state := range []string{answering, stopped, late} {
					path.Units = append(path.Units, pathUnit(percentile, state))
				}
			}
			return []Group{path, lookupGroup()}
		},
	}
}

func pathUnit(percentile, state string) string { return percentile + " µs " + state }

// registryReady returns which server is missing, and how it is had.
func registryReady() error {
	if _, err := process.Etcd("").Find(); err != nil {
		return err
	}
	for _, e := range emulators() {
		if os.Getenv(e.variable) == "" {
			return fmt.Errorf(`%s is %w, or not started: run eval "$(scripts/test-servers up)", which does both and sets %s`, e.name, process.ErrNotInstalled, e.variable)
		}
	}
	return nil
}

// A pathMeasurer is one of three nodes that follow a registry, and measures itself.
type pathMeasurer struct {
	scale    Scale
	registry *process.Child
	self     *member
	peers    []*process.Child
	keys     []string
	reps     int
}

func newPathMeasurer(ctx context.Context, s Scale) (_ Measurer, err error) {
	m := &pathMeasurer{scale: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.registry, err = process.Start(ctx, "registry", nil); err != nil {
		return nil, err
	}
	var info serverInfo
	if err := m.registry.Read(&info); err != nil {
		return nil, err
	}
	if info.Error != "" {
		return nil, errors.New(info.Error)
	}
	for i := range pathNodes - 1 {
		peer, err := process.Start(ctx, "member", nil, fmt.Sprint("node-", i+1), info.Addrs[0])
		if err != nil {
			return nil, err
		}
		m.peers = append(m.peers, peer)
	}
	if m.self, err = newMember(ctx, "node-0", info.Addrs[0]); err != nil {
		return nil, err
	}
	if err := m.await(ctx, answering); err != nil {
		return nil, err
	}
	for i := range s.pick(pathKeys, 100) {
		m.keys = append(m.keys, benchKey(engineValue, i))
	}
	c := client{get: m.get}
	return m, c.fill(ctx, m.keys)
}

func (m *pathMeasurer) get(ctx context.Context, key string) (int, error) {
	v, err := m.self.group.Get(ctx, key)
	return v.Len(), err
}

// Close ends the nodes, and then the registry.
func (m *pathMeasurer) Close() error {
	var errs []error
	if m.self != nil {
		errs = append(errs, m.self.Close())
	}
	for _, p := range m.peers {
		errs = append(errs, p.Close())
	}
	if m.registry != nil {
		errs = append(errs, m.registry.Close())
	}
	return errors.Join(errs...)
}

// Measure gets values in each state of the registry. In every other repetition the
// last state is the first.
func (m *pathMeasurer) Measure(ctx context.Context, _ Point) (Values, error) {
	states := []string{answering, stopped, late}
	if m.reps%2 == 1 {
		slices.Reverse(states)
	}
	m.reps++
	values := Values{}
	for _, state := range states {
		if err := m.enter(ctx, state); err != nil {
			return nil, err
		}
		entered := time.Now()
		h, err := m.slice(ctx)
		if err != nil {
			return nil, fmt.Errorf("registry %s: %w", state, err)
		}
		if err := m.check(state, entered); err != nil {
			return nil, fmt.Errorf("registry %s, after the requests: %w", state, err)
		}
		values[pathUnit("p99", state)] = micros(time.Duration(h.ValueAtPercentile(99)))
		values[pathUnit("p50", state)] = micros(time.Duration(h.ValueAtPercentile(50)))
	}
	return values, nil
}

// slice gets values for a while.
func (m *pathMeasurer) slice(ctx context.Context) (*hdrhistogram.Histogram, error) {
	r, err := loadgen.Run(ctx, loadgen.Config{
		Do: func(ctx context.Context, key string) error {
			_, err := m.get(ctx, key)
			return err
		},
		Rate: pathRate, Duration: max(pathWindows*m.scale.Window, latencyFloor), Warmup: 2 * m.scale.Window, Timeout: -1,
		Keys: list(m.keys), Seed: uint64(m.reps),
	})
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("%d of %d requests failed: %+v", r.Failed, r.Requests, r.Failures)
	}
	return hdrhistogram.Decode([]byte(r.Latency.HDR))
}

// enter puts the registry in a state, and waits until all nodes have noticed. It is
// late only for those who were connected with it before.
func (m *pathMeasurer) enter(ctx context.Context, state string) error {
	steps := []string{state}
	if state == late {
		steps = []string{answering, late}
	}
	for _, step := range steps {
		var resp response
		if err := m.registry.Ask(step, &resp); err != nil {
			return err
		}
		if resp.Error != "" {
			return errors.New(resp.Error)
		}
		if err := m.await(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// await waits until all nodes are as a state of the registry makes them.
func (m *pathMeasurer) await(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.check(state, time.Now())
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the registry is %s, and the nodes are not as that makes them: %w", state, err)
		}
	}
}

// check returns which node is not as a state of the registry makes it, for so long
// by now. A registry that is stopped or late is one that has not answered since.
func (m *pathMeasurer) check(state string, since time.Time) error {
	silent := min(time.Since(since), lateBy) - askEvery
	all := []memberStatus{m.self.status()}
	for _, p := range m.peers {
		var st memberStatus
		if err := p.Ask("status", &st); err != nil {
			return err
		}
		if st.Error != "" {
			return errors.New(st.Error)
		}
		all = append(all, st)
	}
	for i, st := range all {
		ok := st.Members == pathNodes
		switch state {
		case answering:
			ok = ok && !st.Failing && st.Age < lateBy/2
		case stopped:
			ok = ok && st.Age > max(silent, 2*askEvery)
		case late:
			ok = ok && !st.Failing && st.Age > silent
		}
		if !ok {
			return fmt.Errorf("node %d: %+v", i, st)
		}
	}
	return nil
}
