package peergrpc

import (
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/geecache/geecache/geecache"
)

// Options configures a [Server]. Its zero value serves strangers and refuses
// peers, because it cannot tell whose cluster they are of.
type Options struct {
	// Check decides whether a request that says that it is from a node of a
	// cluster is from a peer. An error refuses it, and is told to the asking
	// node. Nil: all such requests are refused. It is called by many goroutines
	// at once.
	Check func(cluster, nodeID, version string) error

	// Authorize decides whether whoever asks may be answered, whatever it asks
	// for. It is given the metadata "authorization" and whether the client has
	// shown a certificate that was verified; AuthorizeToken of a geecache.Node
	// is meant for it. Nil: all are answered. It is called by many goroutines at
	// once.
	Authorize func(authorization string, verified bool) error

	// MaxKeyBytes and MaxValueBytes are the node's limits, which the limits of
	// messages follow. Defaults: 16 KiB and 8 MiB.
	MaxKeyBytes, MaxValueBytes int

	// MaxBatch bounds the keys of one GetMany. Default: 4096.
	MaxBatch int

	// MaxParallel bounds how many keys of one GetMany are answered at a time.
	// Default: 64.
	MaxParallel int

	// MaxStreams bounds the requests that one connection may have unanswered.
	// On a port shared through net/http it must be put into the http.Server
	// too: see [Server.HTTP2Config]. Default: 1024.
	MaxStreams int

	// ConnectTimeout bounds the handshake on a listener of the server's own.
	// Default: 5 s.
	ConnectTimeout time.Duration

	// Creds is the TLS of a listener of the server's own. Behind net/http, the
	// http.Server has the TLS. Default: none.
	Creds credentials.TransportCredentials

	// Report is told how long requests took that were not answered from
	// memory; protocol is "grpc". ReportServed of a geecache.Node is meant for
	// it. It is called by many goroutines at once. Default: nobody.
	Report func(group, protocol string, took time.Duration, code geecache.Code)

	// Logger is told of panics. Default: slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxKeyBytes   = 16 << 10
	defaultMaxValueBytes = 8 << 20
	defaultMaxBatch      = 4096
	defaultMaxParallel   = 64
	defaultMaxStreams    = 1024
	defaultConnectTime   = 5 * time.Second

	// requestBytes bounds what a client puts into one GetMany, one key aside.
	requestBytes = 1 << 20
	// slackBytes is what a message may hold besides keys and values.
	slackBytes = 1 << 20
)

// withDefaults returns the options with their zero fields filled in.
func (o Options) withDefaults() Options {
	setDefault(&o.MaxKeyBytes, defaultMaxKeyBytes)
	setDefault(&o.MaxValueBytes, defaultMaxValueBytes)
	setDefault(&o.MaxBatch, defaultMaxBatch)
	setDefault(&o.MaxParallel, defaultMaxParallel)
	setDefault(&o.MaxStreams, defaultMaxStreams)
	setDefault(&o.ConnectTimeout, defaultConnectTime)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Validate returns an error that names the first field that makes no sense.
func (o Options) Validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxKeyBytes", o.MaxKeyBytes},
		{"MaxValueBytes", o.MaxValueBytes},
		{"MaxBatch", o.MaxBatch},
		{"MaxParallel", o.MaxParallel},
		{"MaxStreams", o.MaxStreams},
	} {
		if f.value < 0 || f.value > 1<<30 {
			return fmt.Errorf("peergrpc: Options.%s is %d: use 1 to 2^30, or 0 for the default", f.name, f.value)
		}
	}
	if o.ConnectTimeout < 0 {
		return fmt.Errorf("peergrpc: Options.ConnectTimeout is %v: use a positive duration, or 0 for the default", o.ConnectTimeout)
	}
	return nil
}

// maxRequest is the most that a server reads for one request, in bytes.
func maxRequest(maxKey int) int { return requestBytes + slackBytes + maxKey }

// maxResponse is the most that a server sends, and a client reads, in one
// answer, in bytes: a value of the largest size, or a batch of small ones.
func maxResponse(maxValue int) int { return maxValue + slackBytes }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
