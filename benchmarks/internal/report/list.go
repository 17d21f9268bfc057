package report

import (
	"fmt"
	"math"

	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/benchmarks/internal/trace"
	"github.com/geecache/geecache/internal/stat"
)

// promises returns what is promised, in the order in which it is told.
func promises() []promise {
	var all []promise
	for _, list := range [][]promise{enginePromises(), hopPromises(), wirePromises(), apiPromises(), heapPromises(), hitRatioPromises(), registryPromises()} {
		all = append(all, list...)
	}
	return all
}

func enginePromises() []promise {
	ns := func(group, subject string) cellName { return cellName{group, "", subject, "ns/op"} }
	return []promise{
		{"Engine, Get, Zipf over 100,000 keys, parallel: time beside otter's", "engine", atMost(0.8, "x"), ratio(ns("get", "geecache"), ns("get", "otter"))},
		{"Engine, with 20% Set, values copied: time beside otter's", "engine", atMost(1, "x"), ratio(ns("get+20%set", "geecache"), ns("get+20%set", "otter"))},
		{"Engine, with 20% Set, values given: time beside otter's", "engine", atMost(1, "x"), ratio(ns("get+20%set/given", "geecache"), ns("get+20%set/given", "otter"))},
		{"Group.Get, a hit, parallel: allocations", "group", atMost(0.0005, " allocs/op"), figure(cellName{"hit", "", "geecache", "allocs/op"})},
		{"Group.Get, a hit, parallel: golang/groupcache's time beside it", "group", atLeast(15, "x"), ratio(ns("hit", "groupcache"), ns("hit", "geecache"))},
	}
}

func hopPromises() []promise {
	var all []promise
	reqs := func(callers int, subject string) cellName {
		return cellName{"callers", fmt.Sprintf("callers=%d", callers), subject, "req/s"}
	}
	for _, p := range []struct {
		callers int
		peer    string
		name    string
		limit   float64
	}{
		{64, "rueidis", "rueidis as it comes", 2},
		{64, "rueidis-20us", "rueidis, MaxFlushDelay 20 µs", 0.8},
		{64, "rueidis-50us", "rueidis, MaxFlushDelay 50 µs", 0.8},
		{64, "groupcache", "golang/groupcache's HTTP pool", 10},
		{256, "rueidis", "rueidis as it comes", 3},
		{256, "rueidis-20us", "rueidis, MaxFlushDelay 20 µs", 0.9},
		{256, "rueidis-50us", "rueidis, MaxFlushDelay 50 µs", 0.9},
		{1, "rueidis", "rueidis as it comes", 0.95},
		{1, "groupcache", "golang/groupcache's HTTP pool", 1.7},
	} {
		callers := "callers"
		if p.callers == 1 {
			callers = "caller"
		}
		all = append(all, promise{fmt.Sprintf("Peer hop, %d %s: requests/s beside %s", p.callers, callers, p.name), "hop",
			atLeast(p.limit, "x"), ratio(reqs(p.callers, "geecache"), reqs(p.callers, p.peer))})
	}
	return all
}

func wirePromises() []promise {
	at := func(group, point, subject, unit string) cellName { return cellName{group, point, subject, unit} }
	all := []promise{
		{"GetMany of 100 keys on 3 nodes: the time of a loop of Get beside it", "wire", atLeast(20, "x"),
			ratio(at("getmany", "", "loop of Get", "µs/100 keys"), at("getmany", "", "GetMany", "µs/100 keys"))},
	}
	for _, callers := range []string{"callers=16", "callers=64", "callers=256"} {
		all = append(all, promise{"HTTP, " + callers + ": requests/s beside a bare net/http GET", "wire", atLeast(0.9, "x"),
			ratio(at("http", callers, "geecache", "req/s"), at("http", callers, "net/http", "req/s"))})
	}
	for _, callers := range []string{"callers=64", "callers=256"} {
		all = append(all, promise{"Mutual TLS, " + callers + ": requests/s beside plain", "wire", atLeast(0.7, "x"),
			ratio(at("tls", callers, "geecache-mtls", "req/s"), at("tls", callers, "geecache", "req/s"))})
	}
	return append(all, promise{"p99.9 of small gets with ten 8 MiB values a second, beside without", "latency", atMost(2, "x"),
		ratio(at("small", "", "geecache", "p99.9 µs with large"), at("small", "", "geecache", "p99.9 µs"))})
}

func apiPromises() []promise {
	var all []promise
	for _, callers := range []string{"callers=16", "callers=64", "callers=256"} {
		all = append(all, promise{"API, value in its own memory, " + callers + ": requests/s beside a bare net/http handler", "api", atLeast(0.9, "x"),
			ratio(cellName{"callers", callers, "geecache", "req/s"}, cellName{"callers", callers, "net/http", "req/s"})})
	}
	return all
}

func heapPromises() []promise {
	var all []promise
	for _, bytes := range []int{0, 100, 1 << 10, 64 << 10} {
		all = append(all, promise{fmt.Sprintf("128 MiB filled with values of %d bytes: heap beside the budget", bytes), "heap", atMost(1.05, "x"),
			figure(cellName{"fill", fmt.Sprintf("bytes=%d", bytes), "geecache", "heap/budget"})})
	}
	return append(all,
		promise{"A node in a cgroup of 256 MiB, load that would fill 1 GiB: kills", "limit", atMost(0, ""), figure(cellName{"fill", "", "geecache", "kills"})},
		promise{"The same: failed reads", "limit", atMost(0, ""), figure(cellName{"fill", "", "geecache", "failed reads"})},
		promise{"128 MiB filled with values of 100 bytes: heap of an entry", "heap", atMost(190, " B"), figure(cellName{"fill", "bytes=100", "geecache", "B/entry"})},
		promise{"After 10 rounds of churn with changing sizes: heap beside the budget", "heap", atMost(1.05, "x"), figure(cellName{"churn", "", "geecache", "heap/budget"})},
		promise{"1 GiB of small entries, steady writes: GC CPU share of the processors' time beside otter's", "gc", atMost(1, "x"),
			ratio(cellName{"writes", "", "geecache", "GC CPU share %"}, cellName{"writes", "", "otter", "GC CPU share %"})},
		promise{"The same: GC CPU share of the busy time beside otter's", "gc", atMost(1, "x"),
			ratio(cellName{"writes", "", "geecache", "of busy %"}, cellName{"writes", "", "otter", "of busy %"})},
	)
}

func hitRatioPromises() []promise {
	hit := func(group, point, subject, unit string) cellName { return cellName{group, point, subject, unit} }
	scan := func(point string) func(*result.File) (finding, bool) {
		return func(f *result.File) (finding, bool) {
			with, without := hit("scan", point, "geecache", "hit %").samples(f), hit("scan", "no scan", "geecache", "hit %").samples(f)
			if len(with) == 0 || len(without) == 0 {
				return finding{}, false
			}
			a, b := stat.Median(without), stat.Median(with)
			return finding{a - b, stat.Interval{}, fmt.Sprintf("%.1f to %.1f%%", a, b)}, true
		}
	}
	return []promise{
		{"Hit ratio, recorded traces, the worst of 15 cells: above the best of LRU, otter and theine", "hitratio", atLeast(0, " points, after the allowance"), worstCell},
		{"Hit ratio, recorded traces, mean of 15 cells: above the best of LRU, otter and theine", "hitratio", atLeast(1.5, " points"), meanAbove("", "hit %", "geecache-lru", "otter", "theine")},
		{"By bytes, recorded traces, mean: object hit ratio above strict LRU", "hitratio", atLeast(3, " points"), meanAbove("bytes ", "object hit %", "geecache-lru")},
		{"By bytes, recorded traces, mean: byte hit ratio above strict LRU", "hitratio", atLeast(2, " points"), meanAbove("bytes ", "byte hit %", "geecache-lru")},
		{"A scan of 10x the capacity between the requests of a Zipf workload: lowers its hit ratio by", "hitratio", atMost(3, " points"), scan("scan between")},
		{"The same scan at once", "hitratio", atMost(3, " points"), scan("scan at once")},
	}
}

func registryPromises() []promise {
	path := func(unit string) cellName { return cellName{"path", "", "geecache", unit} }
	all := []promise{
		{"p99 of gets with the registry stopped, beside answering", "registry", atMost(1.1, "x"), ratio(path("p99 µs stopped"), path("p99 µs answering"))},
		{"p99 of gets with a registry that answers after 5 s, beside answering", "registry", atMost(1.1, "x"), ratio(path("p99 µs late"), path("p99 µs answering"))},
	}
	for _, emulator := range []string{"MiniStack", "moto"} {
		for _, point := range []string{"revision unchanged", "ten instances read"} {
			all = append(all, promise{"Cloud Map, a lookup in the background at " + emulator + ", " + point + ": p50", "registry", atMost(5, " ms"),
				figure(cellName{"lookup", point, emulator, "p50 ms"})})
		}
	}
	return all
}

// shares are the points of the hit ratio's groups.
func shares() []string { return []string{"2%", "10%", "20%"} }

// worstCell returns the least lead of ours over the best of strict LRU, otter
// and theine in any cell, to which the cell's allowance is added: 1 point, and 5
// for p3 at 20%, where LRU leads before there is anything to learn from.
func worstCell(f *result.File) (finding, bool) {
	worst := finding{value: math.Inf(1)}
	for _, name := range trace.Recorded() {
		for _, share := range shares() {
			ours := cellName{name, share, "geecache", "hit %"}.samples(f)
			if len(ours) == 0 {
				return finding{}, false
			}
			best, who := math.Inf(-1), ""
			for _, peer := range []string{"geecache-lru", "otter", "theine"} {
				if m := stat.Median(cellName{name, share, peer, "hit %"}.samples(f)); m > best {
					best, who = m, peer
				}
			}
			allowance := 1.0
			if name == "p3" && share == "20%" {
				allowance = 5
			}
			if lead := stat.Median(ours) - best + allowance; lead < worst.value {
				worst = finding{lead, stat.Interval{}, fmt.Sprintf("%s at %s: %.1f%%, %s %.1f%%", name, share, stat.Median(ours), who, best)}
			}
		}
	}
	return worst, true
}

// meanAbove returns by how much the mean of ours over all cells is above the
// best mean of others.
func meanAbove(prefix, unit string, others ...string) func(*result.File) (finding, bool) {
	return func(f *result.File) (finding, bool) {
		mean := func(subject string) float64 {
			var medians []float64
			for _, name := range trace.Recorded() {
				for _, share := range shares() {
					medians = append(medians, stat.Median(cellName{prefix + name, share, subject, unit}.samples(f)))
				}
			}
			return stat.Mean(medians)
		}
		ours := mean("geecache")
		best, who := math.Inf(-1), ""
		for _, other := range others {
			if m := mean(other); m > best {
				best, who = m, other
			}
		}
		if math.IsNaN(ours) || who == "" {
			return finding{}, false
		}
		return finding{ours - best, stat.Interval{}, fmt.Sprintf("%.1f%%, %s %.1f%%", ours, who, best)}, true
	}
}
