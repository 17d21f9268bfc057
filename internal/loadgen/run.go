package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Run sends what cfg says and returns what came of it. It ends when the
// schedule is through and every request has ended, or soon after ctx ends:
// requests that are then on their way are abandoned, and the Result tells of
// all others. The error is about cfg only, never about answers.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	s, err := newSession(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.run(func(*Config) {}), nil
}

// run is the state of one load.
type run struct {
	*session
	cfg     Config // the session's, but for this load
	start   time.Time
	tallies []*tally

	failures    failureLog
	outstanding atomic.Int64 // requests between their dispatch and their end
}

// since returns the time since the start of the run.
func (r *run) since() time.Duration { return r.cfg.Clock.Now().Sub(r.start) }

// A job is a request to be sent.
type job struct {
	intended time.Duration
	key      string
	target   int
}

// A worker sends one request at a time. It belongs to one goroutine.
type worker struct {
	r     *run
	tally *tally
	buf   bytes.Buffer
}

func (r *run) newWorker(i int) *worker {
	return &worker{r: r, tally: r.tallies[i%len(r.tallies)]}
}

func (w *worker) do(j job) {
	r := w.r
	sent := j.intended
	if r.cfg.Callers == 0 {
		sent = r.since()
	}
	ctx, cancel := r.ctx, context.CancelFunc(func() {})
	if r.cfg.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.cfg.Timeout)
	}
	a, err := r.targets[j.target].get(ctx, j.key, &w.buf)
	done := r.since()
	cancel()
	s := sample{intended: j.intended, sent: sent, done: done, target: j.target, status: a.Status}
	s.outcome, err = judge(r.ctx, r.cfg.Expect, j.key, a, err)
	r.count(w.tally, s, j.key, a, err)
}

func (r *run) count(t *tally, s sample, key string, a Answer, err error) {
	if t.add(s) && s.outcome.Failed() {
		r.failures.add(s, r.cfg.Warmup, r.targets[s.target].name(), key, a, err)
	}
}

// pickTarget returns a function that returns the next target's number.
func (r *run) pickTarget(first int, stream uint64) func() int {
	n := len(r.targets)
	if n == 1 {
		return func() int { return 0 }
	}
	if r.cfg.Pick == Random {
		random := newRand(r.cfg.Seed, stream)
		return func() int { return random.IntN(n) }
	}
	next := first - 1
	return func() int {
		next = (next + 1) % n
		return next
	}
}

// openLoop sends by the schedule. This goroutine decides what is sent and when;
// it never waits for an answer.
func (r *run) openLoop() {
	p := &pool{r: r, jobs: make(chan job, r.cfg.MaxOutstanding)}
	defer p.wait()
	schedule := newArrivals(&r.cfg)
	nextTarget := r.pickTarget(0, streamTargets)
	now := r.since()
	for r.ctx.Err() == nil {
		at, ok := schedule.next()
		if !ok {
			return
		}
		// What is due by the last look at the clock goes out as one batch.
		for at > now {
			if now = r.since(); at <= now {
				break
			}
			r.cfg.Clock.SleepUntil(r.ctx, r.start.Add(at))
			if r.ctx.Err() != nil {
				return
			}
		}
		key, ok := r.nextKey()
		if !ok {
			return
		}
		p.submit(job{intended: at, key: key, target: nextTarget()})
	}
}

// pool is an open loop's workers: as many as there were ever requests
// outstanding at once. submit and wait are called by one goroutine.
type pool struct {
	r       *run
	jobs    chan job
	workers int
	wg      sync.WaitGroup

	// idle counts the workers that are, or are about to be, waiting for a job
	// that has not been promised to them.
	idle atomic.Int64
}

// submit hands a job to an idle worker or to a new one, without waiting.
func (p *pool) submit(j job) {
	limit := int64(p.r.cfg.MaxOutstanding)
	if p.r.outstanding.Load() >= limit {
		err := fmt.Errorf("not sent: %d requests were outstanding", limit)
		s := sample{intended: j.intended, target: j.target, outcome: Dropped}
		p.r.count(p.r.tallies[0], s, j.key, Answer{}, err)
		return
	}
	p.r.outstanding.Add(1)
	if p.idle.Load() > 0 { // only this goroutine takes from it
		p.idle.Add(-1)
		p.jobs <- j // never blocks: it holds a job for every worker there may be
		return
	}
	w := p.r.newWorker(p.workers)
	p.workers++
	p.wg.Go(func() { p.work(w, j) })
}

func (p *pool) work(w *worker, j job) {
	for ok := true; ok; j, ok = <-p.jobs {
		w.do(j)
		// In this order: a worker that counts as neither outstanding nor idle
		// would let submit make one more than the limit.
		p.idle.Add(1)
		p.r.outstanding.Add(-1)
	}
}

// wait ends the workers when their requests have ended.
func (p *pool) wait() {
	close(p.jobs)
	p.wg.Wait()
}

// closedLoop lets the callers send one request after the other.
func (r *run) closedLoop() {
	var counted atomic.Int64
	var wg sync.WaitGroup
	for i := range r.cfg.Callers {
		wg.Go(func() { r.call(i, &counted) })
	}
	wg.Wait()
}

func (r *run) call(i int, counted *atomic.Int64) {
	w := r.newWorker(i)
	nextKey := r.keys.picker(newRand(r.cfg.Seed, streamKeys+uint64(i)))
	// Streams from the top, which the keys' do not reach.
	nextTarget := r.pickTarget(i%len(r.targets), ^uint64(i))
	for r.ctx.Err() == nil {
		now := r.since()
		if r.cfg.Duration > 0 && now >= r.cfg.Warmup+r.cfg.Duration {
			return
		}
		if r.cfg.Count > 0 && now >= r.cfg.Warmup && counted.Add(1) > r.cfg.Count {
			return
		}
		key, ok := nextKey()
		if !ok {
			return
		}
		r.outstanding.Add(1)
		w.do(job{intended: now, key: key, target: nextTarget()})
		r.outstanding.Add(-1)
	}
}
