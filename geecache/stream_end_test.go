package geecache

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrainingPeerOfVersion10AnswersWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{self: hello10("server"), handler: testHandler{slow: func(ctx context.Context, req *PeerRequest) PeerReply {
			time.Sleep(5 * time.Second)
			return PeerReply{Value: []byte("v")}
		}}})
		defer n.stop()
		var tr transitions
		c := n.client(func(cfg *streamClientConfig) { cfg.self, cfg.onState = hello10("client"), tr.record })
		defer c.Close()
		inFlight := make(chan error, 1)
		go func() {
			_, err := c.Get(context.Background(), &PeerRequest{Key: "k"})
			inFlight <- err
		}()
		time.Sleep(time.Second)
		conn := c.current.Load().conn
		n.drain()
		synctest.Wait()
		if c.State() != peerDraining {
			t.Errorf("state %v, want draining", c.State())
		}
		_, err := c.Get(t.Context(), &PeerRequest{Key: "k2"})
		if !errors.Is(err, ErrDraining) || !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("a new request: %v", err)
		}
		if _, err := conn.get(t.Context(), &PeerRequest{Key: "k2"}); !errors.Is(err, ErrDraining) {
			t.Errorf("a request that had the connection already: %v", err)
		}
		if err := <-inFlight; err != nil {
			t.Errorf("the request in flight: %v", err)
		}
		synctest.Wait()
		if got := n.stats().connections; got != 0 {
			t.Errorf("%d connections after the last reply", got)
		}
		time.Sleep(10 * time.Second) // it dials again, and is told the same
		if got := tr.states(); !slices.Equal(got, []peerState{peerUp, peerDraining}) {
			t.Errorf("states %v", got)
		}
		_, err = c.Get(t.Context(), &PeerRequest{Key: "k3"})
		if !errors.Is(err, ErrDraining) || !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("a request after a refused handshake: %v", err)
		}
	})
}

func TestDrainingPeerIsStillAskedForItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		var tr transitions
		c := n.client(func(cfg *streamClientConfig) { cfg.onState = tr.record })
		defer c.Close()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "k"}); err != nil {
			t.Fatal(err)
		}
		n.drain()
		synctest.Wait()
		for _, mode := range []Mode{ModeOwner, ModeStandIn} {
			_, err := c.Get(t.Context(), &PeerRequest{Key: "k", Mode: mode})
			if !errors.Is(err, ErrDraining) || !errors.Is(err, ErrPeerTrouble) {
				t.Errorf("mode %v: %v", mode, err)
			}
		}
		reply, err := c.Get(t.Context(), &PeerRequest{Key: "k", Mode: ModeMemory})
		if err != nil || string(reply.Value) != "k" {
			t.Errorf("memory: %+v, %v", reply, err)
		}
		time.Sleep(10 * time.Second)
		if got := n.stats().connections; got != 1 {
			t.Errorf("%d connections as long as it drains", got)
		}
		n.stop()
		synctest.Wait()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "k", Mode: ModeMemory}); !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("memory of a node that is gone: %v", err)
		}
		time.Sleep(time.Second)
		if got := tr.states(); !slices.Equal(got, []peerState{peerUp, peerDraining, peerDown}) {
			t.Errorf("states %v", got)
		}
	})
}

// A peer says that it leaves, and is gone before this side has come to look: it has left
// all the same, and did not die.
func TestWhatALeavingPeerSaidCountsAfterItsEnd(t *testing.T) {
	for range 20 { // which of the two a select takes is chance
		synctest.Test(t, func(t *testing.T) {
			n := startNode(streamServerConfig{handler: testHandler{now: echo}})
			var tr transitions
			look := make(chan struct{})
			c := n.client(func(cfg *streamClientConfig) {
				cfg.onState = func(st peerState, remote hello, err error) {
					tr.record(st, remote, err)
					if st == peerUp {
						<-look
					}
				}
			})
			defer c.Close()
			synctest.Wait()
			n.drain()
			synctest.Wait()
			n.stop()
			synctest.Wait()
			close(look)
			time.Sleep(time.Second)
			if got := tr.states(); len(got) < 2 || got[0] != peerUp || got[1] != peerDraining {
				t.Fatalf("states %v, want up and then draining", got)
			}
		})
	}
}

func TestCloseFailsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{slow: func(ctx context.Context, _ *PeerRequest) PeerReply {
			<-ctx.Done()
			return PeerReply{Code: CodeCanceled}
		}}})
		defer n.stop()
		c := n.client(nil)
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := c.Get(context.Background(), &PeerRequest{Key: "k"})
				errs <- err
			}()
		}
		synctest.Wait()
		c.Close()
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrClosed) || !errors.Is(err, ErrPeerTrouble) {
				t.Errorf("Get: %v, want ErrClosed and ErrPeerTrouble", err)
			}
		}
		synctest.Wait()
		if got := n.stats(); got.inFlight != 0 || got.connections != 0 {
			t.Errorf("the server still works: %+v", got)
		}
		if _, err := c.Get(t.Context(), &PeerRequest{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after Close: %v", err)
		}
	})
}

func TestCloseDoesNotWaitForADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		c := newStreamClient(streamClientConfig{ // somebody accepts and says nothing
			self: helloOf("client"), addr: "x:1",
			dial: func(context.Context, string, string) (net.Conn, error) { return here, nil },
		})
		synctest.Wait()
		if d := elapsed(func() { c.Close() }); d != 0 {
			t.Errorf("Close took %v", d)
		}
	})
}

func TestCallerLeavesAtOnceAndCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canceled := make(chan time.Time, 1)
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			return req.Key == "fast" && echo(req, reply)
		}, slow: func(ctx context.Context, _ *PeerRequest) PeerReply {
			<-ctx.Done()
			canceled <- time.Now()
			return PeerReply{}
		}}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "fast"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		begin := time.Now()
		if _, err := c.Get(ctx, &PeerRequest{Key: "slow"}); err != context.Canceled {
			t.Errorf("Get: %v", err)
		}
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("the caller left after %v", d)
		}
		if d := (<-canceled).Sub(begin); d != 3*time.Second {
			t.Errorf("the server's work was canceled after %v", d)
		}
		if r, err := c.Get(t.Context(), &PeerRequest{Key: "fast"}); err != nil || string(r.Value) != "fast" {
			t.Errorf("the next request: %q, %v", r.Value, err)
		}
	})
}

func TestDurationsNotInstantsOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Duration, 1)
		n := startNode(streamServerConfig{handler: testHandler{slow: func(ctx context.Context, req *PeerRequest) PeerReply {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			return PeerReply{Code: CodeDeadline, TTL: time.Minute}
		}}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		for _, wait := range []time.Duration{0, 10 * time.Minute} {
			time.Sleep(wait)
			r, err := c.Get(t.Context(), &PeerRequest{Key: "k", Timeout: 42 * time.Second})
			if err != nil || r.TTL != time.Minute {
				t.Errorf("Get: %+v, %v", r, err)
			}
			if d := <-left; d != 42*time.Second {
				t.Errorf("the server has %v left, want 42s", d)
			}
		}
		// The bytes do not depend on the clock.
		req := PeerRequest{Key: "k", Timeout: time.Second}
		before := appendRequest(nil, 1, &req, req.Timeout)
		time.Sleep(time.Minute)
		if after := appendRequest(nil, 1, &req, req.Timeout); !slices.Equal(before, after) {
			t.Error("a request differs a minute later")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.Get(ctx, &PeerRequest{Key: "k"}); err != nil {
			t.Error(err)
		}
		if d := <-left; d != 5*time.Second {
			t.Errorf("the context's deadline arrived as %v", d)
		}
	})
}

func TestPeerThatDoesNotReadHoldsNoCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		stop := make(chan struct{})
		go func() { // it lives, and never reads
			for {
				select {
				case <-stop:
					p.conn.Close()
					return
				case <-time.After(100 * time.Millisecond):
					p.conn.Write(appendNumber(nil, kindPing, 1))
				}
			}
		}()
		defer close(stop)
		key := strings.Repeat("k", 1000)
		took := make(chan time.Duration, 1000)
		for range 1000 { // 1 MB of requests
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				took <- elapsed(func() {
					if _, err := c.Get(ctx, &PeerRequest{Key: key}); err != context.DeadlineExceeded {
						t.Errorf("Get: %v", err)
					}
				})
			}()
		}
		time.Sleep(time.Second)
		conn := c.current.Load().conn
		conn.w.mu.Lock()
		if got := cap(conn.w.buf); got > 2*gatherMost {
			t.Errorf("%d bytes are held for a peer that does not read", got)
		}
		conn.w.mu.Unlock()
		for range 1000 {
			if d := <-took; d != 2*time.Second {
				t.Fatalf("a caller with 2s left after %v", d)
			}
		}
		// A write that does not end is trouble at last.
		time.Sleep(9 * time.Second)
		if s.dials.Load() < 2 {
			t.Error("the connection was kept although a write has not ended for 9s")
		}
	})
}

func TestServerStopsReadingFromAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answered atomic.Int64
		value := make([]byte, 10<<10)
		n := startNode(streamServerConfig{handler: testHandler{now: func(_ *PeerRequest, reply *PeerReply) bool {
			answered.Add(1)
			reply.Value = value
			return true
		}}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		go func() {
			for id := uint64(1); ; id++ {
				if _, err := p.conn.Write(appendRequest(nil, id, &PeerRequest{Key: "k"}, 0)); err != nil {
					return
				}
			}
		}()
		time.Sleep(5 * time.Second)
		if got := answered.Load() * int64(len(value)); got > 3*gatherMost {
			t.Errorf("%d bytes were answered to a peer that reads nothing", got)
		}
		time.Sleep(20 * time.Second)
		if got := n.stats().connections; got != 0 {
			t.Errorf("the connection was kept although a write has not ended for 9s")
		}
	})
}
