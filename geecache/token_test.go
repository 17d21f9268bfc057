package geecache

import (
	"context"
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

// A host that hangs holds up who waits for its token, as long as their contexts
// last, and nobody else.
func TestTokensOfOneHostDoNotWaitForAnother(t *testing.T) {
	n := runNode(t, &testSource{}, Config{Secrets: secretsOf(oldSecret)}, GroupConfig{})
	const hanging = "http://hanging"
	asked, awake := make(chan struct{}, 8), make(chan struct{})
	via := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "hanging" {
			return http.DefaultTransport.RoundTrip(r)
		}
		asked <- struct{}{}
		select {
		case <-awake:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		r.URL.Host = n.Addr()
		return http.DefaultTransport.RoundTrip(r)
	})
	c := &Credentials{Secrets: secretsOf(oldSecret)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	firstCtx, cancelFirst := context.WithCancel(ctx)
	first, others := make(chan error, 1), make(chan error, 3)
	go func() {
		_, err := c.Token(firstCtx, via, hanging, "")
		first <- err
	}()
	<-asked
	if _, err := c.Token(ctx, via, "http://"+n.Addr(), ""); err != nil {
		t.Errorf("the other host's token: %v", err)
	}
	left, leave := context.WithCancel(ctx)
	leave()
	if _, err := c.Token(left, via, hanging, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
	select {
	case err := <-first:
		t.Fatalf("the hanging host was waited for: %v", err)
	default:
	}
	for range cap(others) {
		go func() {
			_, err := c.Token(ctx, via, hanging, "")
			others <- err
		}()
	}
	cancelFirst()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first one gets %v", err)
	}
	<-asked // by one of the others
	close(awake)
	for range cap(others) {
		if err := <-others; err != nil {
			t.Errorf("once the host answers: %v", err)
		}
	}
	wantCount(t, "requests after the first answer", len(asked), 1) // the proof: one exchange serves all
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A closingBody tells that it was closed.
type closingBody struct {
	io.Reader
	closed int
}

func (b *closingBody) Close() error {
	b.closed++
	return nil
}

func TestTransportClosesTheBodyOfWhatItDoesNotSend(t *testing.T) {
	down := roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
	body := &closingBody{Reader: strings.NewReader("x")}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1/", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = (&Credentials{Secrets: secretsOf(oldSecret)}).Transport(down).RoundTrip(r); err == nil {
		t.Error("no error without a token")
	}
	wantCount(t, "closed", body.closed, 1)
}

// What SECURITY.md says of a secret and certificates together.
func TestSecretAndCertificatesAreTwoDoors(t *testing.T) {
	cert, pool := testCertificate(t)
	n := runNode(t, &testSource{}, Config{
		Cluster: "test", Secrets: secretsOf(oldSecret),
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
	}, GroupConfig{})
	for name, test := range map[string]struct {
		secrets func() []string
		certs   []tls.Certificate
		http    int
		stream  Refusal
	}{
		"both":        {secretsOf(oldSecret), []tls.Certificate{cert}, http.StatusOK, ""},
		"secret":      {secretsOf(oldSecret), nil, http.StatusOK, ""},
		"certificate": {nil, []tls.Certificate{cert}, http.StatusOK, RefusedSecret},
		"neither":     {nil, nil, http.StatusUnauthorized, RefusedSecret},
	} {
		secure := &tls.Config{RootCAs: pool, Certificates: test.certs}
		base := &http.Transport{TLSClientConfig: secure.Clone()}
		client := &http.Client{Transport: base}
		if test.secrets != nil {
			client.Transport = (&Credentials{Secrets: test.secrets}).Transport(base)
		}
		resp, err := client.Get("https://" + n.Addr() + "/_geecache/g/k")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		wantCount(t, name+": HTTP", resp.StatusCode, test.http)
		client.CloseIdleConnections()
		c := newStreamClient(streamClientConfig{
			self: helloOf("other"), secrets: test.secrets, peer: Peer{ID: n.ID()}, addr: n.Addr(), tls: func() *tls.Config { return secure },
		})
		_, err = c.Get(t.Context(), &PeerRequest{Group: "g", Key: "k"})
		if RefusalOf(err) != test.stream || (err != nil) != (test.stream != "") {
			t.Errorf("%s: a stream ends with %v, want %q", name, err, test.stream)
		}
		_ = c.Close()
	}
}
