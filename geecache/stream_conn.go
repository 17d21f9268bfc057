package geecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A call is one request that waits for its reply.
type call struct {
	id     uint64 // 0: not sent
	waiter *callWaiter
	reply  PeerReply
	err    error
}

// A callWaiter is the goroutine that waits for one call or several.
type callWaiter struct {
	left atomic.Int32  // calls that have not ended
	done chan struct{} // gets one value when the last call has been ended by another goroutine
}

// end ends a call that its caller can no longer take out of the table.
func (k *call) end() {
	if k.waiter.left.Add(-1) == 0 {
		k.waiter.done <- struct{}{}
	}
}

// A singleCall is a call with its waiter, as Get needs them, to be used again.
type singleCall struct {
	call
	callWaiter
}

// A clientConn is one connection of a streamClient, after the handshake. It ends
// once, with an error, and is not used again.
//
// Two goroutines belong to it: read, and watch, which pings and tells when the
// peer is dead. Both are in tasks, as are those of the writer.
type clientConn struct {
	client *streamClient
	conn   net.Conn
	remote hello
	frames *frameReader
	tasks  sync.WaitGroup

	// What watch needs to know. Times are counted from base.
	base     time.Time
	lastRecv atomic.Int64
	askedAt  atomic.Int64 // the first request after lastRecv; 0: none
	resting  atomic.Bool  // watch sleeps for long and wants to be woken by a request
	wake     chan struct{}

	leaving  atomic.Bool   // the peer is draining
	draining chan struct{} // closed then
	emptied  chan struct{} // gets a value when it is draining and no call is left
	done     chan struct{} // closed when the connection has ended

	w frameWriter // its mu guards the fields below, too

	slots  []*call // the table of calls: the low half of an ID is the index
	free   []uint32
	serial uint32 // the high half of the last ID
	used   int

	// values are the large values that arrive, for read alone.
	values map[uint64]*arrivingValue
}

// An arrivingValue is a value of which not all pieces are there.
type arrivingValue struct {
	reply PeerReply
	got   int
}

func newClientConn(c *streamClient, conn net.Conn, remote hello, ahead []byte, self bool) *clientConn {
	cc := &clientConn{
		client: c, conn: conn, remote: remote,
		frames:   newFrameReader(conn, ahead, maxFixed+maxMessage+pieceSize),
		base:     time.Now(),
		wake:     make(chan struct{}, 1),
		draining: make(chan struct{}),
		emptied:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		values:   make(map[uint64]*arrivingValue),
	}
	cc.w = frameWriter{
		conn: conn, timeout: c.cfg.timings.writeTimeout,
		patience: min(selfPatience, c.cfg.timings.writeTimeout), self: self,
		tasks: &cc.tasks, sent: &c.bytesOut,
		fail: func(err error) { cc.fail(fmt.Errorf("writing: %w", err)) },
	}
	cc.tasks.Go(cc.read)
	cc.tasks.Go(cc.watch)
	return cc
}

// now is the time since the connection began; it is never 0.
func (cc *clientConn) now() int64 { return int64(time.Since(cc.base)) + 1 }

// get sends one request and waits for its reply.
func (cc *clientConn) get(ctx context.Context, req *PeerRequest) (PeerReply, error) {
	timeout, err := wireTimeout(ctx, req)
	if err != nil {
		return PeerReply{}, err
	}
	s := cc.client.calls.Get().(*singleCall)
	s.waiter = &s.callWaiter
	s.left.Store(1)
	if err := cc.lock(ctx); err != nil {
		return PeerReply{}, err
	}
	cc.addLocked(&s.call)
	cc.w.buf = appendRequest(cc.w.buf, s.id, req, timeout)
	cc.asked()
	cc.w.flushLocked(cc.used > 1)

	if ctx.Done() == nil {
		<-s.done
	} else {
		select {
		case <-s.done:
		case <-ctx.Done():
			cc.leave(ctx, []*call{&s.call}, &s.callWaiter)
		}
	}
	reply, err := s.reply, s.err
	s.call = call{}
	cc.client.calls.Put(s)
	return reply, err
}

// getMany sends several requests and waits for all their replies. Requests that
// have an error already are left out.
func (cc *clientConn) getMany(ctx context.Context, reqs []PeerRequest, replies []PeerReply, errs []error) {
	wait := &callWaiter{done: make(chan struct{}, 1)}
	wait.left.Store(1) // this goroutine's own, until all have been sent
	calls := make([]call, len(reqs))
	cc.sendMany(ctx, reqs, calls, errs, wait)
	if wait.left.Add(-1) > 0 {
		select {
		case <-wait.done:
		case <-ctx.Done():
			pending := make([]*call, 0, len(calls))
			for i := range calls {
				if calls[i].id != 0 {
					pending = append(pending, &calls[i])
				}
			}
			cc.leave(ctx, pending, wait)
		}
	}
	for i := range calls {
		if errs[i] == nil {
			replies[i], errs[i] = calls[i].reply, calls[i].err
		}
	}
}

// sendMany sends the requests, in one write unless they exceed what is gathered.
func (cc *clientConn) sendMany(ctx context.Context, reqs []PeerRequest, calls []call, errs []error, wait *callWaiter) {
	locked := false
	for i := range reqs {
		if errs[i] != nil {
			continue
		}
		timeout, err := wireTimeout(ctx, &reqs[i])
		if err == nil && !locked {
			err = cc.lock(ctx)
			locked = err == nil
		}
		if err != nil {
			errs[i] = err
			continue
		}
		calls[i].waiter = wait
		wait.left.Add(1)
		cc.addLocked(&calls[i])
		cc.w.buf = appendRequest(cc.w.buf, calls[i].id, &reqs[i], timeout)
		if len(cc.w.buf) >= gatherMost {
			cc.asked()
			cc.w.flushLocked(false)
			locked = false
		}
	}
	if locked {
		cc.asked()
		cc.w.flushLocked(cc.used > len(reqs))
	}
}

// lock locks w.mu for a new request, once there is room for it.
func (cc *clientConn) lock(ctx context.Context) error {
	if err := cc.w.lock(ctx); err != nil {
		return err
	}
	if cc.leaving.Load() {
		cc.w.mu.Unlock()
		return cc.client.trouble(ErrDraining)
	}
	return nil
}

// wireTimeout returns the timeout that a request tells: its own, else what the
// context leaves. It fails if nothing is left.
func wireTimeout(ctx context.Context, req *PeerRequest) (time.Duration, error) {
	if req.Timeout != 0 {
		return max(req.Timeout, 1), nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0, context.DeadlineExceeded
	}
	return left, nil
}

// addLocked enters a call into the table and gives it its ID.
func (cc *clientConn) addLocked(k *call) {
	var slot uint32
	if n := len(cc.free); n > 0 {
		slot, cc.free = cc.free[n-1], cc.free[:n-1]
	} else {
		slot = uint32(len(cc.slots))
		cc.slots = append(cc.slots, nil)
	}
	if cc.serial++; cc.serial == 0 {
		cc.serial = 1 // an ID is never 0
	}
	k.id = uint64(cc.serial)<<32 | uint64(slot)
	cc.slots[slot] = k
	cc.used++
}

// takeLocked takes a call out of the table. It returns nil if there is none of
// that ID, because its caller has left.
func (cc *clientConn) takeLocked(id uint64) *call {
	k := cc.callLocked(id)
	if k == nil {
		return nil
	}
	slot := uint32(id)
	cc.slots[slot] = nil
	cc.free = append(cc.free, slot)
	if cc.used--; cc.used == 0 && cc.leaving.Load() {
		select {
		case cc.emptied <- struct{}{}:
		default:
		}
	}
	return k
}

func (cc *clientConn) callLocked(id uint64) *call {
	slot := uint32(id)
	if int(slot) >= len(cc.slots) || cc.slots[slot] == nil || cc.slots[slot].id != id {
		return nil
	}
	return cc.slots[slot]
}

func (cc *clientConn) take(id uint64) *call {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	return cc.takeLocked(id)
}

// leave takes a caller's calls out of the table because its context has ended,
// and tells the peer. A call that is no longer there is being ended by read at
// this moment; leave waits until it is, since it may not be used again before.
func (cc *clientConn) leave(ctx context.Context, calls []*call, wait *callWaiter) {
	removed := int32(0)
	cc.w.mu.Lock()
	for _, k := range calls {
		if cc.takeLocked(k.id) != nil {
			k.err = ctx.Err()
			removed++
			if cc.w.err == nil {
				cc.w.buf = appendNumber(cc.w.buf, kindCancel, k.id)
			}
		}
	}
	if removed > 0 {
		cc.w.postLocked()
	}
	cc.w.mu.Unlock()
	if removed == 0 || wait.left.Add(-removed) > 0 {
		<-wait.done
	}
}

// fail ends the connection, and with err all calls that wait.
func (cc *clientConn) fail(err error) {
	cc.w.mu.Lock()
	if cc.w.err != nil {
		cc.w.mu.Unlock()
		return
	}
	err = cc.client.trouble(err)
	cc.w.stopLocked(err)
	calls := make([]*call, 0, cc.used)
	for i, k := range cc.slots {
		if k != nil {
			calls = append(calls, k)
			cc.slots[i] = nil
		}
	}
	cc.used = 0
	cc.w.mu.Unlock()
	cc.conn.Close()
	for _, k := range calls {
		k.err = err
		k.end()
	}
	close(cc.done)
}

// err returns why the connection has ended.
func (cc *clientConn) err() error {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	return cc.w.err
}

// inFlight returns the number of calls that wait.
func (cc *clientConn) inFlight() int {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	return cc.used
}

// read receives frames until the connection ends.
func (cc *clientConn) read() {
	for {
		if err := cc.readBatch(); err != nil {
			cc.fail(err)
			return
		}
		n, err := cc.frames.fill()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("connection closed by the peer")
			}
			cc.fail(err)
			return
		}
		cc.client.bytesIn.Add(int64(n))
		cc.lastRecv.Store(cc.now())
		cc.askedAt.Store(0)
	}
}

// readBatch handles the frames that have been read.
func (cc *clientConn) readBatch() error {
	var f frame
	for {
		ok, err := cc.frames.next(&f)
		if !ok || err != nil {
			return err
		}
		if err := cc.handle(&f); err != nil {
			return err
		}
	}
}

func (cc *clientConn) handle(f *frame) error {
	switch f.kind {
	case kindReply:
		return cc.handleReply(f)
	case kindPiece:
		return cc.handlePiece(f)
	case kindPing:
		n, err := parseNumber(f)
		if err == nil {
			cc.w.answerPing(n)
			cc.w.mu.Lock()
			cc.w.postLocked()
			cc.w.mu.Unlock()
		}
		return err
	case kindDraining:
		cc.noteDraining()
	case kindGoaway:
		code, reason, err := parseGoaway(f)
		if err != nil {
			return err
		}
		return &RemoteError{Node: cc.client.name(), Code: code, Message: reason}
	}
	return nil // a pong has told what it had to by arriving; others are not known
}

// noteDraining: the peer takes no new requests; those in flight will be answered.
func (cc *clientConn) noteDraining() {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	if cc.leaving.Swap(true) {
		return
	}
	close(cc.draining)
	if cc.used == 0 {
		cc.emptied <- struct{}{}
	}
}

func (cc *clientConn) handleReply(f *frame) error {
	var r replyFrame
	if err := parseReply(f, &r); err != nil {
		return err
	}
	if uint64(r.total) > uint64(cc.client.cfg.maxValue) {
		return cc.refuseValue(&r)
	}
	if r.flags&flagMore != 0 {
		cc.w.mu.Lock()
		waits := cc.callLocked(r.id) != nil
		cc.w.mu.Unlock()
		if waits {
			r.Value = make([]byte, r.total)
			cc.values[r.id] = &arrivingValue{reply: r.PeerReply}
		}
		return nil
	}
	k := cc.take(r.id)
	if k == nil {
		return nil
	}
	k.reply = r.PeerReply
	// The value becomes an allocation of its own: it may be kept for long, and
	// must not keep the read buffer alive.
	k.reply.Value = nil
	if len(r.Value) > 0 || r.Code == CodeOK {
		k.reply.Value = make([]byte, len(r.Value))
		copy(k.reply.Value, r.Value)
	}
	k.end()
	return nil
}

// refuseValue answers a call whose value is too large. The pieces that may
// follow find no call and are passed over.
func (cc *clientConn) refuseValue(r *replyFrame) error {
	if r.flags&flagMore != 0 {
		cc.w.post(kindCancel, r.id)
	}
	if k := cc.take(r.id); k != nil {
		k.reply = PeerReply{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("value of %d bytes; the limit here is %d", r.total, cc.client.cfg.maxValue),
			Version: r.Version, From: r.From, Took: r.Took, Epoch: r.Epoch,
		}
		k.end()
	}
	return nil
}

func (cc *clientConn) handlePiece(f *frame) error {
	var p pieceFrame
	if err := parsePiece(f, &p); err != nil {
		return err
	}
	v := cc.values[p.id]
	if v == nil {
		return nil // nobody waits for it
	}
	if p.flags&flagAbort != 0 {
		delete(cc.values, p.id)
		if k := cc.take(p.id); k != nil { // the peer gave up by itself
			k.reply = PeerReply{Code: CodeInternal, Message: "the value was cut off"}
			k.end()
		}
		return nil
	}
	if int(p.offset) != v.got || len(p.value) == 0 || len(p.value) > len(v.reply.Value)-v.got {
		return fmt.Errorf("%w: piece of %d bytes at %d of %d, %d there", errFrame, len(p.value), p.offset, len(v.reply.Value), v.got)
	}
	v.got += copy(v.reply.Value[v.got:], p.value)
	if v.got < len(v.reply.Value) {
		return nil
	}
	delete(cc.values, p.id)
	if k := cc.take(p.id); k != nil {
		k.reply = v.reply
		k.end()
	}
	return nil
}

// asked notes that a request has been sent since something was received. Only
// the first such request asks for the time.
func (cc *clientConn) asked() {
	if cc.askedAt.Load() != 0 {
		return
	}
	cc.askedAt.Store(cc.now())
	if cc.resting.Load() && cc.resting.CompareAndSwap(true, false) {
		select {
		case cc.wake <- struct{}{}:
		default:
		}
	}
}

// watch pings the peer and ends the connection when it is dead. While requests
// wait, silence for pingBusy makes it ping, and silence for deadAfter is death:
// the peer's reading goroutine answers pings at once, however long its loads
// take. Otherwise it pings each pingIdle, and idleDead is death.
func (cc *clientConn) watch() {
	t := cc.client.cfg.timings
	timer := time.NewTimer(t.pingBusy)
	defer timer.Stop()
	lastPing := int64(0)
	for {
		cc.rest(timer)
		now := cc.now()
		last := cc.lastRecv.Load()
		since, ping, dead := last, t.pingIdle, t.idleDead
		if asked := cc.askedAt.Load(); asked != 0 {
			since, ping, dead = max(last, asked), t.pingBusy, t.deadAfter
		} else if cc.inFlight() > 0 {
			ping, dead = t.pingBusy, t.deadAfter
		}
		silent := time.Duration(now - since)
		// Only an unanswered ping is a proof: if this process has been stopped
		// for a while, what the peer sent may wait to be read.
		if silent >= dead && lastPing > since && time.Duration(now-lastPing) >= (dead-ping)/2 {
			cc.fail(fmt.Errorf("no sign of life for %v", silent.Round(time.Millisecond)))
			return
		}
		if silent >= ping && lastPing <= since {
			cc.w.post(kindPing, uint64(now))
			lastPing = now
		}
		select {
		case <-cc.done:
			return
		default:
		}
	}
}

// rest sleeps until watch is to look again.
func (cc *clientConn) rest(timer *time.Timer) {
	t := cc.client.cfg.timings
	pause := min(t.pingBusy, t.deadAfter) / 3
	idle := cc.askedAt.Load() == 0 && cc.inFlight() == 0
	if idle {
		cc.resting.Store(true)
		// A request may have come in between, and not have seen resting.
		if cc.askedAt.Load() != 0 {
			cc.resting.Store(false)
		} else {
			pause = min(t.pingIdle, t.idleDead) / 2
		}
	}
	timer.Reset(pause)
	select {
	case <-timer.C:
	case <-cc.wake:
	case <-cc.done:
	}
	cc.resting.Store(false)
}
