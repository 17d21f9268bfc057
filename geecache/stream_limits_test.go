package geecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLargeValueDoesNotDelaySmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := make([]byte, 8<<20)
		for i := range large {
			large[i] = byte(i * 7 >> 3)
		}
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			if req.Key == "large" {
				reply.Value = large
				return true
			}
			return echo(req, reply)
		}}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		p.write(appendRequest(nil, 1, &PeerRequest{Key: "large"}, 0))
		if f := p.next(); f.kind != kindReply {
			t.Fatalf("kind %d", f.kind)
		}
		pieces, answered, got := 0, 0, make([]byte, 0, len(large))
		for len(got) < len(large) {
			if pieces == 10 {
				p.write(appendRequest(nil, 2, &PeerRequest{Key: "small"}, 0))
				synctest.Wait() // the server has taken it in, and waits for a piece to be read
				answered = -1
			}
			switch f := p.next(); f.kind {
			case kindPiece:
				pieces++
				got = append(got, f.rest...)
			case kindReply:
				answered = pieces
			}
		}
		if answered < 10 || answered > 14 {
			t.Errorf("the small reply, asked for after piece 10 of %d, came after piece %d", pieces, answered)
		}
		if !bytes.Equal(got, large) {
			t.Error("the large value was garbled")
		}
		// The same through a client, two at a time.
		c := n.client(nil)
		defer c.Close()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				r, err := c.Get(t.Context(), &PeerRequest{Key: "large"})
				if err != nil || !bytes.Equal(r.Value, large) || cap(r.Value) != len(large) {
					t.Errorf("%d bytes, %v", len(r.Value), err)
				}
			})
		}
		wg.Wait()
	})
}

func TestCanceledLargeValueIsNotSentToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
			reply.Value = make([]byte, 8<<20)
			return true
		}}})
		defer n.stop()
		p := rawClient(t, n)
		defer p.conn.Close()
		p.write(appendRequest(nil, 1, &PeerRequest{}, 0))
		p.next() // the reply
		p.next() // the first piece
		p.write(appendNumber(nil, kindCancel, 1))
		for i := 0; ; i++ {
			f := p.next()
			var piece pieceFrame
			if err := parsePiece(&f, &piece); err != nil {
				t.Fatal(err)
			}
			if piece.flags&flagAbort != 0 {
				break
			}
			if i > 5 {
				t.Fatal("pieces go on after the request was canceled")
			}
		}
		p.write(appendNumber(nil, kindPing, 5))
		if f := p.next(); f.kind != kindPong {
			t.Errorf("kind %d after the end of a canceled value, want a pong", f.kind)
		}
	})
}

func TestClientForgetsALargeValueWhoseCallerHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.Get(ctx, &PeerRequest{Key: "k"})
			left <- err
		}()
		f := p.next()
		var req requestFrame
		parseRequest(&f, &req)
		p.write(appendReply(nil, req.id, &PeerReply{Value: make([]byte, 1<<20)}))
		p.write(appendPiece(nil, &pieceFrame{id: req.id, value: make([]byte, pieceSize)}))
		cancel()
		if err := <-left; err != context.Canceled {
			t.Errorf("Get: %v", err)
		}
		if f := p.next(); f.kind != kindCancel {
			t.Errorf("kind %d, want cancel", f.kind)
		}
		p.write(appendPiece(nil, &pieceFrame{id: req.id, flags: flagAbort}))
		p.write(appendReply(nil, req.id, &PeerReply{Value: []byte("late")}))
		synctest.Wait()
		if got := len(c.current.Load().conn.values); got != 0 {
			t.Errorf("%d values are still expected", got)
		}
		if st := c.State(); st != peerUp {
			t.Errorf("state %v", st)
		}
	})
}

func TestValueBeyondTheLimitIsTooLarge(t *testing.T) {
	for _, size := range []int{1001, pieceSize + 1} {
		for _, limit := range []string{"client", "server"} {
			t.Run(fmt.Sprint(limit, size), func(t *testing.T) {
				server := streamServerConfig{handler: testHandler{now: func(req *PeerRequest, reply *PeerReply) bool {
					n, _ := strconv.Atoi(req.Key)
					reply.Value = make([]byte, n)
					return true
				}}}
				if limit == "server" {
					server.maxValue = 1000
				}
				c := startTCP(t, server, func(cfg *streamClientConfig) {
					if limit == "client" {
						cfg.maxValue = 1000
					}
				})
				r, err := c.Get(t.Context(), &PeerRequest{Key: strconv.Itoa(size)})
				if err != nil || r.Code != CodeTooLarge || !strings.Contains(r.Message, "1000") || r.Value != nil {
					t.Errorf("%v %q, %v", r.Code, r.Message, err)
				}
				conn := c.current.Load().conn
				r, err = c.Get(t.Context(), &PeerRequest{Key: "1000"})
				if err != nil || len(r.Value) != 1000 {
					t.Errorf("a value of the limit's size: %d, %v", len(r.Value), err)
				}
				if c.current.Load().conn != conn {
					t.Error("the connection was given up")
				}
			})
		}
	}
}

func TestValueBeyondTheLimitIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(func(cfg *streamClientConfig) { cfg.maxValue = 1 << 20 })
		defer c.Close()
		code := make(chan Code)
		go func() {
			r, _ := c.Get(context.Background(), &PeerRequest{})
			code <- r.Code
		}()
		f := p.next()
		var req requestFrame
		parseRequest(&f, &req)
		p.write(appendReply(nil, req.id, &PeerReply{Value: make([]byte, 2<<20)}))
		if got := <-code; got != CodeTooLarge {
			t.Errorf("code %v", got)
		}
		f = p.next()
		if id, _ := parseNumber(&f); f.kind != kindCancel || id != req.id {
			t.Errorf("kind %d, id %d, want cancel of %d", f.kind, id, req.id)
		}
	})
}

func TestKeyBeyondTheLimitIsTooLarge(t *testing.T) {
	c := startTCP(t, streamServerConfig{maxKey: 100, handler: testHandler{now: echo}}, nil)
	for _, size := range []int{101, 1 << 20, 3 << 20, maxSkip + 1} {
		r, err := c.Get(t.Context(), &PeerRequest{Group: "g", Key: strings.Repeat("k", size)})
		if err != nil || r.Code != CodeTooLarge {
			t.Errorf("key of %d bytes: %v %q, %v", size, r.Code, r.Message, err)
		}
	}
	if r, err := c.Get(t.Context(), &PeerRequest{Key: strings.Repeat("k", 100)}); err != nil || len(r.Value) != 100 {
		t.Errorf("key of 100 bytes: %+v, %v", r, err)
	}
}

func TestTooManyRequestsInFlightAreOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := startNode(streamServerConfig{maxInFlight: 2, handler: testHandler{slow: func(context.Context, *PeerRequest) PeerReply {
			<-release
			return PeerReply{}
		}}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		var ok, overloaded atomic.Int32
		for range 5 {
			go func() {
				r, err := c.Get(context.Background(), &PeerRequest{})
				switch {
				case err == nil && r.Code == CodeOK:
					ok.Add(1)
				case err == nil && r.Code == CodeOverloaded && r.RetryAfter > 0:
					overloaded.Add(1)
				default:
					t.Errorf("%+v, %v", r, err)
				}
			}()
		}
		synctest.Wait()
		if got := overloaded.Load(); got != 3 {
			t.Errorf("%d of 5 requests were refused, want 3", got)
		}
		close(release)
		synctest.Wait()
		if got := ok.Load(); got != 2 {
			t.Errorf("%d of 5 requests were answered, want 2", got)
		}
	})
}

func TestGarbageEndsOneConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(streamServerConfig{handler: testHandler{now: echo}})
		defer n.stop()
		c := n.client(nil)
		defer c.Close()
		for i, garbage := range [][]byte{
			[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			appendHeader(nil, kindPing, 8, 1<<30),
			append(appendHeader(nil, kindRequest, 4, 0), 1, 2, 3, 4),
		} {
			p := rawClient(t, n)
			p.write(garbage)
			f := p.next()
			if code, reason, err := parseGoaway(&f); f.kind != kindGoaway || code != CodeBadRequest || reason == "" || err != nil {
				t.Errorf("the server says %v %q, %v", code, reason, err)
			}
			if _, err := p.read(); err == nil {
				t.Error("the connection goes on")
			}
			if got := n.stats().frameErrors; got != int64(i+1) {
				t.Errorf("%d frame errors", got)
			}
		}
		if _, err := c.Get(t.Context(), &PeerRequest{}); err != nil {
			t.Errorf("another connection: %v", err)
		}
	})
}

func TestClientSurvivesGarbageAndKindsItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		p.write(append(appendHeader(nil, 200, 3, 4), "abcdefg"...))
		synctest.Wait()
		if st := c.State(); st != peerUp {
			t.Errorf("state %v after a frame of a kind that is not known", st)
		}
		errs := make(chan error)
		for _, garbage := range [][]byte{
			[]byte("HTTP/1.1 200 OK\r\n\r\n"),
			appendHeader(nil, kindReply, replyFixed, 1<<24),
			appendGoaway(nil, CodeRefused, "we have had enough"),
		} {
			go func() {
				_, err := c.Get(context.Background(), &PeerRequest{})
				errs <- err
			}()
			p.next()
			p.write(garbage)
			if err := <-errs; !errors.Is(err, ErrPeerTrouble) {
				t.Errorf("Get: %v", err)
			}
			p = <-s.peers // it has dialed again
			synctest.Wait()
		}
		p.conn.Close()
	})
}

func TestWrongPiecesEndTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawServers(t)
		c, p := s.client(nil)
		defer c.Close()
		errs := make(chan error)
		for _, piece := range []pieceFrame{
			{offset: 1, value: []byte("v")}, {offset: 0}, {offset: 1 << 31, value: []byte("v")},
		} {
			go func() {
				_, err := c.Get(context.Background(), &PeerRequest{})
				errs <- err
			}()
			f := p.next()
			var req requestFrame
			parseRequest(&f, &req)
			piece.id = req.id
			p.write(appendReply(nil, req.id, &PeerReply{Value: make([]byte, pieceSize+1)}))
			p.write(appendPiece(nil, &piece))
			if err := <-errs; !errors.Is(err, ErrPeerTrouble) || !errors.Is(err, errFrame) {
				t.Errorf("piece at %d: %v", piece.offset, err)
			}
			p = <-s.peers
			synctest.Wait()
		}
		p.conn.Close()
	})
}

func TestHitsAllocateNothingAtTheServer(t *testing.T) {
	value := make([]byte, 100)
	c := &serverConn{
		s:      newStreamServer(streamServerConfig{self: helloOf("server"), handler: memoryHandler{value}}),
		ctx:    t.Context(),
		groups: make(map[string]string),
	}
	b := appendRequest(nil, 1, &PeerRequest{Group: "g", Key: "key"}, 0)
	f := onlyFrame(t, b)
	if n := testing.AllocsPerRun(100, func() {
		if err := c.handle(&f); err != nil {
			t.Fatal(err)
		}
		c.w.buf = c.w.buf[:0]
	}); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
}

// discardConn is a connection that takes everything and has nothing to say.
type discardConn struct{ net.Conn }

func (discardConn) Write(b []byte) (int, error)      { return len(b), nil }
func (discardConn) SetWriteDeadline(time.Time) error { return nil }
func (discardConn) Close() error                     { return nil }
func (discardConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "fuzz"} }

// FuzzServerConn has a server read any bytes after the handshake.
func FuzzServerConn(f *testing.F) {
	f.Add(appendNumber(appendRequest(nil, 1, &PeerRequest{Group: "g", Key: "k"}, 1), kindCancel, 1))
	f.Add(appendNumber(appendRequest(nil, 1, &PeerRequest{Group: "slow", Key: "large"}, 1), kindPing, 1))
	s := newStreamServer(streamServerConfig{self: helloOf("server"), maxKey: 50, maxInFlight: 2, handler: testHandler{
		now: func(req *PeerRequest, reply *PeerReply) bool {
			return req.Group != "slow" && echo(req, reply)
		},
		slow: func(context.Context, *PeerRequest) PeerReply { return PeerReply{Value: make([]byte, 2*pieceSize)} },
	}})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newServerConn(s, discardConn{}, hello{}, b)
		err := c.handleBatch()
		c.fail(errors.New("the end"))
		c.tasks.Wait()
		if err != nil && !errors.Is(err, errFrame) {
			t.Errorf("handleBatch: %v", err)
		}
		if len(c.inFlight) != 0 {
			t.Errorf("%d requests are still in flight", len(c.inFlight))
		}
	})
}

// FuzzClientConn has a client read any bytes while two requests wait.
func FuzzClientConn(f *testing.F) {
	const first, second = 1 << 32, 2<<32 | 1 // the IDs of the two requests
	f.Add(appendReply(appendReply(nil, first, &PeerReply{Value: []byte("v")}), second, &PeerReply{Code: CodeNotFound}))
	f.Add(appendPiece(appendReply(nil, first, &PeerReply{Value: make([]byte, pieceSize+1)}), &pieceFrame{id: first, value: []byte("v")}))
	f.Add(appendNumber(appendNumber(nil, kindDraining, 1), kindPing, 1))
	f.Add(appendGoaway(nil, CodeBadRequest, "why"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &streamClient{cfg: streamClientConfig{maxValue: 1 << 20}}
		cc := &clientConn{
			client: c, frames: newFrameReader(nil, b, maxFixed+maxMessage+pieceSize),
			draining: make(chan struct{}), emptied: make(chan struct{}, 1), done: make(chan struct{}),
			values: make(map[uint64]*arrivingValue), conn: discardConn{},
		}
		cc.w = frameWriter{conn: discardConn{}, tasks: &cc.tasks, sent: &c.bytesOut, fail: cc.fail}
		wait := &callWaiter{done: make(chan struct{}, 1)}
		calls := make([]call, 2)
		for i := range calls {
			calls[i].waiter = wait
			wait.left.Add(1)
			cc.addLocked(&calls[i])
		}
		if calls[0].id != first || calls[1].id != second {
			t.Fatalf("IDs %x and %x", calls[0].id, calls[1].id)
		}
		err := cc.readBatch()
		cc.fail(errors.Join(errors.New("the end"), err))
		<-wait.done // each call has ended, once
		cc.tasks.Wait()
		for i := range calls {
			if k := &calls[i]; k.err == nil && len(k.reply.Value) > 1<<20 {
				t.Errorf("a value of %d bytes", len(k.reply.Value))
			}
		}
	})
}
