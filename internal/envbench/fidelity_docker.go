package envbench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// What a container that hangs may take to be found out, and how far a stop may be from its
// time.
const (
	unhealthyWithin = 40 * time.Second
	composeGrace    = 30 * time.Second // of the compose file
	stopPrecision   = 2 * time.Second
)

// Fidelity implements FidelityProber.
func (c *composed) Fidelity(ctx context.Context, d Deployment, report func(result.Fact)) error {
	all, err := c.containers(ctx, d.Name)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return ErrAbsent
	}
	node := all[0].ID
	l, err := limitsOf(ctx, node)
	if err != nil {
		return err
	}
	return tryAll(ctx, []trial{
		{behaviourCPU, func(context.Context) (outcome, error) {
			if l.CPUs > 0 {
				return done("Docker holds a node's container to %g CPUs", l.CPUs)
			}
			return untried("the compose file asks for none, and Docker holds a node's container to none")
		}},
		{behaviourMemory, func(context.Context) (outcome, error) {
			if l.Memory > 0 {
				return done("Docker holds a node's container to %d MiB", l.Memory>>20)
			}
			return accepted("Docker holds a node's container to no limit, and the compose file has one")
		}},
		{behaviourReadOnly, func(context.Context) (outcome, error) { return l.readOnly() }},
		{behaviourSecret, func(ctx context.Context) (outcome, error) { return trySecret(ctx, c, d.Name) }},
		{behaviourHealth, func(ctx context.Context) (outcome, error) { return tryHealth(ctx, node) }},
		{behaviourReplaced, func(ctx context.Context) (outcome, error) { return tryReplacement(ctx, c, d.Name, 30*time.Second) }},
		{behaviourLogs, func(ctx context.Context) (outcome, error) { return tryLogs(ctx, c, d.Name) }},
		{behaviourImage, tryMissingImage},
		// The last of those that change anything: a container that was stopped once may not be
		// started again by its restart policy.
		{behaviourStop, func(ctx context.Context) (outcome, error) { return c.tryStop(ctx, d.Name) }},
		{"rolling update", func(context.Context) (outcome, error) {
			return untried("Compose has none: it replaces containers at once")
		}},
		{"circuit breaker rolls back", func(context.Context) (outcome, error) {
			return untried("Compose has none: the containers from before are gone")
		}},
		{behaviourAWS, func(context.Context) (outcome, error) {
			return refused("Docker has none of AWS's APIs: no ECS, Cloud Map, CloudWatch or auto-scaling")
		}},
	}, report)
}

// freeze stops a container's process, which then hangs, until the function that it returns
// is called. Docker's own kill would be taken for the user's wish, and the container not
// started again when it ends: it is the last resort.
func freeze(ctx context.Context, container string) (thaw func(), err error) {
	text, err := docker(ctx, nil, "inspect", "--format", "{{.State.Pid}}", container)
	if err != nil {
		return nil, err
	}
	if pid, err := strconv.Atoi(text); err == nil && pid > 0 && hang(pid, true) == nil {
		return func() { _ = hang(pid, false) }, nil // it may have been killed meanwhile
	}
	if _, err := docker(ctx, nil, "kill", "--signal=STOP", container); err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, _ = docker(ctx, nil, "kill", "--signal=CONT", container)
	}, nil
}

// tryHealth has a container hang, and looks whether its health check finds out.
func tryHealth(ctx context.Context, container string) (outcome, error) {
	thaw, err := freeze(ctx, container)
	if err != nil {
		return outcome{}, err
	}
	defer thaw()
	return comes(ctx, unhealthyWithin, 200*time.Millisecond, func(ctx context.Context) (bool, string, error) {
		is, err := docker(ctx, nil, "inspect", "--format", "{{.State.Health.Status}}", container)
		return is == "unhealthy", "a container that hangs is " + is, err
	})
}

// tryStop has a node's container hang, and looks how long Docker waits before it kills it.
// It starts it again.
func (c *composed) tryStop(ctx context.Context, name string) (outcome, error) {
	all, err := c.containers(ctx, name)
	if err != nil {
		return outcome{}, err
	}
	i := slices.IndexFunc(all, func(in container) bool { return in.Service == nodeService && in.State == "running" })
	if i < 0 {
		return outcome{}, errors.New("no node's container runs")
	}
	container := all[i].ID
	thaw, err := freeze(ctx, container)
	if err != nil {
		return outcome{}, err
	}
	defer thaw()
	begun := time.Now()
	if _, err := docker(ctx, nil, "stop", container); err != nil {
		return outcome{}, err
	}
	took := time.Since(begun)
	if _, err := docker(ctx, nil, "start", container); err != nil {
		return outcome{}, err
	}
	return judgeStop(took, composeGrace)
}

// judgeStop says whether a process that does not end was killed when it was to be.
func judgeStop(took, want time.Duration) (outcome, error) {
	text := fmt.Sprintf("a process that does not end was killed after %.1f s; asked for are %.0f s", took.Seconds(), want.Seconds())
	if took < want-stopPrecision || took > want+5*stopPrecision {
		return accepted("%s", text)
	}
	return done("%s", text)
}
