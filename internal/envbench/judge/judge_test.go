package judge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// A stub is a driver whose nodes are one server of the test; its API is another.
type stub struct {
	api     string
	node    string         // address of what answers as a node
	nodes   int            // 0: nothing is there
	downs   map[string]int // by name
	cleaned int
	onUp    func(n int) error // n: how often Up was called, from 1
	ups     int
	broken  bool
	loaded  bool          // Scale goes on only once the API has answered requests
	asked   *atomic.Int64 // of the API
	breaks  int
}

// newStub returns a driver with an API that knows what the demonstration database does.
func newStub(t *testing.T) *stub {
	asked := new(atomic.Int64)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if v, ok := demoValues()[r.URL.Query().Get("key")]; ok {
			_, _ = w.Write([]byte(v))
			return
		}
		w.Header().Set("Geecache-Error", "not-found")
		http.Error(w, "not found", http.StatusNotFound)
	}))
	t.Cleanup(api.Close)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := proto.Marshal(&geecachepb.Response{Value: []byte(demoValues()[path.Base(r.URL.Path)])})
		_, _ = w.Write(body)
	}))
	t.Cleanup(node.Close)
	return &stub{api: api.URL, asked: asked, node: strings.TrimPrefix(node.URL, "http://"), downs: make(map[string]int)}
}

func (f *stub) status() *envbench.Status {
	s := &envbench.Status{Desired: f.nodes, Reported: f.nodes, Running: f.nodes, Answering: f.nodes, Owning: f.nodes, Agree: true, API: f.api,
		Stages: []envbench.Stage{{Name: envbench.StageStart, Seconds: 0.25}, {Name: envbench.StageAgreement, Seconds: 0.5}}}
	for i := range f.nodes {
		s.Members = append(s.Members, envbench.Member{ID: fmt.Sprintf("10.0.0.%d:8001", i+1), Addr: f.node, Ready: true})
	}
	if f.broken { // it is in all rings yet, and hangs
		s.Answering--
		s.Members[0].Ready, s.Members[0].Addr = false, "127.0.0.1:1"
	}
	return s
}

func (f *stub) Up(ctx context.Context, d envbench.Deployment) (*envbench.Status, error) {
	f.ups++
	if f.onUp != nil {
		if err := f.onUp(f.ups); err != nil {
			return nil, err
		}
	}
	f.nodes = d.Nodes
	return f.status(), ctx.Err()
}

func (f *stub) Scale(ctx context.Context, _ string, nodes int) (*envbench.Status, error) {
	f.nodes = nodes
	for more := f.asked.Load() + 3; f.loaded && f.asked.Load() < more && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	return f.status(), nil
}

func (f *stub) Status(context.Context, string) (*envbench.Status, error) {
	if f.nodes == 0 {
		return nil, envbench.ErrAbsent
	}
	return f.status(), nil
}

func (*stub) Logs(context.Context, string, io.Writer, int) error {
	return nil
}

func (f *stub) Down(ctx context.Context, name string) error {
	f.nodes = 0
	f.downs[name]++
	return ctx.Err()
}

func (f *stub) Rebuild(_ context.Context, d envbench.Deployment, version string) (envbench.Deployment, []envbench.Stage, error) {
	return d, nil, &envbench.Unsupported{What: "building a changed program", Evidence: "there is no compiler for " + version[:7]}
}

func (f *stub) Clean(ctx context.Context) error {
	f.cleaned++
	return ctx.Err()
}

func (f *stub) Break(context.Context, envbench.Deployment) (string, error) {
	f.broken = true
	f.breaks++
	return "one was broken", nil
}

func (f *stub) Mend(context.Context, envbench.Deployment) error {
	f.broken = false
	return nil
}

// run measures with a stub.
func run(t *testing.T, f *stub, times int, only ...string) (*result.File, error) {
	t.Helper()
	r, err := Run(t.Context(), f, Config{Environment: "stub", Times: times, Only: only})
	if r == nil {
		t.Fatal(err)
	}
	return r, err
}

func TestDeployAddsUp(t *testing.T) {
	f := newStub(t)
	r, err := run(t, f, 4, "deploy")
	if err != nil || r.Partial != "" {
		t.Fatalf("%v, partial %q", err, r.Partial)
	}
	got := r.Test("deploy")
	total, start, agreement, first := got.Find("total"), got.Find("stage/start"), got.Find("stage/agreement"), got.Find("stage/first-answer")
	if len(total.Samples) != 4 || total.Warmups != 1 || len(start.Samples) != 4 || len(agreement.Samples) != 4 || len(first.Samples) != 4 {
		t.Errorf("there are %d, %d, %d and %d samples: want 4", len(total.Samples), len(start.Samples), len(agreement.Samples), len(first.Samples))
	}
	if f.ups != 5 {
		t.Errorf("it was deployed %d times: want once more than counted", f.ups)
	}
	if hello := got.Find("hello/total"); hello == nil || len(hello.Samples) != 0 || !strings.Contains(hello.NotMeasured, "--hello") || hello.Unsupported != "" {
		t.Errorf("without an image, hello/total is %+v", hello)
	}
	if f.nodes != 0 || f.cleaned != 1 {
		t.Errorf("%d nodes are left, and it was cleaned %d times", f.nodes, f.cleaned)
	}
}

func TestUnsupportedIsAFinding(t *testing.T) {
	r, err := run(t, newStub(t), 1, "redeploy", "recovery")
	if err != nil || r.Partial != "" {
		t.Errorf("%v, partial %q", err, r.Partial)
	}
	if one := r.Test("redeploy"); one.State != result.Unsupported || !strings.Contains(one.Evidence, "no compiler for rebuilt") {
		t.Errorf("redeploy is %q because of %q", one.State, one.Evidence)
	}
	if one := r.Test("recovery"); one.State != result.Unsupported || one.Evidence == "" {
		t.Errorf("recovery is %q because of %q", one.State, one.Evidence)
	}
}

func TestFailureLeavesWhatThereIs(t *testing.T) {
	f := newStub(t)
	f.onUp = func(n int) error {
		if n == 4 {
			return errors.New("no more addresses")
		}
		return nil
	}
	r, err := run(t, f, 5, "deploy", "counts")
	if err == nil || !strings.Contains(r.Partial, "no more addresses") {
		t.Errorf("%v, partial %q", err, r.Partial)
	}
	if one := r.Test("deploy"); one.State != result.Partial || len(one.Find("total").Samples) != 2 || !strings.Contains(one.Evidence, "3 of 5: no more addresses") {
		t.Errorf("deploy is %q with %v: %s", one.State, one.Find("total"), one.Evidence)
	}
	if one := r.Test("counts"); one == nil || one.State != result.Measured {
		t.Errorf("the test after it is %+v", one)
	}
	if f.nodes != 0 {
		t.Error("something is left")
	}
}

func TestInterruptionCleansUp(t *testing.T) {
	f := newStub(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.onUp = func(n int) error {
		if n == 3 {
			cancel(errors.New("signal: interrupt"))
			return ctx.Err()
		}
		return nil
	}
	r, err := Run(ctx, f, Config{Environment: "stub", Times: 5, Only: []string{"deploy", "counts"}})
	if err == nil || r == nil || !strings.Contains(r.Partial, "the run was interrupted: signal: interrupt") {
		t.Fatalf("%v, %+v", err, r)
	}
	if len(r.Tests) != 1 || r.Tests[0].State != result.Partial || len(r.Tests[0].Find("total").Samples) != 1 {
		t.Errorf("the tests are %+v", r.Tests)
	}
	if f.nodes != 0 || f.downs[envbench.DefaultName] == 0 || f.cleaned != 1 {
		t.Errorf("%d nodes are left; Down was called %v, Clean %d times", f.nodes, f.downs, f.cleaned)
	}
}

func TestWhatIsThereIsNotMeasured(t *testing.T) {
	f := newStub(t)
	f.nodes = 3
	r, err := Run(t.Context(), f, Config{Environment: "stub"})
	if r != nil || err == nil || !strings.Contains(err.Error(), "another --name") || f.nodes != 3 {
		t.Errorf("%+v, %v, and %d nodes are left", r, err, f.nodes)
	}
}

func TestCountsOfABrokenNode(t *testing.T) {
	f := newStub(t)
	r, err := run(t, f, 10, "counts")
	if err != nil {
		t.Fatal(err)
	}
	one := r.Test("counts")
	for name, want := range map[string]int{
		"desired": 3, "reported": 3, "running": 3, "ready": 3, "answering": 3, "owning": 3,
		"broken/desired": 3, "broken/reported": 3, "broken/running": 3, "broken/ready": 2, "broken/answering": 2, "broken/owning": 3,
	} {
		if c := one.Count(name); c == nil || !slices.Equal(c.Values, slices.Repeat([]int{want}, 10)) {
			t.Errorf("%s is %+v: want %d ten times", name, c, want)
		}
	}
	if f.breaks != 11 {
		t.Errorf("a node was broken %d times: want once more than counted", f.breaks)
	}
}

// A node that says that it is ready, and has no right value, does not answer.
func TestCountsOfAWrongValue(t *testing.T) {
	f := newStub(t)
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(wrong.Close)
	f.node = strings.TrimPrefix(wrong.URL, "http://")
	r, err := run(t, f, 1, "counts")
	if err != nil {
		t.Fatal(err)
	}
	counted(t, r.Test("counts"), "ready", 3)
	counted(t, r.Test("counts"), "answering", 0)
}

func TestScaleUnderLoad(t *testing.T) {
	f := newStub(t)
	f.loaded = true
	r, err := run(t, f, 2, "scale")
	if err != nil {
		t.Fatal(err)
	}
	one := r.Test("scale")
	for _, way := range []string{"out", "in"} {
		total := one.Find(way + "/total")
		if len(total.Samples) != 2 || total.Load == nil || total.Load.Rate != loadRate || total.Load.Requests == 0 {
			t.Errorf("%s/total is %+v with load %+v", way, total, total.Load)
		}
		if c := one.Count(way + "/failed"); !slices.Equal(c.Values, []int{0, 0}) {
			t.Errorf("%s/failed is %+v", way, c)
		}
		moved, least := one.Find(way+"/keys-moved").Median(), one.Find(way+"/keys-minimum").Median()
		if least != 0.4 || math.Abs(moved-least) > 0.05 {
			t.Errorf("%s: %v of the keys moved, at least %v", way, moved, least)
		}
	}
}

func TestKeysMoved(t *testing.T) {
	for _, tt := range []struct {
		before, after []string
		least         float64
	}{
		{[]string{"a", "b"}, []string{"a", "b"}, 0},
		{[]string{"a", "b", "c"}, []string{"a", "b", "c", "d", "e"}, 0.4},
		{[]string{"a", "b", "c", "d"}, []string{"a", "b", "c"}, 0.25},
		{[]string{"a"}, []string{"b"}, 1},
	} {
		moved, least, err := keysMoved(tt.before, tt.after)
		if err != nil || math.Abs(least-tt.least) > 1e-9 || math.Abs(moved-least) > 0.03 {
			t.Errorf("%v to %v: %v moved, at least %v (%v): want %v", tt.before, tt.after, moved, least, err, tt.least)
		}
	}
}

func TestRepeatHalvesWhatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			times, want int
			takes       time.Duration
			warming     time.Duration // as much longer does the warm-up take
		}{
			{10, 10, time.Second, 0}, {10, 5, 10 * time.Second, 0}, {20, 10, time.Minute, 0}, {3, 3, time.Minute, 0}, {10, 10, 9 * time.Second, time.Minute},
		} {
			s := &session{Config: Config{Times: tt.times}}
			warm, counted := 0, 0
			err := s.repeat(t.Context(), "something", func(_ context.Context, count bool) error {
				if !count {
					time.Sleep(tt.warming)
				}
				time.Sleep(tt.takes)
				if count {
					counted++
				} else {
					warm++
				}
				return nil
			})
			if err != nil || warm != 1 || counted != tt.want {
				t.Errorf("%d times what takes %v: %d for warming up, %d counted (%v): want 1 and %d", tt.times, tt.takes, warm, counted, err, tt.want)
			}
		}
	})
}

func TestDeployMeasuresAStaticServerBeside(t *testing.T) {
	f := newStub(t)
	r, err := Run(t.Context(), f, Config{Environment: "stub", Times: 3, Only: []string{"deploy"}, Hello: "hello:latest"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"total", "scale", "hello/total", "hello/scale"} {
		if s := r.Test("deploy").Find(name); s == nil || len(s.Samples) != 3 || s.Warmups != 1 || s.Unsupported != "" {
			t.Errorf("%s: %+v, want 3 samples", name, s)
		}
	}
	if f.ups != 8 {
		t.Errorf("%d deployments: want 4 of each", f.ups)
	}
}
