package suite

import "context"

const apiPath = "/api?key={key}"

// api measures the API server.
func api() Suite {
	return Suite{
		Name:  "api",
		Title: "API server",
		Notes: []string{
			"GET /api?key=K, 10,000 keys, each as often as the others, values of 100 bytes, answered by the same code as `geecache node --role client` in a process of its own. Load comes from internal/loadgen as a closed loop in another process on the same processors, over connections that are kept.",
			"geecache: the value is in the API server's own memory. geecache-peer: it is in that of a node in a third process, and the API server keeps nothing. net/http: a bare handler that writes the same bytes, whatever it is asked for.",
		},
		Groups: func(s Scale) []Group {
			return []Group{{
				Name: "callers", Title: "Requests a second", Axis: "callers", Units: []string{"req/s", "p99 µs"},
				Points: s.points("callers", 1, 4, 16, 64, 256),
				Subjects: []Subject{
					{Ours, newAPILoader(true)},
					{"net/http", newLoader(serverConfig{Kind: "net/http"}, apiPath)},
					{"geecache-peer", newAPILoader(false)},
				},
			}}
		},
	}
}

// newAPILoader returns the constructor of a loader of an API server, which keeps
// what it fetches if hot.
func newAPILoader(hot bool) func(context.Context, Scale) (Measurer, error) {
	return func(ctx context.Context, s Scale) (Measurer, error) {
		l := &loader{scale: s}
		owner, err := l.start(ctx, serverConfig{Kind: "geecache"})
		if err != nil {
			return nil, err
		}
		srv, err := l.start(ctx, serverConfig{Kind: "api", Peers: owner.addrs, Hot: hot})
		if err != nil {
			return nil, err
		}
		l.url = "http://" + srv.addrs[0] + apiPath
		// The first answers come from the source.
		for range 2 {
			if _, err := l.Measure(ctx, Point{N: 16}); err != nil {
				return nil, err
			}
		}
		return l, nil
	}
}
