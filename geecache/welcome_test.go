package geecache

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
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
