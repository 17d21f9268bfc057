package geecache

import (
	"context"
	"log/slog"
	"net/http"
)

type streamHandler interface {
	answerNow(req *PeerRequest, reply *PeerReply) bool
	answer(ctx context.Context, req *PeerRequest) PeerReply
}

type streamServerConfig struct {
	self        func() hello             // this node's identity and epoch, now
	check       func(remote hello) error // nil accepts all of this cluster
	handler     streamHandler
	maxValue    int // bytes; larger values are not sent
	maxKey      int // bytes
	maxInFlight int // requests in flight per connection that are not answered from memory
	maxConns    int
	timings     streamTimings
	log         *slog.Logger
}

type streamServerStats struct {
	connections       int64 // open now
	handshakesRefused int64
	frameErrors       int64
	inFlight          int64 // requests being answered by goroutines
	bytesIn           int64
	bytesOut          int64
}

type streamServer struct{}

func newStreamServer(cfg streamServerConfig) *streamServer { return &streamServer{} }

func (s *streamServer) serveUpgrade(w http.ResponseWriter, r *http.Request) {}

func (s *streamServer) drain() {}

func (s *streamServer) close() {}

func (s *streamServer) stats() streamServerStats { return streamServerStats{} }
