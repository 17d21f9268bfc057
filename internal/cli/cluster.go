package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geecache/geecache/internal/node"
)

const clusterLong = `cluster runs a whole cluster on this machine: cache nodes, each a process of its
own, and an API server that asks them. They listen on 127.0.0.1 only.

The nodes find each other by gossip, so others may come and go meanwhile: from
another terminal, geecache cluster add starts one more, and remove, kill, pause
and resume do to one of them what their names say.

Their logs go to standard error, with the process's name before each line. A
process that ends by itself is not started again, which is said loudly; the
others answer for its keys. Ctrl-C stops all of them.

The exit status is 0 if all processes ended well when they were told to.`

const clusterExample = `  geecache cluster
  geecache cluster --nodes 5 --source 'slowdb:users.db?latency=200ms'
  geecache cluster --source 'postgres://app@db/app' --query 'select score from scores where name = $1'
  geecache cluster --snapshot file:///tmp/geecache
  geecache cluster --json --log-level warn
  geecache cluster add
  geecache cluster kill 2`

const (
	maxClusterNodes = 64
	// startWithin bounds how long processes may take to be ready.
	startWithin = 30 * time.Second
	// killAfter is added to --drain-timeout before a process is killed.
	killAfter = 2 * time.Second
)

// clusterFlags are the flags of `geecache cluster`.
type clusterFlags struct {
	cacheFlags
	snapshotFlags
	nodes, port, api int
	json             bool
	tied             bool // it ends when its standard input does
}

// newClusterCommand returns `geecache cluster`.
func newClusterCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:     "cluster",
		Short:   "Run a cluster on this machine: cache nodes and an API server",
		Long:    clusterLong,
		Example: clusterExample,
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := setFromEnv(cmd.Flags(), os.Environ()); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.nodes, "nodes", 3, "how many cache nodes")
	flags.IntVar(&f.port, "port", defaultPort, "port of the first node; the others follow it. 0: free ones")
	flags.IntVar(&f.api, "api", defaultAPIPort, "port of the API server; 0: a free one")
	flags.BoolVar(&f.json, "json", false, "when all are ready, print addresses and process IDs as one line of JSON")
	flags.BoolVar(&f.tied, "until-input-ends", false, "stop when standard input ends: with whoever holds its other end")
	_ = flags.MarkHidden("until-input-ends") // it is there: for programs that must not leave a cluster behind
	f.cacheFlags.register(flags)
	f.snapshotFlags.register(flags)
	completeChoices(cmd, "log-format", "text", "json")
	completeChoices(cmd, "log-level", "debug", "info", "warn", "error")
	cmd.AddCommand(newChangeCommands()...)
	return cmd
}

// check returns an error if the flags make no sense.
func (f *clusterFlags) check() error {
	switch {
	case f.nodes < 1 || f.nodes > maxClusterNodes:
		return usagef("--nodes is %d: use 1 to %d", f.nodes, maxClusterNodes)
	case f.port < 0 || f.port+f.nodes-1 > 65535:
		return usagef("--port is %d: use a port from 1, with room for %d nodes up to 65535", f.port, f.nodes)
	case f.api < 0 || f.api > 65535:
		return usagef("--api is %d: use a port from 1 to 65535", f.api)
	case f.api != 0 && f.port != 0 && f.api >= f.port && f.api < f.port+f.nodes:
		return usagef("--api is %d, and the nodes use the ports %d to %d: choose another one", f.api, f.port, f.port+f.nodes-1)
	}
	if err := f.complete(); err != nil {
		return err
	}
	cfg := f.config(nil)
	if err := f.setSnapshot(&cfg); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

// addresses returns where the nodes and the API server will listen, all of
// which is free. The last one is the API server's.
func (f *clusterFlags) addresses() ([]string, error) {
	var addrs []string
	for i := range f.nodes + 1 {
		flag, port := "--port", f.port
		switch {
		case i == f.nodes:
			flag, port = "--api", f.api
		case port != 0:
			port += i
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("port %d is in use (%w): stop what listens there, or choose another one with %s", port, err, flag)
		}
		// Open until all are found, so that free ones differ.
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// processArgs returns the flags that every process gets, and those that nodes get
// alone: those that were given. The source travels in the environment: its URL may hold
// a password.
func (f *clusterFlags) processArgs(flags *pflag.FlagSet) (common, nodes []string) {
	own, ofNodes := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	new(cacheFlags).register(own)
	new(snapshotFlags).register(ofNodes)
	flags.Visit(func(flag *pflag.Flag) {
		switch {
		case ofNodes.Lookup(flag.Name) != nil:
			nodes = append(nodes, "--"+flag.Name+"="+flag.Value.String())
		case own.Lookup(flag.Name) == nil || flag.Name == "source" || flag.Name == "query" || flag.Name == "memory-limit":
		case flag.Name == "group":
			for _, g := range f.groups {
				common = append(common, "--group="+g)
			}
		default:
			common = append(common, "--"+flag.Name+"="+flag.Value.String())
		}
	})
	return common, nodes
}

func (f *clusterFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	addrs, err := f.addresses()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cluster: the program's own file is unknown: %w", err)
	}
	// A child that dies with its parent dies with the thread that made it, so
	// the thread must stay (see childAttr).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	s := newSupervisor(exe, cmd.ErrOrStderr(), f.logFormat.value == "text")
	s.secure = f.tls.Given()
	l := &localCluster{clusterFlags: f, supervisor: s}
	l.common, l.ofNodes = f.processArgs(cmd.Flags())
	if l.ask, err = l.client(); err != nil {
		return err
	}
	for name, value := range map[string]string{"source": f.source, "query": f.query} {
		if value != "" {
			l.env = append(l.env, envName(name)+"="+value)
		}
	}
	if limit := node.MemoryShare(int64(f.memoryLimit), len(addrs)); limit > 0 {
		l.common = append(l.common, fmt.Sprintf("--memory-limit=%d", limit))
	}
	return l.supervise(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), addrs)
}

// supervise starts everything, waits, and stops everything.
func (l *localCluster) supervise(ctx context.Context, in io.Reader, out io.Writer, addrs []string) error {
	begun := time.Now()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if l.tied {
		go func() { // until the end of the process, if that comes first
			_, _ = io.Copy(io.Discard, in)
			select {
			case signals <- syscall.SIGTERM:
			default: // others are on their way
			}
		}()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	ready := false
	err := l.startAll(ctx, signals, addrs)
	if err == nil {
		ready = true
		close := l.openDoor(ctx)
		if err = l.announce(out, time.Since(begun)); err == nil {
			err = l.await(signals, nil)
		}
		cancel()
		close()
	}
	cancel()
	if errors.Is(err, errStopped) {
		err = nil
	}
	if stopErr := l.stop(l.drain+killAfter, signals); ready { // before, one is enough to know
		err = errors.Join(err, stopErr)
	}
	return err
}

// A memberJSON is one process as --json tells of it.
type memberJSON struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Addr string `json:"addr"`
	URL  string `json:"url"`
	PID  int    `json:"pid"`
}

// scheme begins the URLs of the processes.
func (f *clusterFlags) scheme() string {
	if f.tls.Given() {
		return "https://"
	}
	return "http://"
}

// announce says that all are ready, and what to do with them.
func (l *localCluster) announce(out io.Writer, took time.Duration) error {
	var members []memberJSON
	for _, c := range l.children {
		members = append(members, memberJSON{Name: c.name, ID: c.addr, Addr: c.addr, URL: l.scheme() + c.addr, PID: c.cmd.Process.Pid})
	}
	nodes, api := members[:len(members)-1], members[len(members)-1]
	if l.json {
		return json.NewEncoder(out).Encode(map[string]any{
			"pid": os.Getpid(), "nodes": nodes, "api": api, "ready_ms": took.Milliseconds(),
		})
	}
	key, missing := "Tom", "kkk"
	if src, _, _ := strings.Cut(l.source, "?"); src != "" && src != node.DefaultSource {
		key, missing = "KEY", ""
	}
	var b strings.Builder
	p := paletteFor(out)
	fmt.Fprintf(&b, "\n%s (%d ms)\n\n", p.bold(fmt.Sprintf("%d nodes and an API server are ready", len(nodes))), took.Milliseconds())
	fmt.Fprintf(&b, "  curl '%s/api?key=%s'\n", localhost(api.Addr), key)
	if missing != "" {
		fmt.Fprintf(&b, "  curl -i '%s/api?key=%s'\n", localhost(api.Addr), missing)
	}
	addr := ""
	if api.Addr != node.DefaultAPIListen {
		addr = " --addr " + api.Addr
	}
	self := selfCommand()
	fmt.Fprintf(&b, "  %s get %s --explain%s\n  %s ring%s\n  %s stats%s\n", self, key, addr, self, addr, self, addr)
	if l.changes {
		fmt.Fprintf(&b, "  %s cluster add (or kill 2, pause 3, ...)\n", self)
	}
	b.WriteString("\nCtrl-C stops all of them.\n\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// localhost writes a loopback address as people do.
func localhost(addr string) string { return strings.Replace(addr, "127.0.0.1:", "localhost:", 1) }

// selfCommand returns what a user types to run this program.
func selfCommand() string {
	exe, err := os.Executable()
	switch {
	case err != nil:
		return "geecache"
	case strings.Contains(filepath.ToSlash(exe), "/go-build"): // of go run
		return "go run ."
	}
	return os.Args[0]
}
