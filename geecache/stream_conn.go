package geecache

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A call is one request that waits for its reply.
type call struct {
	id     uint64 // 0: not sent
	waiter *callWaiter
	shared *singleCall // the head of the flight that the call is; nil if it is none
	reply  PeerReply
	err    error
}

// A callWaiter is the goroutine that waits for one call or several.
type callWaiter struct {
	left   atomic.Int32  // calls that have not ended
	done   chan struct{} // gets one value when the last call has been ended by another goroutine
	parent *callWaiter   // for which this one is a call; nil if there is none
}

// end tells the waiter that one of its calls, which it can no longer take out of
// the table, has ended.
func (w *callWaiter) end() {
	if w.left.Add(-1) == 0 {
		parent := w.parent // the waiter may be used again once it is told
		w.done <- struct{}{}
		if parent != nil {
			parent.end()
		}
	}
}

// leave is called by the waiter itself, which has taken so many of its calls out of
// the table. Those that were no longer there are being ended at this moment: it waits
// until they are, since they may not be used again before.
func (w *callWaiter) leave(removed int32) {
	if removed == 0 || w.left.Add(-removed) > 0 {
		<-w.done
	}
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
	pingedAt atomic.Int64 // the ping that has not been answered; 0: none
	wake     chan struct{}

	leaving   atomic.Bool   // the peer is draining, and takes no requests
	remembers atomic.Bool   // the peer is draining, and answers from memory until the connection ends
	draining  chan struct{} // closed then
	emptied   chan struct{} // gets a value when it is draining and no call is left
	done      chan struct{} // closed when the connection has ended

	w frameWriter // its mu guards the fields below, too

	slots   []*call // the table of calls: the low half of an ID is the index
	free    []uint32
	serial  uint32 // the high half of the last ID
	used    int
	flights flightTable
	fetches int64 // requests sent by fetch

	contexts contexts

	// For read alone.
	values  map[uint64]*arrivingValue // the large values that arrive
	replies []replyFrame              // those of a batch, which have not been handed out yet
	ended   []*call                   // their calls

	chain wakeChain // read's and its callers'
}

// An arrivingValue is a value of which not all pieces are there. A Builder's memory
// is not cleared: clearing 8 MiB would hold up all that is read.
type arrivingValue struct {
	reply PeerReply
	value strings.Builder
	total int
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
		chain:    newWakeChain(),
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
	s := cc.client.newCall()
	if err := cc.lock(ctx); err != nil {
		cc.client.calls.Put(s)
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
			cc.leave(ctx, &s.call)
		}
	}
	reply, err := s.reply, s.err
	cc.client.putCall(s)
	return reply, err
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
	if k.shared != nil {
		cc.flights.remove(k.shared)
	}
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

// leave takes a caller's call out of the table because its context has ended, and
// tells the peer.
func (cc *clientConn) leave(ctx context.Context, k *call) {
	cc.w.mu.Lock()
	removed := cc.removeLocked(ctx, k)
	cc.w.mu.Unlock()
	k.waiter.leave(removed)
}

// removeMany is the same for several calls, but for the waiting. It returns how many
// were still in the table.
func (cc *clientConn) removeMany(ctx context.Context, calls []call) (removed int32) {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	for i := range calls {
		if calls[i].id != 0 {
			removed += cc.removeLocked(ctx, &calls[i])
		}
	}
	return removed
}

func (cc *clientConn) removeLocked(ctx context.Context, k *call) (removed int32) {
	if cc.takeLocked(k.id) == nil {
		return 0
	}
	k.err = ctx.Err()
	if cc.w.err == nil {
		cc.w.buf = appendNumber(cc.w.buf, kindCancel, k.id)
		cc.w.postLocked()
	}
	return 1
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
	cc.used, cc.flights = 0, flightTable{}
	cc.client.fetches.Add(cc.fetches)
	cc.fetches = 0
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
