package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
	"github.com/geecache/geecache/registry/registrytest"
)

// harness is the one of a server whose records enter and remove make and unmake.
func harness(t *testing.T, cfg Config, records func(m registry.Member) []string) registrytest.Harness {
	n := startNamed(t)
	proxy := registrytest.NewProxy(t, n.Addr)
	cfg.Servers = []string{proxy.Addr}
	cfg.Interval, cfg.Backoff, cfg.Timeout = 50*time.Millisecond, 500*time.Millisecond, 6*time.Second
	cfg.Log = slog.New(slog.DiscardHandler)
	return registrytest.Harness{
		Open: func(t *testing.T) registrytest.Handle {
			r, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return registrytest.Handle{Discoverer: r}
		},
		Enter:  func(t *testing.T, m registry.Member) { n.update(t, records(m), nil) },
		Remove: func(t *testing.T, m registry.Member) { n.update(t, nil, records(m)) },
		Stop:   func(t *testing.T) { n.Stop(t) },
		Start:  func(t *testing.T) { n.Start(t) },
		Delay:  func(_ *testing.T, d time.Duration) { proxy.SetDelay(d) },
		Tells: func(m registry.Member) registry.Member {
			return registry.Member{Peer: geecache.Peer{Addr: m.Addr}}
		},
	}
}

func TestAddressesKeepTheContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		return harness(t, Config{Name: "cache.test", Port: 8000}, func(m registry.Member) []string {
			host, _ := hostPort(t, m.Addr)
			return []string{a("cache", host)}
		})
	})
}

func TestServicesKeepTheContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		h := harness(t, Config{Name: "_peers._tcp.test"}, func(m registry.Member) []string {
			host, port := hostPort(t, m.Addr)
			name := "node-" + strings.ReplaceAll(host, ".", "-")
			return []string{srv("_peers._tcp", name+".test.", port), a(name, host)}
		})
		h.Member = func(i int) registry.Member {
			return registry.Member{Peer: geecache.Peer{ID: fmt.Sprint(i), Addr: fmt.Sprintf("10.1.2.%d:%d", i, 8000+i), Weight: 1}}
		}
		h.Stop, h.Delay = nil, nil // as with addresses
		return h
	})
}

func TestServicesByNameKeepTheContract(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		h := harness(t, Config{Name: "_named._tcp.test.", Names: true}, func(m registry.Member) []string {
			host, port := hostPort(t, m.Addr)
			return []string{srv("_named._tcp", host+".", port)}
		})
		h.Member = func(i int) registry.Member {
			return registry.Member{Peer: geecache.Peer{ID: fmt.Sprint(i), Addr: fmt.Sprintf("pod-%d.cache.example:%d", i, 8000+i), Weight: 1}}
		}
		h.Stop, h.Delay = nil, nil // as with addresses
		return h
	})
}

// first returns what a Config's first lookup says.
func first(t *testing.T, cfg Config) (addrs []string, err error) {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for members, err := range r.Watch(t.Context()) {
		for _, m := range members {
			addrs = append(addrs, m.Addr)
		}
		slices.Sort(addrs)
		return addrs, err
	}
	t.Fatal("the watch has ended")
	return nil, nil
}

func wantAddrs(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	if got, err := first(t, cfg); err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: %q, %v; want %q", cfg.Name, got, err, want)
	}
}

func TestRecordsOfAllKinds(t *testing.T) {
	n := startNamed(t)
	n.update(t, []string{
		a("four", "10.0.0.1"), a("both", "10.0.0.2"), "both.test. 1 IN AAAA fd00::2", "six.test. 1 IN AAAA fd00::6",
		"alias.test. 1 IN CNAME four.test.", "other.test. 1 IN TXT \"no address\"",
		srv("_six._tcp", "six.test.", "81"), srv("_none._tcp", ".", "0"), srv("_alias._tcp", "four.test.", "82"), srv("_alias._tcp", "both.test.", "83"),
	}, nil)
	quiet := slog.New(slog.DiscardHandler)
	config := func(name string, port int) Config {
		return Config{Name: name, Port: port, Servers: []string{n.Addr}, Log: quiet}
	}
	wantAddrs(t, config("four.test", 80), "10.0.0.1:80")
	wantAddrs(t, config("FOUR.Test.", 80), "10.0.0.1:80")
	wantAddrs(t, config("both.test", 80), "10.0.0.2:80") // one node
	wantAddrs(t, config("six.test", 80), "[fd00::6]:80")
	wantAddrs(t, config("alias.test", 80), "10.0.0.1:80")
	wantAddrs(t, config("other.test", 80))
	wantAddrs(t, config("missing.test", 80))
	wantAddrs(t, config("_six._tcp.test", 0), "[fd00::6]:81")
	wantAddrs(t, config("_none._tcp.test", 0))
	wantAddrs(t, config("_alias._tcp.test", 0), "10.0.0.1:82", "10.0.0.2:83")

	if _, err := first(t, config("example.org", 80)); err == nil || !strings.Contains(err.Error(), "REFUSED") || !strings.Contains(err.Error(), n.Addr) {
		t.Errorf("a server that refuses: %v", err)
	}
}

// What does not fit into a datagram comes over TCP, whole.
func TestManyRecordsComeOverTCP(t *testing.T) {
	n := startNamed(t)
	var want, lines []string
	for i := range 95 {
		host := fmt.Sprintf("10.3.0.%d", i)
		want, lines = append(want, host+":80"), append(lines, a("many", host))
	}
	n.update(t, lines, nil)
	slices.Sort(want)
	wantAddrs(t, Config{Name: "many.test", Port: 80, Servers: []string{n.Addr}}, want...)
}

func TestServersOfResolvConf(t *testing.T) {
	n := startNamed(t)
	host, port := hostPort(t, n.Addr)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	cfg := Config{Name: "long", Port: 80, ResolvConf: path, Timeout: 4 * time.Second}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first(t, cfg); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("without the file: %v", err)
	}
	write("search test\n")
	if _, err := first(t, cfg); err == nil || !strings.Contains(err.Error(), "names no server") {
		t.Errorf("without a server: %v", err)
	}

	// It has no ports; so the asker's port is set here.
	write("nameserver " + host + "\nsearch nowhere.test test\n")
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asks, err := r.newAsker()
	if err != nil || !slices.Equal(asks.servers, []string{host + ":53"}) {
		t.Fatalf("servers %q, %v", asks.servers, err)
	}
	asks.servers = []string{net.JoinHostPort(host, port)}
	hosts, err := asks.hosts(t.Context(), "long")
	if err != nil || !slices.Equal(hosts, []string{"10.9.9.9"}) {
		t.Errorf("with search domains: %q, %v", hosts, err)
	}
}

// The first server does not answer, the second one refuses, the third one is right.
func TestServersAreAskedInTurn(t *testing.T) {
	n := startNamed(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	wantAddrs(t, Config{
		Name: "long.test", Port: 80, Timeout: 3 * time.Second,
		Servers: []string{silent.LocalAddr().String(), registrytest.FreeAddr(t), n.Addr},
	}, "10.9.9.9:80")
}

func TestAQuestionThatGotLostIsAskedAgain(t *testing.T) {
	var questions atomic.Int32
	addr := answering(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if questions.Add(1) == 1 {
			return
		}
		stray := new(dns.Msg)
		stray.SetReply(q)
		stray.Id++
		_ = w.WriteMsg(stray)
		_ = w.WriteMsg(reply(t, q, 30, "10.0.0.1"))
	})
	wantAddrs(t, Config{Name: "x.test", Port: 80, Servers: []string{addr}}, "10.0.0.1:80")
}

func TestServerWithoutEDNS(t *testing.T) {
	addr := answering(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			m := new(dns.Msg)
			m.SetRcode(q, dns.RcodeFormatError)
			_ = w.WriteMsg(m)
			return
		}
		_ = w.WriteMsg(reply(t, q, 30, "10.0.0.1"))
	})
	wantAddrs(t, Config{Name: "x.test", Port: 80, Servers: []string{addr}}, "10.0.0.1:80")
}

// answering returns the address of a server that answers as told.
func answering(t *testing.T, handle dns.HandlerFunc) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s := &dns.Server{PacketConn: l, Handler: handle, NotifyStartedFunc: func() { close(ready) }}
	go func() { _ = s.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() { _ = s.Shutdown() })
	return l.LocalAddr().String()
}

func reply(t *testing.T, q *dns.Msg, ttl int, hosts ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	if q.Question[0].Qtype == dns.TypeA {
		for _, host := range hosts {
			m.Answer = append(m.Answer, records(t, []string{fmt.Sprintf("%s %d IN A %s", q.Question[0].Name, ttl, host)})...)
		}
	}
	return m
}

// The shortest TTL says when to ask again.
func TestLookupTellsTheTTL(t *testing.T) {
	n := startNamed(t)
	n.update(t, []string{
		"ttl.test. 300 IN A 10.0.0.1", "short.test. 60 IN CNAME ttl.test.",
		"_ttl._tcp.test. 200 IN SRV 0 0 80 ttl.test.", "_ttl._tcp.test. 200 IN SRV 0 0 80 long.test.",
	}, nil)
	for name, want := range map[string]time.Duration{"ttl.test": 300 * time.Second, "short.test": 60 * time.Second, "missing.test": 0, "_ttl._tcp.test": time.Second} {
		cfg := Config{Name: name, Port: 80, Servers: []string{n.Addr}, Log: slog.New(slog.DiscardHandler)}
		if strings.HasPrefix(name, "_") {
			cfg.Port = 0
		}
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, ttl, err := r.lookup(t.Context()); err != nil || ttl != want {
			t.Errorf("%s: %v, %v; want %v", name, ttl, err, want)
		}
	}
}

func TestEightAnswersAndAMissingNameAreWarnedOfOnce(t *testing.T) {
	var nodes atomic.Int32
	addr := answering(t, func(w dns.ResponseWriter, q *dns.Msg) {
		var hosts []string
		for i := range nodes.Load() {
			hosts = append(hosts, fmt.Sprintf("10.0.0.%d", i))
		}
		m := reply(t, q, 30, hosts...)
		if len(hosts) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})
	var logged bytes.Buffer
	r, err := New(Config{Name: "x.test", Port: 80, Servers: []string{addr}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ nodes, eight, missing int }{{7, 0, 0}, {8, 1, 0}, {9, 1, 0}, {8, 1, 0}, {0, 1, 1}, {0, 1, 1}, {8, 1, 1}, {0, 1, 2}} {
		nodes.Store(int32(step.nodes))
		members, _, err := r.lookup(t.Context())
		if err != nil || len(members) != step.nodes {
			t.Errorf("%+v: %d members, %v", step, len(members), err)
		}
		eight, missing := strings.Count(logged.String(), "8 members"), strings.Count(logged.String(), "no such name")
		if eight != step.eight || missing != step.missing {
			t.Errorf("%+v: %d and %d warnings\n%s", step, eight, missing, logged.String())
		}
	}
}

func TestExchangeEndsWithItsContext(t *testing.T) {
	addr := answering(t, func(dns.ResponseWriter, *dns.Msg) {})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	question := new(dns.Msg)
	question.SetQuestion("x.test.", dns.TypeA)
	if _, err := exchange(ctx, "udp", addr, question); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for want, cfg := range map[string]Config{
		"":                        {Name: "cache.test", Port: 80, Servers: []string{"10.0.0.1", "[::1]", "::1", "ns:53"}},
		"Name is empty":           {},
		"without a scheme":        {Name: "http://cache.test", Port: 80},
		`Name is "cache.test:80"`: {Name: "cache.test:80"},
		"Port is 70000":           {Name: "cache.test", Port: 70000},
		"have ports":              {Name: "_peers._tcp.test", Port: 80},
		"Names":                   {Name: "cache.test", Port: 80, Names: true},
		"Interval":                {Name: "cache.test", Interval: -1},
		"Timeout":                 {Name: "cache.test", Timeout: -1},
		"Backoff":                 {Name: "cache.test", Backoff: -1},
		"Servers":                 {Name: "cache.test", Servers: []string{""}},
	} {
		_, err := New(cfg)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}
