package geecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// weirdKeys are keys that have been trouble somewhere.
func weirdKeys() []string {
	return []string{
		"", ".", "..", "a/b", "/", "//", "%2F", "%", "%zz", "a b", " ", "+", "a+b", "?", "a?b=c", "#", "&=", "\x00",
		"a\x00b", "\xff\xfe", "\r\n", "é", "世界", "\\", "..%2f..", ";", strings.Repeat("k", 8<<10), strings.Repeat("\xff", 8<<10),
	}
}

func TestGetWithWeirdKeys(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	for _, key := range weirdKeys() {
		for i := range 3 {
			mustGet(t, c.g(i), key)
		}
		wantCount(t, fmt.Sprintf("loads of %.20q", key), c.src.count(key), 1)
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ttl time.Duration
		var calls atomic.Int64
		g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
			calls.Add(1)
			return Value{Bytes: []byte("v"), TTL: ttl}, nil
		}), GroupConfig{TTL: time.Minute})
		defer func() { _ = g.node.Close() }()
		get := func(key string) Result {
			r, err := g.Lookup(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		get("default")
		ttl = 10 * time.Second
		get("own")
		ttl = -1
		get("unkept")
		time.Sleep(10*time.Second - 2*tick)
		calls.Store(0)
		wantCount(t, "origin before its TTL", get("own").From, FromMain)
		time.Sleep(3 * tick)
		wantCount(t, "origin after its TTL", get("own").From, FromLoad)
		wantCount(t, "origin with the default TTL", get("default").From, FromMain)
		wantCount(t, "origin of what is not kept", get("unkept").From, FromLoad)
		wantCount(t, "TTL of what is not kept", get("unkept").TTL, -1)
		time.Sleep(time.Minute)
		wantCount(t, "origin after the default TTL", get("default").From, FromLoad)
		wantCount(t, "expired", g.Stats().Main.EvictedExpired, 2)
	})
}

func TestTTLJitterShortensOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		getter, _ := constant("v")
		g := localGroup(t, getter, GroupConfig{TTL: 100 * time.Second, TTLJitter: 0.1})
		defer func() { _ = g.node.Close() }()
		seen := map[time.Duration]bool{}
		for i := range 100 {
			r, err := g.Lookup(t.Context(), fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			if r.TTL < 90*time.Second-tick || r.TTL > 100*time.Second {
				t.Fatalf("TTL is %v, want 90 to 100 s", r.TTL)
			}
			seen[r.TTL.Truncate(time.Second)] = true
		}
		if len(seen) < 5 {
			t.Errorf("100 TTLs fall into %d seconds: they expire together", len(seen))
		}
	})
}

func TestTTLTravelsAsADuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{HotTTL: 3 * time.Second, HotShare: 1})
		defer c.close()
		c.src.ttl = 2 * time.Second
		key := c.keyOwnedBy("n1", "")
		mustGet(t, c.g(1), key)
		time.Sleep(1500 * time.Millisecond)
		mustGet(t, c.g(0), key) // a hot copy of what has half a second left
		r := mustGet(t, c.g(0), key)
		if r.From != FromHot || r.TTL > 510*time.Millisecond {
			t.Errorf("from %v with a TTL of %v: a hot copy must not outlive its original", r.From, r.TTL)
		}
	})
}

func TestErrorStoresNothingAndIsNotRetriedElsewhere(t *testing.T) {
	broken := errors.New("disk on fire")
	var calls atomic.Int64
	g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
		calls.Add(1)
		return Value{}, broken
	}), GroupConfig{})
	for range 3 {
		_, err := g.Get(t.Context(), "k")
		wantErr(t, err, ErrSource)
		wantErr(t, err, broken)
	}
	wantCount(t, "calls", calls.Load(), 3)
	wantCount(t, "entries", g.Stats().Main.Entries, 0)
	wantCount(t, "load errors", g.Stats().LoadErrors, 3)
	wantCount(t, "errors", g.Stats().Errors, 3)
}

func TestSourcesOwnDeadlineIsNotTheCallers(t *testing.T) {
	g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
		return Value{}, fmt.Errorf("query: %w", context.DeadlineExceeded)
	}), GroupConfig{})
	_, err := g.Get(t.Context(), "k")
	wantCount(t, "code", CodeOf(err), CodeSource)
}

func TestTooLarge(t *testing.T) {
	n, err := New(Config{Logger: quiet(), MaxKeyBytes: 10, MaxValueBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	g, err := n.NewGroup("g", GetterFunc(func(_ context.Context, key string) (Value, error) {
		var size int
		_, _ = fmt.Sscan(key, &size)
		return Value{Bytes: make([]byte, size)}, nil
	}), GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 999, 1000} {
		v, err := g.Get(t.Context(), fmt.Sprint(size))
		if err != nil || v.Len() != size {
			t.Errorf("size %d: %d bytes, %v", size, v.Len(), err)
		}
	}
	before := g.Stats().Main
	_, err = g.Get(t.Context(), "1001")
	wantErr(t, err, ErrTooLarge)
	if !strings.Contains(err.Error(), "MaxValueBytes") {
		t.Errorf("error does not name the limit: %v", err)
	}
	_, err = g.Get(t.Context(), "12345678901")
	wantErr(t, err, ErrTooLarge)
	if !strings.Contains(err.Error(), "MaxKeyBytes") {
		t.Errorf("error does not name the limit: %v", err)
	}
	wantCount(t, "cache", g.Stats().Main, before)
}

// One oversize item used to evict everything: it is answered, and not kept.
func TestOversizeItemEvictsNothing(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 100<<10)
	g := localGroup(t, GetterFunc(func(_ context.Context, key string) (Value, error) {
		if key == "big" {
			return Value{Bytes: big}, nil
		}
		return Value{Bytes: []byte("small")}, nil
	}), GroupConfig{CacheBytes: 256 << 10})
	for i := range 100 {
		if _, err := g.Get(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	entries := g.Stats().Main.Entries
	v, err := g.Get(t.Context(), "big")
	if err != nil || !v.EqualBytes(big) {
		t.Fatalf("the value that is not kept: %d bytes, %v", v.Len(), err)
	}
	wantCount(t, "entries", g.Stats().Main.Entries, entries)
	wantCount(t, "refused", g.Stats().Main.Refused, 1)
	wantCount(t, "evicted", g.Stats().Main.EvictedCapacity, 0)
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) {
			<-release
			return Value{}, nil
		}), GroupConfig{MaxLoads: 2, MaxQueuedLoads: 3})
		defer func() { _ = g.node.Close() }()
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if _, err := g.Get(t.Context(), fmt.Sprint(i)); err != nil {
					t.Errorf("within the bounds: %v", err)
				}
			})
		}
		synctest.Wait()
		_, err := g.Get(t.Context(), "one too many")
		wantErr(t, err, ErrOverloaded)
		wantCount(t, "refused", g.Stats().LoadsRefused, 1)
		close(release)
		wg.Wait()
		if _, err := g.Get(t.Context(), "one too many"); err != nil {
			t.Errorf("after the overload: %v", err)
		}
	})
}

func TestGetMany(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	keys := []string{"no such", "no such"}
	for i := range 100 {
		keys = append(keys, fmt.Sprint("k", i), fmt.Sprint("k", i))
	}
	for i := range 10 {
		mustGet(t, c.g(0), fmt.Sprint("k", i)) // some are there already
	}
	values, err := c.g(0).GetMany(t.Context(), keys...)
	wantErr(t, err, ErrNotFound)
	var ke *KeyError
	if !errors.As(err, &ke) || ke.Key != "no such" {
		t.Errorf("the error does not name the key: %v", err)
	}
	if n := strings.Count(err.Error(), "no such"); n != 1 {
		t.Errorf("the key is in the error %d times: %v", n, err)
	}
	wantCount(t, "values", len(values), 100)
	for key, v := range values {
		wantCount(t, "value of "+key, v.String(), "value of "+key)
	}
	wantCount(t, "loads", c.src.total(), 101)
	s := c.g(0).Stats()
	wantCount(t, "gets", s.Gets, 111)
	wantCount(t, "gets", s.Gets, s.Hits+s.HotHits+s.Misses)
}

func TestGetManyOverAPeerInTrouble(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
	var keys []string
	for i := range 60 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	values, err := c.g(0).GetMany(t.Context(), keys...)
	if err != nil || len(values) != 60 {
		t.Fatalf("%d values, %v", len(values), err)
	}
	for _, key := range keys {
		wantCount(t, "loads of "+key, c.src.count(key), 1)
	}
}

func TestGetManyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, GroupConfig{})
		defer c.close()
		c.src.delay = time.Minute
		mustGetNothing := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			values, err := c.g(0).GetMany(ctx, "a", "b", "c", "d", "e", "f", "g", "h")
			wantErr(t, err, context.DeadlineExceeded)
			wantCount(t, "values", len(values), 0)
			wantCount(t, "time", time.Since(start), time.Second)
		}
		mustGetNothing()
	})
}

func TestLookupTellsTheWay(t *testing.T) {
	c := newTestCluster(t, 3, GroupConfig{})
	defer c.close()
	key := c.keyOwnedBy("n1", "n2")
	r := mustGet(t, c.g(0), key)
	wantCount(t, "origin", r.From, FromPeer)
	wantCount(t, "node", r.Node, "n1")
	wantCount(t, "origin there", r.PeerFrom, FromLoad)
	text := fmt.Sprint(r.Steps)
	for _, want := range []string{"miss", "the owner is n1", "load from the source", "fetch from n1"} {
		if !strings.Contains(text, want) {
			t.Errorf("steps %s do not tell of %q", text, want)
		}
	}
	wantCount(t, "origin there", mustGet(t, c.g(0), key).PeerFrom, FromMain)
	c.net.setFail("n1", fmt.Errorf("%w: gone", ErrPeerTrouble))
	if text = fmt.Sprint(mustGet(t, c.g(0), key).Steps); !strings.Contains(text, "gone") || !strings.Contains(text, "n2") {
		t.Errorf("steps %s do not tell of the trouble and the stand-in", text)
	}
}

func TestTopFindsHotKeys(t *testing.T) {
	getter, _ := constant("v")
	g := localGroup(t, getter, GroupConfig{})
	for i := range 20000 {
		key := fmt.Sprint("cold", i%1000)
		if i%4 == 0 {
			key = "hot"
		}
		if _, err := g.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	top := g.Top(3)
	if len(top) != 3 || top[0].Key != "hot" || top[0].Count < 4000 || top[0].Count > 6000 {
		t.Errorf("Top = %v, want hot with about 5000 first", top)
	}
}

func TestGroupNames(t *testing.T) {
	n, err := New(Config{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	getter, _ := constant("v")
	for _, bad := range []string{"", "a/b", "a b", "a%", "é", ".", "..", "a\n", strings.Repeat("g", 129)} {
		if _, err := n.NewGroup(bad, getter, GroupConfig{}); err == nil {
			t.Errorf("group name %q was accepted", bad)
		}
	}
	if _, err := n.NewGroup("g", getter, GroupConfig{}); err != nil {
		t.Error(err)
	}
	if _, err := n.NewGroup("g", getter, GroupConfig{}); err == nil {
		t.Error("the same group name was accepted twice")
	}
	if _, err := n.NewGroup("h", nil, GroupConfig{}); err == nil {
		t.Error("a node's group without a source was accepted")
	}
}

func TestConfigNamesTheField(t *testing.T) {
	tests := map[string]error{
		"Config.Role":              Config{Role: "boss"}.Validate(),
		"Config.Weight":            Config{Weight: -1}.Validate(),
		"Config.Weight is 101":     Config{Weight: 101}.Validate(),
		"Config.Weight is +Inf":    Config{Weight: math.Inf(1)}.Validate(),
		"Config.Weight is NaN":     Config{Weight: math.NaN()}.Validate(),
		"Config.MaxKeyBytes":       Config{MaxKeyBytes: -1}.Validate(),
		"Config.MaxValueBytes":     Config{MaxValueBytes: -1}.Validate(),
		"Config.MaxConns":          Config{MaxConns: -1}.Validate(),
		"Config.MaxStreamRequests": Config{MaxStreamRequests: -1}.Validate(),
		"Config.ID":                Config{ID: "a b"}.Validate(),
		"Config.Cluster":           Config{Cluster: "a\nb"}.Validate(),
		"Config.Listen":            Config{Listen: "8001"}.Validate(),
		"Config.Addr":              Config{Listen: ":8001", Peers: []Peer{{Addr: "10.0.0.1:8001"}}}.Validate(),
		"GroupConfig.CacheBytes":   GroupConfig{CacheBytes: -1}.Validate(),
		"GroupConfig.HotBytes":     GroupConfig{HotBytes: -1}.Validate(),
		"GroupConfig.TTL ":         GroupConfig{TTL: -1}.Validate(),
		"GroupConfig.TTLJitter":    GroupConfig{TTLJitter: 2}.Validate(),
		"GroupConfig.HotShare":     GroupConfig{HotShare: 2}.Validate(),
		"GroupConfig.LoadTimeout":  GroupConfig{LoadTimeout: -1}.Validate(),
		"GroupConfig.MaxLoads":     GroupConfig{MaxLoads: -1}.Validate(),
		"GroupConfig.MaxQueued":    GroupConfig{MaxQueuedLoads: -1}.Validate(),
		"GroupConfig.MaxAbandoned": GroupConfig{MaxAbandoned: -1}.Validate(),
	}
	for field, err := range tests {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
	if err := (GroupConfig{}).Validate(); err != nil {
		t.Errorf("the zero GroupConfig: %v", err)
	}
}

func TestCodesAreTheirOwnReverse(t *testing.T) {
	for i := range codeTable {
		code := codeTable[i].code
		wantCount(t, "position", int(code), i)
		wantCount(t, "name", ParseCode(code.String()), code)
		if err := code.Err(); err != nil {
			wantCount(t, "code of "+err.Error(), CodeOf(fmt.Errorf("there: %w", err)), code)
			wantCount(t, "code of a remote "+code.String(), CodeOf(&RemoteError{Node: "n", Code: code}), code)
		}
	}
	wantCount(t, "code of nil", CodeOf(nil), CodeOK)
	wantCount(t, "code of any other", CodeOf(errors.New("?")), CodeInternal)
}

func TestByteViewIsImmutable(t *testing.T) {
	v := ViewOf([]byte("hello"))
	v.ByteSlice()[0] = 'j'
	b := v.Append(nil)
	b[0] = 'j'
	s := v.Slice(1, 3)
	_ = append(s.ByteSlice(), 'x')
	if v.String() != "hello" || s.String() != "el" || v.At(1) != 'e' || v.Len() != 5 {
		t.Errorf("view is %q, slice %q", v, s)
	}
	var w bytes.Buffer
	if n, err := v.WriteTo(&w); n != 5 || err != nil || w.String() != "hello" {
		t.Errorf("WriteTo wrote %d %q, %v", n, w.String(), err)
	}
	if !v.Equal(ViewOf([]byte("hello"))) || v.EqualBytes([]byte("hell")) {
		t.Error("Equal is wrong")
	}
	dst := make([]byte, 3)
	if n := v.Copy(dst); n != 3 || string(dst) != "hel" {
		t.Errorf("Copy copied %d %q", n, dst)
	}
}
