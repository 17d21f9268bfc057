package judge

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parentOfLoad holds an API's address in the process that is killed below.
const parentOfLoad = "JUDGE_TEST_PARENT_OF_LOAD"

// A judge that is killed has no time to stop what it has started.
func TestLoadToolDiesWithItsParent(t *testing.T) {
	if api := os.Getenv(parentOfLoad); api != "" {
		l, err := (&session{send: ownProcessOfTest(t)}).startLoad(t.Context(), api)
		if err != nil {
			t.Fatal(err)
		}
		<-l.done
		t.Fatal("it ended by itself")
	}
	asked := make(chan struct{}, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		http.NotFound(w, nil)
	}))
	defer api.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), parentOfLoad+"="+api.URL)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	select {
	case <-asked:
	case <-ended:
		t.Fatalf("nothing was asked\n%s", &out)
	}
	if n := loadTools(t, api.URL); n != 1 {
		t.Errorf("%d processes send: want 1", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	for loadTools(t, api.URL) > 0 { // its death is a moment after its parent's; this test's own limit ends the wait
		time.Sleep(time.Millisecond)
	}
}

// loadTools returns how many processes are the load tool that asks an API.
func loadTools(t *testing.T, api string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may have ended
		if strings.Contains(string(line), "\x00load\x00") && strings.Contains(string(line), api) {
			n++
		}
	}
	return n
}
