package dns

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/geecache/geecache/registry/registrytest"
)

// named is a BIND server with the zone "test.", whose records a test changes.
type named struct {
	registrytest.Server
}

const namedConf = `
options {
	directory "DIR";
	listen-on port PORT { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion no;
	dnssec-validation no;
	empty-zones-enable no;
	notify no;
};
controls { };
zone "test" { type master; file "test.zone"; allow-update { 127.0.0.1; }; };
`

const zone = `
$TTL 1
@ IN SOA ns hostmaster 1 60 60 60 0
@ IN NS ns
ns IN A 127.0.0.1
long IN A 10.9.9.9
`

func startNamed(t *testing.T) *named {
	t.Helper()
	program := registrytest.Program(t, "named")
	dir := t.TempDir()
	addr := registrytest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "named") // AppArmor, where it is, holds /usr/sbin/named to its own directories
	conf := strings.NewReplacer("DIR", dir, "PORT", port).Replace(namedConf)
	for path, file := range map[string]struct {
		text []byte
		mode os.FileMode
	}{copied: {text, 0o700}, filepath.Join(dir, "named.conf"): {[]byte(conf), 0o600}, filepath.Join(dir, "test.zone"): {[]byte(zone), 0o600}} {
		if err := os.WriteFile(path, file.text, file.mode); err != nil {
			t.Fatal(err)
		}
	}
	n := &named{registrytest.Server{
		Path: copied, Args: []string{"-g", "-4", "-n", "1", "-c", filepath.Join(dir, "named.conf")}, Addr: addr,
	}}
	n.Start(t)
	return n
}

// update inserts and removes records, and sets up what is left of the names.
func (n *named) update(t *testing.T, insert, remove []string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("test.")
	m.Remove(records(t, remove))
	m.Insert(records(t, insert))
	answer, _, err := (&dns.Client{Net: "tcp", Timeout: 20 * time.Second}).Exchange(m, n.Addr)
	if err != nil || answer.Rcode != dns.RcodeSuccess {
		t.Fatalf("update of the zone: %v, %v", answer, err)
	}
}

func records(t *testing.T, lines []string) []dns.RR {
	t.Helper()
	var rrs []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

func hostPort(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func a(name, host string) string { return fmt.Sprintf("%s.test. 1 IN A %s", name, host) }

func srv(name, target, port string) string {
	return fmt.Sprintf("%s.test. 1 IN SRV 0 0 %s %s", name, port, target)
}
