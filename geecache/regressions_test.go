package geecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Bugs that caches of this kind have had, each with a test of its name. Those
// of the engine, the ring, the flights and the stream are in their packages; of
// the others, these are told by the tests of the read path:
//
//	nodes with different views forward to each other, or deadlock   TestRule5...
//	a getter's panic wedges its key                                 TestRule10Panic...
//	a first caller's cancelled context fails everybody              TestRule10CallerLeaves...
//	one oversize item evicts everything                             TestOversizeItemEvictsNothing
//	keys with '/', spaces or '%' fail between nodes                 TestClusterOverTheStream, TestPlainHTTP..., TestNodesSpeakPlainHTTP...
//	absolute expiry times on the wire                               TestTTLTravelsAsADuration
//	a recycled address answers for another cluster                  TestAnotherClustersNodeIsRefused

func TestBugUnknownGroupIsToldAsNotFound(t *testing.T) {
	c := newTestCluster(t, 2, GroupConfig{})
	defer c.close()
	getter, calls := constant("v")
	g, err := c.nodes[0].NewGroup("only-here", getter, GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Get(t.Context(), c.keyOwnedBy("n1", ""))
	if !errors.Is(err, ErrNoGroup) || errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v, want %v", err, ErrNoGroup)
	}
	wantCount(t, "calls of the source", calls.Load(), 0)
}

func TestBugRemoteErrorLosesItsTypeAndIsLoadedHereAgain(t *testing.T) {
	nodes := startCluster(t, 2, &testSource{}, Config{}, GroupConfig{})
	for i, n := range nodes {
		if _, err := n.NewGroup("failing", GetterFunc(func(context.Context, string) (Value, error) {
			if i == 0 {
				t.Error("the source was asked by the wrong node")
			}
			return Value{}, errors.New("disk on fire")
		}), GroupConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := nodes[0].Group("failing").Get(t.Context(), keyOf(nodes[0], nodes[1].ID(), "k"))
	var remote *RemoteError
	if !errors.Is(err, ErrSource) || !errors.As(err, &remote) || remote.Node != nodes[1].ID() || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("error is %v: want the source's, of the owner, in its words", err)
	}
}

func TestBugNotFoundFloodsTheLog(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	nodes := startCluster(t, 2, &testSource{}, Config{
		Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, GroupConfig{NotFoundTTL: -1})
	for i := range 100 {
		_, err := nodes[i%2].Group("g").Get(t.Context(), fmt.Sprint("no", i))
		wantErr(t, err, ErrNotFound)
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), "not found") {
		t.Errorf("the log tells of an answer as of a failure:\n%.300s", log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestBugBatchIsASequentialLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 4, GroupConfig{})
		defer c.close()
		c.src.delay = time.Second
		var keys []string
		for i := range 40 {
			keys = append(keys, fmt.Sprint("k", i))
		}
		start := time.Now()
		if _, err := c.g(0).GetMany(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		wantCount(t, "time for 40 keys of a source that takes 1 s", time.Since(start), time.Second)
		for i := 1; i < 4; i++ {
			wantCount(t, "round trips to a peer", c.net.batchesOf(fmt.Sprint("n", i)), 1)
		}
	})
}

func TestBugALockIsHeldAcrossALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, GroupConfig{})
		defer c.close()
		mustGet(t, c.g(0), "hit")
		c.src.delay = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 200 { // of all shards
			wg.Go(func() { _, _ = c.g(0).Get(ctx, fmt.Sprint("slow", i)) })
		}
		synctest.Wait()
		start := time.Now()
		mustGet(t, c.g(0), "hit")
		c.g(0).Stats()
		wantCount(t, "a hit waited", time.Since(start), 0)
		cancel()
		wg.Wait()
	})
}

func TestBugStrangersMayWriteOnThePeerPort(t *testing.T) {
	n := runNode(t, &testSource{}, Config{}, GroupConfig{})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		resp, _ := raw(t, n.Addr(), method+" /_geecache/g/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
		if resp == nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %v", method, resp)
		}
	}
	wantCount(t, "entries", n.Group("g").Stats().Main.Entries, 0)
}
