package envbench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// hangFor is how long a local node hangs, to see who notices.
const hangFor = 10 * time.Second

// Fidelity implements FidelityProber.
func (l *local) Fidelity(ctx context.Context, d Deployment, report func(result.Fact)) error {
	limit := func(context.Context) (outcome, error) { return l.tryLimits(ctx, d.Name) }
	return tryAll(ctx, []trial{
		{behaviourCPU, limit},
		{behaviourMemory, limit},
		{behaviourHealth, func(ctx context.Context) (outcome, error) { return l.tryHealth(ctx, d.Name) }},
		{behaviourSecret, func(ctx context.Context) (outcome, error) { return trySecret(ctx, l, d.Name) }},
		{behaviourReplaced, func(ctx context.Context) (outcome, error) { return tryReplacement(ctx, l, d.Name, 10*time.Second) }},
		{behaviourLogs, func(ctx context.Context) (outcome, error) { return tryLogs(ctx, l, d.Name) }},
		{behaviourAWS, func(context.Context) (outcome, error) {
			return refused("processes of this machine have none of AWS's APIs: no ECS, Cloud Map, CloudWatch or auto-scaling")
		}},
	}, report)
}

// aNode returns a node's process that runs.
func (l *local) aNode(ctx context.Context, name string) (localMember, error) {
	state, err := l.recall(ctx, name)
	if err != nil {
		return localMember{}, err
	}
	members, err := l.list(ctx, state)
	if err != nil {
		return localMember{}, err
	}
	i := slices.IndexFunc(members, func(m localMember) bool { return m.Node > 0 && m.runs() })
	if i < 0 {
		return localMember{}, fmt.Errorf("no node of %s runs", name)
	}
	return members[i], nil
}

// tryLimits compares a node's control group with this process's.
func (l *local) tryLimits(ctx context.Context, name string) (outcome, error) {
	node, err := l.aNode(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return untried("this system tells no process's control group: %v", err)
	}
	its, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", node.PID))
	if err != nil {
		return outcome{}, err
	}
	if !bytes.Equal(own, its) {
		return untried("process %d is in a control group of its own", node.PID)
	}
	return refused("process %d is in the same control group as the command that asks: it has no limit of its own", node.PID)
}

// tryHealth has a node hang, and looks whether it is still counted as running.
func (l *local) tryHealth(ctx context.Context, name string) (outcome, error) {
	node, err := l.aNode(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	before, err := l.Status(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	if err := hang(node.PID, true); err != nil {
		return outcome{}, err
	}
	defer func() { _ = hang(node.PID, false) }() // it may have ended
	o, err := comes(ctx, hangFor, time.Second, func(ctx context.Context) (bool, string, error) {
		now, err := l.Status(ctx, name)
		if err != nil {
			return false, "", err
		}
		return now.Reported < before.Reported, fmt.Sprintf("node %s hangs, and %d nodes are said to run", node.Addr, now.Reported), nil
	})
	if o.verdict == result.Accepted {
		o.verdict = result.Refused // nobody had said that it would be checked
	}
	return o, err
}
