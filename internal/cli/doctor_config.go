package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/internal/memory"
	"github.com/geecache/geecache/internal/node"
	"github.com/geecache/geecache/internal/registries"
	"github.com/geecache/geecache/internal/trust"
	"github.com/geecache/geecache/registry"
)

// trusted is what the doctor proves itself with to nodes.
type trusted struct {
	secrets func() []string // nil: the cluster has none
	tls     *trust.TLS      // nil: no TLS

	adminToken string // of the operators' endpoints; empty: none
}

func (d *doctor) openTrust() (*trusted, error) {
	secrets, err := d.clientSecrets()
	if err != nil {
		return nil, err
	}
	t := &trusted{secrets: secrets}
	for name, file := range map[string]string{"--api-token-file": d.apiTokenFile, "--admin-token-file": d.adminTokenFile} {
		if file == "" {
			continue
		}
		tokens, err := trust.OpenSecrets(name, file, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		if name == "--admin-token-file" {
			t.adminToken = tokens()[0]
		}
	}
	if d.tls.Given() {
		if t.tls, err = trust.OpenClientTLS(d.tls, slog.New(slog.DiscardHandler)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// examineCredentials looks at the files of the secret and of the certificate. It
// reports whether nodes can be asked with them.
func (d *doctor) examineCredentials(cfg node.Config) bool {
	t, err := d.openTrust()
	if err != nil {
		d.fault("credentials", cfg.ID, err.Error(), "put the file right: the node would not start with it")
		return false
	}
	d.trusted = t
	if cfg.TLS.Cert == "" {
		return true
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil { // it was read a moment ago
		d.unknown("certificate", cfg.ID, err.Error(), "")
		return false
	}
	opts := x509.VerifyOptions{Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	host, _, _ := net.SplitHostPort(cfg.Advertise)
	opts.DNSName = host
	if cfg.TLS.CA != "" {
		pem, err := os.ReadFile(cfg.TLS.CA)
		if err != nil {
			d.unknown("certificate", cfg.ID, err.Error(), "")
			return false
		}
		opts.Roots = x509.NewCertPool()
		opts.Roots.AppendCertsFromPEM(pem)
	}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			opts.Intermediates.AddCert(c)
		}
	}
	if _, err := pair.Leaf.Verify(opts); err != nil {
		text, remedy := certificateFault(err)
		d.fault("certificate", cfg.ID, cfg.TLS.Cert+": "+text, remedy)
		return false
	}
	d.ok("certificate", cfg.ID, "for %s, until %s", host, pair.Leaf.NotAfter.Format(time.DateOnly))
	return true
}

// certificateFault says what is wrong with a certificate.
func certificateFault(err error) (text, remedy string) {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate is valid from %s to %s, and it is %s here", invalid.Cert.NotBefore.Format(time.RFC3339),
			invalid.Cert.NotAfter.Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339)), "make another one (geecache cert node), or set the clock"
	case errors.As(err, &host):
		return "the certificate is for other names: " + host.Error(), "make one for the names that others reach the node at (geecache cert node --host)"
	case errors.As(err, &authority):
		return "the certificate is signed by another authority than --tls-ca", "sign all nodes' certificates with one authority, or give that one's"
	}
	return "the certificate is not accepted: " + err.Error(), "make another one (geecache cert node)"
}

// examineMemory looks whether the budgets fit into the control group, and into
// --memory-limit.
func (d *doctor) examineMemory(cfg node.Config) {
	group := memory.Limit()
	limit, whose, remedy := group, "the control group has", "leave --memory-limit and --cache-bytes out, so that they follow the control group, or raise its limit"
	if cfg.MemoryLimit > 0 && (group == 0 || cfg.MemoryLimit < group) {
		limit, whose, remedy = cfg.MemoryLimit, "--memory-limit is", "leave --cache-bytes out, so that the budgets follow the limit, or raise --memory-limit"
	}
	budgets := cfg.Group.CacheBytes + cfg.Group.HotBytes
	if cfg.Group.HotBytes == 0 {
		budgets += cfg.Group.CacheBytes / 8
	}
	budgets *= int64(max(len(cfg.Groups), 1))
	switch {
	case limit == 0:
		d.ok("memory", cfg.ID, "no control group bounds it")
	case cfg.MemoryLimit > limit:
		d.fault("memory", cfg.ID, fmt.Sprintf("--memory-limit is %s, and the control group has %s", bytesText(float64(cfg.MemoryLimit)), bytesText(float64(limit))), remedy)
	case budgets > limit:
		d.fault("memory", cfg.ID, fmt.Sprintf("the caches may take %s, and %s %s", bytesText(float64(budgets)), whose, bytesText(float64(limit))), remedy)
	default:
		d.ok("memory", cfg.ID, "%s %s, the budgets fit", whose, bytesText(float64(limit)))
	}
}

// examineSource looks whether the source answers.
func (d *doctor) examineSource(ctx context.Context, cfg node.Config) {
	if cfg.Role != geecache.RoleNode {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	name := node.RedactURL(cfg.Source)
	s, err := node.OpenSource(ctx, cfg.Source, cfg.Query)
	if err == nil {
		defer func() { _ = s.Close() }()
		if strings.HasPrefix(strings.ToLower(cfg.Source), "http") { // opening it asks nobody
			if _, err = s.Get(ctx, "geecache-doctor"); errors.Is(err, geecache.ErrNotFound) {
				err = nil
			}
		}
	}
	if err != nil {
		d.fault("source", name, err.Error(), "start it, or correct --source")
		return
	}
	d.ok("source", name, "it can be reached")
}

// examinePort reports whether the node runs, and finds a port that it could not have.
func (d *doctor) examinePort(ctx context.Context, cfg *node.Config) (running bool) {
	scheme := "http://"
	if d.tls.Given() {
		scheme = "https://"
	}
	c, _ := localClient(d.tls.Given())
	addr := cfg.Listen
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
	}
	if req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+addr+"/healthz", nil); err == nil {
		if resp, err := c.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				d.ok("port", cfg.Listen, "the node runs")
				return true
			}
		}
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		d.fault("port", cfg.Listen, err.Error()+", and what has it is no node that is well", "stop what listens there, or choose another --listen")
		return false
	}
	_ = l.Close()
	d.ok("port", cfg.Listen, "the node does not run, and its port is free")
	return false
}

// examineRegistry returns the nodes that the configuration names, or its registry.
func (d *doctor) examineRegistry(ctx context.Context, cfg *node.Config, running bool) (targets []target) {
	if cfg.Registry == "" {
		for _, p := range cfg.Peers {
			targets = append(targets, target{id: p.ID, addr: p.Addr})
		}
		d.wanted = newWantedRing(cfg)
		return targets
	}
	shown, advertise := registries.Redact(cfg.Registry), cfg.Advertise
	members, err := d.askRegistry(ctx, cfg, running)
	d.self = cfg.ID
	reason := geecache.RefusalOf(err)
	switch {
	case errors.Is(err, errFirst):
		d.ok("registry", shown, "%v", err)
		return nil
	case reason == geecache.RefusedSecret || reason == geecache.RefusedCluster:
		f := refusedFinding(reason, d.cluster, err.Error())
		f.Subject = shown
		d.find(*f)
		return nil
	case err != nil && isPermission(err):
		d.fault("registry", shown, "it refuses these credentials: "+err.Error(), "give them the right to read and to enter members, or correct them")
		return nil
	case err != nil:
		d.fault("registry", shown, "it does not answer: "+err.Error(), "start it, open the way to it, or correct --registry")
		return nil
	}
	found := false
	for _, m := range members {
		found = found || m.ID == cfg.ID || m.Addr == advertise || m.Addr == cfg.Advertise
		if m.Role != geecache.RoleClient {
			targets = append(targets, target{id: m.ID, addr: m.Addr})
		}
	}
	if running && !found && cfg.Role == geecache.RoleNode {
		d.fault("registry", shown, fmt.Sprintf("this node (%s) runs, and is not among its %d members", cfg.ID, len(members)),
			"see why the node's log says that it is not registered; where others keep the list, enter it there; or correct --advertise")
		return targets
	}
	d.ok("registry", shown, "it names %d members", len(members))
	return targets
}

// errFirst: a gossip has nobody to ask, which is as it should be before the first
// node starts.
var errFirst = errors.New("it names no other node: this one would be the first")

// asGuest turns the URL of a gossip into one for a guest beside the node, which has
// the port. It returns whom the guest asks, and whether others than the node itself
// are among them.
func asGuest(raw, listen string) (guest, seeds string, others bool, err error) {
	rest, query, _ := strings.Cut(raw, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", false, err
	}
	own := values.Get("listen")
	host, _, err := net.SplitHostPort(own)
	if err != nil && own != "" {
		host, own = own, net.JoinHostPort(own, registries.GossipPort)
	} else if own == "" {
		host, _, _ = net.SplitHostPort(listen)
		own = net.JoinHostPort(host, registries.GossipPort)
	}
	values.Del("advertise")
	values.Set("listen", net.JoinHostPort(host, "0"))
	named := strings.Trim(strings.TrimPrefix(strings.TrimPrefix(rest, "gossip:"), "//"), "/,")
	others = slices.ContainsFunc(strings.Split(named, ","), func(s string) bool { return s != "" && s != own })
	seeds = strings.Trim(named+","+own, ",") // the node may be there already
	return "gossip://" + seeds + "?" + values.Encode(), seeds, others, nil
}

// askRegistry returns what the registry says. It enters nobody there.
func (d *doctor) askRegistry(ctx context.Context, cfg *node.Config, running bool) ([]registry.Member, error) {
	seeds, gossip, others := "", strings.HasPrefix(cfg.Registry, "gossip:"), true
	var err error
	if gossip {
		if cfg.Registry, seeds, others, err = asGuest(cfg.Registry, cfg.Listen); err != nil {
			return nil, err
		}
	}
	choice, err := node.ChooseRegistry(ctx, cfg)
	if err != nil || choice == nil {
		return nil, err
	}
	if !others && !running {
		return nil, errFirst
	}
	_, port, _ := net.SplitHostPort(cfg.Advertise)
	number, _ := net.LookupPort("tcp", port)
	reg, err := choice.Open(ctx, registries.Options{
		Cluster: d.cluster, Secrets: d.trusted.secrets, Insecure: true,
		Listen: cfg.Listen, Advertise: cfg.Advertise, Port: number, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = reg.Close() }()
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	var members []registry.Member
	answered := false
	for view, e := range reg.Watch(ctx) {
		err = e
		if e == nil {
			members, answered = view, true
		}
		if e == nil && len(view) > 0 || e != nil && isPermission(e) || answered && !gossip {
			break
		}
	}
	if err == nil && !answered {
		err = fmt.Errorf("no answer within %v", d.timeout)
	}
	if err == nil && gossip && len(members) == 0 {
		err = d.askSeeds(ctx, seeds)
	}
	return members, err
}

// askSeeds says why no seed of a gossip tells of anybody.
func (d *doctor) askSeeds(ctx context.Context, seeds string) error {
	for seed := range strings.SplitSeq(seeds, ",") {
		if conn, err := (&net.Dialer{Timeout: d.timeout}).DialContext(context.WithoutCancel(ctx), "tcp", seed); err == nil {
			_ = conn.Close()
			return fmt.Errorf("%s listens, and tells nothing: it has another secret or cluster ID", seed)
		}
	}
	return fmt.Errorf("none of %s listens", seeds)
}

// isPermission reports whether an error is about who asks. The registries' own
// libraries have types for it that they do not share.
func isPermission(err error) bool {
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc([]string{
		"permission denied", "permissiondenied", "unauthenticated", "authentication failed", "invalid auth token", "user name is empty",
		"accessdenied", "access denied", "unrecognizedclient", "expiredtoken", "invalidsignature", "signaturedoesnotmatch", "not authorized",
	}, func(s string) bool { return strings.Contains(text, s) })
}
