package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// errStopped: a signal asked for the end.
var errStopped = errors.New("stopped by a signal")

// errStopping: the cluster ends, and changes no more.
var errStopping = errors.New("the cluster is stopping")

// sameSignal is how long after a signal further ones count as the same: some
// programs send one to a process and then to its group.
const sameSignal = 500 * time.Millisecond

// A supervisor runs processes of this program: it starts them, passes their
// logs on, says when one ends, and stops them. It is used by one goroutine.
type supervisor struct {
	exe      string
	out      *prefixer
	prefixed bool
	secure   bool // the processes serve TLS
	children []*child
	ended    chan *child // each is sent once
	asks     chan func() // what others want done by the goroutine that uses it
	running  int
}

// A child is one process.
type child struct {
	process
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait, once done is closed
	seen bool          // its end has been noticed
	fate fate          // what was done to it on purpose
}

// A process is what there is to know of a child before it runs.
type process struct {
	number int    // as users call it, from 1; 0 for the API server
	name   string // in the logs
	addr   string // where it listens
	gossip string // where it gossips
	api    bool   // it is an API server, which needs the nodes
}

// A fate is what was done to a process on purpose.
type fate string

const (
	removed fate = "removed"
	killed  fate = "killed"
	paused  fate = "paused" // it may go on
)

// meant reports whether a process was to end.
func (f fate) meant() bool { return f == removed || f == killed }

func newSupervisor(exe string, out io.Writer, prefixed bool) *supervisor {
	return &supervisor{exe: exe, out: &prefixer{w: out, palette: paletteFor(out)}, prefixed: prefixed,
		ended: make(chan *child, maxClusterNodes+1), asks: make(chan func())}
}

// start starts a process. It must be called on the thread that lives as long as
// the supervisor.
func (s *supervisor) start(p process, env, args []string) (*child, error) {
	c := &child{process: p, cmd: exec.Command(s.exe, args...), done: make(chan struct{})}
	c.cmd.Env = append(withoutFlags(os.Environ()), env...)
	c.cmd.SysProcAttr = childAttr()
	// What it leaves behind with its output open must not keep Wait.
	c.cmd.WaitDelay = time.Second
	w := s.out.writer("", len(s.children))
	if s.prefixed {
		w = s.out.writer(p.name, len(s.children))
	}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	s.children = append(s.children, c)
	s.running++
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
		s.ended <- c
	}()
	return c, nil
}

// do has ask done by the goroutine that uses the supervisor, while that waits for
// the end. It returns an error if it does so no more.
func (s *supervisor) do(ctx context.Context, ask func()) error {
	done := make(chan struct{})
	select {
	case s.asks <- func() { ask(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return errStopping
	}
}

// awaitReady returns when the processes are ready.
func (s *supervisor) awaitReady(ctx context.Context, children []*child) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	client, scheme := localClient(s.secure)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for _, c := range children {
		for !ready(ctx, client, scheme+c.addr) {
			select {
			case <-t.C:
			case <-c.done: // it is told of elsewhere
				return fmt.Errorf("%s ended before it was ready", c.name)
			case <-ctx.Done():
				return fmt.Errorf("%s is not ready after %v: its log says why, with --log-level debug more of it", c.name, startWithin)
			}
		}
	}
	return nil
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// await returns what started sends; errStopped on a signal; or an error once the
// last node has ended by itself. If a process ends while others start, that is an
// error too. Until then it does what it is asked to.
func (s *supervisor) await(signals <-chan os.Signal, started <-chan error) error {
	for {
		select {
		case err := <-started:
			return err
		case <-signals:
			return errStopped
		case ask := <-s.asks:
			ask()
		case c := <-s.ended:
			s.notice(c)
			if started != nil {
				return fmt.Errorf("%s ended before all were ready: its log says why", c.name)
			}
			if s.nodesLeft() == 0 && !c.fate.meant() {
				return errors.New("no node is left")
			}
		}
	}
}

// nodesLeft returns how many nodes run.
func (s *supervisor) nodesLeft() int {
	n := 0
	for _, c := range s.children {
		if !c.seen && !c.api {
			n++
		}
	}
	return n
}

// notice says loudly that a process ended by itself.
func (s *supervisor) notice(c *child) {
	c.seen = true
	s.running--
	if c.fate.meant() { // whoever did it says so
		return
	}
	s.out.say(fmt.Sprintf("%s (process %d) has ended: %s. It is not started again; %d of %d processes are left.",
		c.name, c.cmd.Process.Pid, c.cmd.ProcessState, s.running, s.expected()))
}

// expected returns how many processes nobody has ended on purpose.
func (s *supervisor) expected() (n int) {
	for _, c := range s.children {
		if !c.fate.meant() {
			n++
		}
	}
	return n
}

// stop asks the processes to end, the API server first so that its requests in
// flight find the nodes, and kills what is left after within, or at once on
// another signal. It returns an error unless each ended well.
func (s *supervisor) stop(within time.Duration, signals <-chan os.Signal) error {
	var errs []error
	for _, c := range s.children {
		if c.seen && !c.fate.meant() {
			errs = append(errs, fmt.Errorf("%s had ended before: %s", c.name, c.cmd.ProcessState))
		}
	}
	begun := time.Now()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	forced := false
	for _, api := range []bool{true, false} {
		wait := make(map[*child]bool)
		for _, c := range s.children {
			if !c.seen && c.api == api {
				wait[c] = true
				terminate(c.cmd.Process)
			}
		}
		for len(wait) > 0 {
			select {
			case c := <-s.ended:
				delete(wait, c)
				if !c.seen {
					c.seen = true
					s.running--
				}
				if c.err != nil && (terminates || forced) && !c.fate.meant() {
					errs = append(errs, fmt.Errorf("%s: %w", c.name, c.err))
				}
				continue
			case <-deadline.C:
			case <-signals:
				if time.Since(begun) < sameSignal {
					continue
				}
			}
			if !forced {
				s.out.say(fmt.Sprintf("killing what is left: %d processes", s.running))
			}
			forced = true
			s.kill()
		}
	}
	return errors.Join(errs...)
}

// kill ends all processes at once.
func (s *supervisor) kill() {
	for _, c := range s.children {
		if !c.seen {
			_ = c.cmd.Process.Kill() // it may have ended
		}
	}
}

// A prefixer passes the lines of several writers on, each whole and with a name
// before it.
type prefixer struct {
	palette palette

	mu sync.Mutex // guards w
	w  io.Writer
}

// maxLine bounds what is kept of a line that does not end.
const maxLine = 64 << 10

func (p *prefixer) writer(name string, number int) io.Writer {
	prefix := ""
	if name != "" {
		colors := []string{"36", "32", "33", "35", "34"}
		prefix = p.palette.paint(colors[number%len(colors)], fmt.Sprintf("%-10s | ", name))
	}
	return &prefixWriter{p: p, prefix: prefix}
}

// say writes a line of the supervisor's own.
func (p *prefixer) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s\n", p.palette.paint("1;31", "cluster: "+text))
}

// A prefixWriter is one process's output. It is used by one goroutine.
type prefixWriter struct {
	p      *prefixer
	prefix string
	line   []byte
}

// Write implements io.Writer.
func (w *prefixWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			w.line = append(w.line, b...)
			if len(w.line) < maxLine {
				break
			}
			b, end = []byte{'\n'}, 0
		}
		w.line = append(w.line, b[:end]...)
		b = b[end+1:]
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (w *prefixWriter) flush() error {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	_, err := fmt.Fprintf(w.p.w, "%s%s\n", w.prefix, w.line)
	w.line = w.line[:0]
	return err
}
