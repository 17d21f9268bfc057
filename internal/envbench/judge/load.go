package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/loadgen"
)

// The load under which a deployment changes: so many requests a second that each failure is
// seen, and so few that they are nothing to the machine.
const (
	loadRate    = 200
	loadTimeout = 5 * time.Second
	loadWarmup  = 300 * time.Millisecond // connections are opened, and the load tool's process has all of its memory
	absentKeys  = 300                    // that the database does not have
)

// demoValues is what the demonstration database holds.
func demoValues() map[string]string {
	return map[string]string{"Tom": "630", "Jack": "589", "Sam": "567"}
}

// A load goes on until it is stopped.
type load struct {
	cancel context.CancelFunc
	done   chan struct{}
	sent   sent
	err    error
}

// startLoad has requests sent to an API until stop is called, or ctx ends. Every answer is
// checked. When it returns, they are on their way, and counted.
func (s *session) startLoad(ctx context.Context, api string) (*load, error) {
	o := order{url: api + "/api?key={key}", values: demoValues(), warmup: loadWarmup, timeout: loadTimeout, rate: loadRate}
	o.keys = slices.Sorted(maps.Keys(o.values))
	for i := range absentKeys {
		o.keys = append(o.keys, fmt.Sprintf("nobody:%d", i))
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, done: make(chan struct{})}
	counting := make(chan struct{})
	go func() {
		defer close(l.done)
		l.sent, l.err = s.send(ctx, o, func(line string) {
			if line == loadgen.CountingLine {
				close(counting)
			}
		})
		if l.err == nil && ctx.Err() == nil {
			l.err = errors.New("the load ended before it was told to")
		}
	}()
	select {
	case <-counting:
		return l, nil
	case <-l.done:
		cancel()
		return nil, cmp.Or(l.err, ctx.Err())
	}
}

// stop ends the load, and returns what came of it. It may be called again.
func (l *load) stop() (*loadgen.Result, error) {
	l.cancel()
	<-l.done
	return l.sent.result, l.err
}

// failures says in a line why requests failed; empty: none did.
func failures(r *loadgen.Result) string {
	if r.Failed == 0 || len(r.Failures) == 0 {
		return ""
	}
	text, _, _ := strings.Cut(r.Failures[0].Error, "\n")
	return fmt.Sprintf("%d of %d requests failed, the first because of: %.200s", r.Failed, r.Requests, text)
}

// addLoad adds what came of the load to a series: over all repetitions.
func addLoad(s *result.Series, r *loadgen.Result) {
	if s.Load == nil {
		s.Load = &result.LoadInfo{Rate: loadRate}
	}
	s.Load.LagP99 = max(s.Load.LagP99, float64(r.Lag.P99)/float64(time.Millisecond))
	s.Load.Scheduling = r.Machine.Scheduling
	s.Load.Saturated = s.Load.Saturated || r.Saturated
	s.Load.Requests += r.Requests
	s.Load.Failed += r.Failed
}
