//go:build unix

package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary the program itself: `geecache cluster` runs
// its own file.
const asProgram = "CLI_TEST_AS_PROGRAM"

// testEnv is the environment of the program under test.
func testEnv() []string {
	// The race detector makes each process that ends wait for a second.
	return append(withoutFlags(os.Environ()), asProgram+"=1", "GORACE=atexit_sleep_ms=10")
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// A lockedBuffer can be read while a process writes to it.
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

// A testCluster is a running `geecache cluster --json`.
type testCluster struct {
	cmd    *exec.Cmd
	errOut lockedBuffer
	Nodes  []memberJSON `json:"nodes"`
	API    memberJSON   `json:"api"`
}

func startCluster(t *testing.T, args ...string) *testCluster {
	t.Helper()
	c := &testCluster{cmd: exec.Command(os.Args[0], append([]string{"cluster", "--json", "--port=0", "--api=0"}, args...)...)}
	c.cmd.Env = testEnv()
	c.cmd.Stderr = &c.errOut
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = c.cmd.Wait()
		t.Fatalf("no line of JSON: %v: %s", err, c.errOut.String())
	}
	if err := json.Unmarshal(line, c); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return c
}

// wait returns the exit status.
func (c *testCluster) wait(t *testing.T) int {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *testCluster) all() []memberJSON { return append([]memberJSON{c.API}, c.Nodes...) }

func (c *testCluster) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func getText(url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// closed reports whether nobody listens on any of the addresses.
func closed(members []memberJSON) bool {
	for _, m := range members {
		if conn, err := net.DialTimeout("tcp", m.Addr, time.Second); err == nil {
			_ = conn.Close()
			return false
		}
	}
	return true
}

func TestClusterAnswersAndEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c := startCluster(t)
		if len(c.Nodes) != 3 {
			t.Fatalf("%d nodes", len(c.Nodes))
		}
		for key, want := range map[string]string{"Tom": "630", "kkk": "kkk not exist\n"} {
			if got, err := getText(c.API.URL + "/api?key=" + key); got != want {
				t.Errorf("%s: %q, %v, want %q", key, got, err, want)
			}
		}
		c.signal(t, sig)
		if status := c.wait(t); status != 0 {
			t.Errorf("after %v: exit status %d: %s", sig, status, c.errOut.String())
		}
		if !closed(c.all()) {
			t.Errorf("after %v somebody still listens", sig)
		}
		if log := c.errOut.String(); !strings.Contains(log, "node-") || !strings.Contains(log, "api ") {
			t.Errorf("the logs have no names: %s", log)
		}
	}
}

// A signal that is sent twice in a row, as timeout(1) does, still lets the
// processes finish.
func TestClusterTakesTwoSignalsAtOnceForOne(t *testing.T) {
	c := startCluster(t)
	c.signal(t, syscall.SIGINT)
	c.signal(t, syscall.SIGINT)
	if status := c.wait(t); status != 0 {
		t.Errorf("exit status %d: %s", status, c.errOut.String())
	}
}

func TestClusterSaysWhoDied(t *testing.T) {
	c := startCluster(t, "--nodes=2")
	victim := c.Nodes[1]
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	says := fmt.Sprintf("%s (process %d) has ended: signal: killed. It is not started again; 2 of 3 processes are left.", victim.Name, victim.PID)
	eventually(t, says, func() bool { return strings.Contains(c.errOut.String(), says) })
	if got, err := getText(c.API.URL + "/api?key=Tom"); got != "630" {
		t.Errorf("those that are left answer %q, %v", got, err)
	}
	c.signal(t, syscall.SIGINT)
	if status := c.wait(t); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if !closed(c.all()) {
		t.Error("somebody still listens")
	}
}

func TestClusterEndsWithItsLastNode(t *testing.T) {
	c := startCluster(t, "--nodes=1")
	if err := syscall.Kill(c.Nodes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := c.wait(t); status != 1 || !strings.Contains(c.errOut.String(), "no node is left") {
		t.Errorf("exit status %d: %s", status, c.errOut.String())
	}
	if !closed(c.all()) {
		t.Error("the API server still listens")
	}
}

// A process that is stopped, not dead, takes its SIGTERM once it goes on.
func TestClusterEndsStoppedProcesses(t *testing.T) {
	c := startCluster(t, "--nodes=1")
	if err := syscall.Kill(c.Nodes[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.signal(t, syscall.SIGINT)
	if status := c.wait(t); status != 0 {
		t.Errorf("exit status %d: %s", status, c.errOut.String())
	}
}

func TestClusterThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, c := range []struct{ args, says string }{
		{"--nodes=1 --api=0 --port=" + port, "choose another one with --port"},
		{"--nodes=1 --port=0 --api=" + port, "choose another one with --api"},
		{"--port=0 --api=0 --source=slowdb:///no/such/folder/x.db", "ended before"},
	} {
		cmd := exec.Command(os.Args[0], append([]string{"cluster"}, strings.Fields(c.args)...)...)
		cmd.Env = testEnv()
		var errOut lockedBuffer
		cmd.Stderr = &errOut
		err := cmd.Run()
		text := errOut.String()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(text, c.says) {
			t.Errorf("%s: %v: %q should say %q", c.args, err, text, c.says)
		}
	}
}

func TestPrefixer(t *testing.T) {
	var out bytes.Buffer
	p := &prefixer{w: &out}
	a, b, bare := p.writer("a", 0), p.writer("b", 1), p.writer("", 2)
	for _, w := range []struct {
		to   io.Writer
		text string
	}{
		{a, "one "}, {b, "two\nthr"}, {a, "line\n"}, {bare, "{}\n"}, {b, "ee\n\n"}, {a, strings.Repeat("x", maxLine)}, {a, "rest\n"},
	} {
		if n, err := io.WriteString(w.to, w.text); n != len(w.text) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	p.say("done")
	want := "b          | two\na          | one line\n{}\nb          | three\nb          | \na          | " +
		strings.Repeat("x", maxLine) + "\na          | rest\ncluster: done\n"
	if got := out.String(); got != want {
		t.Errorf("%.300q, want %.300q", got, want)
	}
}
