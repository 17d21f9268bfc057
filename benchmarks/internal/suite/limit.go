package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/process"
)

const (
	limitBytes = 256 << 20
	limitLoad  = 1 << 30
	limitValue = 16 << 10
)

// limit measures a node in a control group.
func limit() Suite {
	return Suite{
		Name:  "limit",
		Title: "A node in a cgroup of 256 MiB",
		Notes: []string{
			"A node's process, as `geecache node --source http://...` runs it with nothing else set, in a control group (cgroup) of 256 MiB without swap. 64 callers of another process ask for 65,536 keys of 16 KiB, 1 GiB in all, once each; a third process is the origin.",
			"A read has failed if it returned an error or a value of another length.",
		},
		Ready: func() error {
			c, err := process.NewCgroup(fmt.Sprintf("geecache-bench-try-%d", os.Getpid()), limitBytes)
			if err != nil {
				return err
			}
			return c.Remove()
		},
		Groups: func(Scale) []Group {
			return []Group{{
				Name: "fill", Title: "Load that would fill 1 GiB", Units: []string{"failed reads", "kills", "peak MiB", "req/s"}, Points: one(), Reps: 3, Fresh: true,
				Subjects: []Subject{{Ours, func(_ context.Context, s Scale) (Measurer, error) {
					return MeasureFunc(func(ctx context.Context, _ Point) (Values, error) { return measureLimit(ctx, s) }), nil
				}}},
			}}
		},
	}
}

func measureLimit(ctx context.Context, s Scale) (v Values, err error) {
	group, err := process.NewCgroup(fmt.Sprintf("geecache-bench-%d", os.Getpid()), limitBytes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	origin, err := startServer(ctx, serverConfig{Kind: "origin"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, origin.Close()) }()
	node, err := startServer(ctx, serverConfig{Kind: "node", Cgroup: group.Dir(), Source: "http://" + origin.addrs[0] + "/{key}"})
	if err != nil {
		return nil, err
	}
	closed := false
	closeNode := func() error {
		if closed {
			return nil
		}
		closed = true
		return node.Close()
	}
	defer func() { _ = closeNode() }() // one that was killed says so in the counts
	c, err := connectNodes(ctx, &client{}, nil, node.addrs)
	if err != nil {
		return nil, err
	}
	r, failed, err := readAll(ctx, c, s.pick(limitLoad/limitValue, 200))
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	peak, err := group.Peak()
	if err != nil {
		return nil, err
	}
	kills, err := group.Kills()
	if err != nil {
		return nil, err
	}
	if err := closeNode(); err != nil && kills == 0 {
		return nil, err
	}
	return Values{"failed reads": float64(failed), "kills": float64(kills), "peak MiB": float64(peak) / (1 << 20), "req/s": r.perSecond()}, nil
}

// readAll gets n keys once each, from 64 callers, and counts those that failed.
func readAll(ctx context.Context, c *client, n int) (r loopResult, failed int64, err error) {
	var (
		next, bad atomic.Int64
		wg        sync.WaitGroup
	)
	begun := time.Now()
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				length, err := c.get(ctx, benchKey(limitValue, int(i)))
				if err != nil || length != limitValue {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return loopResult{ops: int64(n), elapsed: time.Since(begun)}, bad.Load(), ctx.Err()
}
