package peergrpc

import (
	"context"
	"log/slog"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

// FuzzRequest has the service answer any bytes that are a message, from whoever
// the metadata says that they are.
func FuzzRequest(f *testing.F) {
	one, err := proto.Marshal(&geecachepb.Request{Group: "g", Key: []byte("k"), TimeoutNs: 5, Mode: 2})
	if err != nil {
		f.Fatal(err)
	}
	many, err := proto.Marshal(&geecachepb.GetManyRequest{Requests: []*geecachepb.Request{{Group: "g"}, {Key: []byte("k")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one, testCluster, "n", geecache.ProtocolVersion, "Bearer x")
	f.Add(many, "%zz", "", "1.", "")
	seen := func(t *testing.T, mode geecache.Mode) {
		if mode > geecache.ModeMemory {
			t.Errorf("mode %d gets through", mode)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, cluster, node, version, authorization string) {
		opts := testOptions()
		opts.Logger = slog.New(slog.DiscardHandler)
		opts.Authorize = func(given string, _ bool) error {
			if given != "Bearer x" {
				return geecache.ErrRefused
			}
			return nil
		}
		s := &Server{opts: opts.withDefaults()}
		svc := &service{opts: s.opts, cutting: context.Background(), answerer: answers{
			peer: func(_ context.Context, req *geecache.PeerRequest) geecache.PeerReply {
				seen(t, req.Mode)
				if req.Timeout < 0 {
					t.Errorf("timeout %v gets through", req.Timeout)
				}
				return geecache.PeerReply{Value: []byte(req.Key)}
			},
			client: func(_ context.Context, _, key string) geecache.PeerReply {
				return geecache.PeerReply{Value: []byte(key)}
			},
		}}
		md := metadata.Pairs(MetadataCluster, cluster, MetadataNode, node, MetadataVersion, version, "authorization", authorization)
		ctx, refused := s.tap(metadata.NewIncomingContext(context.Background(), md), &tap.Info{Header: md})
		if allowed := refused == nil; allowed != (authorization == "Bearer x") {
			t.Errorf("authorization %q: %v", authorization, allowed)
		}
		var req geecachepb.Request
		if proto.Unmarshal(b, &req) == nil {
			if resp, err := svc.Get(ctx, &req); err == nil && string(resp.Value) != string(req.Key) {
				t.Errorf("%q is answered with %q", req.Key, resp.Value)
			}
		}
		var batch geecachepb.GetManyRequest
		if proto.Unmarshal(b, &batch) == nil {
			if resp, err := svc.GetMany(ctx, &batch); err == nil && len(resp.Responses) != len(batch.Requests) {
				t.Errorf("%d answers to %d requests", len(resp.Responses), len(batch.Requests))
			}
		}
	})
}
