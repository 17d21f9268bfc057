//go:build unix

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startParent runs `geecache cluster` and returns it with the PIDs of its
// children.
func startParent(t *testing.T, args ...string) (parent *process, pids []int) {
	t.Helper()
	port, err := freeRange(3)
	if err != nil {
		t.Fatal(err)
	}
	api := freeAddr(t)
	_, apiPort, _ := net.SplitHostPort(api)
	parent = start(t, "cluster", append([]string{"cluster", "--nodes", "3", "--port", strconv.Itoa(port), "--api", apiPort}, args...)...)
	parent.addr = api
	parent.awaitConnected(t, 3)
	members := []string{api}
	for i := range 3 {
		members = append(members, net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
	}
	for _, addr := range members {
		p := &process{addr: addr, name: addr, done: make(chan struct{})}
		pid := p.status(t).Process.PID
		if !alive(t, pid) || pid == parent.cmd.Process.Pid {
			t.Fatalf("%s has PID %d: want a living process of its own", addr, pid)
		}
		pids = append(pids, pid)
	}
	return parent, pids
}

// alive reports whether a process runs. One that has ended, but whom no parent
// has waited for, does not.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	if err := syscall.Kill(pid, 0); err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil { // no /proc: ask ps
		out, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		text := strings.TrimSpace(string(out))
		return text != "" && text[0] != 'Z'
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:] // the name before may hold anything
	return len(after) > 1 && after[1] != 'Z' && after[1] != 'X'
}

func allGone(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, "the end of all processes", func() error {
		for _, pid := range pids {
			if alive(t, pid) {
				return fmt.Errorf("process %d still runs", pid)
			}
		}
		return nil
	})
}

func TestInterruptLeavesNoProcess(t *testing.T) {
	t.Parallel()
	parent, pids := startParent(t)
	if code, body, err := get(parent.url("/api?key=Tom")); err != nil || code != http.StatusOK || string(body) != "630" {
		t.Errorf("Tom: %d, %q, %v", code, body, err)
	}
	parent.signal(t, syscall.SIGINT)
	if code := parent.wait(t); code != 0 {
		t.Errorf("after Ctrl-C the exit status is %d, want 0", code)
	}
	allGone(t, pids)
}

func TestKilledParentLeavesNoProcess(t *testing.T) {
	t.Parallel()
	parent, pids := startParent(t)
	parent.kill(t)
	allGone(t, pids)
}

func TestTermEndsANodeWithoutFailingRequests(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 0)
	c := startCluster(t, clusterConfig{source: o.url(), args: []string{"--hot-copies=false"}})
	stop := make(chan struct{})
	failures := make(chan error, 1)
	asked := 0
	go func() {
		defer close(failures)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprintf("key:%d", i%500)
			resp, body, err := c.ask(c.api, key)
			if err == nil && !bytes.Equal(body, valueOf(key)) {
				err = fmt.Errorf("%s: %d, %q", key, resp.StatusCode, body)
			}
			if err != nil {
				failures <- err
				return
			}
			asked++
		}
	}()
	c.nodes[0].signal(t, syscall.SIGTERM)
	if code := c.nodes[0].wait(t); code != 0 {
		t.Errorf("after SIGTERM the exit status is %d, want 0", code)
	}
	close(stop)
	if err := <-failures; err != nil {
		t.Errorf("while a node left: %v", err)
	}
	t.Logf("%d requests while a node left", asked)
}
