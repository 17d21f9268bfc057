package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
	"github.com/geecache/geecache/internal/stat"
)

// quickest says which environment takes least, or that it cannot be told.
func (w *writer) quickest(id, name string) string {
	best := w.fastest(id, name)
	if len(best) == 0 {
		return notMeasured
	}
	var figures []string
	for _, m := range best {
		figures = append(figures, fmt.Sprintf("%s%s: %s", m.name, m.mark(id), w.value(m.column, m.series)))
	}
	said := strings.Join(figures, "; ")
	switch {
	case len(w.have(id, name)) == 1:
		return said + "; no other was measured"
	case len(best) > 1:
		return said + "; which of these is fastest cannot be told"
	}
	return said + "; all others measured take longer"
}

// dear says what an hour costs in each environment.
func (w *writer) dear() string {
	var said []string
	for _, c := range w.columns {
		if s := c.series("cost", "total"); s != nil {
			said = append(said, fmt.Sprintf("%s: %s", c.name, w.value(c, s)))
		}
	}
	if len(said) == 0 {
		return notMeasured
	}
	return strings.Join(said, "; ")
}

// verdictOf says what a fact is in each column that has it. word is part of its name.
func (w *writer) verdictOf(id, word string) string {
	var said []string
	for _, c := range w.columns {
		t := c.file.Test(id)
		if t == nil {
			continue
		}
		for _, f := range t.Facts {
			if strings.Contains(strings.ToLower(f.Name), word) {
				said = append(said, fmt.Sprintf("%s: %s: %s", c.name, w.nameOf(label(f.Name)), f.Verdict))
			}
		}
	}
	if len(said) == 0 {
		return notMeasured
	}
	return strings.Join(said, "; ")
}

// both joins what was found of two things.
func both(a, b string) string {
	if a == notMeasured && b == notMeasured {
		return notMeasured
	}
	return strings.TrimSuffix(a, ".") + ". " + strings.TrimSuffix(b, ".")
}

// strategy writes the eight scenarios of the report's chapter 4, with what is known.
func (w *writer) strategy() {
	notHere := "AWS itself: " + notMeasured + ". "
	if _, ok := w.aws(); ok {
		notHere = ""
	}
	w.printf("The scenarios and the advice are the report's (chapter %s); the evidence is ours. `geecache env advise` asks a few questions and answers from\n"+
		"the same results.\n\n", w.from(The2025, "4"))
	w.head("Scenario", w.from(The2025, "Advice, published in the 2025 report"), "Our evidence")
	w.row("Rapid iteration", "LocalStack", "Redeployment after a change: "+w.quickest("redeploy", "total")+". First deployment: "+w.quickest("deploy", "total"))
	w.row("Little money", "LocalStack", "An hour: "+w.dear())
	w.row("Without a network", "LocalStack", w.verdictOf("setup", "without a network"))
	w.row("CI", "LocalStack", "Fresh clone to running: "+w.quickest("setup", "from-clone"))
	w.row("Performance", "AWS", notHere+"Round trip between nodes: "+w.quickest("network", "node-to-node")+". Emulators share one machine: their round trips are no network's")
	w.row("Readiness for production", "AWS", notHere+both(w.found(), w.faithful()))
	w.row("Other services of AWS", "AWS", notHere+"Only the calls that the deployment relies on were probed: see test fidelity")
	w.row("Scalability", "AWS", notHere+"Scaling out: "+w.quickest("scale", "out/total"))
	w.printf("\n### How to choose\n\n")
	w.list([]string{
		"For **development**, take what redeploys fastest and costs nothing: " + w.cheapAndQuick() + ".",
		"For **integration with AWS's calls** without an account: " + w.emulator() + ".",
		"For **performance, capacity, and production**, nothing replaces AWS: no environment on one machine has its network, its limits or its failures. " + w.awsKnown(),
	})
}

// cheapAndQuick names the fastest redeployment among what costs nothing.
func (w *writer) cheapAndQuick() string {
	id := "redeploy"
	best := w.fastest(id, "total")
	if len(best) == 0 {
		id = "deploy"
		best = w.fastest(id, "total")
	}
	var free []measured
	for _, m := range best {
		if !m.real() {
			free = append(free, m)
		}
	}
	if len(free) == 0 {
		return notMeasured
	}
	if len(free) == 1 && len(w.have(id, "total")) > 1 {
		return measuredNames(free) + " in our measurements"
	}
	if len(free) == 1 {
		return measuredNames(free) + " is the only one measured"
	}
	return "of " + measuredNames(free) + " it cannot be told which is faster"
}

// emulator says what the emulator that was measured does.
func (w *writer) emulator() string {
	i := slices.IndexFunc(w.columns, func(c column) bool { return c.file.Environment == "emulator" })
	if i < 0 {
		return "no emulator was measured"
	}
	c := w.columns[i]
	t := c.file.Test("fidelity")
	if t == nil || len(t.Facts) == 0 {
		return "an emulator was measured, and its fidelity was not"
	}
	n := verdicts(t)
	return w.from(c.source, fmt.Sprintf("the emulator does %d of the %d things that the deployment relies on; the others are listed under limitations", n[result.Done], len(t.Facts)))
}

func (w *writer) awsKnown() string {
	if c, ok := w.aws(); ok {
		return "Measured: see the column " + c.name + "."
	}
	return "It was not measured here, so measure it before you rely on it (`aws-terraform/benchmark.sh`)."
}

func (w *writer) lifeCycle() {
	w.printf("The report's three phases (section %s), with the commands of today. What they take is ours, where it was measured.\n\n", w.from(The2025, "5.1"))
	w.printf("**Development** (days to weeks): processes or containers of this machine, or an emulator. Redeployment: %s.\n\n", w.quickest("redeploy", "total"))
	w.printf("```sh\ngeecache env up local                 # or docker; change the source, and again\nlocalstack-setup/deploy.sh && localstack-setup/test.sh\nlocalstack-setup/benchmark.sh\n```\n\n")
	w.printf("**Before production** (hours to days): AWS, destroyed when done. %s An hour of the smallest cluster is reckoned below.\n\n", w.awsKnown())
	w.printf("```sh\ncd aws-terraform\n./deploy.sh --vars examples/default.tfvars\n./benchmark.sh\n./destroy.sh\n```\n\n")
	w.printf("**Production**: AWS, with `examples/production.tfvars`: more zones, a load balancer with TLS, auto-scaling, alarms, snapshots. [DEPLOYMENT.md](DEPLOYMENT.md)\n" +
		"has the guide, [METRICS_SETUP.md](METRICS_SETUP.md) what to watch.\n")
}

// smallest returns what an hour of a cluster of so many nodes costs in AWS at least, before
// traffic: by aws-terraform, without a private network, alarms and metrics.
func smallest(nodes int) float64 {
	t, err := prices.In("us-west-2")
	if err != nil {
		panic(err) // the table's own region
	}
	shape := prices.Standard()
	shape.Nodes, shape.Egress, shape.Insights, shape.Alarms = nodes, prices.Public, false, false
	return prices.Sum(t.Lines(shape.Configuration()))
}

// inAWS returns what an hour of the deployment costs in AWS, or would: as the results of
// AWS say, or those of another environment, or else the least of the price table.
func (w *writer) inAWS() (dollars float64, source Source, words string) {
	if c, ok := w.aws(); ok {
		if s := c.series("cost", "total"); s != nil {
			return s.Median(), c.source, "the deployment that was measured in AWS"
		}
	}
	for _, c := range w.columns {
		if s := c.series("cost", "aws/total"); s != nil {
			return s.Median(), c.source, "the deployment that was measured in " + c.name + ", if aws-terraform made it with no variables given"
		}
	}
	return smallest(3), ThePrices, "the least with which aws-terraform can make three nodes and an API server"
}

// costBenefit writes the report's five scenarios and its reckoning of time.
func (w *writer) costBenefit() {
	hour, source, words := w.inAWS()
	w.printf("### Five durations\n\nThe report's scenarios (section %s). \"AWS, reckoned\" is from the price table of %s: %s, %s USD an hour, before traffic.\n"+
		"`geecache env cost` reckons others.\n\n", w.from(The2025, "6.1"), w.from(ThePrices, prices.Date), words, w.from(source, number(hour)))
	cells := []string{"Duration"}
	for _, c := range w.columns {
		cells = append(cells, c.name)
	}
	w.head(append(cells, "AWS, reckoned", w.from(The2025, "LocalStack"+marked), w.from(The2025, "AWS"+marked))...)
	for _, d := range durations() {
		cells := []string{w.from(The2025, d.name)}
		for _, c := range w.columns {
			cell := notMeasured
			if s := c.series("cost", "total"); s != nil {
				cell = w.from(c.source, number(s.Median()*d.hours)+" USD")
			} else if said := state(c.file.Test("cost")); said != "" {
				cell = said
			}
			cells = append(cells, cell)
		}
		w.row(append(cells, w.from(source, number(hour*d.hours)+" USD"), w.from(The2025, "0 USD"), w.from(The2025, d.cost))...)
	}
	const iterations = 10
	w.printf("\n### The value of time\n\nThe report's scenario (section %s): a bug that takes %s redeployments.\n\n", w.from(The2025, "6.2"), w.from(The2025, fmt.Sprint(iterations)))
	w.head("", w.from(The2025, "Waiting for 10 redeployments"))
	for _, c := range w.columns {
		cell := notMeasured
		if s := c.series("redeploy", "total"); s != nil {
			times := make([]float64, len(s.Samples))
			for i, v := range s.Samples {
				times[i] = iterations * v
			}
			cell = w.from(c.source, fmt.Sprintf("%s s%s", number(stat.Median(times)), interval(times)))
		} else if said := state(c.file.Test("redeploy")); said != "" {
			cell = said
		}
		w.row(c.name+c.mark("redeploy"), cell)
	}
	w.row(w.from(The2025, "LocalStack"+marked), w.from(The2025, "60 s"))
	w.row(w.from(The2025, "AWS"+marked), w.from(The2025, "1540 s"))
	w.printf("\n%s\n", w.waiting(iterations))
}

// waiting says how much time the fastest environment saves beside the slowest.
func (w *writer) waiting(iterations float64) string {
	all := w.have("redeploy", "total")
	if len(all) < 2 {
		return "How much time one environment saves beside another cannot be told: redeployment was measured in fewer than two."
	}
	a, b := all[0], all[len(all)-1]
	if tell(a, b) != less {
		return "How much time one environment saves beside another cannot be told: " + w.pair(a, b) + "."
	}
	return w.from(Source(string(a.source)+" and "+string(b.source)),
		fmt.Sprintf("Working in %s and not in %s saves %s s of waiting for such a bug.", a.name, b.name, number(iterations*(b.series.Median()-a.series.Median()))))
}

// conclusions writes what follows from the results, as far as it does.
func (w *writer) conclusions() {
	lines := []string{
		"Development: " + w.cheapAndQuick() + ".",
		"Emulator: " + w.emulator() + ".",
		"AWS: " + w.awsKnown(),
	}
	lines = append(lines, w.unknown())
	w.list(lines)
}

// unknown lists what nobody has measured.
func (w *writer) unknown() string {
	var missing []string
	for _, c := range w.columns {
		for _, s := range sections() {
			if c.file.Test(s.id) == nil {
				missing = append(missing, s.id+" in "+c.name)
			}
		}
	}
	if _, ok := w.aws(); !ok {
		missing = append(missing, "everything in AWS itself")
	}
	if len(missing) == 0 {
		return "Every test ran in every environment that is shown."
	}
	return "Not measured: " + strings.Join(missing, ", ") + "."
}
