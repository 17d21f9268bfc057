package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	hopKeys    = 100_000
	maxCallers = 1024
)

// hop measures a value's way from another process.
func hop() Suite {
	return Suite{
		Name:    "hop",
		Title:   "Peer hop: one value from another process",
		Servers: []string{"redis-server", "memcached"},
		Notes: []string{
			"100,000 keys, each as often as the others; values of 100 bytes unless the table says otherwise. The client keeps nothing. Server and client are two processes on the same processors, over TCP on 127.0.0.1. Callers each wait for an answer before they ask again.",
			"geecache: Group.Get at a client, of a key that a node owns and has in memory. It and golang/groupcache share one request among callers of one key: with so many keys that is rare.",
			"rueidis: no client-side cache, plain GET; as it comes, and with MaxFlushDelay of 20 and 50 µs. go-redis: as it comes (a pool of 10 connections a processor). gomemcache: up to one idle connection a caller; its default of two makes it dial for most requests.",
			"groupcache: its HTTPPool with up to one idle connection a caller; groupcache-default: as it comes, with two.",
			"redis-server 127.0.0.1 without persistence, one thread; memcached with its default of 4 threads.",
		},
		Groups: func(s Scale) []Group {
			return []Group{
				hopGroup(s, Group{
					Name: "callers", Title: "Requests a second as callers grow", Axis: "callers",
					Points: s.points("callers", 1, 4, 16, 64, 256, maxCallers),
				}, hopSetting{}, hopPeers()...),
			}
		},
	}
}

// A hopPeer is a client of a server.
type hopPeer struct {
	name string
	open opener
}

func hopPeers() []hopPeer {
	return []hopPeer{
		{Ours, openNodes(1, 1, false)},
		{"rueidis", openRueidis(0)},
		{"rueidis-20us", openRueidis(20 * time.Microsecond)},
		{"rueidis-50us", openRueidis(50 * time.Microsecond)},
		{"go-redis", openGoRedis},
		{"gomemcache", openMemcached},
		{"groupcache", openGroupcache(maxCallers)},
		{"groupcache-default", openGroupcache(0)},
	}
}

// A hopSetting is what is asked for; a zero field is the point's number.
type hopSetting struct {
	callers, bytes int
	keys           int // hopKeys by default
}

// hopGroup completes a group that counts requests.
func hopGroup(s Scale, g Group, set hopSetting, peers ...hopPeer) Group {
	g.Units = []string{"req/s"}
	for _, peer := range peers {
		g.Subjects = append(g.Subjects, Subject{peer.name, func(ctx context.Context, s Scale) (Measurer, error) {
			c, err := peer.open(ctx)
			if err != nil {
				return nil, err
			}
			return &hopMeasurer{client: c, scale: s, set: set}, nil
		}})
	}
	return g
}

// A hopMeasurer counts what callers get.
type hopMeasurer struct {
	*client
	scale  Scale
	set    hopSetting
	filled map[int][]string // keys that the server has, by the length of their values
}

func (m *hopMeasurer) Measure(ctx context.Context, p Point) (Values, error) {
	callers, bytes := m.set.callers, m.set.bytes
	if callers == 0 {
		callers = p.N
	}
	if bytes == 0 && m.set.callers != 0 {
		bytes = p.N
	} else if bytes == 0 {
		bytes = engineValue
	}
	keys, err := m.fillKeys(ctx, bytes)
	if err != nil {
		return nil, err
	}
	r, err := closedLoop(ctx, callers, m.scale.Window, 1, func(caller int) opFunc {
		rng := rand.New(rand.NewPCG(uint64(caller), 1))
		return func(int, int) error {
			key := keys[rng.IntN(len(keys))]
			n, err := m.get(ctx, key)
			if err == nil && n != bytes {
				err = fmt.Errorf("the value of %q has %d bytes, want %d", key, n, bytes)
			}
			return err
		}
	})
	return Values{"req/s": r.perSecond()}, err
}

// fillKeys returns keys that the server has, with values of so many bytes.
func (m *hopMeasurer) fillKeys(ctx context.Context, bytes int) ([]string, error) {
	if keys := m.filled[bytes]; keys != nil {
		return keys, nil
	}
	n := m.set.keys
	if n == 0 {
		n = m.scale.pick(hopKeys, 200)
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = benchKey(bytes, i)
	}
	if m.filled == nil {
		m.filled = make(map[int][]string)
	}
	m.filled[bytes] = keys
	return keys, m.fill(ctx, keys)
}
