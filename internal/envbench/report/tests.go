package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/geecache/geecache/internal/envbench/result"
)

// A section is one of the judge's tests, as the document has it.
type section struct {
	id, number, title string // number as the plan of tests has it

	main    string // the series that says most; empty: there is none
	subject string // of sentences about it
	chart   string // file name; empty: there is none
	text    string // what a reader has to know; without figures
}

// sections returns the tests in the order of the document.
func sections() []section {
	return []section{
		{"deploy", "1", "Deployment time", "total", "A first deployment", deployChart,
			"From the call until every node gives a right answer and all have one ring. The stages add up to the total."},
		{"redeploy", "1b", "Redeployment after a change", "total", "A redeployment after a change of the source", againChart,
			"The report's \"iteration\": the program's source has changed, is built, and rolls through the running deployment."},
		{"discovery", "2", "Service discovery", "", "", latencyChart,
			"How long a lookup takes by each way that nodes can find each other here, and how long it takes from the start of a new node until it is " +
				"in every ring. Lookups run in the background: no request of a cache waits for one."},
		{"counts", "3", "Scalability: what is counted, and what is there", "", "", "",
			"What was asked for, what the environment reports, and what really runs, answers and owns keys. Rows with \"broken\" are of a deployment in " +
				"which nodes were planted that cannot work: where reported and answering differ there, the environment's word is not enough."},
		{"scale", "4", "Horizontal scaling, 3 to 5 nodes and back", "out/total", "Scaling from 3 to 5 nodes", scaleChart,
			"Stages, the share of keys that have another owner afterwards beside the least that is possible, and requests that failed meanwhile."},
		{"logs", "5", "Logs, from end to end", "", "", "",
			"Each node logs a marker of its own, which is then looked for where the environment keeps logs."},
		{"metrics", "6", "Metrics", "", "", "",
			"Names of metrics, counted by the place where they were found."},
		{"network", "7", "Network", "", "", latencyChart,
			"Round trips between nodes, and from a client to the API."},
		{"cache", "8", "How the cache behaves there", "", "", latencyChart,
			"Many callers ask for one key that nobody has; hits and misses, timed; and the highest rate at which the slowest requests stay within a limit."},
		{"recovery", "9", "Recovery from a node's death", "ring-healed", "Healing of the ring after a node's death", "",
			"A node is killed without a word, under load."},
		{"cost", "10", "Cost", "", "", costChart,
			"Of the deployment that ran, item by item, from the dated price table. Prices are not samples and have no interval."},
		{"setup", "11", "Effort of setting up", "", "", "",
			"What it takes from a fresh clone, counted."},
		{"fidelity", "12", "Fidelity to AWS", "", "", "",
			"Each call and behaviour that the deployment relies on, probed one by one: done, accepted but not done, refused, or not tried."},
	}
}

// testSection writes what was found of a test.
func (w *writer) testSection(s section) {
	w.printf("### %s %s\n\n%s\n", w.from(TheMethod, "Test "+s.number+"."), w.from(TheMethod, s.title), w.from(TheMethod, s.text))
	w.methods(s.id)
	w.quantities(s.id)
	if s.main != "" {
		w.printf("\n%s\n", w.ranked(w.from(TheMethod, s.subject), s.id, s.main))
	}
	if s.id == "counts" {
		w.printf("\n%s\n", w.whoIsBelieved())
	}
	if s.id == "scale" {
		w.printf("\n%s\n", w.keysMoved())
	}
	if s.chart != "" && w.titles[s.chart] != "" {
		w.printf("\n![%s](%s/%s)\n", w.titles[s.chart], w.links, s.chart)
	}
	w.facts(s.id)
	w.remarks(s.id)
}

// methods writes what was done: once, if all did the same.
func (w *writer) methods(id string) {
	type method struct {
		text string
		by   []column
	}
	var all []method
	for _, c := range w.columns {
		t := c.file.Test(id)
		if t == nil || t.Method == "" {
			continue
		}
		i := slices.IndexFunc(all, func(m method) bool { return m.text == t.Method })
		if i < 0 {
			all = append(all, method{text: t.Method})
			i = len(all) - 1
		}
		all[i].by = append(all[i].by, c)
	}
	for _, m := range all {
		if len(all) == 1 {
			w.printf("\nMethod: %s\n", w.quoted(m.by[0], m.text))
			continue
		}
		w.printf("\nMethod in %s: %s\n", columnNames(m.by), w.quoted(m.by[0], m.text))
	}
}

// all returns the names of a test's series and counts, in the order in which they are met.
func (w *writer) all(id string) (names []string) {
	add := func(name string) {
		// What an item costs in a month is its price of an hour once more.
		if !slices.Contains(names, name) && !strings.Contains(name, "month/item/") {
			names = append(names, name)
		}
	}
	for _, c := range w.columns {
		if t := c.file.Test(id); state(t) == "" {
			for _, s := range t.Series {
				add(s.Name)
			}
			for _, n := range t.Counts {
				add(n.Name)
			}
		}
	}
	return names
}

// label makes words of a quantity's name. A place where metrics are has slashes of its own.
func label(name string) string {
	parts := []string{name}
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "CloudWatch ") {
		parts = strings.Split(name, "/")
	}
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "|", `\|`)
	}
	return strings.Join(parts, ": ")
}

// quantities writes a test's table.
func (w *writer) quantities(id string) {
	names := w.all(id)
	list := publishedOf(id)
	beside := len(list) > 0
	for _, p := range list {
		if !p.own && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	if len(names) == 0 && !beside {
		if !slices.ContainsFunc(w.columns, func(c column) bool { return c.file.Test(id) != nil }) {
			w.printf("\nNot measured in any environment.\n")
		}
		return
	}
	w.printf("\n")
	cells := []string{""}
	for _, c := range w.columns {
		cells = append(cells, c.name+c.mark(id))
	}
	if beside {
		cells = append(cells, w.from(The2025, "LocalStack"+marked), w.from(The2025, "AWS"+marked))
	}
	w.head(cells...)
	for _, name := range names {
		cells := []string{w.nameOf(label(name))}
		for _, c := range w.columns {
			cells = append(cells, w.cell(c, id, name))
		}
		if beside {
			theirs := published{}
			for _, p := range list {
				if !p.own && p.name == name {
					theirs = p
				}
			}
			cells = append(cells, w.published(theirs.localStack, theirs.section), w.published(theirs.aws, theirs.section))
		}
		w.row(cells...)
	}
	for _, p := range list {
		if !p.own {
			continue
		}
		cells := []string{w.from(The2025, "only in the 2025 report: "+p.name)}
		for range w.columns {
			cells = append(cells, nothing)
		}
		w.row(append(cells, w.published(p.localStack, p.section), w.published(p.aws, p.section))...)
	}
}

// nameOf returns a name out of results, which may hold digits.
func (w *writer) nameOf(name string) string {
	return w.from(w.columns[0].source, name)
}

// facts writes a test's verdicts, and the evidence for each below them.
func (w *writer) facts(id string) {
	var names []string
	for _, c := range w.columns {
		if t := c.file.Test(id); t != nil {
			for _, f := range t.Facts {
				if !slices.Contains(names, f.Name) {
					names = append(names, f.Name)
				}
			}
		}
	}
	if len(names) == 0 {
		return
	}
	w.printf("\n")
	cells := []string{"What was probed"}
	for _, c := range w.columns {
		cells = append(cells, c.name+c.mark(id))
	}
	w.head(cells...)
	for _, name := range names {
		cells := []string{w.nameOf(label(name))}
		for _, c := range w.columns {
			verdict := notMeasured
			if f, ok := c.fact(id, name); ok {
				verdict = f.Verdict
			}
			cells = append(cells, verdict)
		}
		w.row(cells...)
	}
	w.printf("\n<details><summary>The evidence for each</summary>\n\n")
	for _, name := range names {
		for _, c := range w.columns {
			if f, ok := c.fact(id, name); ok {
				w.printf("- **%s**, %s: %s: %s\n", w.nameOf(label(name)), c.name, w.verdict(c, f), w.quoted(c, f.Evidence))
			}
		}
	}
	w.printf("\n</details>\n")
}

// verdict says what came of a fact, and of how many trials that is.
func (w *writer) verdict(c column, f result.Fact) string {
	if f.Times < 2 {
		return f.Verdict
	}
	return w.from(c.source, fmt.Sprintf("%s, n=%d", f.Verdict, f.Times))
}

// remarks writes what an environment does not do, what failed, and what has to be known.
func (w *writer) remarks(id string) {
	type remark struct {
		text string
		of   []column
	}
	var all []remark
	add := func(c column, format string, args ...any) {
		text := sentence(fmt.Sprintf(format, args...))
		i := slices.IndexFunc(all, func(r remark) bool { return r.text == text })
		if i < 0 {
			all = append(all, remark{text: text})
			i = len(all) - 1
		}
		all[i].of = append(all[i].of, c)
	}
	for _, c := range w.columns {
		t := c.file.Test(id)
		if t == nil {
			continue
		}
		if t.State != result.Measured {
			add(c, "%s: %s", t.State, w.evidence(c, t.Evidence))
		}
		for _, s := range t.Series {
			name := w.quoted(c, label(s.Name))
			if s.Unsupported != "" {
				add(c, "%s: %s: %s", name, notSupported, w.evidence(c, s.Unsupported))
			}
			if s.NotMeasured != "" {
				add(c, "%s: %s: %s", name, notMeasured, w.quoted(c, s.NotMeasured))
			}
			if s.Note != "" {
				add(c, "%s: %s", name, w.quoted(c, s.Note))
			}
			if s.Load != nil {
				add(c, "%s: %s", name, w.sent(c, s.Load))
			}
		}
		for _, n := range t.Counts {
			if n.Note != "" {
				add(c, "%s: %s", w.quoted(c, label(n.Name)), w.quoted(c, n.Note))
			}
		}
		for _, note := range t.Notes {
			add(c, "%s", w.quoted(c, note))
		}
	}
	if len(all) > 0 {
		w.printf("\n")
	}
	for _, r := range all {
		w.printf("- %s: %s\n", columnNames(r.of), r.text)
	}
}

// sent says what the load tool has sent, and how punctually.
func (w *writer) sent(c column, l *result.LoadInfo) string {
	text := fmt.Sprintf("%s requests/s were sent, %d in all, %d failed; the sender lagged behind its schedule by %s ms at p99",
		number(l.Rate), l.Requests, l.Failed, number(l.LagP99))
	if l.Saturated {
		text += " and was saturated, so that the figure says nothing sure"
	}
	if l.AtLeast {
		text += "; above that rate the sender itself was late, so that the highest rate may be higher"
	}
	return w.from(c.source, text)
}

// last returns the last value of a count of a test, and whether there is one.
func (c column) last(id, name string) (int, bool) {
	t := c.file.Test(id)
	if state(t) != "" {
		return 0, false
	}
	n := t.Count(name)
	if n == nil || len(n.Values) == 0 {
		return 0, false
	}
	return n.Values[len(n.Values)-1], true
}

// whoIsBelieved says whether what environments report is what answers.
func (w *writer) whoIsBelieved() string {
	var parts []string
	for _, way := range []struct{ prefix, words string }{{"", ""}, {"broken/", "With planted nodes that cannot work: "}} {
		var same []column
		var said []string
		for _, c := range w.columns {
			reported, ok := c.last("counts", way.prefix+"reported")
			answering, ok2 := c.last("counts", way.prefix+"answering")
			switch {
			case !ok || !ok2:
			case reported == answering:
				same = append(same, c)
			default:
				said = append(said, w.from(c.source, fmt.Sprintf("in %s %d are reported and %d answer", c.name, reported, answering)))
			}
		}
		if len(same) > 0 {
			said = append(said, "in "+columnNames(same)+" as many answer as are reported")
		}
		if len(said) > 0 {
			parts = append(parts, way.words+strings.Join(said, "; ")+".")
		}
	}
	if len(parts) == 0 {
		return "Whether what is reported is what answers: not measured."
	}
	return "What is reported, and what answers, in the last repetition: " + strings.Join(parts, " ")
}

// keysMoved says whether scaling moved more keys than it must.
func (w *writer) keysMoved() string {
	var said []string
	for _, c := range w.columns {
		var ways []string
		for _, way := range []struct{ name, words string }{{"out", "to more nodes"}, {"in", "to fewer"}} {
			moved, least := c.series("scale", way.name+"/keys-moved"), c.series("scale", way.name+"/keys-minimum")
			if moved == nil || least == nil || least.Median() == 0 {
				continue
			}
			ways = append(ways, w.from(c.source, number(moved.Median()/least.Median()))+" "+way.words)
		}
		if len(ways) > 0 {
			said = append(said, c.name+" "+strings.Join(ways, " and "))
		}
	}
	if len(said) == 0 {
		return "Keys moved: not measured."
	}
	return "Keys moved, as a multiple of the least that is possible: " + strings.Join(said, "; ") + "."
}
