//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startParent runs `geecache cluster` and returns it with the PIDs of its
// children and the port of its first node.
func startParent(t *testing.T, args ...string) (parent *process, pids []int, first string) {
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
	return parent, pids, strconv.Itoa(port)
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
	began := time.Now()
	parent, pids, _ := startParent(t)
	if code, body, err := get(parent.url("/api?key=Tom")); err != nil || code != http.StatusOK || string(body) != "630" {
		t.Errorf("Tom: %d, %q, %v", code, body, err)
	}
	t.Logf("three nodes and the API server gave the first value %v after the start", time.Since(began).Round(time.Millisecond))
	parent.signal(t, syscall.SIGINT)
	if code := parent.wait(t); code != 0 {
		t.Errorf("after Ctrl-C the exit status is %d, want 0", code)
	}
	allGone(t, pids)
}

func TestKilledParentLeavesNoProcess(t *testing.T) {
	t.Parallel()
	parent, pids, port := startParent(t)
	var added []byte
	eventually(t, "a node is added", func() (err error) {
		added, err = exec.Command(geecache, "cluster", "add", "--json", "--port", port).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, added)
		}
		return err
	})
	var node struct{ PID int }
	if err := json.Unmarshal(added, &node); err != nil {
		t.Fatalf("%v: %s", err, added)
	}
	if out, err := exec.Command(geecache, "cluster", "pause", "2", "--port", port).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	parent.kill(t)
	allGone(t, append(pids, node.PID)) // the paused one too
}

func TestTermEndsANodeWithoutFailingRequests(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 2*time.Millisecond)
	c := startCluster(t, clusterConfig{source: o.url(), args: []string{"--hot-copies=false"}})
	var asked atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				key := fmt.Sprintf("key:%d", asked.Add(1)%2000)
				resp, body, err := c.ask(c.api, key)
				if err != nil || !bytes.Equal(body, valueOf(key)) {
					t.Errorf("while a node left: %s: %v, %q, %v", key, resp, body, err)
					return
				}
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		until := asked.Load() + n
		eventually(t, "requests", func() error {
			if now := asked.Load(); now < until {
				return fmt.Errorf("%d of %d", now, until)
			}
			return nil
		})
	}
	more(1000)
	c.nodes[0].signal(t, syscall.SIGTERM)
	if code := c.nodes[0].wait(t); code != 0 {
		t.Errorf("after SIGTERM the exit status is %d, want 0", code)
	}
	more(1000)
	stop()
	wg.Wait()
}
