package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is how a request ended.
type Outcome uint8

// The outcomes. The first two are right answers, Interrupted is neither right
// nor wrong (the run was stopped while the request was on its way), and all
// others are failures.
const (
	OK Outcome = iota
	ExpectedNotFound
	Interrupted
	WrongValue
	UnexpectedNotFound
	BadStatus  // an HTTP status other than 200 and 404
	TimedOut   // no answer within Config.Timeout
	Connection // refused, reset, cut off
	OtherError // any other error of Config.Do
	Dropped    // not sent: Config.MaxOutstanding was reached
	outcomes
)

var outcomeNames = [outcomes]string{
	"ok", "expected_not_found", "interrupted", "wrong_value", "not_found",
	"bad_status", "timeout", "connection", "error", "dropped",
}

// String returns the outcome's name in results.
func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return "unknown"
}

// Failed reports whether the outcome is a failure.
func (o Outcome) Failed() bool { return o > Interrupted }

// judge tells a request's outcome from its answer. ctx is the run's.
func judge(ctx context.Context, rule Rule, key string, a Answer, err error) (Outcome, error) {
	if err == nil && a.Status != 0 {
		absent := a.Status == http.StatusNotFound && (a.Error == "" || a.Error == notFoundError)
		switch {
		case a.Status == http.StatusOK || absent:
		case a.Error != "":
			return BadStatus, fmt.Errorf("HTTP status %d, error %s", a.Status, a.Error)
		default:
			return BadStatus, fmt.Errorf("HTTP status %d", a.Status)
		}
		err = rule.Check(key, a)
	}
	switch {
	case err == nil && a.Status == http.StatusNotFound:
		return ExpectedNotFound, nil
	case err == nil:
		return OK, nil
	case errors.Is(err, ErrWrongValue):
		return WrongValue, err
	case errors.Is(err, ErrNotFound):
		return UnexpectedNotFound, err
	case ctx.Err() != nil:
		return Interrupted, err
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut, err
	case errors.Is(err, errConnection):
		return Connection, err
	}
	return OtherError, err
}

const (
	maxLatency = time.Hour
	second     = time.Second
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(maxLatency), 3)
}

// newSmallHistogram is for what there are many of: microseconds, within 1%.
func newSmallHistogram() *hdrhistogram.PackedHistogram {
	return hdrhistogram.NewPacked(int64(time.Microsecond), int64(maxLatency), 2)
}

// clamp makes a duration fit a histogram.
func clamp(d time.Duration) int64 { return int64(min(max(d, 0), maxLatency)) }

// A sample is one request that has ended, or was dropped. Times are offsets
// from the start of the run; a dropped request has only the intended one.
type sample struct {
	intended, sent, done time.Duration
	target               int
	outcome              Outcome
	status               int
}

// secondBucket collects the requests that were meant to be sent in one second.
type secondBucket struct {
	requests, failed, dropped int64
	max, maxLag               time.Duration
	latency, lag              *hdrhistogram.PackedHistogram
}

// targetBucket collects the requests to one target.
type targetBucket struct {
	outcomes [outcomes]int64
	max      time.Duration
	latency  *hdrhistogram.Histogram
}

// tally adds up samples. A run has several, so that workers seldom meet at one.
type tally struct {
	warmup time.Duration
	lagged bool // there is a schedule to lag behind

	mu sync.Mutex // guards all below

	warm, warmFailed int64
	outcomes         [outcomes]int64
	statuses         map[int]int64
	latency          *hdrhistogram.Histogram // from the intended send
	service          *hdrhistogram.Histogram // from the actual send
	lag              *hdrhistogram.Histogram // from the one to the other
	maxes            [3]time.Duration        // of those three
	lastDone         time.Duration
	targets          []targetBucket
	seconds          []*secondBucket // by second since the end of the warm-up; nil for none
}

func newTally(c *Config, targets int) *tally {
	t := &tally{
		warmup:   c.Warmup,
		lagged:   c.Callers == 0,
		statuses: make(map[int]int64),
		latency:  newHistogram(),
		service:  newHistogram(),
		lag:      newHistogram(),
		targets:  make([]targetBucket, targets),
	}
	for i := range t.targets {
		t.targets[i].latency = newHistogram()
	}
	return t
}

// add counts a sample. It reports whether it was counted, and not part of the
// warm-up.
func (t *tally) add(s sample) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.intended < t.warmup {
		t.warm++
		if s.outcome.Failed() {
			t.warmFailed++
		}
		return false
	}
	t.outcomes[s.outcome]++
	if s.status != 0 {
		t.statuses[s.status]++
	}
	target := &t.targets[s.target]
	target.outcomes[s.outcome]++
	if s.outcome == Interrupted {
		return true
	}
	bucket := t.secondLocked(int((s.intended - t.warmup) / second))
	bucket.requests++
	if s.outcome.Failed() {
		bucket.failed++
	}
	if s.outcome == Dropped {
		bucket.dropped++
		return true
	}
	latency := s.done - s.intended
	t.recordLocked(t.latency, 0, latency)
	t.recordLocked(t.service, 1, s.done-s.sent)
	if t.lagged {
		lag := s.sent - s.intended
		t.recordLocked(t.lag, 2, lag)
		bucket.maxLag = max(bucket.maxLag, lag)
		_ = bucket.lag.RecordValue(clamp(lag)) // see below
	}
	t.lastDone = max(t.lastDone, s.done)
	target.max = max(target.max, latency)
	bucket.max = max(bucket.max, latency)
	// Clamped values cannot be refused.
	_ = target.latency.RecordValue(clamp(latency))
	_ = bucket.latency.RecordValue(clamp(latency))
	return true
}

func (t *tally) recordLocked(h *hdrhistogram.Histogram, which int, d time.Duration) {
	t.maxes[which] = max(t.maxes[which], d)
	_ = h.RecordValue(clamp(d))
}

func (t *tally) secondLocked(i int) *secondBucket {
	for len(t.seconds) <= i {
		t.seconds = append(t.seconds, nil)
	}
	if t.seconds[i] == nil {
		t.seconds[i] = &secondBucket{latency: newSmallHistogram(), lag: newSmallHistogram()}
	}
	return t.seconds[i]
}

// mergeInto adds what t has counted to sum, which nobody else uses.
func (t *tally) mergeInto(sum *tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum.warm += t.warm
	sum.warmFailed += t.warmFailed
	for i, n := range t.outcomes {
		sum.outcomes[i] += n
	}
	for status, n := range t.statuses {
		sum.statuses[status] += n
	}
	sum.latency.Merge(t.latency)
	sum.service.Merge(t.service)
	sum.lag.Merge(t.lag)
	for i, d := range t.maxes {
		sum.maxes[i] = max(sum.maxes[i], d)
	}
	sum.lastDone = max(sum.lastDone, t.lastDone)
	for i := range t.targets {
		from, to := &t.targets[i], &sum.targets[i]
		for o, n := range from.outcomes {
			to.outcomes[o] += n
		}
		to.max = max(to.max, from.max)
		to.latency.Merge(from.latency)
	}
	for i, from := range t.seconds {
		if from == nil {
			continue
		}
		to := sum.secondLocked(i)
		to.requests += from.requests
		to.failed += from.failed
		to.dropped += from.dropped
		to.max = max(to.max, from.max)
		to.latency.Merge(from.latency)
		to.maxLag = max(to.maxLag, from.maxLag)
		to.lag.Merge(from.lag)
	}
}

// A Failure is one of the first requests that failed.
type Failure struct {
	At      time.Duration `json:"at_ns"` // intended send, since the end of the warm-up
	Target  string        `json:"target"`
	Key     string        `json:"key"` // quoted as in Go: keys may be any bytes
	Outcome string        `json:"outcome"`
	Error   string        `json:"error"`         // what was wrong, and what was expected
	Got     string        `json:"got,omitempty"` // the start of the answer, quoted as in Go
}

// String returns the failure as one line.
func (f Failure) String() string {
	text := fmt.Sprintf("at %s, %s, key %s: %s: %s", short(f.At), f.Target, f.Key, f.Outcome, f.Error)
	if f.Got != "" {
		text += "; got " + f.Got
	}
	return text
}

// failureLog keeps the first failures.
type failureLog struct {
	mu   sync.Mutex // guards kept
	keep int
	kept []Failure
}

func (l *failureLog) add(s sample, warmup time.Duration, name, key string, a Answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) >= l.keep {
		return
	}
	f := Failure{
		At: s.intended - warmup, Target: name, Key: strconv.Quote(key),
		Outcome: s.outcome.String(), Error: err.Error(),
	}
	if a.Status != 0 {
		f.Got = strconv.Itoa(a.Status) + " " + quote(a.Value)
	}
	l.kept = append(l.kept, f)
}
