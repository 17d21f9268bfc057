package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/internal/envbench"
)

// A fake is an environment with processes that only say what nodes say. A node that is
// added is in the others' rings a moment later.
type fake struct {
	t *testing.T

	mu      sync.Mutex
	members []*fakeMember // the API server last
	source  string
	lost    bool // what is logged arrives nowhere
	double  bool // a stampede makes two queries
	full    bool // the last marker was refused, for there had been too many
	variety map[string][]string
	log     map[string][]string // by process
	cached  map[string]bool
	loads   int64
	rtt     time.Duration
	lookups []envbench.Lookup
	vars    map[string]string
}

type fakeMember struct {
	id      string
	api     bool
	srv     *httptest.Server
	started time.Time
	joins   time.Time // when others have it in their ring
}

const fakeJoin = 40 * time.Millisecond

func newFake(t *testing.T) *fake {
	f := &fake{t: t, log: make(map[string][]string), cached: make(map[string]bool)}
	f.add("api", true)
	t.Cleanup(func() {
		for _, m := range f.members {
			m.srv.Close()
		}
	})
	return f
}

// add adds a process.
func (f *fake) add(id string, api bool) {
	m := &fakeMember{id: id, api: api, started: time.Now(), joins: time.Now().Add(fakeJoin)}
	m.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(m, w, r) }))
	f.members = append([]*fakeMember{m}, f.members...)
}

func (m *fakeMember) addr() string { return strings.TrimPrefix(m.srv.URL, "http://") }

// set makes the nodes so many.
func (f *fake) set(nodes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.members)-1 < nodes {
		f.add(fmt.Sprintf("node-%d-%s", len(f.members), random()), false)
	}
	for len(f.members)-1 > nodes {
		f.members[0].srv.Close()
		f.members = f.members[1:]
	}
}

func (f *fake) serve(m *fakeMember, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/statusz":
		s := geecache.NodeStats{ID: m.id, Addr: m.addr(), State: "serving", Started: m.started, Epoch: "e"}
		f.rtt++
		for _, p := range f.members {
			if !p.api && (p == m || time.Now().After(p.joins)) {
				s.Peers = append(s.Peers, geecache.PeerStats{Peer: geecache.Peer{ID: p.id, Addr: p.addr(), Role: geecache.RoleNode}, LastRTT: time.Millisecond + f.rtt})
			}
		}
		if !m.api { // all queries are counted by one
			s.Groups = []geecache.GroupStats{{Name: "scores"}}
			if m == f.members[0] {
				s.Groups[0].LoadsOwner = f.loads
			}
		}
		_ = json.NewEncoder(w).Encode(s)
	case path == "/logz":
		if f.full = !f.full; f.full { // each first try is one too many in its second
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		f.log[m.id] = append(f.log[m.id], r.FormValue("marker"))
		_, _ = io.WriteString(w, "{}")
	case path == "/api":
		key := r.FormValue("key")
		value, from := f.get(key)
		if value == "" {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		w.Header().Set("Geecache-From", from)
		_, _ = io.WriteString(w, value)
	case strings.HasPrefix(path, "/_geecache/scores/"):
		value, _ := f.get(strings.TrimPrefix(path, "/_geecache/scores/"))
		body, _ := proto.Marshal(&geecachepb.Response{Value: []byte(value)})
		_, _ = w.Write(body)
	default:
		http.NotFound(w, r)
	}
}

// get returns the value of a key, and from where it is.
func (f *fake) get(key string) (value, from string) {
	switch {
	case key == "Tom":
		return "630", "hit"
	case !strings.HasPrefix(key, "user:") || f.source == "":
		return "", ""
	case f.cached[key]:
		return valueOf(key), "hit"
	}
	f.cached[key] = true
	f.loads++
	if f.double {
		f.loads++
	}
	return valueOf(key), "load"
}

func (f *fake) status() *envbench.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &envbench.Status{Name: "fake", Agree: true}
	for _, m := range f.members {
		s.Members = append(s.Members, envbench.Member{ID: m.id, Addr: m.addr(), API: m.api, Ready: true})
		if m.api {
			s.API = m.srv.URL
		} else {
			s.Desired++
		}
	}
	return s
}

func (f *fake) Up(_ context.Context, d envbench.Deployment) (*envbench.Status, error) {
	f.set(d.WithDefaults().Nodes)
	f.source, f.vars = d.Source, d.Variables
	return f.status(), nil
}

func (f *fake) Scale(_ context.Context, _ string, nodes int) (*envbench.Status, error) {
	f.set(nodes)
	return f.status(), nil
}

func (f *fake) Status(context.Context, string) (*envbench.Status, error) { return f.status(), nil }
func (f *fake) Logs(context.Context, string, io.Writer, int) error       { return errors.New("none") }
func (f *fake) Down(context.Context, string) error                       { return nil }

func (f *fake) LookUp(context.Context, string, int) []envbench.Lookup { return f.lookups }

func (f *fake) SeekLogs(_ context.Context, _, text string) (envbench.LogView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := envbench.LogView{Place: "a fake", Streams: map[string]int{"node": len(f.members) - 1, "api": 1}, Events: map[string]int{}}
	for id, lines := range f.log {
		for _, l := range lines {
			if strings.Contains(l, text) && !f.lost {
				v.Events[id]++
			}
		}
	}
	return v, nil
}

func (f *fake) ListMetrics(context.Context, string) (map[string][]string, error) {
	return maps.Clone(f.variety), nil
}

// A watched is a fake whose environment has CloudWatch.
type watched struct{ *fake }

func (watched) WatchContainers(context.Context, string) (string, error) {
	return "the setting is enabled", nil
}

// newSession returns a session of one repetition in a fake environment.
func newSession(d envbench.Driver) *session {
	return &session{Config: Config{Environment: "fake", Times: 1, Deployment: envbench.Deployment{Name: "fake"}.WithDefaults()}, driver: d, send: inProcess}
}
