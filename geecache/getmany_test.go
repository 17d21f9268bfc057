package geecache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestGetManyAsksAndCountsAKeyOnce(t *testing.T) {
	g := localGroup(t, GetterFunc(func(context.Context, string) (Value, error) { return Value{}, ErrNotFound }), GroupConfig{})
	for _, state := range []string{"cold", "in memory"} {
		before := g.Stats()
		values, err := g.GetMany(t.Context(), "no", "no", "no")
		after := g.Stats()
		var one *KeyError
		if len(values) != 0 || !errors.Is(err, ErrNotFound) || !errors.As(err, &one) || err.Error() != one.Error() {
			t.Errorf("%s: %v, %v; want one error", state, values, err)
		}
		if gets, none := after.Gets-before.Gets, after.NotFound-before.NotFound; gets != 1 || none != 1 {
			t.Errorf("%s: %d gets and %d not found are counted, want 1 of each", state, gets, none)
		}
	}
}

// A cutter dials, and can cut the connections to an address.
type cutter struct {
	mu    sync.Mutex // guards the fields below
	conns map[string][]net.Conn
	cut   map[string]bool
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut[addr] {
		return nil, errors.New("cut")
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		c.conns[addr] = append(c.conns[addr], nc)
	}
	return nc, err
}

func (c *cutter) cutOff(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[addr] = true
	for _, nc := range c.conns[addr] {
		nc.Close()
	}
}

// What a peer fails to answer is asked of its stand-in at once, however long
// other keys of the same GetMany take.
func TestGetManyDoesNotLetADeadPeerWaitForASlowKey(t *testing.T) {
	for at, where := range map[int]string{0: "here", 2: "on another peer"} {
		t.Run(where, func(t *testing.T) {
			var (
				listeners  [3]net.Listener
				peers      []Peer
				nodes      [3]*Node
				slow, lost string // two keys: the second is node 1's
				c          = &cutter{conns: map[string][]net.Conn{}, cut: map[string]bool{}}
				asked      = make(chan struct{}, 2)
				stoodIn    = make(chan struct{})
				once       sync.Once
			)
			for i := range listeners {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				listeners[i], peers = l, append(peers, Peer{Addr: l.Addr().String()})
			}
			for i := range nodes {
				n, err := New(Config{Listener: listeners[i], Peers: peers, Logger: quiet(), Handover: -1, Dial: c.dial})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = n.Close() })
				_, err = n.NewGroup("g", GetterFunc(func(ctx context.Context, key string) (Value, error) {
					switch {
					case key == slow:
						asked <- struct{}{}
						select {
						case <-stoodIn:
						case <-ctx.Done():
						}
					case key == lost && i == 1:
						asked <- struct{}{}
						<-ctx.Done()
					case key == lost:
						once.Do(func() { close(stoodIn) })
					}
					return Value{Bytes: []byte(key)}, ctx.Err()
				}), GroupConfig{HotTTL: -1})
				if err != nil {
					t.Fatal(err)
				}
				nodes[i] = n
			}
			for i := 0; slow == "" || lost == ""; i++ {
				key := fmt.Sprint("key", i)
				switch nodes[0].Owners(key, 1)[0].Addr {
				case peers[at].Addr:
					slow = key
				case peers[1].Addr:
					lost = key
				}
			}
			for _, n := range nodes {
				if err := n.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			waitUntil(t, "the peers are up", func() bool {
				for _, m := range nodes[0].place().members {
					if !m.self && m.state() != peerUp {
						return false
					}
				}
				return true
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			go func() {
				<-asked
				<-asked
				c.cutOff(peers[1].Addr)
			}()
			values, err := nodes[0].Group("g").GetMany(ctx, slow, lost)
			if err != nil || values[slow].String() != slow || values[lost].String() != lost {
				t.Errorf("%v, %v", values, err)
			}
		})
	}
}

// The memory of a GetMany is used again. Whatever the others ask meanwhile, and
// whether a source is late, a key has no value or a caller leaves, each gets the
// values of its own keys, and no others.
func TestGetManyAtOnce(t *testing.T) {
	src := &testSource{delay: 2 * time.Millisecond} // longer than a GetMany waits for all together
	nodes := startCluster(t, 3, src, Config{}, GroupConfig{HotTTL: -1, NotFoundTTL: -1})
	g := nodes[0].Group("g")
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 1))
			for i := range 150 {
				var keys []string
				for range 1 + rnd.IntN(60) {
					prefix := "key"
					if i%7 == 0 && rnd.IntN(20) == 0 {
						prefix = "no"
					}
					keys = append(keys, fmt.Sprint(prefix, rnd.IntN(300)))
				}
				ctx, cancel := context.WithCancel(t.Context())
				leaves := i%11 == 10
				if leaves {
					go cancel()
				}
				values, err := g.GetMany(ctx, keys...)
				cancel()
				for _, key := range keys {
					v, ok := values[key]
					switch {
					case ok && v.String() != "value of "+key:
						t.Errorf("%s: %q", key, v)
					case !ok && !leaves && (!strings.HasPrefix(key, "no") || !errors.Is(err, ErrNotFound)):
						t.Errorf("%s is missing: %v", key, err)
					}
				}
				for key := range values {
					if !slices.Contains(keys, key) {
						t.Errorf("%s was not asked for", key)
					}
				}
			}
		})
	}
	wg.Wait()
}
