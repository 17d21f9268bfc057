package geecache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fetchOnce is one caller's fetch.
func fetchOnce(ctx context.Context, c *streamClient, key string, limit time.Duration) (reply PeerReply, lead bool, err error) {
	s, err := c.fetch(ctx, &fetch{
		PeerRequest: PeerRequest{Group: "g", Key: key}, hash: hashOf(key), limit: limit, count: new(askCounters),
	})
	if err != nil {
		return reply, true, err
	}
	defer c.putCall(s)
	return s.reply, s.lead, s.err
}

// A fetcher is a call of fetch in a goroutine of its own.
type fetcher struct {
	leave context.CancelFunc
	reply PeerReply
	lead  bool
	err   error
	done  bool // read it only after synctest.Wait
}

func startFetch(t *testing.T, c *streamClient, key string, limit time.Duration) *fetcher {
	ctx, leave := context.WithCancel(t.Context())
	f := &fetcher{leave: leave}
	go func() {
		f.reply, f.lead, f.err = fetchOnce(ctx, c, key, limit)
		f.done = true
	}()
	return f
}

// noFlights fails the test if the connection still knows a call.
func noFlights(t *testing.T, c *streamClient) {
	t.Helper()
	cc := c.current.Load().conn
	for _, head := range cc.flights {
		if head != nil {
			t.Error("a flight is left in the table")
		}
	}
	wantCount(t, "calls in flight", cc.inFlight(), 0)
}

// request reads the frame of a request and returns its ID and key.
func (p *rawPeer) request() (uint64, string) {
	p.t.Helper()
	f := p.next()
	if f.kind != kindRequest {
		p.t.Fatalf("frame of kind %d, want a request", f.kind)
	}
	var r requestFrame
	_, key, err := parseRequest(&f, &r)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.id, string(key)
}

func TestFetchersOfAKeyShareARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		all, id := flightOf(t, c, peer, 4, 0)
		wantCount(t, "in flight", c.fetchesOf("g"), 1)
		wantCount(t, "in flight of another group", c.fetchesOf("h"), 0)
		peer.write(appendReply(nil, id, &PeerReply{Value: []byte("v")}))
		synctest.Wait()
		for i, f := range all {
			if !f.done || f.err != nil || string(f.reply.Value) != "v" {
				t.Errorf("caller %d has got %q, %v", i, f.reply.Value, f.err)
			}
			wantCount(t, "leads", f.lead, i == 0)
		}
		noFlights(t, c)
		wantCount(t, "requests", c.stats().fetches, 1)
		f := startAnswered(t, c, peer, "k") // nothing is remembered
		wantCount(t, "value of the next flight", string(f.reply.Value), "again")
	})
}

// startAnswered fetches a key and answers "again".
func startAnswered(t *testing.T, c *streamClient, peer *rawPeer, key string) *fetcher {
	t.Helper()
	f := startFetch(t, c, key, 0)
	id, _ := peer.request()
	peer.write(appendReply(nil, id, &PeerReply{Value: []byte("again")}))
	synctest.Wait()
	return f
}

// flightOf starts a flight of n callers, who come in the order of the slice.
func flightOf(t *testing.T, c *streamClient, peer *rawPeer, n int, limit time.Duration) ([]*fetcher, uint64) {
	t.Helper()
	all := []*fetcher{startFetch(t, c, "k", limit)}
	id, _ := peer.request()
	for len(all) < n {
		all = append(all, startFetch(t, c, "k", limit))
		synctest.Wait()
	}
	return all, id
}

func TestFetchersLeaveAloneAndTheCallGoesOn(t *testing.T) {
	for _, order := range [][]int{{0}, {1}, {3}, {0, 1, 2}, {3, 2, 1}, {1, 0, 3}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peer := newRawServers(t).client(nil)
				defer c.Close()
				synctest.Wait()
				all, id := flightOf(t, c, peer, 4, 0)
				gone := map[int]bool{}
				for _, i := range order {
					all[i].leave()
					synctest.Wait()
					gone[i] = true
					if !all[i].done {
						t.Fatalf("caller %d has not left", i)
					}
					wantErr(t, all[i].err, context.Canceled)
				}
				late := startFetch(t, c, "k", 0)
				synctest.Wait()
				peer.write(appendReply(nil, id, &PeerReply{Value: []byte("v")}))
				synctest.Wait()
				leaders := 0
				for i, f := range append(all, late) {
					if gone[i] {
						continue
					}
					if !f.done || f.err != nil || string(f.reply.Value) != "v" {
						t.Errorf("caller %d has got %q, %v", i, f.reply.Value, f.err)
					}
					if f.lead {
						leaders++
					}
				}
				wantCount(t, "leaders", leaders, 1)
				noFlights(t, c)
				// Nothing was canceled, and nothing was asked again: the next frame
				// is the next request.
				startAnswered(t, c, peer, "other")
			})
		})
	}
}

func TestLastFetcherToLeaveCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		all, id := flightOf(t, c, peer, 3, 0)
		for _, f := range all {
			f.leave()
			synctest.Wait()
			wantErr(t, f.err, context.Canceled)
		}
		f := peer.next()
		canceled, _ := parseNumber(&f)
		wantCount(t, "kind", f.kind, kindCancel)
		wantCount(t, "canceled", canceled, id)
		noFlights(t, c)
		// Who comes now begins anew, and a late reply is nobody's.
		late := startFetch(t, c, "k", 0)
		id2, _ := peer.request()
		peer.write(appendReply(nil, id, &PeerReply{Value: []byte("late")}))
		synctest.Wait()
		if late.done {
			t.Fatal("a late joiner has got the reply to a canceled request")
		}
		peer.write(appendReply(nil, id2, &PeerReply{Value: []byte("new")}))
		synctest.Wait()
		wantCount(t, "value", string(late.reply.Value), "new")
	})
}

func TestFetchersThatShareAContextLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		const n = 4 * sharedAfter
		ctx, leave := context.WithCancel(t.Context())
		var left atomic.Int64
		get := func(key string) {
			if _, _, err := fetchOnce(ctx, c, key, 0); errors.Is(err, context.Canceled) {
				left.Add(1)
			}
		}
		// Each key has one of them as its head, and one who joins it.
		for i := range n {
			go get(fmt.Sprint("k", i%(n/2)))
		}
		stays := startFetch(t, c, fmt.Sprint("k", n/2-1), 0) // a context of its own
		ids := map[string]uint64{}
		for range n / 2 {
			id, key := peer.request()
			ids[key] = id
		}
		synctest.Wait()
		wantCount(t, "watched contexts", len(c.current.Load().conn.contexts.shared), 1)
		leave()
		synctest.Wait()
		wantCount(t, "callers that have left", left.Load(), n)
		wantCount(t, "watched contexts", len(c.current.Load().conn.contexts.shared), 0)
		canceled := map[uint64]bool{}
		for range n/2 - 1 {
			f := peer.next()
			id, _ := parseNumber(&f)
			wantCount(t, "kind", f.kind, kindCancel)
			canceled[id] = true
		}
		id := ids[fmt.Sprint("k", n/2-1)]
		wantCount(t, "different cancels", len(canceled), n/2-1)
		wantCount(t, "cancel of what one waits for", canceled[id], false)
		peer.write(appendReply(nil, id, &PeerReply{Value: []byte("v")}))
		synctest.Wait()
		wantCount(t, "value of the one who stays", string(stays.reply.Value), "v")
		noFlights(t, c)
		get("late") // the context has ended: it leaves at once
		wantCount(t, "callers that have left", left.Load(), n+1)
	})
}

func TestFetchThatIsNotAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		const limit = 10 * time.Second
		start := time.Now()
		all, id := flightOf(t, c, peer, 3, limit)
		all[0].leave() // the time is the flight's, whoever heads it
		synctest.Wait()
		for { // the peer is alive, and answers pings alone
			f := peer.next()
			n, _ := parseNumber(&f)
			if f.kind == kindPing {
				peer.write(appendNumber(nil, kindPong, n))
				continue
			}
			wantCount(t, "kind", f.kind, kindCancel)
			wantCount(t, "canceled", n, id)
			break
		}
		synctest.Wait()
		if d := time.Since(start); d < limit || d > limit+time.Second {
			t.Errorf("it took %v, the limit is %v", d, limit)
		}
		for _, f := range all[1:] {
			wantErr(t, f.err, errNoReply)
		}
		noFlights(t, c)
	})
}

func TestFetchersOfABrokenConnectionAreInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := newRawServers(t).client(nil)
		defer c.Close()
		synctest.Wait()
		all, _ := flightOf(t, c, peer, 3, 0)
		peer.conn.Close()
		synctest.Wait()
		leaders := 0
		for _, f := range all {
			wantErr(t, f.err, ErrPeerTrouble)
			if f.lead {
				leaders++
			}
		}
		wantCount(t, "leaders: it counts once", leaders, 1)
	})
}

func TestStandInIsAskedOnceWhenTheOwnerDiesUnderItsFetchers(t *testing.T) {
	src := &testSource{}
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1})
	var calls atomic.Int64
	for _, n := range nodes {
		if _, err := n.NewGroup("slow", GetterFunc(func(ctx context.Context, _ string) (Value, error) {
			if calls.Add(1) == 1 { // the owner's
				once.Do(func() { close(blocked) })
				select {
				case <-release:
				case <-ctx.Done():
				}
				return Value{}, errors.New("the node is gone")
			}
			return Value{Bytes: []byte("v")}, nil
		}), GroupConfig{HotTTL: -1}); err != nil {
			t.Fatal(err)
		}
	}
	asker, owner := nodes[0], nodes[1]
	var key string
	for i := 0; ; i++ { // the second one on the ring is not the asker
		key = fmt.Sprint("k", i)
		if o := asker.Owners(key, 2); o[0].ID == owner.ID() && o[1].ID == nodes[2].ID() {
			break
		}
	}
	g := asker.Group("slow")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if v, err := g.Get(t.Context(), key); err != nil || v.String() != "v" {
				t.Errorf("Get = %q, %v", v, err)
			}
		})
	}
	<-blocked
	waitUntil(t, "all have joined", func() bool { return g.Stats().FetchJoin == 49 })
	wantCount(t, "fetches in flight", g.Stats().FetchesInFlight, 1)
	_ = owner.Close()
	wg.Wait()
	close(release)
	wantCount(t, "calls of the source", calls.Load(), 2)
	wantCount(t, "errors of the peer", g.Stats().PeerErrors, 1)
	wantCount(t, "loads as stand-in", nodes[2].Group("slow").Stats().LoadsStandIn, 1)
}

// TestFetchersComeAndGo: whatever callers do, each gets its own key's value or
// its own context's error, and nothing is left.
func TestFetchersComeAndGo(t *testing.T) {
	s := startNode(streamServerConfig{handler: testHandler{
		slow: func(ctx context.Context, req *PeerRequest) PeerReply {
			if rand.IntN(2) == 0 {
				<-time.After(time.Duration(rand.IntN(300)) * time.Microsecond)
			}
			return PeerReply{Value: []byte(req.Key)}
		},
	}})
	defer s.stop()
	c := s.client(nil)
	defer c.Close()
	waitUntil(t, "it is connected", func() bool { return c.State() == peerUp })
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 300 {
				key := fmt.Sprint("k", rand.IntN(5))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(400))*time.Microsecond)
				reply, _, err := fetchOnce(ctx, c, key, time.Minute)
				switch {
				case err == nil && string(reply.Value) != key:
					t.Errorf("key %s has the value %q", key, reply.Value)
				case err != nil && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	noFlights(t, c)
}
