package peergrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// service implements the generated GroupCacheServer.
type service struct {
	UnimplementedGroupCacheServer
	answerer Answerer
	opts     Options
	cutting  context.Context // ends when requests are cut off
}

// Get implements GroupCacheServer.
func (s *service) Get(ctx context.Context, req *geecachepb.Request) (*geecachepb.Response, error) {
	fromPeer, err := s.fromPeer(ctx)
	if err != nil {
		return nil, fail(ctx, refusal(err))
	}
	reply := s.answer(ctx, req, fromPeer)
	if reply.Code != geecache.CodeOK {
		return nil, fail(ctx, reply)
	}
	return toResponse(reply), nil
}

// GetMany implements GroupCacheServer.
func (s *service) GetMany(ctx context.Context, req *geecachepb.GetManyRequest) (*geecachepb.GetManyResponse, error) {
	fromPeer, err := s.fromPeer(ctx)
	if err != nil {
		return nil, fail(ctx, refusal(err))
	}
	reqs := req.Requests
	if len(reqs) > s.opts.MaxBatch {
		return nil, fail(ctx, geecache.PeerReply{
			Code:    geecache.CodeTooLarge,
			Message: fmt.Sprintf("%d keys in one GetMany: ask for at most %d", len(reqs), s.opts.MaxBatch),
		})
	}
	b := batch{left: s.opts.MaxValueBytes, resps: make([]*geecachepb.Response, len(reqs))}
	var wg sync.WaitGroup
	slots := make(chan struct{}, s.opts.MaxParallel)
	for i := range reqs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if !b.full() { // else it would be loaded, and perhaps not kept, for nothing
				b.put(i, s.answer(ctx, reqs[i], fromPeer))
			}
		})
	}
	wg.Wait()
	return b.response(), nil
}

// A batch gathers the answers of one GetMany, as many as fit into one message.
type batch struct {
	mu    sync.Mutex // guards what follows
	left  int        // bytes that the message may still grow by
	resps []*geecachepb.Response

	overflow bool // an answer has not fitted; those that have not begun are not begun
}

// full reports whether an answer has not fitted.
func (b *batch) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.overflow
}

// askAlone is the answer for a key whose value does not fit any more.
func askAlone() *geecachepb.Response {
	return &geecachepb.Response{
		Code:     geecachepb.Code_CODE_TOO_LARGE,
		Message:  "the batch's answer is too large for one message: ask for this key alone",
		AskAlone: true,
	}
}

// put stores the i-th answer. If it does not fit, the caller asks for it alone,
// and finds it in memory if it may be kept.
func (b *batch) put(i int, reply geecache.PeerReply) {
	resp := toResponse(reply)
	resp.Message = shorten(resp.Message, maxBatchMessage)
	size := protowire.SizeTag(1) + protowire.SizeBytes(proto.Size(resp))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(resp.Value) > 0 && size > b.left {
		resp = askAlone()
		b.overflow = true
	} else {
		b.left -= size
	}
	b.resps[i] = resp
}

// response returns the message. An answer that is missing, because its
// goroutine came to an end, is an error: left out, it would read as an empty value.
func (b *batch) response() *geecachepb.GetManyResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, resp := range b.resps {
		if resp == nil && b.overflow {
			b.resps[i] = askAlone()
		} else if resp == nil {
			b.resps[i] = &geecachepb.Response{Code: geecachepb.Code_CODE_INTERNAL, Message: "the node gave no answer"}
		}
	}
	return &geecachepb.GetManyResponse{Responses: b.resps}
}

// answer asks the answerer for one key. A panic becomes an error of that key.
func (s *service) answer(ctx context.Context, req *geecachepb.Request, fromPeer bool) (reply geecache.PeerReply) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			logPanic(s.opts.Logger, GroupCache_ServiceDesc.ServiceName, p)
			reply = geecache.PeerReply{Code: geecache.CodeInternal, Message: "the node panicked"}
		}
		s.report(req.GetGroup(), time.Since(start), &reply)
	}()
	pr, err := s.peerRequest(ctx, req)
	if err != nil {
		return geecache.PeerReply{Code: geecache.CodeOf(err), Message: err.Error()}
	}
	if pr.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pr.Timeout)
		defer cancel()
	}
	if fromPeer {
		reply = s.answerer.Answer(ctx, pr)
	} else {
		reply = s.answerer.AnswerClient(ctx, pr.Group, pr.Key)
	}
	if reply.Code == geecache.CodeCanceled && s.cutting.Err() != nil {
		// It was this node that left and not the caller, who is to ask another.
		return geecache.PeerReply{Code: geecache.CodeDraining, Message: "the node was closed"}
	}
	return reply
}

// peerRequest checks req and turns it into a request of package geecache.
func (s *service) peerRequest(ctx context.Context, req *geecachepb.Request) (*geecache.PeerRequest, error) {
	if req == nil {
		return nil, fmt.Errorf("%w: a request is missing", geecache.ErrBadRequest)
	}
	if len(req.Key) > s.opts.MaxKeyBytes {
		return nil, fmt.Errorf("%w: the key has %d bytes, the limit is %d", geecache.ErrTooLarge, len(req.Key), s.opts.MaxKeyBytes)
	}
	if req.Mode < 0 || req.Mode > geecachepb.Mode_MODE_MEMORY {
		return nil, fmt.Errorf("%w: mode is %d: use 0, 1 or 2", geecache.ErrBadRequest, req.Mode)
	}
	if req.TimeoutNs < 0 {
		return nil, fmt.Errorf("%w: timeout_ns is %d: use a positive number, or 0 for none", geecache.ErrBadRequest, req.TimeoutNs)
	}
	pr := &geecache.PeerRequest{
		Group:   req.Group,
		Key:     string(req.Key),
		Mode:    geecache.Mode(req.Mode),
		Epoch:   req.Epoch,
		Timeout: time.Duration(req.TimeoutNs),
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline), 1)
		if pr.Timeout == 0 || left < pr.Timeout {
			pr.Timeout = left
		}
	}
	return pr, nil
}

// report tells of an answer that did not come from memory. Names of groups that
// do not exist are left out, because anyone can invent them.
func (s *service) report(group string, took time.Duration, reply *geecache.PeerReply) {
	if s.opts.Report == nil {
		return
	}
	switch reply.Code {
	case geecache.CodeOK, geecache.CodeNotFound:
		if reply.From == geecache.FromMain || reply.From == geecache.FromHot {
			return
		}
	case geecache.CodeNoGroup, geecache.CodeBadRequest, geecache.CodeTooLarge, geecache.CodeMiss:
		return
	}
	s.opts.Report(group, "grpc", took, reply.Code)
}

// fromPeer reports whether the request says that it is from a node of a
// cluster, and the error if that node is none of this cluster's.
func (s *service) fromPeer(ctx context.Context) (bool, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get(MetadataCluster)) == 0 && len(md.Get(MetadataNode)) == 0 {
		return false, nil
	}
	var values [3]string
	for i, name := range []string{MetadataCluster, MetadataNode, MetadataVersion} {
		v := md.Get(name)
		switch {
		case len(v) > 1:
			return false, fmt.Errorf("%d values of %s: send one", len(v), name)
		case len(v) == 1:
			decoded, err := url.PathUnescape(v[0])
			if err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			values[i] = decoded
		}
	}
	if s.opts.Check == nil {
		return false, errors.New("this server takes no requests from peers")
	}
	return true, s.opts.Check(values[0], values[1], values[2])
}

// refusal is the answer to a node of another cluster.
func refusal(err error) geecache.PeerReply {
	return geecache.PeerReply{Code: geecache.CodeRefused, Message: err.Error()}
}

// fail sets the trailer that tells of a reply, and returns its status.
func fail(ctx context.Context, reply geecache.PeerReply) error {
	// It fails only outside of a gRPC call, where there is no trailer to set.
	_ = grpc.SetTrailer(ctx, codeTrailer(reply.Code))
	return toStatus(reply)
}

// recoverUnary makes a panic in a service an error of its caller's.
func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(s.opts.Logger, info.FullMethod, p)
			err = fail(ctx, geecache.PeerReply{Code: geecache.CodeInternal, Message: "the node panicked"})
		}
	}()
	return next(ctx, req)
}

// recoverStream does the same for the streams of health and reflection.
func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(s.opts.Logger, info.FullMethod, p)
			stream.SetTrailer(codeTrailer(geecache.CodeInternal))
			err = toStatus(geecache.PeerReply{Code: geecache.CodeInternal, Message: "the node panicked"})
		}
	}()
	return next(srv, stream)
}

func logPanic(log *slog.Logger, where string, p any) {
	log.Error("grpc: panic", "in", where, "panic", p, "stack", string(debug.Stack()))
}
