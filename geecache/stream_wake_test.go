package geecache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

// startChain returns a chain of n callers, the first of whom has been woken at 0.
func startChain(n int) *wakeChain {
	c := newWakeChain()
	for range n {
		s := &singleCall{linked: true}
		s.done = make(chan struct{}, 1)
		s.left.Store(1)
		c.calls = append(c.calls, s)
	}
	c.end = n
	c.pass(0)
	return &c
}

// awake returns how many callers have been woken, and whether read has.
func (c *wakeChain) awake() (callers int, read bool) {
	for _, s := range c.calls {
		callers += len(s.done)
	}
	return callers, len(c.turn) == 1
}

func wantAwake(t *testing.T, c *wakeChain, callers int, read bool) {
	t.Helper()
	if n, r := c.awake(); n != callers || r != read {
		t.Errorf("%d callers are awake, want %d; read is: %t, want %t", n, callers, r, read)
	}
}

func TestCallersWakeEachOtherInTurn(t *testing.T) {
	c := startChain(3)
	for i := range 3 {
		wantAwake(t, c, i+1, false)
		c.pass(int64(i+1) * int64(chainSlack))
	}
	wantAwake(t, c, 3, true)
	c.judge()
	wantCount(t, "batches without a chain", c.skip, 0)
}

func TestLateCallerWakesAllTheOthers(t *testing.T) {
	c := startChain(8)
	c.end = 5 // the rest of the batch is for a chain of its own
	c.pass(1)
	wantAwake(t, c, 2, false)
	c.pass(int64(chainSlack) + 2)
	wantAwake(t, c, 5, true)
	for i, s := range c.calls[:c.end] {
		wantCount(t, fmt.Sprintf("caller %d has to wake another", i), s.linked, i < 2)
	}
	<-c.turn
	c.end = len(c.calls)
	c.pass(c.woken)
	wantAwake(t, c, 8, true)
}

func TestLateChainsBecomeRare(t *testing.T) {
	c := newWakeChain()
	batches := func() (n int) {
		for n = 1; !c.wanted(chainLeast, 0); n++ {
		}
		return n
	}
	wantCount(t, "batches until the first chain", batches(), 1)
	for _, want := range []int{2, 3, 5, 9} {
		c.late = true
		c.judge()
		wantCount(t, "batches until the next chain", batches(), want)
	}
	for range 20 {
		c.judge()
	}
	wantCount(t, "batches without a chain at most", c.skip, chainSkips)
	c.skip, c.late = 0, false
	for range 20 {
		c.judge()
	}
	wantCount(t, "batches until the next chain", batches(), 1)
	wantCount(t, "penalty for being late again", c.penalty, 1)
	wantCount(t, "few callers have a chain", c.wanted(chainLeast-1, 0), false)
	wantCount(t, "very many callers have a chain", c.wanted(chainLeast, chainMost), false)
}

// Who has just been woken is not in flight, and will be again.
func TestACrowdIsRemembered(t *testing.T) {
	c := newWakeChain()
	wantCount(t, "a crowd has a chain", c.wanted(64, 192), false)
	wantCount(t, "its last ones have a chain", c.wanted(64, 0), false)
	batches := 0
	for !c.wanted(64, 0) {
		batches++
	}
	if batches < 4 || batches > 32 {
		t.Errorf("%d batches until the crowd is forgotten, want 4 to 32", batches)
	}
}

// Callers leave while the replies to all of them arrive at once: each gets either
// its reply or its context's error, and none waits for ever.
func TestCallersLeaveAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		for range 100 {
			var all []*fetcher
			var replies []byte
			for i := range 3 * chainLen {
				f := startFetch(t, c, fmt.Sprint(i), 0)
				id, key := peer.request()
				all = append(all, f, startFetch(t, c, key, 0)) // two to a flight
				replies = appendReply(replies, id, &PeerReply{Value: []byte(key)})
			}
			synctest.Wait()
			wantCount(t, "in flight", c.fetchesOf("g"), 3*chainLen)
			go func() {
				for i := 0; i < len(all); i += 5 {
					all[i].leave()
				}
			}()
			peer.write(replies)
			synctest.Wait()
			for i, f := range all {
				switch want := fmt.Sprint(i / 2); {
				case !f.done:
					t.Fatalf("caller %d still waits", i)
				case f.err == nil && string(f.reply.Value) == want:
				case i%5 == 0 && errors.Is(f.err, context.Canceled):
				default:
					t.Fatalf("caller %d has got %q, %v", i, f.reply.Value, f.err)
				}
			}
			noFlights(t, c)
		}
		if cap(c.current.Load().conn.chain.calls) == 0 {
			t.Error("there was no chain")
		}
	})
}
