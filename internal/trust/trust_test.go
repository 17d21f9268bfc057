package trust

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	one = "a secret of many random bytes: 1"
	two = "a secret of many random bytes: 2"
)

// write writes a file as another process would: whole, and with a time of its own.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// touch gives files a modification time that no earlier version had, whatever
// the file system's clock can tell apart.
func touch(t *testing.T, step int, paths ...string) {
	t.Helper()
	for _, path := range paths {
		when := time.Now().Add(time.Duration(step) * time.Hour)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangedFilesAreReadAndBadOnesAreNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, one+"\n")
	var log bytes.Buffer
	f, err := open("--secret-file", slog.New(slog.NewTextHandler(&log, nil)), func(c [][]byte) ([]string, error) { return ParseSecrets(string(c[0])) }, path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { now = now.Add(checkEvery); return now }
	for i, step := range []struct{ text, want, log string }{
		{two + "\n" + one + "\n", two + "," + one, "in force"},
		{"short\n", two + "," + one, "at least 16"},
		{"# nothing\n", two + "," + one, "0 secrets"},
		{"# the new one alone\n  " + two + "  \r\n\n", two, "in force"},
	} {
		log.Reset()
		write(t, path, step.text)
		touch(t, i, path)
		_, _ = f.get(), f.get() // until it has settled
		for range 3 {
			if got := strings.Join(f.get(), ","); got != step.want {
				t.Errorf("after %q: %q, want %q", step.text, got, step.want)
			}
		}
		if n := strings.Count(log.String(), "msg="); n != 1 || !strings.Contains(log.String(), step.log) {
			t.Errorf("after %q the log has %d lines: %s", step.text, n, &log)
		}
	}
	log.Reset()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, _ = f.get(), f.get()
	if got := f.get(); len(got) != 1 || got[0] != two || !strings.Contains(log.String(), "no such file") {
		t.Errorf("without the file: %q\n%s", got, &log)
	}
	if _, err := OpenSecrets("--secret-file", path, slog.Default()); err == nil || !strings.Contains(err.Error(), "--secret-file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A file that is being written is not taken: half a secret is a secret, too.
func TestAFileThatIsBeingWrittenIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, one+"\n")
	f, err := open("--secret-file", slog.New(slog.DiscardHandler), func(c [][]byte) ([]string, error) { return ParseSecrets(string(c[0])) }, path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	after := func(d time.Duration, want string) {
		t.Helper()
		now = now.Add(d)
		if got := strings.Join(f.get(), ","); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	set := func(text string, modified time.Time) {
		write(t, path, text)
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	set(two[:20], now)
	after(checkEvery, one)
	after(checkEvery/2, one)
	set(two+"\n", now)
	after(checkEvery, one)
	after(checkEvery, two)            // for it says of itself that it is old enough
	set(one+"\n", now.Add(time.Hour)) // by a clock that is fast
	after(checkEvery, two)
	after(checkEvery, two)
	after(checkEvery, one)
	set(two[:20], now.Add(-checkEvery))
	after(checkEvery/2, one)
	set(two+"\n", now.Add(-time.Hour)) // another was put in its place
	after(checkEvery, two)
}

func TestSecretsAreReadLineByLine(t *testing.T) {
	for text, says := range map[string]string{
		"short": "line 1 ",
		"# two of them\n\n" + one + "\n\nshort\n": "line 5 ",
		one + "\r\n" + two + "\r\nshort":          "line 3 ",
		"\ufeff# a comment alone\n":               "0 secrets",
		"\ufeffshort":                             "line 1 has 5 bytes",
		strings.Repeat(one+"\n", maxSecrets+1):    "9 secrets",
	} {
		if _, err := ParseSecrets(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v should say %q", text, err, says)
		}
	}
	for _, text := range []string{one + "\n" + two, "\ufeff" + one + "\r\n" + two + "\r\n", "\ufeff# new\n" + one + "\n# old\n" + two + "\n"} {
		if got, err := ParseSecrets(text); err != nil || strings.Join(got, " ") != one+" "+two {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestBearerTakesEachOfItsTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, one+"\n"+two+"\n")
	b, err := OpenBearer("--api-token-file", path, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	text, err := NewBearer(one + "\n" + two)
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]bool{
		"Bearer " + one: true, "bearer " + two: true, "Bearer " + one + "x": false, "Bearer": false,
		"Bearer ": false, "Basic " + one: false, one: false, "": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/api", nil)
		r.Header.Set("Authorization", header)
		if got := b.Takes(r); got != want {
			t.Errorf("%q: %v", header, got)
		}
		if got := text.Takes(r); got != want {
			t.Errorf("%q of a text: %v", header, got)
		}
	}
	if b, err := NewBearer("short"); err == nil || b.Asks() {
		t.Errorf("a short token: %v", err)
	}
	if (Bearer{}).Asks() || (Bearer{}).Takes(httptest.NewRequest(http.MethodGet, "/", nil)) || !b.Asks() {
		t.Error("who asks is not told")
	}
}

// authority makes an authority and a node's certificate in dir.
func authority(t *testing.T, dir, node string, hosts ...string) TLSFiles {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	if _, err := os.Stat(at("ca.pem")); err != nil {
		if err := MakeCA(at("ca.pem"), at("ca-key.pem"), "test", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := MakeNode(at("ca.pem"), at("ca-key.pem"), at(node+".pem"), at(node+"-key.pem"), hosts, time.Minute); err != nil {
		t.Fatal(err)
	}
	return TLSFiles{Cert: at(node + ".pem"), Key: at(node + "-key.pem"), CA: at("ca.pem")}
}

func TestFilesAreTheirOwnersAndAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	f := authority(t, dir, "node", "localhost", "127.0.0.1")
	for _, name := range []string{"ca.pem", "ca-key.pem", "node.pem", "node-key.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	before, _ := os.ReadFile(f.Key)
	if err := MakeNode(f.CA, filepath.Join(dir, "ca-key.pem"), f.Cert, f.Key, []string{"x"}, time.Minute); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("making it twice: %v", err)
	}
	if after, _ := os.ReadFile(f.Key); !bytes.Equal(before, after) {
		t.Error("the key was overwritten")
	}
	for name, err := range map[string]error{
		"no host":         MakeNode(f.CA, filepath.Join(dir, "ca-key.pem"), "x", "y", nil, time.Minute),
		"no authority":    MakeNode(f.Cert, f.Key, filepath.Join(dir, "x"), filepath.Join(dir, "y"), []string{"h"}, time.Minute),
		"longer than ca":  MakeNode(f.CA, filepath.Join(dir, "ca-key.pem"), filepath.Join(dir, "x"), filepath.Join(dir, "y"), []string{"h"}, 2*time.Hour),
		"key of another":  MakeNode(f.CA, f.Key, filepath.Join(dir, "x"), filepath.Join(dir, "y"), []string{"h"}, time.Minute),
		"no such files":   MakeNode("nothing", "nothing", "x", "y", []string{"h"}, time.Minute),
		"no such folders": MakeCA(filepath.Join(dir, "none", "x"), filepath.Join(dir, "none", "y"), "ca", time.Hour),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCertificatesNameHostsAlone(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, host := range []string{
		"10.0.0.5", "fd00::5", "::1", "localhost", "cache-1.internal", "*.cache.internal", "a_b", "10-0-0-5.x", "3com", long + ".x", "xn--bcher-kva.example",
	} {
		if err := CheckHost(host); err != nil {
			t.Error(err)
		}
	}
	for host, says := range map[string]string{
		"127.6.4.1:8001":                  "use 127.6.4.1 alone",
		"[fd00::5]:8001":                  "use fd00::5 alone",
		"cache-1:8001":                    "use cache-1 alone",
		"[fd00::5]":                       "neither",
		"a b":                             "neither",
		" a":                              "neither",
		"":                                "neither",
		"*":                               "neither",
		"a.*.b":                           "neither",
		"c*.b":                            "neither",
		"a..b":                            "neither",
		"a.":                              "neither",
		"-a.b":                            "neither",
		"10.0.0.256":                      "neither",
		"http://a":                        "neither",
		"b\u00fccher.example":             "neither",
		long + "a.x":                      "neither",
		strings.Repeat(long+".", 4) + "a": "neither",
	} {
		if err := CheckHost(host); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v should say %q", host, err, says)
		}
	}
	dir := t.TempDir()
	f := authority(t, dir, "node", "*.internal", "10.0.0.5")
	if err := MakeNode(f.CA, filepath.Join(dir, "ca-key.pem"), filepath.Join(dir, "x"), filepath.Join(dir, "y"), []string{"a", "b:1"}, time.Minute); err == nil || !strings.Contains(err.Error(), "b:1") {
		t.Errorf("a host with a port: %v", err)
	}
}

func TestBadCertificatesAreNamed(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	f, g := authority(t, dir, "node", "localhost"), authority(t, other, "node", "localhost")
	garbage := filepath.Join(dir, "garbage.pem")
	write(t, garbage, "no certificate")
	for name, test := range map[string]struct {
		files TLSFiles
		says  string
	}{
		"key of another": {TLSFiles{Cert: f.Cert, Key: g.Key}, "private key does not match"},
		"no key":         {TLSFiles{Cert: f.Cert}, "belong together"},
		"ca alone":       {TLSFiles{CA: f.CA}, "--tls-ca without"},
		"no such file":   {TLSFiles{Cert: "nothing.pem", Key: f.Key}, "no such file"},
		"garbage":        {TLSFiles{Cert: garbage, Key: f.Key}, "garbage.pem"},
		"garbage as ca":  {TLSFiles{Cert: f.Cert, Key: f.Key, CA: garbage}, "no certificate in it"},
	} {
		if _, err := OpenTLS(test.files, slog.Default()); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert, _ := os.ReadFile(f.Cert)
	key, _ := os.ReadFile(f.Key)
	for says, now := range map[string]time.Time{"expired on": time.Now().Add(time.Hour), "set the clock": time.Now().Add(-time.Hour)} {
		if _, err := parseTLS(TLSFiles{Cert: "c", Key: "k"}, [][]byte{cert, key}, now); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// New certificates, of a new authority, take the place of old ones while a server
// serves: connections that are open live on, new ones get what is new.
func TestCertificatesAreExchangedWhileServing(t *testing.T) {
	dir, next := t.TempDir(), t.TempDir()
	f, g := authority(t, dir, "node", "127.0.0.1"), authority(t, next, "node", "127.0.0.1")
	served, err := OpenTLS(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	served.files.now = func() time.Time { now = now.Add(checkEvery); return now }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	verified := make(chan bool, 1)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verified <- len(r.TLS.VerifiedChains) > 0
	})}
	go func() { _ = web.Serve(tls.NewListener(l, served.Server())) }()
	defer web.Close()
	ask := func(c *http.Client) (withCert bool, err error) {
		resp, err := c.Get("https://" + l.Addr().String())
		if err != nil {
			return false, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return <-verified, resp.Body.Close()
	}
	client := func(f TLSFiles) *http.Client {
		files, err := OpenClientTLS(f, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{TLSClientConfig: files.Client()}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	old := client(f)
	if ok, err := ask(old); err != nil || !ok {
		t.Fatalf("before: %v, %v", ok, err)
	}
	if ok, err := ask(client(TLSFiles{CA: f.CA})); err != nil || ok {
		t.Fatalf("without a certificate: %v, %v", ok, err)
	}
	if _, err := ask(client(TLSFiles{CA: g.CA})); err == nil {
		t.Fatal("a server of an unknown authority is trusted")
	}
	for _, name := range []string{"node.pem", "node-key.pem", "ca.pem"} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		touch(t, -1, filepath.Join(dir, name))
	}
	if ok, err := ask(old); err != nil || !ok {
		t.Errorf("a connection that was open: %v, %v", ok, err)
	}
	if ok, err := ask(client(f)); err != nil || !ok { // f's files are the new ones now
		t.Errorf("a new connection: %v, %v", ok, err)
	}
	stranger := client(TLSFiles{CA: f.CA})
	if ok, err := ask(stranger); err != nil || ok {
		t.Errorf("a new connection without a certificate: %v, %v", ok, err)
	}
}

// A certificate tells how long it is good, and the one that takes its place too.
func TestLifeOfACertificate(t *testing.T) {
	var none *TLS
	if from, until := none.Life(); !from.IsZero() || !until.IsZero() {
		t.Errorf("no TLS: %v, %v", from, until)
	}
	dir := t.TempDir()
	f := authority(t, dir, "node", "127.0.0.1")
	own, err := OpenTLS(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if from, until := own.Life(); time.Since(from) < 0 || time.Until(until) <= 0 {
		t.Errorf("from %v until %v", from, until)
	}
}
