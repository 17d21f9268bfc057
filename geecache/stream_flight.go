package geecache

import (
	"context"
	"errors"
	"time"
)

// errNoReply ends a fetch that was not answered in time, though the peer is
// alive.
var errNoReply = errors.New("no reply in time")

// A singleCall is one caller that waits for one reply. It is used again, so
// nobody may touch it once its caller has been woken.
//
// Callers that fetch the same key share one call: a flight. The first of them
// made the call and is its head, which is in the table of calls and in that of
// flights; the others are in a ring with it. No goroutine belongs to a flight,
// and none of its callers works for the others: a reply wakes them all, a caller
// that leaves takes itself out of the ring, a head that leaves makes the next one
// the head of the same call, and the last one to leave cancels it. So a flight
// costs its first caller little more than the request.
type singleCall struct {
	call
	callWaiter

	// Guarded by frameWriter.mu. Only fetches have them.
	hash       uint64
	group, key string
	limit      time.Duration  // after which watch ends the call; 0: never
	expires    int64          // of clientConn.now; 0: watch has not seen it yet
	prev, next *singleCall    // the ring
	chain      *singleCall    // of the heads in one bucket
	lead       bool           // it was the head when the call ended
	linked     bool           // it is to wake the next one (wakeChain)
	watcher    *sharedContext // makes it leave; nil: it waits for its context itself
}

// end wakes the callers of a call that cannot be found any more.
func (k *call) end() {
	if s := k.shared; s != nil {
		for o := s.next; o != s; {
			next := o.next
			o.reply, o.err = k.reply, k.err
			o.waiter.end()
			o = next
		}
		s.lead = true
	}
	k.waiter.end()
}

// flightBuckets is a power of two. A connection has a few hundred flights, and
// 16384 at most (Config.MaxStreamRequests).
const flightBuckets = 1024

// flightTable finds the head of a flight. It is a hash table without memory of
// its own but for its buckets, since each miss goes in and out.
type flightTable [flightBuckets]*singleCall

func (t *flightTable) find(hash uint64, group, key string) *singleCall {
	for s := t[hash%flightBuckets]; s != nil; s = s.chain {
		if s.hash == hash && s.key == key && s.group == group {
			return s
		}
	}
	return nil
}

func (t *flightTable) add(s *singleCall) {
	b := &t[s.hash%flightBuckets]
	s.chain, *b = *b, s
}

func (t *flightTable) remove(s *singleCall) {
	for at := &t[s.hash%flightBuckets]; *at != nil; at = &(*at).chain {
		if *at == s {
			*at, s.chain = s.chain, nil
			return
		}
	}
}

// A fetch is what a caller who fetches a key says of it.
type fetch struct {
	PeerRequest
	hash  uint64
	limit time.Duration // after which all who share the request give up; 0: none
	count *askCounters
}

// fetch is get for one of many callers: those who ask for the same key of the
// same group at the same time share one request. It returns the call once it has
// ended, which may be with an error of its own; its lead says that, of all who shared
// the request, this caller does what is to be done once. The caller gives the call
// back (putCall). What it waits with is kept small: of a thousand callers, the
// stacks do not fit into a processor's cache.
func (cc *clientConn) fetch(ctx context.Context, f *fetch) (*singleCall, error) {
	s := cc.client.newCall()
	if err := cc.lock(ctx); err != nil {
		cc.client.calls.Put(s)
		return nil, err
	}
	watcher := cc.sharedLocked(ctx)
	s.watcher = watcher
	if head := cc.flights.find(f.hash, f.Group, f.Key); head != nil {
		f.count.fetchJoins.Add(1)
		s.id = head.id
		s.prev, s.next = head.prev, head
		head.prev.next, head.prev = s, s
		cc.w.mu.Unlock()
	} else {
		f.count.peerRequests.Add(1)
		s.hash, s.group, s.key, s.limit = f.hash, f.Group, f.Key, f.limit
		s.shared, s.prev, s.next = s, s, s
		cc.flights.add(s)
		cc.addLocked(&s.call)
		cc.fetches++
		cc.w.buf = appendRequest(cc.w.buf, s.id, &f.PeerRequest, f.limit)
		cc.asked()
		cc.w.flushLocked(cc.used > 1)
	}
	if watcher != nil || ctx.Done() == nil {
		<-s.done
	} else {
		select {
		case <-s.done:
		case <-ctx.Done():
			cc.leaveFlight(ctx, s)
		}
	}
	cc.passOn(s)
	return s, nil
}

// leaveFlight takes a caller out of its flight because its context has ended. If
// the flight has been ended meanwhile, the caller gets its result instead.
func (cc *clientConn) leaveFlight(ctx context.Context, s *singleCall) {
	cc.w.mu.Lock()
	if cc.callLocked(s.id) == nil {
		cc.w.mu.Unlock()
		<-s.done
		return
	}
	cc.leaveFlightLocked(s)
	cc.w.mu.Unlock()
	s.err = ctx.Err()
}

// leaveFlightLocked takes a caller out of its flight, which is in the table.
func (cc *clientConn) leaveFlightLocked(s *singleCall) {
	switch head := cc.callLocked(s.id).shared; {
	case head != s: // others go on
	case s.next == s:
		cc.takeLocked(s.id)
		if cc.w.err == nil {
			cc.w.buf = appendNumber(cc.w.buf, kindCancel, s.id)
			cc.w.postLocked()
		}
	default: // the next one becomes the head of the same call
		cc.flights.remove(s)
		heir := s.next
		heir.hash, heir.group, heir.key = s.hash, s.group, s.key
		heir.limit, heir.expires, heir.shared = s.limit, s.expires, heir
		cc.slots[uint32(s.id)] = &heir.call
		cc.flights.add(heir)
	}
	s.prev.next, s.next.prev = s.next, s.prev
}

// sweepEvery is how often watch looks for fetches that are out of time: one look
// at all calls costs less than a timer for each.
const sweepEvery = 200 * time.Millisecond

// sweep ends the fetches that are out of time. A fetch that is new to it gets
// its time from now on, so no caller asks for the time.
func (cc *clientConn) sweep(now int64) {
	var late []*call
	cc.w.mu.Lock()
	for _, k := range cc.slots {
		if k == nil || k.shared == nil || k.shared.limit <= 0 {
			continue
		}
		switch s := k.shared; {
		case s.expires == 0:
			s.expires = now + int64(s.limit)
		case s.expires <= now:
			late = append(late, k)
			cc.takeLocked(k.id)
			if cc.w.err == nil {
				cc.w.buf = appendNumber(cc.w.buf, kindCancel, k.id)
			}
		}
	}
	if len(late) > 0 {
		cc.w.postLocked()
	}
	cc.w.mu.Unlock()
	for _, k := range late {
		k.err = errNoReply
		k.end()
	}
}

// fetchesOf returns the number of fetches in flight for a group.
func (cc *clientConn) fetchesOf(group string) (n int64) {
	cc.w.mu.Lock()
	defer cc.w.mu.Unlock()
	for _, k := range cc.slots {
		if k != nil && k.shared != nil && k.shared.group == group {
			n++
		}
	}
	return n
}
