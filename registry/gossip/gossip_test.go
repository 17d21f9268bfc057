package gossip

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"
)

const secret = "0123456789abcdef0123456789abcdef"

func fixed(secrets ...string) func() []string { return func() []string { return secrets } }

// open opens a registry that is closed with the test.
func open(t *testing.T, cfg Config) *Registry {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		seed := open(t, Config{Secrets: fixed(secret)})
		return registrytest.Harness{
			Open: func(t *testing.T) registrytest.Handle {
				r := open(t, Config{Secrets: fixed(secret), Seeds: []string{seed.Addr()}, Interval: 200 * time.Millisecond})
				return registrytest.Handle{
					Discoverer: r, Registrar: r, Close: r.Close,
					Kill: func() {
						if err := r.Close(); err != nil {
							t.Error(err)
						}
					},
				}
			},
			Vanish: 10 * time.Second,
			Holds:  func(m registry.Member) bool { _, err := encode("geecache", m, seed.name); return err == nil },
			Many:   30,
		}
	})
}

func member(id string) registry.Member {
	return registry.Member{Peer: geecache.Peer{ID: id, Addr: id + ":8000"}}
}

func register(t *testing.T, r *Registry, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Register(ctx, member(id)); err != nil {
		t.Fatal(err)
	}
}

// sees waits until r's view has these members alone.
func sees(t *testing.T, r *Registry, ids ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var last []string
	for members, err := range r.Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		last = nil
		for _, m := range members {
			last = append(last, m.ID)
		}
		if slices.Equal(last, ids) {
			return
		}
	}
	t.Fatalf("the view is %v, want %v", last, ids)
}

// Without the secret, or with another cluster's ID, nobody hears and nobody is heard.
func TestStrangers(t *testing.T) {
	a := open(t, Config{Secrets: fixed(secret), Cluster: "shop"})
	register(t, a, "a")
	for name, tt := range map[string]struct {
		cfg  Config
		want geecache.Refusal
	}{
		"no secret":       {Config{Cluster: "shop"}, geecache.RefusedSecret},
		"another secret":  {Config{Cluster: "shop", Secrets: fixed(strings.ToUpper(secret))}, geecache.RefusedSecret},
		"another cluster": {Config{Cluster: "bank", Secrets: fixed(secret)}, geecache.RefusedCluster},
		"both":            {Config{Cluster: "bank"}, geecache.RefusedSecret},
	} {
		t.Run(name, func(t *testing.T) {
			tt.cfg.Seeds, tt.cfg.Interval = []string{a.Addr()}, 50*time.Millisecond
			b := open(t, tt.cfg)
			register(t, b, "b")
			tries := 0
			for members, err := range b.Watch(t.Context()) {
				if members != nil || geecache.RefusalOf(err) != tt.want {
					t.Errorf("%v, %v; want a refusal for the %s", members, err, tt.want)
				}
				if tries++; tries == 3 {
					break
				}
			}
			sees(t, a, "a")
		})
	}
}

// A secret is exchanged in three steps, and nobody is ever alone for it: all
// understand the new one, all use it, nobody understands the old one.
func TestSecretIsExchanged(t *testing.T) {
	const other = "fedcba9876543210fedcba9876543210"
	var now atomic.Pointer[[]string]
	set := func(secrets ...string) { now.Store(&secrets) }
	set(secret)
	secrets := func() []string { return *now.Load() }
	a := open(t, Config{Secrets: secrets, Interval: 20 * time.Millisecond})
	b := open(t, Config{Secrets: secrets, Interval: 20 * time.Millisecond, Seeds: []string{a.Addr()}})
	register(t, a, "a")
	register(t, b, "b")
	sees(t, a, "a", "b")
	for _, step := range [][]string{{secret, other}, {other, secret}, {other}} {
		set(step...)
		for _, r := range []*Registry{a, b} {
			for deadline := time.Now().Add(30 * time.Second); len(r.keyring.GetKeys()) != len(step) || !slices.Equal(r.keyring.GetPrimaryKey(), first(t, step)); {
				if time.Now().After(deadline) {
					t.Fatalf("the keys are not exchanged to %d", len(step))
				}
				for range r.Watch(t.Context()) {
					break
				}
			}
		}
		sees(t, a, "a", "b")
	}
	c := open(t, Config{Secrets: fixed(other), Seeds: []string{a.Addr()}})
	register(t, c, "c")
	sees(t, a, "a", "b", "c")
	sees(t, b, "a", "b", "c")
	old := open(t, Config{Secrets: fixed(secret), Seeds: []string{a.Addr()}})
	register(t, old, "old")
	for _, err := range old.Watch(t.Context()) {
		if geecache.RefusalOf(err) != geecache.RefusedSecret {
			t.Errorf("the old secret is not refused: %v", err)
		}
		break
	}
	sees(t, a, "a", "b", "c")
}

// One that starts with a new secret first finds those that know only the old one yet.
func TestJoinsWithASecretThatOthersHave(t *testing.T) {
	const other = "fedcba9876543210fedcba9876543210"
	a := open(t, Config{Secrets: fixed(secret), Interval: time.Hour})
	register(t, a, "a")
	b := open(t, Config{Secrets: fixed(other, secret), Interval: time.Hour, Seeds: []string{a.Addr()}})
	register(t, b, "b")
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
}

func first(t *testing.T, secrets []string) []byte {
	t.Helper()
	all, err := keys(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// Two who lost each other find each other again, whoever of them has the other one
// as a seed.
func TestLostAreFoundAgain(t *testing.T) {
	for name, seeded := range map[string]bool{"by the seeds": true, "where it was last": false} {
		t.Run(name, func(t *testing.T) {
			// Ports that nothing else takes before the one that dies is back.
			a := open(t, Config{Listen: registrytest.FreeAddr(t), Interval: 50 * time.Millisecond})
			b := open(t, Config{Listen: registrytest.FreeAddr(t), Interval: 50 * time.Millisecond, Seeds: []string{a.Addr()}})
			register(t, a, "a")
			register(t, b, "b")
			sees(t, a, "a", "b")
			sees(t, b, "a", "b")
			dies, stays, id := b, a, "b"
			if seeded {
				dies, stays, id = a, b, "a"
			}
			addr := dies.Addr()
			if err := dies.Close(); err != nil {
				t.Fatal(err)
			}
			sees(t, stays, map[string]string{"a": "b", "b": "a"}[id])
			back := open(t, Config{Listen: addr, Interval: 50 * time.Millisecond}) // it looks for nobody
			register(t, back, id)
			sees(t, back, "a", "b")
			sees(t, stays, "a", "b")
		})
	}
}

func TestValidate(t *testing.T) {
	for want, cfg := range map[string]Config{
		"":                        {Listen: "127.0.0.1:0", Seeds: []string{"127.0.0.1:7946", "cache.example:7946"}},
		"Interval":                {Interval: -1},
		"Cluster: ":               {Cluster: strings.Repeat("x", 600)},
		`Listen is "x"`:           {Listen: "x"},
		`Listen is "127.0.0.1:x"`: {Listen: "127.0.0.1:x"},
		"whoever reaches it":      {Listen: ":7946"},
		"Advertise is \"a:1\"":    {Advertise: "a:1"},
		"port that others reach":  {Advertise: "10.0.0.1:0"},
		"Seeds[1]":                {Seeds: []string{"a:1", "b"}},
		"port that it gossips at": {Seeds: []string{"a:0"}},
		"Secrets gives none":      {Secrets: fixed()},
		"secret 2 has 5 bytes":    {Secrets: fixed(secret, "short")},
	} {
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	for _, cfg := range []Config{{Listen: ":7946", Insecure: true}, {Listen: ":7946", Secrets: fixed(secret)}} {
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestPortInUse(t *testing.T) {
	a := open(t, Config{})
	if r, err := New(Config{Listen: a.Addr()}); err == nil {
		r.Close()
		t.Fatal("two listen on one port")
	} else if !strings.Contains(err.Error(), a.Addr()) || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("%v", err)
	}
}

func TestRegisterSaysWhatDoesNotFit(t *testing.T) {
	r := open(t, Config{})
	long := member("a")
	long.Metadata = map[string]string{"notes": strings.Repeat("x", 600)}
	for want, m := range map[string]registry.Member{
		"the gossip carries 512": long,
		"is not UTF-8":           member("\xff"),
	} {
		if err := r.Register(t.Context(), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	register(t, r, "a")
	if err := r.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(t.Context(), member("a")); err == nil {
		t.Error("registered after Leave")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []registry.Member{member("a"), {Peer: geecache.Peer{ID: "b", Role: geecache.RoleClient, Zone: "z", Weight: 2.5}}} {
		meta, err := encode("c", m, "0")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(meta)
	}
	f.Fuzz(func(t *testing.T, meta []byte) {
		s, err := decode(meta)
		if err != nil {
			return
		}
		m := s.member()
		if s.ID == "" {
			return // it only listens
		}
		if m.Addr == "" || m.Role == "" || m.Weight == 0 {
			t.Errorf("%q: %+v", meta, m)
		}
		if again, err := encode(s.Cluster, m, s.Begun); err == nil {
			if s2, err := decode(again); err != nil || s2.member().Peer != m.Peer {
				t.Errorf("%q: %+v, then %+v (%v)", meta, m, s2.member(), err)
			}
		}
	})
}

// Who starts before its seed does finds it as soon as it is there, and not only with
// the next interval.
func TestSeedStartsLater(t *testing.T) {
	addr := registrytest.FreeAddr(t)
	b := open(t, Config{Seeds: []string{addr}, Interval: time.Hour})
	register(t, b, "b")
	sees(t, b, "b")
	a := open(t, Config{Listen: addr, Interval: time.Hour})
	register(t, a, "a")
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
}

// A seed that hangs says nothing of the secret: who looks for it is alone, and no
// stranger.
func TestSeedThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and that is all
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := open(t, Config{Secrets: fixed(secret), Seeds: []string{l.Addr().String()}, Interval: 50 * time.Millisecond})
	register(t, r, "a")
	sees(t, r, "a")
}

// What fails because the gossip is being ended is nothing to warn of.
func TestTheEndIsNotWarnedOf(t *testing.T) {
	var log bytes.Buffer
	var end atomic.Bool
	w := logWriter{slog.New(slog.NewTextHandler(&log, nil)), &end, new(atomic.Int64)}
	const line = "[ERR] memberlist: Failed to send gossip to 10.0.0.1:7946: use of closed network connection"
	for _, want := range []int{1, 1} {
		if _, err := w.Write([]byte(line)); err != nil || strings.Count(log.String(), "level=WARN") != want {
			t.Errorf("%v, the log has:\n%s", err, &log)
		}
		w.last.Store(0)
		end.Store(true)
	}
}

// A seed that hangs up at once, as one does that has too much to do, says nothing of the
// secret either.
func TestSeedThatHangsUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	r := open(t, Config{Secrets: fixed(secret), Seeds: []string{l.Addr().String()}, Interval: 50 * time.Millisecond})
	register(t, r, "a")
	views := 0
	for members, err := range r.Watch(t.Context()) {
		if err != nil || len(members) != 1 {
			t.Errorf("%v, %v; want itself alone", members, err)
		}
		if views++; views == 3 {
			break
		}
	}
}

// Strangers who hold as many connections as there may be keep no member out: it joins at
// the first attempt.
func TestStrangersKeepNobodyOut(t *testing.T) {
	a := open(t, Config{Secrets: fixed(secret)})
	register(t, a, "a")
	for range 2 * maxStreams {
		c, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	b := open(t, Config{Secrets: fixed(secret), Seeds: []string{a.Addr()}, Interval: time.Hour})
	register(t, b, "b")
	for members, err := range b.Watch(t.Context()) {
		if err != nil || len(members) != 2 {
			t.Errorf("the first view is %v, %v", members, err)
		}
		break
	}
	sees(t, a, "a", "b")
}

// Too many connections are taken from whoever has most of them, and there from who says
// nothing.
func TestTheGreediestLosesConnections(t *testing.T) {
	tr := &transport{}
	enter := func(from string) *stream {
		ours, theirs := net.Pipe()
		go func() { _, _ = theirs.Write([]byte("x")) }()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		return tr.enter(addressed{ours, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))})
	}
	few := []*stream{enter("[2001:db8::]:1"), enter("10.0.0.1:1"), enter("10.0.0.2:1"), enter("10.0.0.2:2"), enter("[fd00::1]:1")}
	if n, err := few[0].Read(make([]byte, 1)); n != 1 || err != nil { // it is not evicted
		t.Fatal(n, err)
	}
	for i := range 3 * maxStreams { // a machine may have all addresses of a network
		enter(fmt.Sprintf("[2001:db8::%x]:%d", i, i+1))
	}
	if len(tr.open) != maxStreams {
		t.Errorf("%d connections are open", len(tr.open))
	}
	for _, s := range few {
		if !slices.Contains(tr.open, s) {
			t.Errorf("the connection from %v was closed", s.from)
		}
	}
	for _, s := range slices.Clone(tr.open) {
		s.Close()
	}
	if len(tr.open) != 0 {
		t.Errorf("%d connections are open after all were closed", len(tr.open))
	}
}

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

// What strangers send is bounded, whatever they claim will come.
func TestStrangersFillNothing(t *testing.T) {
	r := open(t, Config{Secrets: fixed(secret)})
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 2 * maxStreams {
		c, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	junk := make([]byte, 64<<10)
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, err := c.Write([]byte{10, 1, 0x30, 0, 0}) // an encrypted state of 19 MiB
		sent := 0
		for err == nil && sent < 19<<20 {
			var n int
			n, err = c.Write(junk)
			sent += n
		}
		if err == nil {
			t.Fatalf("a stranger has sent %d bytes", sent)
		}
	}
	r.net.mu.Lock()
	n := len(r.net.open)
	r.net.mu.Unlock()
	if n > maxStreams {
		t.Errorf("%d connections are open", n)
	}
	b := open(t, Config{Secrets: fixed(secret), Seeds: []string{r.Addr()}, Interval: 50 * time.Millisecond})
	register(t, r, "a")
	register(t, b, "b")
	sees(t, r, "a", "b")
	sees(t, b, "a", "b")
}
