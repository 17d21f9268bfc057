//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A memoryGroup is a control group that bounds the memory of what runs in it.
type memoryGroup struct {
	dir                 string
	limit, peak, events string // files
}

// newMemoryGroup makes a control group, of version 1 or 2.
func newMemoryGroup(t *testing.T, limit int64) *memoryGroup {
	t.Helper()
	var errs []error
	for _, g := range []memoryGroup{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"},
		{"/sys/fs/cgroup", "memory.max", "memory.peak", "memory.events"},
	} {
		g.dir = filepath.Join(g.dir, fmt.Sprintf("geecache-e2e-%d", os.Getpid()))
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		// A group that does not bound memory lacks the file, which must not be made.
		f, err := os.OpenFile(filepath.Join(g.dir, g.limit), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(strconv.FormatInt(limit, 10))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			errs = append(errs, err, os.Remove(g.dir))
			continue
		}
		t.Cleanup(func() { // registered before the process that is to be in it: runs after its end
			if err := poll(patience, func() error { return os.Remove(g.dir) }); err != nil {
				t.Error(err)
			}
		})
		return &g
	}
	const remedy = "no control group that bounds memory can be made: run as root on Linux with a writable /sys/fs/cgroup"
	if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
		t.Fatal(remedy, ": ", errors.Join(errs...))
	}
	t.Skip(remedy)
	return nil
}

// number returns the number in a file, or on the line of a name.
func (g *memoryGroup) number(t *testing.T, file, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if name == "" && len(f) == 1 || len(f) == 2 && f[0] == name {
			n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %q:\n%s", file, name, b)
	return 0
}

// plainBinary returns the program, if it is without the race detector, which takes many
// times the memory that it watches over.
func plainBinary(t *testing.T) string {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector takes the memory itself: step sockets of make test runs this without")
	}
	return geecache
}

// sizedValue is the value of a key "N:SIZE": its bytes tell keys apart.
func sizedValue(key string) ([]byte, bool) {
	n, size, _ := strings.Cut(key, ":")
	length, err := strconv.Atoi(size)
	return bytes.Repeat([]byte(n+" "), length/(len(n)+1)+1)[:length], err == nil
}

// startInGroup starts a node in a control group of its own.
func startInGroup(t *testing.T, limit int64, source string, args ...string) (*process, *memoryGroup) {
	t.Helper()
	group := newMemoryGroup(t, limit)
	addr := freeAddr(t)
	// The shell puts itself into the group, and then becomes the program.
	p := startAs(t, "node", "/bin/sh", append([]string{"-c", `echo $$ >"$1/cgroup.procs" && shift && exec "$@"`, "sh", group.dir,
		plainBinary(t), "node", "--listen=" + addr, "--source=" + source, "--log-level=warn"}, args...)...)
	p.addr = addr
	p.awaitConnected(t, 1)
	return p, group
}

// mixedKeys returns keys of values of 100 bytes, 64 KiB and 1 MiB, so many bytes
// in all.
func mixedKeys(load int) (keys []string) {
	for n, total := 0, 0; total < load; n++ {
		size := 100
		switch n % 20 {
		case 0:
			size = 1 << 20
		case 5, 10, 15:
			size = 64 << 10
		}
		keys = append(keys, fmt.Sprintf("%d:%d", n, size))
		total += size
	}
	return keys
}

// readAll reads the values of keys, from many callers, and returns an error of
// each read that failed.
func readAll(addr string, keys []string) (errs []error) {
	const callers = 64
	var (
		next atomic.Int64
		mu   sync.Mutex // guards errs
		wg   sync.WaitGroup
	)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}, Timeout: patience}
	defer client.CloseIdleConnections()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(keys)); i = next.Add(1) - 1 {
				if err := readSized(client, addr, keys[i]); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("%s: %w", keys[i], err))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errs
}

// wantAlive checks that the kernel has killed nothing.
func (g *memoryGroup) wantAlive(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-p.done:
		t.Errorf("the node has ended: %v", p.err)
	default:
	}
	if n := g.number(t, g.events, "oom_kill"); n != 0 {
		t.Errorf("the kernel has killed %d processes", n)
	}
}

// A node in a control group of 256 MiB takes its budgets from that, and answers
// for 1 GiB of values without being killed and without refusing anything.
func TestMemoryLimit(t *testing.T) {
	const limit = 256 << 20
	o := newOrigin(t, 0)
	o.value = sizedValue
	p, group := startInGroup(t, limit, o.url())
	keys := mixedKeys(1 << 30)
	errs := readAll(p.addr, keys)
	t.Logf("%d reads, %d failed, at most %d MiB", len(keys), len(errs), group.number(t, group.peak, "")>>20)
	group.wantAlive(t, p)
	if len(errs) > 0 {
		t.Fatalf("%d of %d reads failed, the first with %v", len(errs), len(keys), errs[0])
	}
	if m := p.status(t).Process; m.Memory.Limit != limit || m.Memory.Refused != 0 || m.GoLimit >= limit || m.GoLimit < limit/2 {
		t.Errorf("memory: %+v", m)
	}
	g := p.group(t)
	if budget := g.Main.MaxBytes + g.Hot.MaxBytes; budget > limit*6/10 || budget < limit*4/10 || g.Main.EvictedCapacity == 0 {
		t.Errorf("the caches have %d bytes, and evicted %d entries", budget, g.Main.EvictedCapacity)
	}
}

// A node whose caches have been given more than there is refuses loads before the
// kernel kills it, and serves what it has.
func TestMemoryRunsOut(t *testing.T) {
	o := newOrigin(t, 0)
	o.value = sizedValue
	p, group := startInGroup(t, 256<<20, o.url(), "--cache-bytes=1GiB")
	keys := mixedKeys(1 << 30)
	errs := readAll(p.addr, keys[:20])
	if errs != nil {
		t.Fatal(errs[0])
	}
	errs = readAll(p.addr, keys)
	t.Logf("%d reads, %d failed, at most %d MiB", len(keys), len(errs), group.number(t, group.peak, "")>>20)
	group.wantAlive(t, p)
	for _, err := range errs {
		if !strings.Contains(err.Error(), "overloaded") {
			t.Fatalf("a read failed for want of something else: %v", err)
		}
	}
	if m := p.status(t).Process.Memory; m.Refused == 0 || len(errs) == 0 {
		t.Errorf("%d reads failed, memory: %+v", len(errs), m)
	}
	if errs := readAll(p.addr, keys[:20]); errs != nil {
		t.Errorf("%d of 20 values in memory cannot be read: %v", len(errs), errs[0])
	}
}

// readSized reads a value and checks its bytes.
func readSized(client *http.Client, addr, key string) error {
	resp, err := client.Get("http://" + addr + "/_geecache/scores/" + escapePath(key))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	value, err := decodeValue(body)
	if want, _ := sizedValue(key); err == nil && !bytes.Equal(value, want) {
		err = fmt.Errorf("%d bytes that are not the key's", len(value))
	}
	return err
}

// A cluster's processes share the limit, however many groups and roles there are.
func TestClusterDividesTheMemory(t *testing.T) {
	api, _, _ := startParent(t, "--memory-limit", "400MiB")
	processes := []*process{{addr: api.addr, name: "api"}}
	for _, peer := range api.status(t).Peers {
		if peer.ID != api.addr {
			processes = append(processes, &process{addr: peer.ID, name: peer.ID})
		}
	}
	if len(processes) != 4 {
		t.Fatalf("%d processes", len(processes))
	}
	for _, p := range processes {
		if m := p.status(t).Process.Memory; m.Limit != 100<<20 {
			t.Errorf("%s has a limit of %d bytes, want a quarter of 400 MiB", p.name, m.Limit)
		}
	}
}
