//go:build unix

package judge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/geecache/geecache/internal/loadgen"
)

// ownProcessOfTest returns a generator that runs this test binary, which main_test.go makes
// the load tool, and has it find a folder for temporary files that must be empty in the
// end.
func ownProcessOfTest(t *testing.T) generator {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("GORACE", "atexit_sleep_ms=10")
	t.Cleanup(func() {
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("%v is left (%v)", left, err)
		}
	})
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return inOwnProcess(program)
}

// generators returns both ways to send.
func generators(t *testing.T) map[string]generator {
	return map[string]generator{"in this process": inProcess, "in a process of its own": ownProcessOfTest(t)}
}

// Both ways to send are told the same, of which the result tells.
func TestGeneratorsSendTheSame(t *testing.T) {
	f := newStub(t)
	var told []loadgen.ConfigInfo
	for name, send := range generators(t) {
		s := &session{send: send}
		l, err := s.startLoad(t.Context(), f.api)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := l.stop()
		if err != nil || r == nil || !r.Interrupted || r.Failed != 0 || r.Config.Rate != loadRate || r.WarmupRequests == 0 {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		r.Config.RealTimeRefused = "" // only one of them asks for it
		told = append(told, r.Config)
		if again, err := l.stop(); again != r || err != nil {
			t.Errorf("%s: stopped once more, it is %v, %v", name, again, err)
		}
	}
	if !reflect.DeepEqual(told[0], told[1]) {
		t.Errorf("one was told\n%+v, the other\n%+v", told[0], told[1])
	}
}

// Every answer is checked by what the process was told.
func TestLoadSeesWrongAnswers(t *testing.T) {
	asked := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("anything"))
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	defer api.Close()
	for name, send := range generators(t) {
		s := &session{send: send}
		l, err := s.startLoad(t.Context(), api.URL)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 20 {
			<-asked
		}
		r, err := l.stop()
		if err != nil || r.Failed == 0 || r.Outcomes["ok"] != 0 || !strings.Contains(failures(r), "wrong value") {
			t.Errorf("%s: %d of %d requests failed, %q (%v)", name, r.Failed, r.Requests, failures(r), err)
		}
	}
}

// A search tells of each rate as it comes, and what it has found.
func TestGeneratorsSearch(t *testing.T) {
	f := newFake(t)
	b := bench(t, f)
	o := order{
		url: b.now.API + "/api?key={key}&group={group}", group: "g", warmup: 10 * time.Millisecond, timeout: time.Second,
		count: 10, keyFormat: userFormat, valueFormat: valueOf("%s"),
		search: &loadgen.Search{P99: 10 * time.Second, Probe: 100 * time.Millisecond, Precision: 0.5, From: 1000, Lowest: 1000, Highest: 1000},
	}
	for name, send := range generators(t) {
		var lines []string
		got, err := send(t.Context(), o, func(line string) { lines = append(lines, line) })
		if err != nil || got.found == nil || got.found.Confirmed == nil && !got.found.Saturated { // this machine may be busy
			t.Fatalf("%s: %+v, %v", name, got.found, err)
		}
		s := got.found.Search
		if s.P99 != 10*time.Second || s.Probe != 100*time.Millisecond || s.Precision != 0.5 || s.From != 1000 || s.Lowest != 1000 || s.Highest != 1000 {
			t.Errorf("%s: it was to search for %+v", name, s)
		}
		c := got.found.Probes[0].Result.Config
		if c.Group != "g" || c.Keys != 10 || c.KeyFormat != userFormat || c.Timeout != time.Second {
			t.Errorf("%s: it asked for %+v", name, c)
		}
		text := strings.Join(lines, "\n")
		if !strings.HasPrefix(text, "check: good: p99 ") || !strings.Contains(text, "\nramp 1000/s: ") {
			t.Errorf("%s: it told\n%s", name, text)
		}
	}
}

func TestLoadToolThatCannotRun(t *testing.T) {
	s := &session{send: ownProcessOfTest(t)}
	if _, err := s.startLoad(t.Context(), "ftp://nowhere"); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "ftp://nowhere") {
		t.Errorf("a target that makes no sense: %v", err)
	}
	s.send = inOwnProcess("no/such/program")
	if _, err := s.startLoad(t.Context(), "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "no/such/program") {
		t.Errorf("a program that is not there: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.startLoad(over, "http://127.0.0.1:1"); err == nil {
		t.Error("it began although all was over")
	}
}

// A load that ends by itself has not seen what came after it.
func TestLoadThatEndsByItself(t *testing.T) {
	s := &session{send: func(_ context.Context, _ order, tell func(string)) (sent, error) {
		tell(loadgen.CountingLine)
		return sent{result: &loadgen.Result{}}, nil
	}}
	l, err := s.startLoad(t.Context(), "http://127.0.0.1:1")
	if err == nil {
		<-l.done
		_, err = l.stop()
	}
	if err == nil || !strings.Contains(err.Error(), "before it was told to") {
		t.Errorf("%v", err)
	}
}
