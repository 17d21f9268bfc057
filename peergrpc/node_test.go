package peergrpc

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
)

var _ Answerer = (*geecache.Node)(nil)

// A real node behind the server, asked by a peer and by a stranger.
func TestANodeAnswers(t *testing.T) {
	node, err := geecache.New(geecache.Config{Cluster: testCluster, ID: "there"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	loads := 0
	_, err = node.NewGroup("scores", geecache.GetterFunc(func(_ context.Context, key string) (geecache.Value, error) {
		loads++
		if key != "Tom" {
			return geecache.Value{}, fmt.Errorf("%w: %s not exist", geecache.ErrNotFound, key)
		}
		return geecache.Value{Bytes: []byte("630")}, nil
	}), geecache.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	opts := testOptions()
	opts.Report = node.ReportServed
	addr := serveHTTP(t, newServer(t, node, opts))
	ctx := testContext(t)
	peer, stranger := newPeer(t, addr, Transport{}), NewGroupCacheClient(newStranger(t, addr))

	reply, err := peer.Get(ctx, &geecache.PeerRequest{Group: "scores", Key: "Tom"})
	if err != nil || string(reply.Value) != "630" || reply.From != geecache.FromLoad {
		t.Errorf("a peer got %+v, %v", reply, err)
	}
	resp, err := stranger.Get(ctx, &geecachepb.Request{Group: "scores", Key: []byte("Tom")})
	if err != nil || string(resp.GetValue()) != "630" || resp.Origin != geecachepb.Origin_ORIGIN_MAIN {
		t.Errorf("a stranger got %v, %v", resp, err)
	}
	if loads != 1 {
		t.Errorf("%d loads, want 1", loads)
	}
	reply, err = peer.Get(ctx, &geecache.PeerRequest{Group: "scores", Key: "kkk"})
	if err != nil || reply.Code != geecache.CodeNotFound || reply.TTL <= 0 {
		t.Errorf("a key without a value: a peer got %+v, %v, want not-found with a TTL", reply, err)
	}
	_, err = stranger.Get(ctx, &geecachepb.Request{Group: "scores", Key: []byte("kkk")})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a key without a value: a stranger got %v", err)
	}
	reply, err = peer.Get(ctx, &geecache.PeerRequest{Group: "nope", Key: "Tom"})
	if err != nil || reply.Code != geecache.CodeNoGroup {
		t.Errorf("a group that does not exist: got %+v, %v", reply, err)
	}
}
