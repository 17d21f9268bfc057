package judge

import (
	"context"
	"fmt"
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
	absentKeys  = 300 // that the database does not have
)

// demoValues is what the demonstration database holds.
func demoValues() map[string]string {
	return map[string]string{"Tom": "630", "Jack": "589", "Sam": "567"}
}

// A load goes on until it is stopped.
type load struct {
	cancel context.CancelFunc
	done   chan struct{}
	result *loadgen.Result
	err    error
}

// startLoad sends requests to an API until stop is called, or ctx ends. Every answer is
// checked.
func startLoad(ctx context.Context, api string) *load {
	var keys []loadgen.WeightedKey
	for key := range demoValues() {
		keys = append(keys, loadgen.WeightedKey{Key: key, Weight: 1})
	}
	for i := range absentKeys {
		keys = append(keys, loadgen.WeightedKey{Key: fmt.Sprintf("nobody:%d", i), Weight: 1})
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.result, l.err = loadgen.Run(ctx, loadgen.Config{
			URLs: []string{api + "/api?key={key}"}, Keys: loadgen.Keys{List: keys}, Rate: loadRate, Duration: time.Hour, Timeout: loadTimeout,
			Expect: loadgen.ExpectValues(demoValues()), Seed: 1,
		})
	}()
	return l
}

// stop ends the load, and returns what came of it. It may be called again.
func (l *load) stop() (*loadgen.Result, error) {
	l.cancel()
	<-l.done
	return l.result, l.err
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
	s.Load.Saturated = s.Load.Saturated || r.Saturated
	s.Load.Requests += r.Requests
	s.Load.Failed += r.Failed
}
