package envbench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The ports of a local deployment that asks for none.
const (
	defaultLocalPort = 8001
	defaultLocalAPI  = 9999
	endWithin        = 15 * time.Second // of a local cluster, draining included
)

// local runs `geecache cluster` in the background, and changes it through the commands
// below that. What it has to remember is in a folder of the user's.
type local struct {
	Options
	root string // the folder of all deployments

	original string   // the program, before Rebuild; empty: it is
	rebuilt  []string // folders that Rebuild has made
}

func newLocal(o Options) (*local, error) {
	if o.Program == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("the program's own file is unknown: %w", err)
		}
		o.Program = exe
	}
	root, err := StateDir()
	if err != nil {
		return nil, err
	}
	return &local{Options: o, root: filepath.Join(root, Local)}, nil
}

// StateDir returns the folder of the user's in which is kept what later commands have to
// know.
func StateDir() (string, error) {
	root := os.Getenv("XDG_STATE_HOME")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("where to keep what is known of a cluster is unknown: %w: set XDG_STATE_HOME", err)
		}
		root = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(root, "geecache"), nil
}

// A localState is what is remembered of a cluster that runs.
type localState struct {
	PID    int    `json:"pid"`
	Port   int    `json:"port"`
	API    string `json:"api"`
	Nodes  int    `json:"nodes"`
	Digest string `json:"digest"` // of how it was started
}

func (l *local) dir(name string) string { return filepath.Join(l.root, name) }

// recall returns the state of a cluster that runs; ErrAbsent if none does.
func (l *local) recall(ctx context.Context, name string) (localState, error) {
	var s localState
	text, err := os.ReadFile(filepath.Join(l.dir(name), "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, ErrAbsent
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("what is known of the cluster: %w", err)
	}
	if err := l.there(ctx, s); err != nil {
		return localState{}, err
	}
	return s, nil
}

// there returns ErrAbsent if a cluster has ended. One that only does not answer yet, as on a
// busy machine, has not: who took it for ended would forget processes that go on.
func (l *local) there(ctx context.Context, s localState) error {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	var said error
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		if _, said = l.list(ctx, s); said == nil {
			return true, nil
		}
		// Its process may be another program's by now, which then does not listen there. The
		// first node may have been killed.
		if !alive(s.PID) || free(fmt.Sprintf("127.0.0.1:%d", s.Port)) && free(strings.TrimPrefix(s.API, "http://")) {
			return true, ErrAbsent
		}
		return false, nil
	})
	if err == nil || errors.Is(err, ErrAbsent) {
		return err
	}
	return fmt.Errorf("process %d of the cluster does not tell of its nodes: %w", s.PID, errors.Join(err, said))
}

func (l *local) remember(name string, s localState) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir(name), "state.json"), text, 0o600)
}

// Up implements Driver.
func (l *local) Up(ctx context.Context, d Deployment) (*Status, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if d.Hello {
		return nil, &Unsupported{"a static server in the nodes' place", "here are no containers: a process runs geecache itself"}
	}
	d = d.WithDefaults()
	w := l.stopwatch()
	secrets, err := d.secrets()
	if err != nil {
		return nil, err
	}
	env := d.variables()
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	info, err := os.Stat(l.Program)
	if err != nil {
		return nil, err
	}
	is := digest([]any{env, d.Port, d.APIPort, l.Program, info.Size(), info.ModTime()})
	state, err := l.recall(ctx, d.Name)
	var changed []string
	switch {
	case errors.Is(err, ErrAbsent):
		changed = []string{fmt.Sprintf("%d nodes and an API server are started", d.Nodes)}
	case err != nil:
		return nil, err
	case state.Digest == is:
		return l.settle(ctx, w, d.Name, state, d.Nodes)
	default:
		w.stage(StageStop, "the cluster that runs is another one")
		if err := l.Down(ctx, d.Name); err != nil {
			return nil, err
		}
		changed = []string{"the cluster is started anew"}
	}
	w.stage(StageStart, fmt.Sprintf("%d nodes and an API server", d.Nodes))
	state, err = l.start(ctx, d, env, is)
	if err != nil {
		return nil, err
	}
	s, err := l.settle(ctx, w, d.Name, state, d.Nodes)
	if s != nil {
		s.Changed = append(changed, s.Changed...)
	}
	return s, err
}

// start starts a cluster, and returns when it says that it is ready.
func (l *local) start(ctx context.Context, d Deployment, env []string, is string) (localState, error) {
	dir := l.dir(d.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return localState{}, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return localState{}, err
	}
	defer func() { _ = log.Close() }()
	out, err := os.Create(filepath.Join(dir, "ready"))
	if err != nil {
		return localState{}, err
	}
	defer func() { _ = out.Close() }()
	port, api := cmp.Or(d.Port, defaultLocalPort), cmp.Or(d.APIPort, defaultLocalAPI)
	cmd := exec.Command(l.Program, "cluster", "--json", fmt.Sprintf("--nodes=%d", d.Nodes),
		fmt.Sprintf("--port=%d", port), fmt.Sprintf("--api=%d", api))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = detached()
	if l.Tied {
		cmd.Args = append(cmd.Args, "--until-input-ends")
		if _, err := cmd.StdinPipe(); err != nil { // which nobody writes to, and which ends with this process
			return localState{}, err
		}
	}
	if err := cmd.Start(); err != nil {
		return localState{}, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, l.StartWithin)
	defer cancel()
	var ready struct {
		API struct{ URL string } `json:"api"`
	}
	err = poll(ctx, func(context.Context) (bool, error) {
		select {
		case <-ended:
			return false, errors.New("the cluster has ended")
		default:
		}
		text, err := os.ReadFile(out.Name())
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			return false, err
		}
		return true, json.Unmarshal(text, &ready)
	})
	if err != nil {
		endOrKill(cmd.Process, ended)
		if whole.Err() != nil {
			return localState{}, fmt.Errorf("interrupted while processes start: %w", context.Cause(whole))
		}
		return localState{}, fmt.Errorf("%w; its log ends with\n%s", err, strings.TrimSpace(lastLines(log.Name(), 10)))
	}
	state := localState{PID: cmd.Process.Pid, Port: port, API: ready.API.URL, Nodes: d.Nodes, Digest: is}
	return state, l.remember(d.Name, state)
}

// endOrKill ends a cluster that is this process's child, with its nodes.
func endOrKill(p *os.Process, ended <-chan struct{}) {
	end(p)
	timer := time.NewTimer(endWithin)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = p.Kill() // it may have ended
		<-ended
	}
}

// settle makes the nodes so many, and returns when they agree.
func (l *local) settle(ctx context.Context, w *stopwatch, name string, state localState, nodes int) (*Status, error) {
	members, err := l.list(ctx, state)
	if err != nil {
		return nil, err
	}
	var running []int
	for _, m := range members {
		if m.Node > 0 && m.runs() {
			running = append(running, m.Node)
		}
	}
	slices.Sort(running)
	var changed []string
	port := fmt.Sprintf("--port=%d", state.Port)
	switch more := nodes - len(running); {
	case more > 0:
		w.stage(StageStart, fmt.Sprintf("%d more", more))
		_, err = l.run(ctx, "cluster", "add", port, fmt.Sprintf("--count=%d", more))
		changed = append(changed, fmt.Sprintf("%d nodes are added", more))
	case more < 0:
		w.stage(StageStop, fmt.Sprintf("%d fewer", -more))
		args := []string{"cluster", "remove", port}
		for _, n := range running[nodes:] {
			args = append(args, strconv.Itoa(n))
		}
		_, err = l.run(ctx, args...)
		changed = append(changed, fmt.Sprintf("%d nodes are removed", -more))
	}
	if err != nil {
		return nil, err
	}
	if state.Nodes != nodes {
		state.Nodes = nodes
		if err := l.remember(name, state); err != nil {
			return nil, err
		}
	}
	w.stage(StageAgreement, "all nodes are asked for their ring")
	s, err := l.awaitAgreement(ctx, w, func(ctx context.Context) (*Status, error) { return l.look(ctx, name, state) })
	w.end()
	if s != nil {
		s.Stages, s.Changed = w.stages, changed
	}
	return s, err
}

// Scale implements Driver.
func (l *local) Scale(ctx context.Context, name string, nodes int) (*Status, error) {
	w := l.stopwatch()
	state, err := l.recall(ctx, name)
	if err != nil {
		return nil, err
	}
	return l.settle(ctx, w, name, state, nodes)
}

// Status implements Driver.
func (l *local) Status(ctx context.Context, name string) (*Status, error) {
	state, err := l.recall(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := l.look(ctx, name, state)
	if err == nil {
		s.judge()
	}
	return s, err
}

// A localMember is a process as `geecache cluster list` tells of it.
type localMember struct {
	Node  int    `json:"node"`
	Name  string `json:"name"`
	Addr  string `json:"addr"`
	PID   int    `json:"pid"`
	State string `json:"state"`
}

// runs reports whether the process has not ended, as the cluster says.
func (m localMember) runs() bool {
	ended := func(how string) bool { return strings.HasPrefix(m.State, how) }
	return !slices.ContainsFunc([]string{"leaving", "removed", "killed", "ended"}, ended)
}

func (l *local) list(ctx context.Context, state localState) (all []localMember, err error) {
	out, err := l.run(ctx, "cluster", "list", "--json", fmt.Sprintf("--port=%d", state.Port))
	if err != nil {
		return nil, err
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var m localMember
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
}

// look asks all processes.
func (l *local) look(ctx context.Context, name string, state localState) (*Status, error) {
	members, err := l.list(ctx, state)
	if err != nil {
		return nil, err
	}
	s := &Status{Environment: Local, Name: name, Desired: state.Nodes, API: state.API, Notes: []string{
		"nodes are processes of this machine: no image, no network between machines, no load balancer, and nobody replaces one that dies",
	}}
	for _, m := range members {
		if !m.runs() {
			continue
		}
		if m.Node > 0 {
			s.Reported++
			if alive(m.PID) {
				s.Running++
			}
		}
		s.Members = append(s.Members, Member{ID: m.Addr, Addr: m.Addr, API: m.Node == 0, task: strconv.Itoa(m.Node)})
	}
	p := newProber("", false)
	defer p.close()
	p.all(ctx, s.Members)
	return s, nil
}

// Logs implements Driver.
func (l *local) Logs(_ context.Context, name string, w io.Writer, lines int) error {
	path := filepath.Join(l.dir(name), "log")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ErrAbsent
	}
	_, err := io.WriteString(w, lastLines(path, lines))
	return err
}

// lastLines returns the last lines of a file, or why there are none.
func lastLines(path string, most int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error() + "\n"
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if lines = append(lines, s.Text()+"\n"); len(lines) > most {
			lines = lines[1:]
		}
	}
	return strings.Join(lines, "")
}

// Down implements Driver.
func (l *local) Down(ctx context.Context, name string) error {
	state, err := l.recall(ctx, name)
	switch {
	case errors.Is(err, ErrAbsent):
		return os.RemoveAll(l.dir(name))
	case err != nil:
		return err
	}
	members, err := l.list(ctx, state)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(state.PID)
	if err != nil {
		return err
	}
	end(p)
	gone := func(context.Context) (bool, error) {
		return !alive(state.PID) && !slices.ContainsFunc(members, func(m localMember) bool { return m.runs() && (alive(m.PID) || !free(m.Addr)) }), nil
	}
	limited, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	if err = poll(limited, gone); err == nil {
		return os.RemoveAll(l.dir(name))
	}
	err = fmt.Errorf("process %d and its nodes had not ended after %v, and it was killed: %w", state.PID, endWithin, err)
	_ = p.Kill() // it may have ended
	limited, cancel = context.WithTimeout(ctx, endWithin)
	defer cancel()
	if poll(limited, gone) != nil {
		return fmt.Errorf("%w; not all of them have ended after that", err)
	}
	return errors.Join(err, os.RemoveAll(l.dir(name)))
}

// free reports whether nothing listens at an address any more.
func free(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		_ = ln.Close()
	}
	return err == nil
}

// run runs a command of the program, and returns what it prints.
func (l *local) run(ctx context.Context, args ...string) ([]byte, error) {
	var errs bytes.Buffer
	cmd := NewCommand(ctx, l.Program, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, said(fmt.Errorf("%s: %w", strings.Join(args, " "), err), errs.Bytes())
	}
	return out, nil
}
