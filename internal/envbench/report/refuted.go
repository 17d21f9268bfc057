package report

import (
	"fmt"

	"github.com/geecache/geecache/internal/stat"
)

// refuted writes where the figures of 2025 do not hold, and why. What can be reckoned is
// reckoned from the published figures themselves.
func (w *writer) refuted() {
	hour := smallest(publishedTasks - 1)
	lookups := publishedLookups()
	p := func(format string, args ...any) string { return w.from(The2025, fmt.Sprintf(format, args...)) }
	w.printf("Some of these figures contradict each other, some were not measured, and some do not count what they are named for.\n\n")
	w.list([]string{
		p("**%.0f s of deployment in LocalStack** (section 3.1) contain a fixed sleep of the script, called \"service stabilization: 2 s\": it waits as long whether or not "+
			"anything has become stable, and nobody asked a node for a value. The three parts are round numbers that add up to the total.", publishedUp),
		p("**%.0f s in AWS** (section 3.1) and \"5-10 min deployment\" (section 5.1) are both said of the same script. The ratio of %.1f is that of two single runs: "+
			"no repetition, no interval, and the two do not end at the same point.", publishedUpAWS, publishedUpAWS/publishedUp),
		p("**Scaling, %.0f s and %.0f s**: the report calls its own LocalStack figure \"simulated task creation\", and test 3 says that 2 of 3 tasks ran. "+
			"So the time of one is not that of the other's work.", publishedOut, publishedOutAWS),
		"**The AWS nodes never formed a cluster**: their list of peers was hard-coded to localhost, so that each node had a ring of its own. What was scaled, and how many answered " +
			"for a ring, was not looked at. Ours is up only when all agree on one ring: test counts shows desired, reported, answering and owning beside each other.",
		p("**Running tasks, 2 and 4** (section 3.1) do not count the same: 4 is 3 nodes and the API server, with 3 desired; 2 is of 3 nodes."),
		p("**Network latency, 10-50 ms and 1-5 ms** (section 3.1): the scripts print these lines and measure nothing. %s", w.networkHere()),
		p("**Discovery in AWS, 100-300 ms** is \"estimated\" in test 2 and stands under \"Actual\" in section 9.3; 50-200 ms for Cloud Map is an expectation. "+
			"For LocalStack there are %d lookups, mean %s ms, and the client is not stated: one that starts a process for each lookup mostly times that; %s",
			len(lookups), number(stat.Mean(lookups)), w.lookupsHere()),
		p("**51 log streams** are 36 of nodes, 12 of the API and 3 of the system, beside 4 running tasks. A task has one stream for each container: the others are of earlier tasks. "+
			"No line in them was looked for. %s", w.found()),
		p("**63 metrics** of Container Insights: the report names 12, which are those of ECS for any container. None says a hit, a miss or a load. %s",
			w.metricsHere()),
		w.from(The2025, fmt.Sprintf("**%.2f USD an hour** has no items.", publishedDollars)) + " " +
			w.from(ThePrices, fmt.Sprintf("By the price table, %d of the smallest tasks with public addresses, a load balancer and no metrics are %s USD an hour before traffic. "+
				"What the figure is made of cannot be told.", publishedTasks, number(hour))),
		p("**Savings of 25 minutes** over 10 iterations are reckoned from first deployments. What is repeated is a redeployment after a change, which is another test (redeploy)."),
		p("**Total lines, pages, \"all metrics from actual benchmark runs\"**: see the estimates above."),
	})
}

// networkHere says what we have measured in its place.
func (w *writer) networkHere() string {
	return "Measured here, round trip between nodes: " + w.quickest("network", "node-to-node") + "."
}

func (w *writer) lookupsHere() string {
	return "in our measurement, with the client that is named there: " + w.quickest("discovery", "lookup/cloudmap") + "."
}

func (w *writer) metricsHere() string {
	return "Our own metrics: " + w.verdictOf("metrics", "own metrics") + "."
}
