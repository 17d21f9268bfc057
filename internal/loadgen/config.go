package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Defaults of [Config].
const (
	DefaultRate           = 1000
	DefaultDuration       = 10 * time.Second
	DefaultTimeout        = 5 * time.Second
	DefaultMaxOutstanding = 10_000
	DefaultKeyCount       = 20_000
	DefaultKeyFormat      = "user:%d"
	DefaultZipfS          = 1.0
	DefaultKeepFailures   = 10
	DefaultProgressEvery  = 500 * time.Millisecond
	DefaultConnections    = 1024
)

const maxRate = 10e6 // requests per second

// Arrivals is the pattern in which an open loop sends.
type Arrivals string

// The patterns: evenly spaced, or a Poisson process (independent callers).
const (
	Constant Arrivals = "constant"
	Poisson  Arrivals = "poisson"
)

// Pick says how requests are spread over the targets.
type Pick string

// The ways to pick a target.
const (
	RoundRobin Pick = "round-robin"
	Random     Pick = "random"
)

// Config says what to send. Targets have to be given (URLs or Do); every other
// field has a default for its zero value. A Config is not changed by [Run] and
// may be used again.
type Config struct {
	// URLs are the HTTP targets. {key} stands where the key goes, in the path
	// or in the query, and is escaped accordingly; {group} stands for Group.
	// A URL without a path gets /api?key={key}, and one that ends in
	// /_geecache gets /{group}/{key}. Answers of paths that start with
	// /_geecache/ are decoded as the peer protocol's protobuf message.
	URLs []string

	// Do is a target of the caller's own, instead of URLs. It is called by many
	// goroutines at once and should return soon after ctx has ended: Run waits
	// for it. An error that wraps [ErrWrongValue], [ErrNotFound] or
	// [context.DeadlineExceeded] is counted as such, any other as "error".
	Do func(ctx context.Context, key string) error

	Group string // for {group}, and for the &group= of a URL without a path
	Pick  Pick   // RoundRobin by default

	// Rate, in requests per second, makes an open loop; the default is
	// DefaultRate. Callers makes a closed loop instead: so many goroutines that
	// each wait for an answer before they send again. Only one may be set.
	Rate     float64
	Callers  int
	Arrivals Arrivals // Constant by default; open loop only

	// Duration and Count end the run, whichever comes first. Neither counts
	// what is sent during Warmup. If both are zero, DefaultDuration holds, or the
	// end of a trace that is not repeated.
	Duration time.Duration
	Count    int64
	Warmup   time.Duration // sent and checked first, but not counted

	// Timeout is of one request, from its actual send. Negative means none,
	// which only Do may have: it saves what a context with a deadline costs.
	Timeout time.Duration

	// MaxOutstanding bounds the requests on their way. One that is due when the
	// bound is reached is counted as dropped, which is a failure.
	MaxOutstanding int

	Keys Keys
	Seed uint64 // of keys, arrivals and random picks; the same seed repeats them

	// Expect checks every answer of URLs. Nil means that each has to be a 200.
	Expect Rule

	HTTP HTTPOptions

	// Label names what is measured in Go benchmark lines: "api", "peer" or
	// "func" by default.
	Label string

	KeepFailures int // how many failures to keep with all details

	// Progress is called every ProgressEvery, from one goroutine.
	Progress      func(Snapshot)
	ProgressEvery time.Duration

	// Counting is called once for each load, from a goroutine of its own, when the
	// warm-up is over: what is sent from now on counts.
	Counting func()

	// RealTimeRefused says why [RealTime], which was asked for, was not had. Results
	// tell it.
	RealTimeRefused string

	// Clock is the time; nil means the system's.
	Clock Clock

	part string // what snapshots say in Part
}

// HTTPOptions are about HTTP targets only.
type HTTPOptions struct {
	Header http.Header // sent with every request

	// Secrets returns the cluster's secrets, if it has any: requests of the peer
	// protocol show a token then, which nodes give for a proof. Nil: none.
	Secrets func() []string

	// APIToken is shown to targets of the API, and to no others. Empty: none is.
	APIToken string

	TLS *tls.Config

	// Connections bounds the connections to one target that are in use at once;
	// DefaultConnections by default. Requests over it wait, which is part of
	// their latency, and [Result.ConnectionWaits] tells of it. Without a bound, a
	// generator that falls behind would spend itself on opening connections.
	Connections int
}

// withDefaults returns the Config with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.Rate == 0 && c.Callers == 0 {
		c.Rate = DefaultRate
	}
	if c.Duration == 0 && c.Count == 0 && (c.Keys.Trace == nil || c.Keys.Repeat) {
		c.Duration = DefaultDuration
	}
	setDefault(&c.Pick, RoundRobin)
	setDefault(&c.Arrivals, Constant)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.MaxOutstanding, DefaultMaxOutstanding)
	setDefault(&c.KeepFailures, DefaultKeepFailures)
	setDefault(&c.ProgressEvery, DefaultProgressEvery)
	setDefault(&c.HTTP.Connections, DefaultConnections)
	c.Keys = c.Keys.withDefaults()
	if c.Expect == nil {
		c.Expect = ExpectStatus()
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error that names every field that makes no sense, and
// what to do about it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("loadgen: "+format, args...))
		}
	}
	bad(len(c.URLs) > 0 || c.Do != nil, "URLs: no target: give at least one URL, for example http://localhost:9999")
	bad(len(c.URLs) == 0 || c.Do == nil, "Do: both URLs and Do are set: use one of them")
	bad(c.Rate >= 0 && c.Rate <= maxRate, "Rate: %v requests/s: use a number from 0 to 10,000,000", c.Rate)
	bad(c.Callers >= 0, "Callers: %d: use 1 or more, or 0 for an open loop", c.Callers)
	bad(c.Rate == 0 || c.Callers == 0, "Callers: a closed loop has no rate: set Rate or Callers, not both")
	bad(slices.Contains([]Arrivals{Constant, Poisson}, c.Arrivals), "Arrivals: %q: use %q or %q", c.Arrivals, Constant, Poisson)
	bad(slices.Contains([]Pick{RoundRobin, Random}, c.Pick), "Pick: %q: use %q or %q", c.Pick, RoundRobin, Random)
	bad(c.Duration >= 0, "Duration: %v: use a positive duration", c.Duration)
	bad(c.Count >= 0, "Count: %d: use 0 for no limit", c.Count)
	bad(c.Warmup >= 0, "Warmup: %v: use 0 for none", c.Warmup)
	bad(c.Timeout <= maxLatency && (c.Timeout > 0 || c.Do != nil), "Timeout: %v: use more than 0 and at most %v", c.Timeout, maxLatency)
	bad(c.MaxOutstanding > 0 && c.MaxOutstanding <= 1_000_000, "MaxOutstanding: %d: use 1 to 1,000,000", c.MaxOutstanding)
	bad(c.KeepFailures >= 0, "KeepFailures: %d: use 0 or more", c.KeepFailures)
	bad(c.ProgressEvery > 0, "ProgressEvery: %v: use a positive duration", c.ProgressEvery)
	bad(c.HTTP.Connections > 0 && c.HTTP.Connections <= 1_000_000, "HTTP.Connections: %d: use 1 to 1,000,000", c.HTTP.Connections)
	for i, raw := range c.URLs {
		_, err := parseTemplate(raw, c.Group)
		bad(err == nil, "URLs[%d]: %w", i, err)
	}
	if err := c.Keys.validate(); err != nil {
		errs = append(errs, fmt.Errorf("loadgen: %w", err))
	}
	return errors.Join(errs...)
}
