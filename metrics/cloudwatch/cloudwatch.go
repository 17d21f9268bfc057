// Package cloudwatch forwards a node's metrics to Amazon CloudWatch, or to what
// speaks its API, by PutMetricData: for a cluster whose logs do not reach CloudWatch.
// It never makes a caller wait, and never blocks for want of an answer: what cannot be
// sent waits in a bounded queue, and is counted when it is dropped.
package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/geecache/geecache/internal/awsapi"
	"github.com/geecache/geecache/metrics"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// A Config says where to forward to.
type Config struct {
	// Endpoint is a region of AWS, such as eu-central-1, or the URL of what speaks
	// CloudWatch's API. In the first case variables that name other endpoints, as
	// those of an emulator, have no effect.
	Endpoint string

	// Cluster and Node are the values of these dimensions.
	Cluster, Node string

	// Queue bounds the requests that wait, of up to 1000 metrics each; the oldest
	// are dropped. Default: 64, an hour of a node's in its normal interval.
	Queue int

	// Logger is told of trouble and its end. Default: slog.Default().
	Logger *slog.Logger

	api api // of tests; nil: that of AWS's SDK
}

var region = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// Validate returns an error that says what is wrong with Endpoint.
func (c Config) Validate() error {
	if region.MatchString(c.Endpoint) {
		return nil
	}
	if u, err := url.Parse(c.Endpoint); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return nil
	}
	return fmt.Errorf("%q is neither a region nor a URL: use one such as eu-central-1 or http://localhost:4566", c.Endpoint)
}

// api is the part of CloudWatch's that is used.
type api interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error)
}

const permission = "cloudwatch:PutMetricData"

// How long to wait before a request is repeated: doubled up to the most, and
// between half of it and all.
const (
	leastPause = time.Second
	mostPause  = time.Minute
	// answerWithin bounds one request.
	answerWithin = 20 * time.Second
)

// A Forwarder forwards metrics. It is safe for concurrent use.
type Forwarder struct {
	cfg       Config
	api       api
	check     aws.CredentialsProvider // nil in tests
	closeIdle func()
	wake      chan struct{} // holds one
	closing   chan struct{}
	closeOnce sync.Once
	stop      context.CancelFunc // gives up what is on its way
	done      chan struct{}

	mu    sync.Mutex // guards what follows
	queue []request
	stats metrics.Forwarding
}

// Open reads AWS's configuration, and begins to wait for metrics. It does not ask
// CloudWatch anything. Close it when done.
func Open(ctx context.Context, cfg Config) (*Forwarder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Queue == 0 {
		cfg.Queue = 64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	f := &Forwarder{
		cfg: cfg, api: cfg.api, closeIdle: func() {},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	if f.api == nil {
		if err := f.connect(ctx); err != nil {
			return nil, err
		}
	}
	running, stop := context.WithCancel(context.Background())
	f.stop = stop
	go f.run(running)
	return f, nil
}

func (f *Forwarder) connect(ctx context.Context) error {
	at, name := f.cfg.Endpoint, ""
	base := &at
	if region.MatchString(at) {
		at, name, base = "https://monitoring."+at+".amazonaws.com", at, nil
	}
	loaded, closeIdle, err := awsapi.Load(ctx, name, at, "CLOUDWATCH")
	if err != nil {
		return err
	}
	f.check, f.closeIdle = loaded.Credentials, closeIdle
	f.api = cloudwatch.NewFromConfig(loaded, func(o *cloudwatch.Options) {
		o.BaseEndpoint = base
		// The oldest protocol, which all that stand in for CloudWatch speak; and not
		// all of them undo a compression.
		o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801)
		o.DisableRequestCompression = base != nil
	})
	return nil
}

// Send puts the points of the interval that ended at a time into the queue. It never
// waits, and its error is always nil.
func (f *Forwarder) Send(at time.Time, points []metrics.Point) error {
	requests := requestsOf(f.cfg.Cluster, f.cfg.Node, at, points)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range requests {
		if len(f.queue) == f.cfg.Queue {
			f.stats.Dropped += int64(len(f.queue[0]))
			f.queue = append(f.queue[:0], f.queue[1:]...)
		}
		f.queue = append(f.queue, r)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return nil
}

// Stats returns what has become of the metrics.
func (f *Forwarder) Stats() metrics.Forwarding {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	for _, r := range f.queue {
		s.Waiting += len(r)
	}
	return s
}

// Close sends what waits, until ctx ends, and ends the forwarder. It returns an error
// if something had to be dropped.
func (f *Forwarder) Close(ctx context.Context) error {
	f.closeOnce.Do(func() { close(f.closing) })
	select {
	case <-f.done:
	case <-ctx.Done():
		f.stop()
		<-f.done
	}
	f.stop()
	f.closeIdle()
	f.mu.Lock()
	defer f.mu.Unlock()
	lost := 0
	for _, r := range f.queue {
		lost += len(r)
	}
	f.stats.Dropped += int64(lost)
	f.queue = nil
	if lost > 0 {
		return fmt.Errorf("--cloudwatch-endpoint %s: %d metrics could not be sent any more", f.cfg.Endpoint, lost)
	}
	return nil
}

// run sends what is in the queue until ctx ends, or the queue is empty at the end.
func (f *Forwarder) run(ctx context.Context) {
	defer close(f.done)
	f.checkCredentials(ctx)
	for {
		r, ok := f.next()
		if !ok {
			select {
			case <-f.wake:
				continue
			case <-f.closing:
				if r, ok = f.next(); !ok {
					return
				}
			}
		}
		if !f.deliver(ctx, r) {
			f.mu.Lock()
			f.queue = append([]request{r}, f.queue...)
			f.mu.Unlock()
			return
		}
	}
}

// checkCredentials tells at once if there are none, and not after an interval.
func (f *Forwarder) checkCredentials(ctx context.Context) {
	if f.check == nil {
		return
	}
	if _, err := f.check.Retrieve(ctx); err != nil && ctx.Err() == nil {
		f.cfg.Logger.Warn("metrics are not forwarded to CloudWatch", "endpoint", f.cfg.Endpoint, "err", err)
	}
}

func (f *Forwarder) next() (request, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil, false
	}
	r := f.queue[0]
	f.queue = append(f.queue[:0], f.queue[1:]...)
	return r, true
}

// deliver sends a request, again and again if it may help. It reports whether it has
// been dealt with: if not, this is the end.
func (f *Forwarder) deliver(ctx context.Context, r request) bool {
	pause, log := leastPause, f.cfg.Logger.With("endpoint", f.cfg.Endpoint)
	for tries := 1; ; tries++ {
		err := f.put(ctx, r)
		f.mu.Lock()
		switch {
		case err == nil:
			f.stats.Sent += int64(len(r))
		case isRefusal(err):
			f.stats.Dropped += int64(len(r))
		default:
			f.stats.Failures++
		}
		f.mu.Unlock()
		switch {
		case err == nil && tries > 1:
			log.Info("metrics are forwarded to CloudWatch again", "tries", tries)
			return true
		case err == nil:
			return true
		case isRefusal(err):
			log.Warn("CloudWatch does not take metrics: they are dropped", "metrics", len(r), "err", err)
			return true
		case tries == 1 && ctx.Err() == nil:
			log.Warn("metrics are not forwarded to CloudWatch: they wait", "err", awsapi.Explain(err, permission))
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		case <-f.closing: // one more attempt was enough
			t.Stop()
			return f.put(ctx, r) == nil && f.sent(r)
		}
		pause = min(2*pause, mostPause)
	}
}

func (f *Forwarder) sent(r request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Sent += int64(len(r))
	return true
}

func (f *Forwarder) put(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err := f.api.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String(metrics.Namespace), MetricData: r})
	return err
}

// isRefusal reports whether a request is wrong, and would be so every time.
func isRefusal(err error) bool {
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		return false
	}
	code := refusal.ErrorCode()
	return strings.HasPrefix(code, "InvalidParameter") || strings.HasPrefix(code, "MissingParameter") ||
		strings.HasPrefix(code, "Validation") || strings.HasPrefix(code, "InvalidFormat") || code == "RequestEntityTooLarge"
}
