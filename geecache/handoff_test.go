package geecache

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// What a node takes over from others, and what it refuses.

func TestTakeOver(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 3, src, Config{}, noHotCopies)
	n, leaver, other := nodes[0], nodes[1], nodes[2]
	g := n.Group("g")
	mine := keyOf(n, n.ID(), "mine")
	heirs := func(first, second string) string {
		for i := 0; ; i++ {
			key := keyOf(n, first, strings.Repeat("x", i))
			if n.Owners(key, 2)[1].ID == second {
				return key
			}
		}
	}
	inherited, others := heirs(leaver.ID(), n.ID()), heirs(leaver.ID(), other.ID())
	mustGet(t, g, keyOf(n, n.ID(), "held"))
	held := keyOf(n, n.ID(), "held")
	short := false
	n.cfg.MemoryShort = func() bool { return short }
	for _, tt := range []struct {
		name     string
		from     string
		key      string
		value    int
		accepted int64
		short    bool
		want     Code
	}{
		{name: "a stranger's", from: "10.0.0.1:1", key: mine, want: CodeRefused},
		{name: "its own", from: n.ID(), key: mine, want: CodeRefused},
		{name: "while memory is short", from: leaver.ID(), key: mine, short: true, want: CodeOverloaded},
		{name: "when enough has come", from: leaver.ID(), key: mine, accepted: 32 << 20, want: CodeOverloaded},
		{name: "another heir's", from: leaver.ID(), key: others, want: CodeMiss},
		{name: "a key that is there", from: leaver.ID(), key: held, want: CodeMiss},
		{name: "a key that is too long", from: leaver.ID(), key: strings.Repeat("k", 17<<10), want: CodeTooLarge},
		{name: "a value that is too long", from: leaver.ID(), key: mine, value: 9 << 20, want: CodeTooLarge},
		{name: "what it inherits", from: leaver.ID(), key: inherited, want: CodeOK},
		{name: "what it owns", from: leaver.ID(), key: mine, want: CodeOK},
	} {
		short = tt.short
		p := &pushFrame{value: make([]byte, tt.value), version: 5, ttl: time.Minute}
		if tt.want == CodeOK {
			p.value = []byte("value of " + tt.key)
		}
		h := lifeHandlerOf{n}
		wantCount(t, tt.name, h.pushed(hello{ID: tt.from}, p, []byte("g"), []byte(tt.key), tt.accepted), tt.want)
	}
	wantCount(t, "a group that is not there", lifeHandlerOf{n}.pushed(hello{ID: leaver.ID()}, &pushFrame{}, []byte("x"), nil, 0), CodeNoGroup)
	r := mustGet(t, g, mine)
	wantCount(t, "loads", src.count(mine), 0)
	wantCount(t, "version", r.Version, 5)
	if r.TTL <= 50*time.Second || r.TTL > time.Minute {
		t.Errorf("the TTL is %v, not what was left of a minute", r.TTL)
	}
	s := g.Stats()
	wantCount(t, "accepted", s.TakeoverAccepted, 2)
	wantCount(t, "refused", s.TakeoverRefused, 8)
}

func TestHandoffKeepsToItsLimits(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{HandoffBytes: 10 << 10}, noHotCopies)
	fill(t, nodes[0], 1000)
	if err := nodes[1].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := nodes[1].Group("g").Stats()
	if s.HandoffAccepted == 0 || s.HandoffBytes > 10<<10 {
		t.Errorf("%d entries of %d bytes, with a limit of 10 KiB", s.HandoffAccepted, s.HandoffBytes)
	}
}

// Not found is an answer that is handed over as well; what is large is not pushed.
func TestHandoffOfOddEntries(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{}, GroupConfig{HotTTL: -1, NotFoundTTL: time.Minute})
	no := keyOf(nodes[0], nodes[1].ID(), "no")
	long := keyOf(nodes[0], nodes[1].ID(), strings.Repeat("long", 2<<10))
	_, err := nodes[0].Group("g").Get(t.Context(), no)
	wantErr(t, err, ErrNotFound)
	mustGet(t, nodes[0].Group("g"), long)
	if err := nodes[1].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = nodes[0].Group("g").Get(t.Context(), no)
	wantErr(t, err, ErrNotFound)
	mustGet(t, nodes[0].Group("g"), long)
	wantCount(t, "loads", src.count(no)+src.count(long), 2)
	wantCount(t, "pushable", pushable("g", "k", make([]byte, pushMost)), true)
	wantCount(t, "pushable", pushable("g", "k", make([]byte, pushMost+1)), false)
}

// A peer that takes connections and never answers holds nothing up for long.
func TestHandoffToAPeerThatHangs(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 3, src, Config{HandoffTime: 2 * time.Second}, noHotCopies)
	fill(t, nodes[0], 300)
	leaver, hangs := nodes[2], nodes[1]
	leaver.cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == hangs.Addr() {
			here, _ := net.Pipe()
			return here, nil
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	begin := time.Now()
	if err := leaver.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if nodes[0].Group("g").Stats().TakeoverAccepted == 0 {
		t.Error("the other one has got nothing")
	}
	wantCount(t, "taken over by the one that hangs", hangs.Group("g").Stats().TakeoverAccepted, 0)
}

func TestRegistryIsToldBetweenThePeersAndTheEnd(t *testing.T) {
	src := &testSource{}
	told := 0
	nodes := startCluster(t, 2, src, Config{Dynamic: true}, noHotCopies)
	leaver := nodes[1]
	leaver.cfg.Leave = func(ctx context.Context) error {
		told++
		wantCount(t, "state", leaver.State(), "draining")
		waitUntil(t, "the peer knows already", func() bool { return owners(nodes[0]) == 1 })
		if _, ok := ctx.Deadline(); !ok {
			t.Error("Leave has no deadline")
		}
		return context.DeadlineExceeded // a registry that is gone keeps nobody
	}
	for range 2 {
		if err := leaver.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantCount(t, "calls of Leave", told, 1)
}
