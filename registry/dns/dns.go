package dns

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"
)

// mostOfCloudMap is how many addresses Cloud Map's DNS answers with at most, whatever
// the number of nodes.
const mostOfCloudMap = 8

// A Registry is a name in DNS. It is safe for concurrent use.
type Registry struct {
	cfg  Config
	poll registry.Poller

	warnEight sync.Once

	mu      sync.Mutex // guards missing
	missing bool       // the name was not there the last time
}

var (
	_ registry.Discoverer = (*Registry)(nil)
	_ registry.Looker     = (*Registry)(nil)
)

// Watch implements [registry.Discoverer]. It asks again when Config.Interval or the TTL
// of a record is over.
func (r *Registry) Watch(ctx context.Context) iter.Seq2[[]registry.Member, error] {
	return r.poll.Watch(ctx)
}

// Lookup implements [registry.Looker].
func (r *Registry) Lookup(ctx context.Context) ([]registry.Member, error) {
	members, _, err := r.lookup(ctx)
	return members, err
}

// lookup asks once. A name that is not there is an empty view: a service without nodes
// looks so.
func (r *Registry) lookup(ctx context.Context) ([]registry.Member, time.Duration, error) {
	a, err := r.newAsker()
	if err != nil {
		return nil, 0, err
	}
	var members []registry.Member
	if r.cfg.Port == 0 {
		members, err = r.services(ctx, a)
	} else {
		var hosts []string
		hosts, err = a.hosts(ctx, r.cfg.Name)
		for _, host := range hosts {
			members = append(members, member(host, r.cfg.Port))
		}
	}
	if err != nil {
		return nil, 0, err
	}
	r.warn(len(members), a.noName)
	return members, a.ttl(), nil
}

// services returns the members that SRV records name.
func (r *Registry) services(ctx context.Context, a *asker) ([]registry.Member, error) {
	answer, err := a.ask(ctx, r.cfg.Name, dns.TypeSRV)
	if err != nil {
		return nil, err
	}
	extra := map[string][]string{} // addresses that came along, by name
	for _, rr := range answer.Extra {
		if host := hostOf(rr, dns.TypeA); host != "" {
			name := dns.CanonicalName(rr.Header().Name)
			extra[name] = append(extra[name], host)
			a.note(rr)
		}
	}
	var members []registry.Member
	for _, rr := range answer.Answer {
		srv, ok := rr.(*dns.SRV)
		if !ok || srv.Target == "." { // "." says that there is no such service
			continue
		}
		if r.cfg.Names {
			members = append(members, member(strings.TrimSuffix(srv.Target, "."), int(srv.Port)))
			continue
		}
		hosts := extra[dns.CanonicalName(srv.Target)]
		if len(hosts) == 0 {
			if hosts, err = a.hosts(ctx, srv.Target); err != nil {
				return nil, err
			}
		}
		for _, host := range hosts {
			members = append(members, member(host, int(srv.Port)))
		}
	}
	return members, nil
}

func member(host string, port int) registry.Member {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	return registry.Member{Peer: geecache.Peer{ID: addr, Addr: addr}}
}

// warn tells what people should know of an answer.
func (r *Registry) warn(members int, noName bool) {
	if members == mostOfCloudMap {
		r.warnEight.Do(func() {
			r.cfg.Log.Warn("DNS names 8 members: if it is that of AWS Cloud Map there may be more, for it never names more than 8; use the cloudmap registry there",
				"name", r.cfg.Name)
		})
	}
	r.mu.Lock()
	before := r.missing
	r.missing = noName
	r.mu.Unlock()
	if noName && !before {
		r.cfg.Log.Warn("DNS knows no such name: is it spelt right, and does any node run?", "name", r.cfg.Name)
	}
}

// An asker asks the questions of one lookup.
type asker struct {
	servers []string // "host:port"
	names   func(name string) []string
	minTTL  uint32 // of all records that were used
	noName  bool   // the last name that was asked for does not exist
}

func (r *Registry) newAsker() (*asker, error) {
	a := &asker{names: func(name string) []string { return []string{dns.Fqdn(name)} }, minTTL: math.MaxUint32}
	if len(r.cfg.Servers) > 0 {
		for _, s := range r.cfg.Servers {
			a.servers = append(a.servers, serverAddr(s, "53"))
		}
		return a, nil
	}
	conf, err := dns.ClientConfigFromFile(r.cfg.ResolvConf)
	if err != nil {
		return nil, fmt.Errorf("dns: which servers to ask: %w", err)
	}
	if len(conf.Servers) == 0 {
		return nil, fmt.Errorf("dns: %s names no server: add one, or give Servers", r.cfg.ResolvConf)
	}
	for _, s := range conf.Servers {
		a.servers = append(a.servers, serverAddr(s, cmp.Or(conf.Port, "53")))
	}
	a.names = conf.NameList
	return a, nil
}

// note takes a record's TTL into account.
func (a *asker) note(rr dns.RR) { a.minTTL = min(a.minTTL, rr.Header().Ttl) }

func (a *asker) ttl() time.Duration {
	if a.minTTL == math.MaxUint32 {
		return 0
	}
	return time.Duration(a.minTTL) * time.Second
}

// hosts returns the addresses of a name: IPv4 ones, or else IPv6 ones.
func (a *asker) hosts(ctx context.Context, name string) ([]string, error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := a.ask(ctx, name, kind)
		if err != nil {
			return nil, err
		}
		var hosts []string
		for _, rr := range answer.Answer {
			if host := hostOf(rr, kind); host != "" {
				hosts = append(hosts, host)
			}
		}
		if len(hosts) > 0 || a.noName {
			return hosts, nil
		}
	}
	return nil, nil
}

func hostOf(rr dns.RR, kind uint16) string {
	switch rr := rr.(type) {
	case *dns.A:
		if kind == dns.TypeA {
			return rr.A.String()
		}
	case *dns.AAAA:
		if kind == dns.TypeAAAA {
			return rr.AAAA.String()
		}
	}
	return ""
}

// ask asks for a name with each search domain until one has an answer.
func (a *asker) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	var last *dns.Msg
	a.noName = true
	for _, full := range a.names(name) {
		answer, err := a.askServers(ctx, full, kind)
		if err != nil {
			return nil, fmt.Errorf("dns: %s %s: %w", full, dns.TypeToString[kind], err)
		}
		a.noName = a.noName && answer.Rcode == dns.RcodeNameError
		if last = answer; len(answer.Answer) > 0 {
			break
		}
	}
	for _, rr := range last.Answer {
		a.note(rr)
	}
	return last, nil
}
