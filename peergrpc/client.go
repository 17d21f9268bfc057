package peergrpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// clientParallel bounds the calls that one GetMany makes at a time when its
// keys, or their values, are too many for one.
const clientParallel = 16

// A client asks one peer. It implements geecache.PeerClient.
type client struct {
	name  string // of the peer, for errors
	conn  *grpc.ClientConn
	pings *grpc.ClientConn // for the guard
	rpc   GroupCacheClient
	md    metadata.MD // says who asks; read only
	guard *guard

	tokens *tokens // nil: the cluster has no secret
}

var _ geecache.PeerClient = (*client)(nil)

func newClient(conn, pings *grpc.ClientConn, peer geecache.Peer, addr string, t geecache.Timings, md metadata.MD) *client {
	c := &client{name: peer.ID, conn: conn, pings: pings, rpc: NewGroupCacheClient(conn), md: md}
	if c.name == "" {
		c.name = addr
	}
	c.guard = newGuard(t.PingBusy, t.DeadAfter, c.ping)
	return c
}

// Close implements geecache.PeerClient. Requests that wait fail.
func (c *client) Close() error {
	c.guard.close()
	return errors.Join(c.conn.Close(), c.pings.Close())
}

// ping returns nil if the peer shows a sign of life: any answer, even that it
// has no health service.
func (c *client) ping(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(c.pings).Check(ctx, &healthpb.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	}
	return nil
}

// Get implements geecache.PeerClient.
func (c *client) Get(ctx context.Context, req *geecache.PeerRequest) (geecache.PeerReply, error) {
	if reply, ok := checkGroup(req); !ok {
		return reply, nil
	}
	var resp *geecachepb.Response
	st, trailer, err := c.call(ctx, func(ctx context.Context, opts ...grpc.CallOption) (err error) {
		resp, err = c.rpc.Get(ctx, toRequest(req), opts...)
		return err
	})
	if err != nil {
		return geecache.PeerReply{}, err
	}
	if st == nil {
		return c.answered(fromResponse(resp))
	}
	return c.failed(st, trailer)
}

// GetMany implements geecache.PeerClient. Keys that are too many or too long
// for one call are asked in several at a time.
func (c *client) GetMany(ctx context.Context, reqs []geecache.PeerRequest) ([]geecache.PeerReply, []error) {
	m := many{c: c, reqs: reqs, replies: make([]geecache.PeerReply, len(reqs)), errs: make([]error, len(reqs))}
	slots := make(chan struct{}, clientParallel)
	var wg sync.WaitGroup
	for to := 0; to < len(reqs); {
		from := to
		to += chunk(reqs[from:])
		end := to
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m.ask(ctx, from, end)
		})
	}
	wg.Wait()
	return m.replies, m.errs
}

// chunk returns how many of reqs, at least one, go into one call.
func chunk(reqs []geecache.PeerRequest) int {
	bytes := 0
	for i := range reqs {
		const others = 64 // the other fields, and the group's length aside
		bytes += len(reqs[i].Key) + len(reqs[i].Group) + others
		if i == defaultMaxBatch/4 || (i > 0 && bytes > requestBytes) {
			return i
		}
	}
	return len(reqs)
}

// many is a GetMany under way. Each index is written by one goroutine.
type many struct {
	c       *client
	reqs    []geecache.PeerRequest
	replies []geecache.PeerReply
	errs    []error
}

// ask asks for the keys from index from up to, not including, to in one call.
func (m *many) ask(ctx context.Context, from, to int) {
	if to-from == 1 {
		m.replies[from], m.errs[from] = m.c.Get(ctx, &m.reqs[from])
		return
	}
	msg := &geecachepb.GetManyRequest{Requests: make([]*geecachepb.Request, 0, to-from)}
	asked := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		if reply, ok := checkGroup(&m.reqs[i]); !ok {
			m.replies[i] = reply
			continue
		}
		msg.Requests = append(msg.Requests, toRequest(&m.reqs[i]))
		asked = append(asked, i)
	}
	var resp *geecachepb.GetManyResponse
	st, trailer, err := m.c.call(ctx, func(ctx context.Context, opts ...grpc.CallOption) (err error) {
		resp, err = m.c.rpc.GetMany(ctx, msg, opts...)
		return err
	})
	switch {
	case err != nil:
		m.all(asked, geecache.PeerReply{}, err)
	case st != nil && (st.Code() == codes.Unimplemented || st.Code() == codes.ResourceExhausted):
		// An implementation that knows Get alone, or an answer too large for
		// one message.
		m.singly(ctx, asked)
	case st != nil:
		reply, err := m.c.failed(st, trailer)
		m.all(asked, reply, err)
	case len(resp.Responses) != len(asked):
		m.all(asked, geecache.PeerReply{}, m.c.trouble(fmt.Errorf("%d answers to %d requests", len(resp.Responses), len(asked))))
	default:
		m.take(ctx, asked, resp.Responses)
	}
}

// take stores the answers of a call, and asks again, singly, for the keys whose
// answers did not fit into it.
func (m *many) take(ctx context.Context, asked []int, resps []*geecachepb.Response) {
	var again []int
	for n, i := range asked {
		m.replies[i], m.errs[i] = m.c.answered(fromResponse(resps[n]))
		if resps[n].AskAlone {
			again = append(again, i)
		}
	}
	m.singly(ctx, again)
}

// singly asks for keys in a call each.
func (m *many) singly(ctx context.Context, asked []int) {
	slots := make(chan struct{}, clientParallel)
	var wg sync.WaitGroup
	for _, i := range asked {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m.replies[i], m.errs[i] = m.c.Get(ctx, &m.reqs[i])
		})
	}
	wg.Wait()
}

// all stores one outcome for many keys.
func (m *many) all(asked []int, reply geecache.PeerReply, err error) {
	for _, i := range asked {
		m.replies[i], m.errs[i] = reply, err
	}
}

// call makes one RPC under the guard. It returns an error if ctx ended or the
// peer was found dead, and the status if the RPC failed otherwise; it is nil if
// the RPC succeeded.
func (c *client) call(ctx context.Context, rpc func(context.Context, ...grpc.CallOption) error) (*status.Status, metadata.MD, error) {
	watched, done := c.guard.watch(ctx)
	defer done()
	var trailer metadata.MD
	err := rpc(metadata.NewOutgoingContext(watched, c.md), grpc.Trailer(&trailer))
	if status.Code(err) == codes.Unauthenticated && c.tokens != nil && c.tokens.renew(watched) == nil {
		// The peer has been given another secret meanwhile.
		err = rpc(metadata.NewOutgoingContext(watched, c.md), grpc.Trailer(&trailer))
	}
	switch {
	case err == nil:
		return nil, nil, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case errors.Is(context.Cause(watched), errSilent):
		return nil, nil, c.trouble(errSilent)
	}
	return status.Convert(err), trailer, nil
}

// answered turns what a node answered into the outcome of a request: a node
// that drains, or refuses this one, is in trouble.
func (c *client) answered(reply geecache.PeerReply) (geecache.PeerReply, error) {
	if reply.Code == geecache.CodeDraining || reply.Code == geecache.CodeRefused {
		return geecache.PeerReply{}, c.trouble(&geecache.RemoteError{Node: c.name, Code: reply.Code, Message: reply.Message})
	}
	return reply, nil
}

// failed turns a status into the outcome of a request.
func (c *client) failed(st *status.Status, trailer metadata.MD) (geecache.PeerReply, error) {
	if reply, ok := fromStatus(st, trailer); ok {
		return c.answered(reply)
	}
	// The rest is not an answer of a GeeCache node. What says that the request
	// did not get through, or that nobody there serves it, is trouble.
	reply := geecache.PeerReply{Message: st.Message()}
	switch st.Code() {
	case codes.NotFound:
		reply.Code = geecache.CodeNotFound
	case codes.InvalidArgument:
		reply.Code = geecache.CodeBadRequest
	case codes.ResourceExhausted:
		reply.Code = geecache.CodeTooLarge // gRPC's own limit on messages
	case codes.Unknown:
		reply.Code = geecache.CodeSource // a handler's plain error
	case codes.Internal:
		reply.Code = geecache.CodeInternal
	case codes.DeadlineExceeded:
		// gRPC's timer went off a moment before that of ctx, or the deadline
		// passed at the peer.
		return geecache.PeerReply{}, context.DeadlineExceeded
	default:
		return geecache.PeerReply{}, c.trouble(st.Err())
	}
	return reply, nil
}

// trouble says that the peer could not be asked, and why.
func (c *client) trouble(err error) error {
	return fmt.Errorf("%w: %s: %w", geecache.ErrPeerTrouble, c.name, err)
}

// checkGroup answers a request whose group name protobuf cannot carry.
func checkGroup(req *geecache.PeerRequest) (geecache.PeerReply, bool) {
	if utf8.ValidString(req.Group) {
		return geecache.PeerReply{}, true
	}
	return geecache.PeerReply{Code: geecache.CodeBadRequest, Message: "the group's name is not UTF-8"}, false
}

// toRequest puts a request into a message.
func toRequest(req *geecache.PeerRequest) *geecachepb.Request {
	return &geecachepb.Request{
		Group:     req.Group,
		Key:       []byte(req.Key),
		Mode:      geecachepb.Mode(req.Mode),
		Epoch:     req.Epoch,
		TimeoutNs: int64(max(req.Timeout, 0)),
	}
}
