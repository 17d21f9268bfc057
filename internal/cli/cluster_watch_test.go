package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geecache/geecache/geecache"
)

// watched is a cluster of one node at addr, which is a child, and one other.
func watched(t *testing.T, answer func(asked int64) geecache.PeerStats) (l *localCluster, c *child, other string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := func(say func() memberStatus) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(say())
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	var addr string
	other = server(func() memberStatus {
		p := answer(asked.Add(1))
		p.ID, p.Role = addr, geecache.RoleNode
		return memberStatus{NodeStats: geecache.NodeStats{ID: "other", State: "serving", Peers: []geecache.PeerStats{p}}}
	})
	addr = server(func() memberStatus {
		peers := []geecache.PeerStats{{Peer: geecache.Peer{ID: "other", Role: geecache.RoleNode}}, {Peer: geecache.Peer{ID: "self", Role: geecache.RoleNode}}}
		return memberStatus{NodeStats: geecache.NodeStats{ID: "self", State: "serving", Peers: peers}}
	})
	l = &localCluster{clusterFlags: new(clusterFlags), supervisor: newSupervisor("", new(strings.Builder), false)}
	var err error
	if l.ask, err = l.client(); err != nil {
		t.Fatal(err)
	}
	c = &child{process: process{number: 1, addr: addr}, cmd: &exec.Cmd{Process: &os.Process{Pid: -1}}, done: make(chan struct{})}
	return l, c, other, asked
}

// A node that was paused keeps its place in the rings, and goes on once it is asked
// again.
func TestResumedOnceItIsAsked(t *testing.T) {
	l, c, other, asked := watched(t, func(n int64) geecache.PeerStats {
		switch {
		case n <= 3:
			return geecache.PeerStats{State: "down"}
		case n <= 6:
			return geecache.PeerStats{State: "up", Breaker: "open"}
		}
		return geecache.PeerStats{State: "up", Breaker: "closed"}
	})
	o := &outcome{Op: "resume"}
	l.watchAdded(t.Context(), o, c, []string{other}, time.Now())
	if n := asked.Load(); n != 7 || o.Late != 0 || !strings.Contains(o.Text, "answers again") {
		t.Errorf("%q after %d looks, want 7: %+v", o.Text, n, o)
	}
}

// When the cluster ends, what was waited for is neither late nor done.
func TestChangesWhileTheClusterStops(t *testing.T) {
	for _, op := range []string{"add", "resume", "remove", "kill", "pause"} {
		ctx, stop := context.WithCancel(t.Context())
		l, c, other, _ := watched(t, func(n int64) geecache.PeerStats {
			if n == 3 {
				stop()
			}
			if op == "add" || op == "resume" {
				return geecache.PeerStats{State: "down"}
			}
			return geecache.PeerStats{State: "up"}
		})
		if op == "remove" {
			close(c.done)
		}
		var told []string
		err := l.watch(ctx, doorRequest{Op: op}, []*child{c}, []string{other}, time.Now(), 0, func(o *outcome) { told = append(told, o.Text) })
		if !errors.Is(err, errStopping) || len(told) != 1 || !strings.HasSuffix(told[0], ": the cluster is stopping") {
			t.Errorf("%s: %q, %v", op, told, err)
		}
		stop()
	}
}
