//go:build unix

package envbench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a command has started ends with it, even if it takes no notice of an interruption.
func TestInterruptedCommandLeavesNoProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("it is enough")
	go func() {
		for ctx.Err() == nil { // until the process is there
			if text, err := os.ReadFile(file); err == nil && strings.HasSuffix(string(text), "\n") {
				cancel(stop)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	const script = `(trap "" INT; echo $$ >/dev/null; exec sleep 1000 >/dev/null 2>&1) & echo $! > "$0"; wait`
	if _, err := NewCommand(ctx, "sh", "-c", script, file).CombinedOutput(); !errors.Is(err, stop) {
		t.Errorf("the command ends with %v: want what interrupted it", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	if err := poll(t.Context(), func(context.Context) (bool, error) { return !alive(pid), nil }); err != nil {
		t.Error(err)
	}
}

func TestTemporaryFoldersOfAProcess(t *testing.T) {
	root := t.TempDir()
	t.Setenv("TMPDIR", root)
	own, err := TempDir("trial")
	if err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(root, fmt.Sprintf("geecache-%d1-trial-7", os.Getpid()))
	doors := filepath.Join(root, fmt.Sprintf("geecache-%d", os.Getpid())) // where clusters of a user of that number have theirs
	for _, dir := range []string{others, doors} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := RemoveTemp(root, os.Getpid())
	if err != nil || len(removed) != 1 || removed[0] != own {
		t.Errorf("%q are removed (%v): want %q", removed, err, own)
	}
	for _, dir := range []string{others, doors} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}

// A call that was sent is waited for, and its answer is told; one that was not is not sent.
func TestInterruptedCallIsWaitedFor(t *testing.T) {
	came, answer := make(chan struct{}, 2), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-answer
		if r.Context().Err() != nil {
			t.Error("the caller has left")
		}
		_, _ = w.Write([]byte("done"))
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-came
		cancel()
		close(answer)
	}()
	p := patientClient{http.DefaultClient}
	resp, err := p.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v", resp.StatusCode, err)
	}
	if _, err := p.Do(req); !errors.Is(err, context.Canceled) || len(came) != 0 {
		t.Errorf("after it %v, and %d more calls: want none", err, len(came))
	}
}
