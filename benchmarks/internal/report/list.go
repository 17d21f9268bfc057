package report

import "fmt"

// promises returns what is promised, in the order in which it is told.
func promises() []promise {
	var all []promise
	for _, list := range [][]promise{enginePromises(), hopPromises()} {
		all = append(all, list...)
	}
	return all
}

func enginePromises() []promise {
	ns := func(group, subject string) cellName { return cellName{group, "", subject, "ns/op"} }
	return []promise{
		{"Engine, Get, Zipf over 100,000 keys, parallel: time beside otter's", "engine", atMost(0.8, "x"), ratio(ns("get", "geecache"), ns("get", "otter"))},
		{"Engine, with 20% Set: time beside otter's", "engine", atMost(1, "x"), ratio(ns("get+20%set", "geecache"), ns("get+20%set", "otter"))},
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
