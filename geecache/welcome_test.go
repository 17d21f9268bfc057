package geecache

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A lockedBuffer is a log that many write.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestStrangersJoinNothingAndServeNothing(t *testing.T) {
	cluster := Config{Cluster: "ours", Secrets: secretsOf(oldSecret)}
	for name, test := range map[string]struct {
		stranger Config
		reason   Refusal
	}{
		"wrong secret":           {Config{Cluster: "ours", Secrets: secretsOf(newSecret)}, RefusedSecret},
		"no secret":              {Config{Cluster: "ours"}, RefusedSecret},
		"wrong cluster":          {Config{Cluster: "theirs", Secrets: secretsOf(oldSecret)}, RefusedCluster},
		"wrong cluster, secret":  {Config{Cluster: "theirs", Secrets: secretsOf(newSecret)}, RefusedSecret},
		"wrong cluster, no peer": {},
	} {
		t.Run(name, func(t *testing.T) {
			src := &testSource{}
			nodes := startCluster(t, 2, src, cluster, GroupConfig{HotTTL: -1})
			var log lockedBuffer
			cfg := test.stranger
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			if test.reason != "" {
				cfg.Peers = []Peer{{Addr: nodes[0].Addr()}, {Addr: nodes[1].Addr()}}
			}
			own := &testSource{}
			n := newListeningNode(t, own, cfg, GroupConfig{})
			if err := n.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			resp, err := http.Get("http://" + n.Addr() + "/_geecache/g/k")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if test.reason == "" { // a node that stands alone serves
				if !n.Ready() || resp.StatusCode != http.StatusOK {
					t.Errorf("ready %v, %s", n.Ready(), resp.Status)
				}
				return
			}
			if n.Ready() || n.State() != "joining" || resp.StatusCode == http.StatusOK || strings.Contains(string(body), "value of") {
				t.Errorf("ready %v, state %s, answers %s %q", n.Ready(), n.State(), resp.Status, body)
			}
			_, err = n.Group("g").Get(t.Context(), "k")
			wantErr(t, err, ErrUnavailable)
			wantCount(t, "code for a peer that takes it for a member", n.Answer(t.Context(), &PeerRequest{Group: "g", Key: "k"}).Code, CodeDraining)
			for what, got := range map[string]Refusal{"Get": RefusalOf(err), "Refused": RefusalOf(n.Refused())} {
				wantCount(t, what, got, test.reason)
			}
			wantCount(t, "loads", own.total()+src.total(), 0)
			if !strings.Contains(log.String(), "reason="+string(test.reason)) {
				t.Errorf("the log does not say that it is the %s:\n%s", test.reason, &log)
			}
			for _, ours := range nodes {
				if ours.Stats().HandshakesRefused[test.reason] == 0 {
					t.Errorf("%s has counted %v", ours.ID(), ours.Stats().HandshakesRefused)
				}
			}
			// A stranger's view does not make the cluster serve less.
			if err := nodes[0].SetView([]Peer{{Addr: n.Addr()}}); err != nil {
				t.Fatal(err)
			}
			mustGet(t, nodes[0].Group("g"), keyOf(nodes[0], nodes[0].ID(), "own"))
		})
	}
}

func TestRefusedNodeServesOnceItHasTheRightSecret(t *testing.T) {
	src := &testSource{}
	nodes := startCluster(t, 1, src, Config{Secrets: secretsOf(oldSecret)}, GroupConfig{})
	var mu sync.Mutex
	secrets := []string{newSecret}
	n := newListeningNode(t, src, Config{
		Peers: []Peer{{Addr: nodes[0].Addr()}},
		Secrets: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return secrets
		},
	}, GroupConfig{})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, "reason", RefusalOf(n.Refused()), RefusedSecret)
	mu.Lock()
	secrets = []string{oldSecret}
	mu.Unlock()
	waitUntil(t, "the node is taken in", n.Ready)
	if err := n.Refused(); err != nil {
		t.Error(err)
	}
	mustGet(t, n.Group("g"), "k")
}

// A registry says again and again that it refuses the node; the log and the
// counts tell it when it is news.
func TestRegistrysRefusalIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		n, err := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		refuse := func(reason Refusal) {
			for range 10 {
				n.Refuse(NewRefusal(reason, "not ours"))
			}
		}
		want := func(when string, lines, secret, cluster int) {
			t.Helper()
			counts := n.Stats().HandshakesRefused
			wantCount(t, when+": lines", strings.Count(log.String(), "refuses this node"), lines)
			wantCount(t, when+": secret", counts[RefusedSecret], int64(secret))
			wantCount(t, when+": cluster", counts[RefusedCluster], int64(cluster))
		}
		refuse(RefusedSecret)
		want("before the start", 0, 1, 0)
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		refuse(RefusedSecret)
		want("at the start", 1, 1, 0)
		refuse(RefusedCluster)
		want("for another reason", 2, 1, 1)
		time.Sleep(quietFor)
		refuse(RefusedCluster)
		want("later", 3, 1, 1)
		n.Refuse(nil)
		if !n.Ready() {
			t.Error("the node is taken in and not ready")
		}
		refuse(RefusedCluster)
		want("once it serves", 3, 1, 2)
		if !n.Ready() {
			t.Error("a node that serves has ended its service")
		}
	})
}
