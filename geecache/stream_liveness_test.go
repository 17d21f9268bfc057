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

// elapsed returns how long f takes on the bubble's clock.
func elapsed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

func TestDeadPeerDoesNotCostAConnectTimeoutPerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Packets to this address are lost: a dial ends only with its context.
		c := newStreamClient(streamClientConfig{
			self: helloOf("client"), addr: "192.0.2.1:1",
			dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		defer c.Close()
		get := func() {
			if _, err := c.Get(context.Background(), &PeerRequest{Key: "k"}); !errors.Is(err, ErrPeerTrouble) {
				t.Errorf("Get: %v, want ErrPeerTrouble", err)
			}
		}
		if d := elapsed(get); d != time.Second {
			t.Errorf("the first request took %v, want the dial timeout of 1s", d)
		}
		for range 100 {
			if d := elapsed(get); d != 0 {
				t.Fatalf("a request to a peer that is down took %v", d)
			}
			time.Sleep(37 * time.Millisecond) // dials go on meanwhile
		}
	})
}

func TestRequestsOfTheFirstMomentWaitForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		defer n.stop()
		c := n.client(func(cfg *streamClientConfig) {
			cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				time.Sleep(300 * time.Millisecond)
				return n.dial(ctx, network, addr)
			}
		})
		defer c.Close()
		if st := c.State(); st != peerConnecting {
			t.Errorf("state %v, want connecting", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Get(ctx, &PeerRequest{Key: "k"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller whose context ends meanwhile: %v", err)
		}
		r, err := c.Get(t.Context(), &PeerRequest{Key: "k"})
		if err != nil || string(r.Value) != "k" {
			t.Errorf("Get: %q, %v", r.Value, err)
		}
		if st := c.State(); st != peerUp {
			t.Errorf("state %v, want up", st)
		}
	})
}

func TestSlowSourceIsNotTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{slow: func(ctx context.Context, req *PeerRequest) PeerReply {
			time.Sleep(10 * time.Minute)
			return PeerReply{Value: []byte("late")}
		}}})
		defer n.stop()
		var tr transitions
		c := n.client(func(cfg *streamClientConfig) { cfg.onState = tr.record })
		defer c.Close()
		r, err := c.Get(t.Context(), &PeerRequest{Key: "k"})
		if err != nil || string(r.Value) != "late" {
			t.Errorf("Get: %q, %v", r.Value, err)
		}
		if got := tr.states(); !slices.Equal(got, []peerState{peerUp}) {
			t.Errorf("states %v, want up alone", got)
		}
	})
}

func TestSilentPeerIsDeadOnlyWhileRequestsWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		tr := transitions{begin: time.Now()}
		c, p := s.client(func(cfg *streamClientConfig) { cfg.onState = tr.record })
		defer c.Close()
		go func() { // reads everything, and answers nothing: a process that hangs
			for {
				if _, err := p.read(); err != nil {
					return
				}
			}
		}()
		time.Sleep(100 * time.Millisecond)
		var err error
		d := elapsed(func() { _, err = c.Get(context.Background(), &PeerRequest{Key: "k"}) })
		if !errors.Is(err, ErrPeerTrouble) || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("Get: %v", err)
		}
		if d < 750*time.Millisecond || d > 900*time.Millisecond {
			t.Errorf("the peer was declared dead after %v, want 750 to 900ms", d)
		}
		synctest.Wait()
		if c.State() != peerDown {
			t.Errorf("state %v, want down", c.State())
		}
		if d := elapsed(func() { _, err = c.Get(context.Background(), &PeerRequest{Key: "k"}) }); d != 0 || !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("the next request took %v: %v", d, err)
		}
	})
}

func TestDeathIsFoundThoughNoCallerWaitsThatLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		defer p.conn.Close() // nothing is ever read from it
		begin := time.Now()
		for c.State() != peerDown {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			c.Get(ctx, &PeerRequest{Key: "k"})
			cancel()
			time.Sleep(10 * time.Millisecond)
			if time.Since(begin) > 2*time.Second {
				t.Fatal("callers of short patience never find out that the peer is dead")
			}
		}
	})
}

func TestIdlePeerIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		defer n.stop()
		var tr transitions
		c := n.client(func(cfg *streamClientConfig) { cfg.onState = tr.record })
		defer c.Close()
		time.Sleep(time.Hour)
		if got := tr.states(); !slices.Equal(got, []peerState{peerUp}) {
			t.Errorf("states in an idle hour: %v, want up alone", got)
		}
		if in := c.stats().bytesIn; in < 2000*16 {
			t.Errorf("%d bytes received in an hour of pings each second or so", in)
		}
	})
}

func TestIdleDeadPeerIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		defer p.conn.Close()
		time.Sleep(2500 * time.Millisecond)
		if st := c.State(); st != peerUp {
			t.Errorf("state %v after 2.5s of silence, want up", st)
		}
		time.Sleep(1500 * time.Millisecond)
		if s.dials.Load() < 2 {
			t.Errorf("no new connection after 4s of silence")
		}
	})
}

func TestPeerThatDiesDuringALoadIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		var dies atomic.Bool
		go func() {
			for {
				f, err := p.read()
				if err != nil {
					return
				}
				if n, _ := parseNumber(&f); f.kind == kindPing && !dies.Load() {
					p.conn.Write(appendNumber(nil, kindPong, n))
				}
			}
		}()
		died := make(chan time.Time, 1)
		time.AfterFunc(time.Minute, func() {
			dies.Store(true)
			died <- time.Now()
		})
		_, err := c.Get(context.Background(), &PeerRequest{Key: "k"})
		if !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("Get: %v", err)
		}
		if d := time.Since(<-died); d > 900*time.Millisecond {
			t.Errorf("the peer was declared dead %v after its death", d)
		}
	})
}

func TestSilenceIsJudgedByAPing(t *testing.T) {
	timings := streamTimings{}.withDefaults()
	ms := func(n int64) int64 { return n * int64(time.Millisecond) }
	for _, test := range []struct {
		name       string
		s          silence
		ping, dead bool
	}{
		{"just heard", silence{now: ms(10_100), lastRecv: ms(10_000), waiting: true}, false, false},
		{"busy", silence{now: ms(10_150), lastRecv: ms(10_000), waiting: true}, true, false},
		{"busy and pinged", silence{now: ms(10_700), lastRecv: ms(10_000), lastPing: ms(10_150), looks: 5, waiting: true}, false, false},
		{"busy and dead", silence{now: ms(10_750), lastRecv: ms(10_000), lastPing: ms(10_150), looks: 5, waiting: true}, false, true},
		{"asked after long silence", silence{now: ms(10_100), lastRecv: ms(9_000), askedAt: ms(10_000), lastPing: ms(9_900), looks: 5, waiting: true}, false, false},
		{"asked, and the ping is older", silence{now: ms(10_200), lastRecv: ms(9_000), askedAt: ms(10_000), lastPing: ms(9_900), looks: 5, waiting: true}, true, false},
		{"the caller has left", silence{now: ms(10_800), lastRecv: ms(9_000), askedAt: ms(10_000), lastPing: ms(10_160), looks: 5}, false, true},
		{"idle", silence{now: ms(10_900), lastRecv: ms(10_000)}, false, false},
		{"idle for long", silence{now: ms(11_000), lastRecv: ms(10_000)}, true, false},
		{"idle and dead", silence{now: ms(13_000), lastRecv: ms(10_000), lastPing: ms(11_000), looks: 5}, false, true},
		{"this process was stopped", silence{now: ms(99_000), lastRecv: ms(10_000), waiting: true}, true, false},
		{"it was stopped after its ping", silence{now: ms(99_000), lastRecv: ms(10_000), lastPing: ms(10_150), looks: 2, waiting: true}, false, false},
		{"it was stopped, and has just pinged", silence{now: ms(99_100), lastRecv: ms(10_000), lastPing: ms(99_000), looks: 5, waiting: true}, false, false},
	} {
		if ping, dead := test.s.judge(timings); ping != test.ping || dead != test.dead {
			t.Errorf("%s: ping %v, dead %v", test.name, ping, dead)
		}
	}
}

func TestHalfOpenConnectionCostsAServerNothingForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		pings := make(chan int)
		go func() { // what is sent to it is lost, which the server cannot see
			n := 0
			for {
				if _, err := p.read(); err != nil {
					pings <- n
					return
				}
				n++
			}
		}()
		synctest.Wait()
		if n.stats().connections != 1 {
			t.Fatalf("stats: %+v", n.stats())
		}
		time.Sleep(8 * time.Second)
		if n.stats().connections != 1 {
			t.Errorf("dropped too early")
		}
		time.Sleep(5 * time.Second)
		if got := n.stats().connections; got != 0 {
			t.Errorf("%d connections after 13s of silence", got)
		}
		if n := <-pings; n == 0 {
			t.Error("dropped without a ping")
		}
	})
}

func TestBackoffGrowsAndHasJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := make(chan time.Time, 100)
		var jitter atomic.Bool
		c := newStreamClient(streamClientConfig{
			self: helloOf("client"), addr: "x:1",
			dial: func(context.Context, string, string) (net.Conn, error) {
				dials <- time.Now()
				return nil, errors.New("connection refused")
			},
			rand: func() float64 {
				if jitter.Load() {
					return 0.4
				}
				return 0
			},
		})
		defer c.Close()
		dialsAfter := func(ms ...int) {
			t.Helper()
			begin := time.Now()
			time.Sleep(time.Duration(ms[len(ms)-1]) * time.Millisecond)
			synctest.Wait()
			var got []int
			for len(dials) > 0 {
				got = append(got, int((<-dials).Sub(begin)/time.Millisecond))
			}
			if !slices.Equal(got, ms) {
				t.Errorf("dials after %v ms, want %v", got, ms)
			}
		}
		dialsAfter(0, 50, 150, 350, 750, 1550, 2550)
		jitter.Store(true)
		dialsAfter(1000) // the pause had begun
		dialsAfter(800, 1600)
		c.retryNow()
		dialsAfter(0)
		dialsAfter(40) // and from the shortest pause on
	})
}

func TestPeerThatComesBackIsUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr transitions
		var node atomic.Pointer[testNode]
		node.Store(startNode(streamServerConfig{handler: testHandler{now: echo}}))
		c := node.Load().client(func(cfg *streamClientConfig) {
			cfg.onState = tr.record
			cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				return node.Load().dial(ctx, network, addr)
			}
		})
		defer c.Close()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "k"}); err != nil {
			t.Fatal(err)
		}
		node.Load().stop()
		synctest.Wait()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "k"}); !errors.Is(err, ErrPeerTrouble) {
			t.Errorf("Get from a stopped node: %v", err)
		}
		time.Sleep(time.Minute)
		node.Store(startNode(streamServerConfig{handler: testHandler{now: echo}}))
		defer func() { node.Load().stop() }()
		c.retryNow()
		synctest.Wait()
		if _, err := c.Get(t.Context(), &PeerRequest{Key: "k"}); err != nil {
			t.Errorf("Get from the node that is back: %v", err)
		}
		if got := tr.states(); !slices.Equal(got, []peerState{peerUp, peerDown, peerUp}) {
			t.Errorf("states %v", got)
		}
	})
}
