package suite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/golang/groupcache"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/geecache/geecache/geecache"
)

// A client gets values from a server of another process.
type client struct {
	get func(ctx context.Context, key string) (length int, err error)
	set func(ctx context.Context, key string, value []byte) error // nil: the server loads by itself
	// many gets several keys at once, and returns how many it got; nil: it cannot.
	many  func(ctx context.Context, keys []string) (got int, err error)
	close []func() error // in this order
}

// Close ends the client and its server.
func (c *client) Close() error {
	var errs []error
	for _, f := range c.close {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// fill sees to it that the server has the values of keys.
func (c *client) fill(ctx context.Context, keys []string) error {
	const fillers = 64
	var (
		wg   sync.WaitGroup
		errs = make([]error, fillers)
	)
	for f := range fillers {
		wg.Go(func() {
			for i := f; i < len(keys) && errs[f] == nil; i += fillers {
				if c.set == nil {
					_, errs[f] = c.get(ctx, keys[i])
					continue
				}
				value, err := benchValue(keys[i])
				if err == nil {
					err = c.set(ctx, keys[i], value)
				}
				errs[f] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// An opener starts a server and connects a client to it.
type opener func(ctx context.Context) (*client, error)

// openNodes connects a client of geecache to processes of nodes.
func openNodes(processes, nodes int, secure bool) opener {
	return func(ctx context.Context) (c *client, err error) {
		c = &client{}
		defer func() {
			if err != nil {
				err = errors.Join(err, c.Close())
			}
		}()
		var clientTLS *tls.Config
		cfg := serverConfig{Kind: "geecache", Nodes: nodes}
		if secure {
			if cfg.TLS, err = os.MkdirTemp("", "geecache-bench-"); err != nil {
				return c, err
			}
			c.close = append(c.close, func() error { return os.RemoveAll(cfg.TLS) })
			if err := writeCertificates(cfg.TLS); err != nil {
				return c, err
			}
			if _, clientTLS, err = readCertificates(cfg.TLS); err != nil {
				return c, err
			}
		}
		var addrs []string
		for range processes {
			s, err := startServer(ctx, cfg)
			if err != nil {
				return c, err
			}
			c.close = append(c.close, s.Close)
			addrs = append(addrs, s.addrs...)
		}
		return connectNodes(ctx, c, clientTLS, addrs)
	}
}

// patient gives peers more time than they get by default: on a machine that is
// busy with something else, no request of a measurement shall fail for that.
func patient() geecache.Timings {
	return geecache.Timings{DialTimeout: 10 * time.Second, DeadAfter: 10 * time.Second}
}

// connectNodes connects c to nodes, as a client of geecache that keeps nothing
// of what it fetches.
func connectNodes(ctx context.Context, c *client, clientTLS *tls.Config, addrs []string) (*client, error) {
	cfg := geecache.Config{Role: geecache.RoleClient, ID: "bench-client", Logger: quietLogger(), ClientTLS: clientTLS, Timings: patient()}
	for _, addr := range addrs {
		cfg.Peers = append(cfg.Peers, geecache.Peer{Addr: addr})
	}
	n, err := geecache.New(cfg)
	if err != nil {
		return c, err
	}
	c.close = append([]func() error{n.Close}, c.close...)
	g, err := n.NewGroup(benchGroup, nil, geecache.GroupConfig{HotTTL: -1})
	if err != nil {
		return c, err
	}
	c.get = func(ctx context.Context, key string) (int, error) {
		v, err := g.Get(ctx, key)
		return v.Len(), err
	}
	c.many = func(ctx context.Context, keys []string) (int, error) {
		m, err := g.GetMany(ctx, keys...)
		return len(m), err
	}
	return c, n.Start(ctx)
}

// openRueidis connects rueidis to a redis-server. It has no cache of its own.
func openRueidis(maxFlushDelay time.Duration) opener {
	return func(ctx context.Context) (*client, error) {
		s, err := startServer(ctx, serverConfig{Kind: "redis-server"})
		if err != nil {
			return nil, err
		}
		r, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: s.addrs, DisableCache: true, MaxFlushDelay: maxFlushDelay})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return &client{
			get: func(ctx context.Context, key string) (int, error) {
				v, err := r.Do(ctx, r.B().Get().Key(key).Build()).AsBytes()
				return len(v), err
			},
			set: func(ctx context.Context, key string, value []byte) error {
				return r.Do(ctx, r.B().Set().Key(key).Value(rueidis.BinaryString(value)).Build()).Error()
			},
			many: func(ctx context.Context, keys []string) (int, error) {
				m, err := rueidis.MGet(r, ctx, keys)
				return len(m), err
			},
			close: []func() error{func() error { r.Close(); return nil }, s.Close},
		}, nil
	}
}

// openGoRedis connects go-redis to a redis-server.
func openGoRedis(ctx context.Context) (*client, error) {
	s, err := startServer(ctx, serverConfig{Kind: "redis-server"})
	if err != nil {
		return nil, err
	}
	r := redis.NewClient(&redis.Options{Addr: s.addrs[0]})
	return &client{
		get: func(ctx context.Context, key string) (int, error) {
			v, err := r.Get(ctx, key).Bytes()
			return len(v), err
		},
		set: func(ctx context.Context, key string, value []byte) error {
			return r.Set(ctx, key, value, 0).Err()
		},
		close: []func() error{r.Close, s.Close},
	}, nil
}

// openMemcached connects gomemcache to a memcached. Its default of two idle
// connections would have it dial for most requests: it may keep one a caller.
func openMemcached(ctx context.Context) (*client, error) {
	s, err := startServer(ctx, serverConfig{Kind: "memcached"})
	if err != nil {
		return nil, err
	}
	m := memcache.New(s.addrs[0])
	m.MaxIdleConns = maxCallers
	m.Timeout = 10 * time.Second
	return &client{
		get: func(_ context.Context, key string) (int, error) {
			item, err := m.Get(key)
			if err != nil {
				return 0, err
			}
			return len(item.Value), nil
		},
		set: func(_ context.Context, key string, value []byte) error {
			return m.Set(&memcache.Item{Key: key, Value: value})
		},
		close: []func() error{m.Close, s.Close},
	}, nil
}

// openGroupcache connects golang/groupcache's pool to one of another process,
// either as it comes or with idle connections for all callers. A group without
// bytes keeps nothing of what it fetches.
func openGroupcache(idle int) opener {
	return func(ctx context.Context) (*client, error) {
		s, err := startServer(ctx, serverConfig{Kind: "groupcache"})
		if err != nil {
			return nil, err
		}
		pool := groupcache.NewHTTPPoolOpts("http://client.invalid", nil)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		if idle > 0 {
			transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, idle
		}
		pool.Transport = func(context.Context) http.RoundTripper { return transport }
		pool.Set("http://" + s.addrs[0])
		g := groupcache.NewGroup(benchGroup, 0, groupcache.GetterFunc(func(_ context.Context, key string, _ groupcache.Sink) error {
			return fmt.Errorf("key %q was to be loaded by the client: its peer has failed", key)
		}))
		return &client{
			get: func(ctx context.Context, key string) (int, error) {
				var v groupcache.ByteView
				err := g.Get(ctx, key, groupcache.ByteViewSink(&v))
				return v.Len(), err
			},
			close: []func() error{func() error { transport.CloseIdleConnections(); return nil }, s.Close},
		}, nil
	}
}
