package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

const batchKeys = 100

// wire measures the other ways between processes, and what changes the usual one.
func wire() Suite {
	return Suite{
		Name:    "wire",
		Title:   "Between nodes: batches, nodes, sizes, HTTP, TLS",
		Servers: []string{"redis-server"},
		Notes: []string{
			"As in the suite hop: the client keeps nothing, server and client are processes of their own on the same processors; 100,000 keys (1000 where values grow), values of 100 bytes unless the table says otherwise.",
			"GetMany: one caller, 100 keys that belong to 3 nodes, each in a process of its own; loop: Group.Get for one after the other. rueidis: MGET of 100 keys from one redis-server.",
			"Nodes: all in one server process; 64 callers.",
			"HTTP: GET of the peer protocol, beside a bare net/http handler that writes the same bytes; load from internal/loadgen as a closed loop, over connections that are kept.",
			"TLS: both ends show a certificate (ECDSA P-256, TLS 1.3).",
		},
		Groups: wireGroups,
	}
}

func wireGroups(s Scale) []Group {
	sized := []hopPeer{{Ours, openNodes(1, 1, false)}, {"rueidis", openRueidis(0)}}
	secure := []hopPeer{{"geecache-mtls", openNodes(1, 1, true)}, {Ours, openNodes(1, 1, false)}}
	return []Group{
		{
			Name: "getmany", Title: "100 keys of 3 nodes at once", Units: []string{"µs/100 keys"}, Points: one(),
			Subjects: []Subject{
				{"GetMany", newBatch(openNodes(3, 1, false), true)},
				{"loop of Get", newBatch(openNodes(3, 1, false), false)},
				{"rueidis MGET", newBatch(openRueidis(0), true)},
			},
		},
		{
			Name: "nodes", Title: "Group.Get from 64 callers, as nodes grow", Axis: "nodes", Units: []string{"req/s"},
			Points: s.points("nodes", 1, 3, 10, 30), Subjects: []Subject{{Ours, newCluster}},
		},
		hopGroup(s, Group{
			Name: "bytes", Title: "64 callers, as values grow", Axis: "bytes of a value", Points: s.points("bytes", 0, 100, 1<<10, 16<<10, 64<<10),
		}, hopSetting{callers: 64, keys: s.pick(1000, 100)}, sized...),
		{
			Name: "http", Title: "HTTP, as callers grow", Axis: "callers", Units: []string{"req/s", "p99 µs"}, Points: s.points("callers", 1, 16, 64, 256),
			Subjects: []Subject{
				{Ours, newLoader(serverConfig{Kind: "geecache"}, httpPath)},
				{"net/http", newLoader(serverConfig{Kind: "net/http"}, httpPath)},
			},
		},
		hopGroup(s, Group{
			Name: "tls", Title: "Mutual TLS beside plain connections", Axis: "callers", Points: s.points("callers", 1, 64, 256),
		}, hopSetting{}, secure...),
	}
}

const httpPath = "/_geecache/{group}/{key}"

// A cluster measures clients of as many nodes as the point says.
type cluster struct {
	scale   Scale
	clients map[int]*hopMeasurer
}

func newCluster(_ context.Context, s Scale) (Measurer, error) {
	return &cluster{s, make(map[int]*hopMeasurer)}, nil
}

func (c *cluster) Measure(ctx context.Context, p Point) (Values, error) {
	m := c.clients[p.N]
	if m == nil {
		opened, err := openNodes(1, p.N, false)(ctx)
		if err != nil {
			return nil, err
		}
		m = &hopMeasurer{client: opened, scale: c.scale, set: hopSetting{callers: 64, bytes: engineValue, keys: c.scale.pick(10_000, 200)}}
		c.clients[p.N] = m
	}
	return m.Measure(ctx, p)
}

func (c *cluster) Close() error {
	var errs []error
	for _, m := range c.clients {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// A batchMeasurer gets many keys, at once or one after the other.
type batchMeasurer struct {
	hopMeasurer
	atOnce bool
}

func newBatch(open opener, atOnce bool) func(context.Context, Scale) (Measurer, error) {
	return func(ctx context.Context, s Scale) (Measurer, error) {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return &batchMeasurer{hopMeasurer{client: c, scale: s}, atOnce}, nil
	}
}

// Measure measures the time of one batch.
func (m *batchMeasurer) Measure(ctx context.Context, _ Point) (Values, error) {
	all, err := m.fillKeys(ctx, engineValue)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	keys := make([]string, batchKeys)
	r, err := closedLoop(ctx, 1, m.scale.Window, 1, func(int) opFunc {
		return func(int, int) error {
			// Neighbours: a key is never given twice.
			copy(keys, all[rng.IntN(len(all)-batchKeys):])
			if !m.atOnce {
				for _, key := range keys {
					if _, err := m.get(ctx, key); err != nil {
						return err
					}
				}
				return nil
			}
			n, err := m.many(ctx, keys)
			if err == nil && n != batchKeys {
				err = fmt.Errorf("%d of %d keys", n, batchKeys)
			}
			return err
		}
	})
	return Values{"µs/100 keys": r.nsPerOp() / 1000}, err
}
