package geecache

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// ask asks a URL through credentials, or without, and returns status and body.
func ask(t *testing.T, url string, c *Credentials) (int, string, error) {
	t.Helper()
	client := &http.Client{Transport: http.DefaultTransport}
	if c != nil {
		client.Transport = c.Transport(http.DefaultTransport)
	}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestHTTPAsksForAToken(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 2, src, Config{Secrets: secretsOf(oldSecret)}, GroupConfig{})
	url := "http://" + nodes[0].Addr() + "/_geecache/g/k"
	for name, test := range map[string]struct {
		c      *Credentials
		status int
		reason Refusal
	}{
		"stranger":      {nil, http.StatusUnauthorized, ""},
		"tool":          {&Credentials{Secrets: secretsOf(oldSecret)}, http.StatusOK, ""},
		"peer":          {&Credentials{Secrets: secretsOf(newSecret, oldSecret), Cluster: "geecache", Expect: nodes[0].ID()}, http.StatusOK, ""},
		"wrong secret":  {&Credentials{Secrets: secretsOf(newSecret)}, 0, RefusedSecret},
		"wrong cluster": {&Credentials{Secrets: secretsOf(oldSecret), Cluster: "theirs"}, 0, RefusedCluster},
		"wrong node":    {&Credentials{Secrets: secretsOf(oldSecret), Expect: nodes[1].ID()}, 0, RefusedNode},
		"wrong version": {&Credentials{Secrets: secretsOf(oldSecret), Version: "3.0"}, 0, RefusedVersion},
	} {
		status, body, err := ask(t, url, test.c)
		if status != test.status || RefusalOf(err) != test.reason || (err != nil) != (test.reason != "") {
			t.Errorf("%s: %d %q %v", name, status, body, err)
		}
		if status != http.StatusOK && strings.Contains(body, "value of") {
			t.Errorf("%s: %q", name, body)
		}
	}
	wantCount(t, "loads", src.total(), 1)
}

func TestTokensAreGoodForAWhileAtOneNode(t *testing.T) {
	d := newDoor(&Config{Secrets: secretsOf(oldSecret), Cluster: "c", ID: "a"}, new(refusalCounts))
	other := newDoor(&Config{Secrets: secretsOf(oldSecret), Cluster: "c", ID: "b"}, new(refusalCounts))
	theirs := newDoor(&Config{Secrets: secretsOf(oldSecret), Cluster: "x", ID: "a"}, new(refusalCounts))
	rotated := newDoor(&Config{Secrets: secretsOf(newSecret, oldSecret), Cluster: "c", ID: "a"}, new(refusalCounts))
	gone := newDoor(&Config{Secrets: secretsOf(newSecret), Cluster: "c", ID: "a"}, new(refusalCounts))
	now := time.Now()
	text := d.newToken(oldSecret, now)
	for _, test := range []struct {
		name  string
		d     *door
		token string
		after time.Duration
		want  bool
	}{
		{"fresh", &d, text, 0, true},
		{"four minutes old", &d, text, 4 * time.Minute, true},
		{"too old", &d, text, tokenLife, false},
		{"from the future", &d, text, -time.Minute, false},
		{"at another node", &other, text, 0, false},
		{"at another cluster", &theirs, text, 0, false},
		{"while the secret is exchanged", &rotated, text, 0, true},
		{"once the secret is gone", &gone, text, 0, false},
		{"made longer", &d, "f" + text, 0, false},
		{"cut", &d, text[:len(text)-1], 0, false},
		{"empty", &d, "", 0, false},
		{"dots", &d, "..", 0, false},
		{"a challenge", &d, strings.Replace(d.newChallenge(now), ".", ".0.", 1), 0, false},
	} {
		if got := test.d.valid(test.token, now.Add(test.after)); got != test.want {
			t.Errorf("%s: valid %v, want %v", test.name, got, test.want)
		}
	}
	challenge := d.newChallenge(now)
	if !d.ours(challenge, now) || d.ours(challenge, now.Add(challengeLife)) || other.ours(challenge, now) || d.ours("x"+challenge[1:], now) {
		t.Error("challenges are not told apart")
	}
}

// A client whose token is no longer taken gets another one, and nobody notices.
func TestTokensFollowTheSecret(t *testing.T) {
	var mu sync.Mutex
	secrets := []string{oldSecret}
	read := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return secrets
	}
	nodes := startCluster(t, 1, &testSource{}, Config{Secrets: read}, GroupConfig{})
	c := &Credentials{Secrets: secretsOf(newSecret, oldSecret)}
	for _, now := range [][]string{{oldSecret}, {newSecret, oldSecret}, {newSecret}} {
		mu.Lock()
		secrets = now
		mu.Unlock()
		if status, body, err := ask(t, "http://"+nodes[0].Addr()+"/_geecache/g/k", c); status != http.StatusOK {
			t.Errorf("%q: %d %q %v", now, status, body, err)
		}
	}
}

// Peers that are spoken to over plain HTTP need the secret as well.
func TestHTTPPeersProveTheSecret(t *testing.T) {
	src := &testSource{}
	owner := runNode(t, src, Config{Secrets: secretsOf(oldSecret)}, GroupConfig{})
	for name, test := range map[string]struct {
		secret string
		loads  int // by the asking node
	}{"same": {oldSecret, 0}, "other": {newSecret, 1}} {
		own := &testSource{}
		n := runNode(t, own, Config{Secrets: secretsOf(test.secret), Peers: []Peer{{ID: owner.Addr(), Addr: "http://" + owner.Addr()}}}, GroupConfig{HotTTL: -1})
		key := keyOf(n, owner.ID(), name)
		mustGet(t, n.Group("g"), key)
		wantCount(t, name+": loads by the asking node", own.count(key), test.loads)
		wantCount(t, name+": loads by the owner", src.count(key), 1-test.loads)
	}
}

// A process that has taken a node's address, and answers whatever it is asked
// with "not found", is not asked.
func TestStrangerOverHTTPIsNotReadAsNotFound(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(headerError, CodeNotFound.String())
		w.WriteHeader(http.StatusNotFound)
	}))
	defer web.Close()
	src := &testSource{}
	addr := web.Listener.Addr().String()
	n := runNode(t, src, Config{Secrets: secretsOf(oldSecret), Peers: []Peer{{ID: addr, Addr: "http://" + addr}}}, GroupConfig{HotTTL: -1})
	mustGet(t, n.Group("g"), keyOf(n, addr, "k"))
	wantCount(t, "loads", src.total(), 1)
}

func TestClientCertificateIsACredential(t *testing.T) {
	cert, pool := testCertificate(t)
	nodes := startCluster(t, 2, &testSource{}, Config{
		TLS:       &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
		ClientTLS: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool},
	}, GroupConfig{})
	for name, test := range map[string]struct {
		certs  []tls.Certificate
		status int
	}{"with": {[]tls.Certificate{cert}, http.StatusOK}, "without": {nil, http.StatusUnauthorized}} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: test.certs}}}
		resp, err := client.Get("https://" + nodes[0].Addr() + "/_geecache/g/k")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		wantCount(t, name+" a certificate", resp.StatusCode, test.status)
		client.CloseIdleConnections()
	}
	c := newStreamClient(streamClientConfig{
		self: helloOf("stranger"), addr: nodes[0].Addr(), tls: func() *tls.Config { return &tls.Config{RootCAs: pool} },
	})
	defer c.Close()
	if _, err := c.Get(t.Context(), &PeerRequest{Group: "g"}); !errors.Is(err, ErrRefused) {
		t.Errorf("a stream without a certificate: %v", err)
	}
}
