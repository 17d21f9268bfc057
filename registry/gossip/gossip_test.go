package gossip

import (
	"context"
	"io"
	"log/slog"
	"net"
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
			a := open(t, Config{Interval: 50 * time.Millisecond})
			b := open(t, Config{Interval: 50 * time.Millisecond, Seeds: []string{a.Addr()}})
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
	if n := len(r.net.slots); n > maxStreams {
		t.Errorf("%d connections are open", n)
	}
	b := open(t, Config{Secrets: fixed(secret), Seeds: []string{r.Addr()}, Interval: 50 * time.Millisecond})
	register(t, r, "a")
	register(t, b, "b")
	sees(t, r, "a", "b")
	sees(t, b, "a", "b")
}
