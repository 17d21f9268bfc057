package geecache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// groupsMost is how many names of groups a connection remembers, so that a
// request allocates nothing for its group.
const groupsMost = 64

// A serverConn is one connection of a streamServer. One goroutine, serve, reads a
// batch of requests, answers from memory what it can, and sends these answers in
// one write; for the rest it makes goroutines, whose answers follow in any order.
type serverConn struct {
	s      *streamServer
	conn   net.Conn
	remote hello
	bytes  *zoneBytes
	w      frameWriter
	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup // watch, the answering goroutines and the writer's

	base     time.Time
	lastRecv atomic.Int64 // since base
	handling atomic.Bool  // serve is not reading

	// For serve alone.
	frames  *frameReader
	req     requestFrame
	reply   PeerReply
	groups  map[string]string
	path    sendPath
	ahead   [aheadMost]string // the keys that lookAhead looks at
	touched byte              // of lookAhead, so that the compiler does not leave it out

	introduced  bool  // the other node has announced itself
	pushedBytes int64 // of entries that were taken over from it

	mu       sync.Mutex // guards inFlight
	inFlight map[uint64]context.CancelFunc
}

func newServerConn(s *streamServer, conn net.Conn, remote hello, ahead []byte) *serverConn {
	c := &serverConn{
		s: s, conn: conn, remote: remote,
		bytes:    s.zones.of(remote.Zone),
		base:     time.Now(),
		frames:   newFrameReader(conn, ahead, maxFixed+1<<16+s.cfg.maxKey),
		groups:   make(map[string]string),
		path:     newSendPath(conn),
		inFlight: make(map[uint64]context.CancelFunc),
	}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	timeout := s.cfg.timings.writeTimeout
	patience := min(selfPatience, timeout)
	if _, ok := conn.(*tls.Conn); ok {
		patience = timeout // a write that times out breaks a TLS connection
	}
	c.w = frameWriter{
		conn: conn, timeout: timeout, patience: patience, self: true,
		tasks: &c.tasks, sent: &c.bytes.out, fail: c.fail,
	}
	return c
}

// serve reads and answers until the connection ends.
func (c *serverConn) serve() {
	c.tasks.Go(c.watch)
	c.probe()
	err := errors.New("a handler has ended its goroutine")
	defer func() {
		c.fail(err)
		c.tasks.Wait()
	}()
	for {
		if err = c.handleBatch(); err != nil {
			if errors.Is(err, errFrame) {
				c.s.frameErrors.Add(1)
				c.s.cfg.log.Warn("stream broken", "peer", c.remote.ID, "from", c.conn.RemoteAddr().String(), "err", err)
				c.w.goaway(CodeBadRequest, err.Error(), c.s.cfg.timings.handshakeTimeout)
			}
			return
		}
		var n int
		if n, err = c.frames.fill(); err != nil {
			return
		}
		c.bytes.in.Add(int64(n))
		c.lastRecv.Store(int64(time.Since(c.base)))
	}
}

// handleBatch handles the frames that have been read, and sends the answers.
func (c *serverConn) handleBatch() error {
	c.handling.Store(true)
	defer func() {
		c.lastRecv.Store(int64(time.Since(c.base)))
		c.handling.Store(false)
	}()
	var f frame
	for n := 0; ; n++ {
		if n%aheadMost == 0 {
			c.lookAhead()
		}
		ok, err := c.frames.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			c.w.mu.Lock()
			c.w.flushLocked(false)
			return nil
		}
		if err := c.handle(&f); err != nil {
			return err
		}
	}
}

func (c *serverConn) handle(f *frame) error {
	switch f.kind {
	case kindRequest:
		return c.handleRequest(f)
	case kindCancel:
		id, err := parseNumber(f)
		if err != nil {
			return err
		}
		c.mu.Lock()
		cancel := c.inFlight[id]
		c.mu.Unlock()
		if cancel != nil {
			cancel()
		} else {
			c.w.abort(id)
		}
	case kindPing:
		n, err := parseNumber(f)
		if err != nil {
			return err
		}
		c.w.answerPing(n) // sent with the batch
	case kindPong:
		n, err := parseNumber(f)
		if err != nil {
			return err
		}
		c.path.answered(time.Since(c.base) - time.Duration(n))
		c.probe()
	case kindAnnounce, kindPush:
		return c.handleLife(f)
	}
	return nil // other kinds are of no interest to a server, or not known
}

// probe sends another ping if it is to tell how far away the other end is.
func (c *serverConn) probe() {
	if c.path.probing() {
		c.w.post(kindPing, uint64(time.Since(c.base)))
	}
}

// handleRequest answers a request, or makes a goroutine that will.
func (c *serverConn) handleRequest(f *frame) error {
	group, key, err := parseRequest(f, &c.req)
	if err != nil {
		return err
	}
	c.reply = PeerReply{}
	switch {
	case f.skipped > 0 || len(key) > c.s.cfg.maxKey:
		c.reply.Code = CodeTooLarge
		c.reply.Message = fmt.Sprintf("key longer than the limit of %d bytes", c.s.cfg.maxKey)
	case c.req.Mode > ModeMemory:
		c.reply.Code = CodeBadRequest
		c.reply.Message = fmt.Sprintf("mode %d is not known", c.req.Mode)
	default:
		c.req.Group = c.group(group)
		// No copy: answerNow does not keep the key, and answer gets its own.
		c.req.Key = unsafe.String(unsafe.SliceData(key), len(key))
		if !c.answerNow() && c.begin() {
			return nil
		}
	}
	return c.send(c.req.id, &c.reply)
}

// group returns the name as a string that stays.
func (c *serverConn) group(name []byte) string {
	if g, ok := c.groups[string(name)]; ok {
		return g
	}
	g := string(name)
	if len(c.groups) < groupsMost {
		c.groups[g] = g
	}
	return g
}

// answerNow asks the handler for an answer from memory.
func (c *serverConn) answerNow() (answered bool) {
	defer func() {
		if p := recover(); p != nil {
			c.reply, answered = c.panicked(p), true
		}
	}()
	return c.s.cfg.handler.answerNow(&c.req.PeerRequest, &c.reply)
}

// begin makes the goroutine that answers c.req. If there are too many of them, it
// returns false, and c.reply says so.
func (c *serverConn) begin() bool {
	id, req := c.req.id, c.req.PeerRequest
	req.Key = strings.Clone(req.Key)
	c.reply = PeerReply{}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight[id] != nil {
		c.reply.Code, c.reply.Message = CodeBadRequest, "two requests of one number"
		return false
	}
	if n := len(c.inFlight); n >= c.s.cfg.maxInFlight {
		c.reply.Code, c.reply.RetryAfter = CodeOverloaded, overloadRetry
		c.reply.Message = fmt.Sprintf("%d requests in flight on this connection", n)
		return false
	}
	ctx, cancel := c.ctx, context.CancelFunc(nil)
	if req.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, req.Timeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	c.inFlight[id] = cancel
	c.s.inFlight.Add(1)
	c.tasks.Go(func() { c.answer(ctx, id, &req) })
	return true
}

// overloadRetry is when a client may try again that has too many requests in
// flight.
const overloadRetry = 100 * time.Millisecond

// answer has the handler answer a request and sends the answer, unless nobody
// waits for it any more.
func (c *serverConn) answer(ctx context.Context, id uint64, req *PeerRequest) {
	reply := PeerReply{Code: CodeInternal, Message: errPanic.Error()} // for runtime.Goexit
	defer func() {
		if p := recover(); p != nil {
			reply = c.panicked(p)
		}
		// A canceled request was given up by the asking side; one that is out
		// of time is answered, since the clocks differ.
		canceled := errors.Is(ctx.Err(), context.Canceled)
		c.mu.Lock()
		cancel := c.inFlight[id]
		delete(c.inFlight, id)
		c.mu.Unlock()
		cancel()
		defer c.s.inFlight.Add(-1) // last: a node that drains waits for it
		crowd := c.s.inFlight.Load() > 1
		if canceled || c.w.lock(c.ctx) != nil {
			return
		}
		c.addLocked(id, &reply)
		c.w.flushLocked(crowd)
	}()
	reply = c.s.cfg.handler.answer(ctx, req)
}

// panicked is the answer to a request whose handler has panicked.
func (c *serverConn) panicked(p any) PeerReply {
	c.s.cfg.log.Error("panic while answering a peer", "peer", c.remote.ID, "panic", p, "stack", string(debug.Stack()))
	return PeerReply{Code: CodeInternal, Message: errPanic.Error()}
}

// send adds a reply to the batch. It waits when too much has gathered, and so no
// more requests are read from a node that does not read its replies.
func (c *serverConn) send(id uint64, r *PeerReply) error {
	if err := c.w.lock(c.ctx); err != nil {
		return err
	}
	c.addLocked(id, r)
	c.w.mu.Unlock()
	return nil
}

func (c *serverConn) addLocked(id uint64, r *PeerReply) {
	if len(r.Value) > c.s.cfg.maxValue || uint64(len(r.Value)) > 1<<32-1 {
		c.w.addReplyLocked(id, &PeerReply{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("value of %d bytes; the limit is %d", len(r.Value), c.s.cfg.maxValue),
			Version: r.Version, From: r.From, Took: r.Took, Epoch: r.Epoch,
		})
		return
	}
	c.w.addReplyLocked(id, r)
}

// fail ends the connection.
func (c *serverConn) fail(err error) {
	c.w.mu.Lock()
	c.w.stopLocked(err)
	c.w.mu.Unlock()
	c.cancel(err)
	c.conn.Close()
}

// watch ends a connection that has been silent for three times idleDead, so that
// one whose other end is gone costs nothing for long. Before, it pings.
func (c *serverConn) watch() {
	idle := c.s.cfg.timings.idleDead
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.fail(context.Cause(c.ctx))
			return
		}
		if c.handling.Load() {
			continue // what has been sent may wait to be read
		}
		now := time.Since(c.base)
		silent := now - time.Duration(c.lastRecv.Load())
		switch {
		case silent >= 3*idle:
			c.fail(fmt.Errorf("no sign of life for %v", silent.Round(time.Millisecond)))
			return
		case silent >= idle:
			c.w.post(kindPing, uint64(now))
		}
	}
}
