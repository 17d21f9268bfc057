package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A running `geecache cluster` has a door for the commands that change it: a Unix
// socket in a folder that only its user can open, called after the first node's
// port. Who comes sends one doorRequest, and is sent doorAnswers until the end.
const (
	doorSuffix  = ".sock"
	doorTimeout = 5 * time.Second // for a request to come, and for one to be taken
)

// A doorRequest is what somebody wants of a running cluster.
type doorRequest struct {
	Op    string   `json:"op"` // "list", "add", "remove", "kill", "pause" or "resume"
	Count int      `json:"count,omitempty"`
	Nodes []string `json:"nodes,omitempty"`
	Wait  bool     `json:"wait,omitempty"` // until who was killed or paused is in no ring
}

// A doorAnswer has one of its fields.
type doorAnswer struct {
	Outcome *outcome     `json:"outcome,omitempty"`
	Members []memberLine `json:"members,omitempty"`
	Error   string       `json:"error,omitempty"`
	End     bool         `json:"end,omitempty"` // all is done
}

// A memberLine is one process as `geecache cluster list` shows it.
type memberLine struct {
	Node  int    `json:"node,omitempty"` // its number; none for the API server
	Name  string `json:"name"`
	Addr  string `json:"addr"`
	PID   int    `json:"pid"`
	State string `json:"state"`           // its own word, or what was done to it
	Sees  int    `json:"sees,omitempty"`  // nodes on its ring
	Epoch string `json:"epoch,omitempty"` // of its ring
}

// doorDir returns the folder of the doors of this user's clusters. It makes it if
// it is to.
func doorDir(create bool) (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "geecache-"+strconv.Itoa(os.Getuid()))
	if create {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	info, err := os.Lstat(dir) // others may make what they like in a folder for temporary files
	switch {
	case err != nil:
		return "", err
	case !info.IsDir() || !ours(info) || terminates && info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s is not a folder that is this user's alone: remove it, or set XDG_RUNTIME_DIR to one that is", dir)
	}
	return dir, nil
}

// openDoor lets others change the cluster until close is called. Without a door
// the cluster does all else.
func (l *localCluster) openDoor(ctx context.Context) (close func()) {
	none := func() {}
	_, port, _ := net.SplitHostPort(l.children[0].addr)
	ln, err := listenAtDoor(port)
	if err != nil {
		l.out.say(fmt.Sprintf("geecache cluster add and the like cannot reach this cluster: %v", err))
		return none
	}
	l.changes = true
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			wg.Go(func() { l.answer(ctx, conn) })
		}
	})
	return func() {
		cancel()
		_ = ln.Close() // which removes the file
		wg.Wait()
		_ = os.Remove(filepath.Dir(ln.Addr().String())) // unless there are other doors
	}
}

// listenAtDoor listens at the door of a cluster whose first node has a port.
func listenAtDoor(port string) (ln net.Listener, err error) {
	const tries = 10 // one that ends may have been the last, and removes the folder meanwhile
	for range tries {
		var dir string
		if dir, err = doorDir(true); err == nil {
			path := filepath.Join(dir, port+doorSuffix)
			_ = os.Remove(path) // of a cluster that was killed: it had the port that this one has now
			if ln, err = net.Listen("unix", path); err == nil {
				if err = os.Chmod(path, 0o600); err == nil {
					return ln, nil
				}
				_ = ln.Close()
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, err
}

// answer does what one who comes asks for.
func (l *localCluster) answer(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(doorTimeout))
	var req doorRequest
	enc := json.NewEncoder(conn)
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return
	}
	var mu sync.Mutex // guards enc: outcomes come at once
	send := func(a doorAnswer) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(a) // who has gone does not hear it
	}
	var err error
	switch req.Op {
	case "list":
		var lines []memberLine
		if lines, err = l.list(ctx); err == nil {
			send(doorAnswer{Members: lines})
		}
	default:
		err = l.serveChange(ctx, req, func(o *outcome) { send(doorAnswer{Outcome: o}) })
	}
	if err != nil {
		send(doorAnswer{Error: err.Error()})
		return
	}
	send(doorAnswer{End: true})
}

// changeAll makes a change to the nodes that a request names, if all of them are
// known. It returns those to which it was made.
func (l *localCluster) changeAll(req doorRequest) (changed []*child, err error) {
	var all []*child
	for _, name := range req.Nodes {
		c, err := l.find(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	for _, c := range all {
		if err := l.change(c, req.Op); err != nil {
			return changed, err
		}
		changed = append(changed, c)
	}
	return changed, nil
}

// others returns where the processes listen that run and are not paused: they are
// asked.
func (l *localCluster) others() (addrs []string) {
	for _, c := range l.children {
		if !c.seen && c.fate == "" {
			addrs = append(addrs, c.addr)
		}
	}
	return addrs
}

// serveChange makes a change, and tells what becomes of it, node by node.
func (l *localCluster) serveChange(ctx context.Context, req doorRequest, tell func(*outcome)) error {
	var changed []*child
	var others []string
	var failed error
	var taken int64
	if req.Op == "remove" { // what they have taken over before counts for nothing
		var addrs []string
		if err := l.do(ctx, func() { addrs = l.others() }); err != nil {
			return err
		}
		taken = l.takeovers(ctx, addrs)
	}
	begun := time.Now()
	err := l.do(ctx, func() {
		if req.Op == "add" {
			changed, failed = l.add(req.Count)
			others = l.others()
			return
		}
		changed, failed = l.changeAll(req)
		others = l.others()
	})
	if err != nil {
		return err
	}
	return errors.Join(l.watch(ctx, req, changed, others, begun, taken, tell), failed)
}

// watch tells of each change once all others know of it.
func (l *localCluster) watch(ctx context.Context, req doorRequest, changed []*child, others []string, begun time.Time, taken int64, tell func(*outcome)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards late
	late := false
	for _, c := range changed {
		wg.Go(func() {
			asked := slices.DeleteFunc(slices.Clone(others), func(addr string) bool { return addr == c.addr })
			o := &outcome{Op: req.Op, Node: c.number, Addr: c.addr, PID: c.cmd.Process.Pid, Others: len(asked)}
			switch req.Op {
			case "add", "resume":
				l.watchAdded(ctx, o, c, asked, begun)
			case "remove":
				l.watchRemoved(ctx, o, c, asked, begun, taken)
			default:
				l.watchGone(ctx, o, c, asked, begun, req.Wait)
			}
			tell(o)
			mu.Lock()
			defer mu.Unlock()
			late = late || o.Late > 0 || req.Op == "add" && o.Exit != ""
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return errStopping
	}
	if late {
		return errors.New("not all processes know of it")
	}
	return nil
}

// list returns all processes that have been, with what those say that run.
func (l *localCluster) list(ctx context.Context) ([]memberLine, error) {
	var lines []memberLine
	err := l.do(ctx, func() {
		for _, c := range l.children {
			m := memberLine{Node: c.number, Name: c.name, Addr: c.addr, PID: c.cmd.Process.Pid, State: string(c.fate)}
			switch {
			case c.seen && c.fate.meant(), !c.seen && c.fate == paused:
			case c.seen:
				m.State = "ended: " + c.cmd.ProcessState.String()
			case c.fate == removed:
				m.State = "leaving"
			default:
				m.State = ""
			}
			lines = append(lines, m)
		}
	})
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for i := range lines {
		m := &lines[i]
		if m.State != "" {
			continue
		}
		wg.Go(func() {
			c, err := l.ask.peer(m.Addr)
			if err == nil {
				var s *memberStatus
				if s, err = c.status(ctx); err == nil {
					m.State, m.Sees, m.Epoch = s.State, len(nodesOf(s)), s.Epoch
					return
				}
			}
			m.State = "does not answer: " + reachError(err)
		})
	}
	wg.Wait()
	slices.SortStableFunc(lines, func(a, b memberLine) int { // the API server last
		return cmp.Compare(uint(a.Node)-1, uint(b.Node)-1)
	})
	return lines, nil
}

// dialDoor connects to the door of the cluster whose first node has that port; with
// port 0 to the only one that there is.
func dialDoor(ctx context.Context, port int) (net.Conn, error) {
	const start = "start one with `geecache cluster`"
	dir, err := doorDir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no cluster runs on this machine: " + start)
	}
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"+doorSuffix))
	if err != nil {
		return nil, err
	}
	var there []string
	var found net.Conn
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), doorSuffix)
		conn, err := (&net.Dialer{Timeout: doorTimeout}).DialContext(ctx, "unix", path)
		if err != nil {
			continue // of a cluster that was killed
		}
		there = append(there, name)
		if found != nil || port != 0 && name != strconv.Itoa(port) {
			_ = conn.Close()
			continue
		}
		found = conn
	}
	switch {
	case found != nil && (port != 0 || len(there) == 1):
		return found, nil
	case found != nil:
		_ = found.Close()
		return nil, fmt.Errorf("%d clusters run on this machine: say which with --port %s", len(there), strings.Join(there, " or --port "))
	case len(there) > 0:
		return nil, fmt.Errorf("no cluster's first node has port %d: use --port %s", port, strings.Join(there, " or --port "))
	}
	return nil, errors.New("no cluster runs on this machine: " + start)
}
