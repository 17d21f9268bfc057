package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang/groupcache"

	"github.com/geecache/geecache/benchmarks/internal/process"
	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/geecachepb"
	"github.com/geecache/geecache/internal/node"
	"google.golang.org/protobuf/proto"
)

// benchGroup is the group of all servers.
const benchGroup = "bench"

// serverBytes is the budget of a server's cache: it holds all that is asked for.
const serverBytes = 1 << 30

// A serverConfig says what a server process serves.
type serverConfig struct {
	Kind  string
	Nodes int    // of geecache, in one process; 0 means 1
	TLS   string // directory of certificates; empty: plain
	Peers []string
	Hot   bool // the API server keeps what it fetches

	Source string // of a node's process
	Cgroup string // that the process enters
}

// A serverInfo is what a server process tells when it serves.
type serverInfo struct {
	Addrs []string
	Error string `json:",omitempty"`
}

// A server is a process of its own that serves until it is closed.
type server struct {
	*process.Child
	addrs []string
}

// startServer starts a server process and waits until it serves.
func startServer(ctx context.Context, cfg serverConfig) (*server, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	child, err := process.Start(ctx, "serve", nil, string(text))
	if err != nil {
		return nil, err
	}
	var info serverInfo
	if err := child.Read(&info); err != nil {
		return nil, errors.Join(err, child.Close())
	}
	if info.Error != "" {
		return nil, errors.Join(errors.New(info.Error), child.Close())
	}
	return &server{child, info.Addrs}, nil
}

// serve is the role of a server process.
func serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	var cfg serverConfig
	if len(args) != 1 {
		return fmt.Errorf("serve takes one argument, not %d", len(args))
	}
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		return err
	}
	ready := func(addrs ...string) error {
		if err := process.Tell(out, serverInfo{Addrs: addrs}); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, in)
		return err
	}
	var err error
	switch cfg.Kind {
	case "geecache":
		err = serveNodes(ctx, cfg, ready)
	case "api", "node":
		err = serveProcess(ctx, cfg, ready)
	case "origin":
		err = serveOrigin(ready)
	case "net/http":
		err = serveBare(ready)
	case "groupcache":
		err = serveGroupcache(ready)
	case "redis-server":
		err = process.Redis().Run(ctx, in, func(addr string) error { return process.Tell(out, serverInfo{Addrs: []string{addr}}) })
	case "memcached":
		err = process.Memcached().Run(ctx, in, func(addr string) error { return process.Tell(out, serverInfo{Addrs: []string{addr}}) })
	default:
		err = fmt.Errorf("no server %q", cfg.Kind)
	}
	if err != nil {
		// Whoever has started this process says it better than its log.
		return process.Tell(out, serverInfo{Error: err.Error()})
	}
	return nil
}

// benchKey returns a key whose value has so many bytes.
func benchKey(bytes, i int) string { return fmt.Sprintf("%d/key-%08d", bytes, i) }

// benchValue returns the value of a benchKey, an allocation of its own.
func benchValue(key string) ([]byte, error) {
	number, _, _ := strings.Cut(key, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("key %q does not begin with the length of its value: %w", key, err)
	}
	return make([]byte, n), nil
}

// benchSource is the source of all nodes.
func benchSource(_ context.Context, key string) (geecache.Value, error) {
	value, err := benchValue(key)
	return geecache.Value{Bytes: value}, err
}

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveNodes serves nodes that own all keys.
func serveNodes(ctx context.Context, cfg serverConfig, ready func(addrs ...string) error) (err error) {
	var (
		nodes []*geecache.Node
		peers []geecache.Peer
		addrs []string
	)
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, n.Close())
		}
	}()
	for range max(cfg.Nodes, 1) {
		c := geecache.Config{Listen: "127.0.0.1:0", Logger: quietLogger()}
		if cfg.TLS != "" {
			if c.TLS, c.ClientTLS, err = readCertificates(cfg.TLS); err != nil {
				return err
			}
		}
		n, err := geecache.New(c)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		if _, err := n.NewGroup(benchGroup, geecache.GetterFunc(benchSource), geecache.GroupConfig{CacheBytes: serverBytes}); err != nil {
			return err
		}
		peers = append(peers, geecache.Peer{Addr: n.Addr()})
		addrs = append(addrs, n.Addr())
	}
	for _, n := range nodes {
		if err := n.SetView(peers); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return ready(addrs...)
}

// serveProcess serves what `geecache node` does, for the API as a client.
func serveProcess(ctx context.Context, cfg serverConfig, ready func(addrs ...string) error) error {
	if cfg.Cgroup != "" {
		if err := process.Enter(cfg.Cgroup); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	c := node.Config{Listen: addr, Groups: []string{benchGroup}, Source: cfg.Source, Logger: quietLogger(), DrainTimeout: time.Second, Timings: patient()}
	if cfg.Kind == "api" {
		c.Role, c.Group = geecache.RoleClient, geecache.GroupConfig{HotTTL: -1}
		if cfg.Hot {
			c.Group = geecache.GroupConfig{HotTTL: time.Hour, HotShare: 1, HotBytes: serverBytes}
		}
	}
	for _, p := range cfg.Peers {
		c.Peers = append(c.Peers, geecache.Peer{Addr: p})
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, c) }()
	if err := process.AwaitPort(ctx, addr); err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	err = ready(addr)
	cancel()
	return errors.Join(err, <-ended)
}

// serveOrigin serves values over HTTP, as a node's source.
func serveOrigin(ready func(addrs ...string) error) error {
	return serveHTTP(ready, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := benchValue(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(value) // the node is told by what it misses
	}))
}

// serveBare serves the least that net/http can: one answer, whatever the path,
// which is the API's value or the peer protocol's message.
func serveBare(ready func(addrs ...string) error) error {
	value := make([]byte, engineValue)
	message, err := proto.Marshal(&geecachepb.Response{Value: value})
	if err != nil {
		return err
	}
	return serveHTTP(ready, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		body := value
		if strings.HasPrefix(r.URL.Path, "/_geecache/") {
			body = message
		}
		_, _ = w.Write(body) // the client is told by what it misses
	}))
}

// serveGroupcache serves golang/groupcache's pool of peers, of which it is the
// only one.
func serveGroupcache(ready func(addrs ...string) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	self := "http://" + l.Addr().String()
	pool := groupcache.NewHTTPPoolOpts(self, nil)
	pool.Set(self)
	groupcache.NewGroup(benchGroup, serverBytes, groupcache.GetterFunc(func(_ context.Context, key string, dest groupcache.Sink) error {
		value, err := benchValue(key)
		if err != nil {
			return err
		}
		return dest.SetBytes(value)
	}))
	return serveListener(ready, l, pool)
}

func serveHTTP(ready func(addrs ...string) error, h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return serveListener(ready, l, h)
}

func serveListener(ready func(addrs ...string) error, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	err := errors.Join(ready(l.Addr().String()), srv.Close())
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		return errors.Join(err, end)
	}
	return err
}
