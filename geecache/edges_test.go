package geecache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What the rules of the read path mean at their edges.

func TestStandInStaysWhenAnotherPeerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 4, GroupConfig{})
		defer c.close()
		key := c.keyOwnedBy("n1", "n2")
		c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
		mustGet(t, c.g(2), key)
		c.nodes[2].nextGeneration() // n3 answers again; n1 does not
		time.Sleep(10 * defaultHotTTL)
		wantCount(t, "origin at the stand-in", mustGet(t, c.g(2), key).From, FromMain)
		wantCount(t, "loads", c.src.count(key), 1)
	})
}

func TestEntryIsCheckedAgainstTheRingOnceAGeneration(t *testing.T) {
	c := newTestCluster(t, 2, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n0", "")
	mustGet(t, c.g(0), key)
	c.nodes[0].nextGeneration()
	mustGet(t, c.g(0), key)
	e := c.g(0).main.Get(hashOf(key), key)
	wantCount(t, "generation of the entry", e.Tag(), c.nodes[0].place().gen)
}

func TestGetManyTakesADrainingPeerForTrouble(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	c.net.hook = func(to string, _ *PeerRequest) *PeerReply {
		if to == "n1" {
			return &PeerReply{Code: CodeDraining}
		}
		return nil
	}
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	values, err := c.g(0).GetMany(t.Context(), keys...)
	if err != nil || len(values) != len(keys) {
		t.Errorf("%d values, %v", len(values), err)
	}
}

func TestLoadThatNobodyWaitsForGivesItsTurnUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int64
		g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
			calls.Add(1)
			<-release
			return Value{}, nil
		}), GroupConfig{MaxLoads: 1})
		defer func() { _ = g.node.Close() }()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = g.Get(t.Context(), "first") })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			_, err := g.Get(ctx, "second")
			wantErr(t, err, context.Canceled)
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wg.Wait()
		synctest.Wait()
		wantCount(t, "calls of the source", calls.Load(), 1)
	})
}

func TestDrainingNodeAnswersFromMemoryAndLoadsNothingForOthers(t *testing.T) {
	c := newTestCluster(t, 2, GroupConfig{})
	defer c.close()
	held, missing := c.keyOwnedBy("n1", ""), ""
	for i := 0; missing == ""; i++ {
		if key := fmt.Sprint("missing", i); c.nodes[0].Owners(key, 1)[0].ID == "n1" {
			missing = key
		}
	}
	mustGet(t, c.g(1), held)
	if err := c.nodes[1].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, "code of what it has", c.nodes[1].Answer(t.Context(), &PeerRequest{Group: "g", Key: held}).Code, CodeOK)
	wantCount(t, "code of what it lacks", c.nodes[1].Answer(t.Context(), &PeerRequest{Group: "g", Key: missing}).Code, CodeDraining)
	wantCount(t, "loads", c.src.count(missing), 0)
	// Its own callers go on, through the others.
	wantCount(t, "answered by", mustGet(t, c.g(1), missing).Node, "n0")
}

func TestWhatIsLoadedForANodeWithAnotherViewIsNoEntryOfOurs(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "")
	c.nodes[0].Answer(t.Context(), &PeerRequest{Group: "g", Key: key, Mode: ModeOwner, Epoch: 42})
	wantCount(t, "main entries", c.g(0).Stats().Main.Entries, 0)
	wantCount(t, "hot entries", c.g(0).Stats().Hot.Entries, 1)
}

func TestValueThatMustNotBeKeptIsNoHotCopy(t *testing.T) {
	c := newTestCluster(t, 2, GroupConfig{HotTTL: time.Minute, HotShare: 1})
	defer c.close()
	c.src.ttl = -1
	key := c.keyOwnedBy("n1", "")
	for range 3 {
		wantCount(t, "origin", mustGet(t, c.g(0), key).From, FromPeer)
	}
	wantCount(t, "loads", c.src.count(key), 3)
}
