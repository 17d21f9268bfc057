package loadgen

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the result as a table for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeHead(&b)
	r.writeLatencies(&b)
	r.writeOutcomes(&b)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	if hidden := r.Failed - int64(len(r.Failures)); hidden > 0 && len(r.Failures) > 0 {
		fmt.Fprintf(&b, "  and %d more\n", hidden)
	}
	for _, note := range r.Notes() {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Notes returns what a reader of the figures has to know about them.
func (r *Result) Notes() []string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if r.Saturated {
		add("generator saturated: it sent %s late at p99 (from %s on, figures are not the target's); lower the rate, or give it more processor time (--realtime)",
			short(r.Lag.P99), short(SaturatedLag))
	}
	if why := r.Config.RealTimeRefused; why != "" {
		add("scheduled like any other process: %s", why)
	}
	if n := r.Outcomes[Dropped.String()]; n > 0 {
		add("%d requests were due while %d were outstanding, and were not sent; latencies do not show them",
			n, r.Config.MaxOutstanding)
	}
	if r.ConnectionWaits > 0 && r.Mode == OpenLoop {
		add("%d requests waited because all %d connections to a target were in use; latencies include that",
			r.ConnectionWaits, r.Config.Connections)
	}
	if r.Mode == ClosedLoop {
		add("closed loop: callers wait for answers, so a stall is seen once a caller; use a rate to measure latency")
	}
	if r.WarmupFailed > 0 {
		add("%d of the %d requests of the warm-up failed; they are not counted", r.WarmupFailed, r.WarmupRequests)
	}
	if r.Interrupted {
		add("interrupted before the end")
	}
	if r.Completed == 0 {
		add("no request was completed")
	}
	return notes
}

func (r *Result) writeHead(b *strings.Builder) {
	c := &r.Config
	if r.Mode == ClosedLoop {
		fmt.Fprintf(b, "%s, %d callers", r.Mode, c.Callers)
	} else {
		fmt.Fprintf(b, "%s, %s requests/s (%s)", r.Mode, trim(c.Rate), c.Arrivals)
	}
	b.WriteString(", ")
	r.writeWhat(b)
	if r.Trace != nil {
		fmt.Fprintf(b, "trace: %s\n", r.Trace)
	}
	fmt.Fprintf(b, "%d requests in %s: %s/s completed, %d failed\n\n",
		r.Requests, short(r.Elapsed), trim(r.Throughput), r.Failed)
}

// writeWhat writes which keys were asked for, and ends the line.
func (r *Result) writeWhat(b *strings.Builder) {
	c := &r.Config
	fmt.Fprintf(b, "%d keys (%s", c.Keys, c.Distribution)
	if c.ZipfS > 0 {
		fmt.Fprintf(b, " %s", trim(c.ZipfS))
	}
	fmt.Fprintf(b, "), seed %d", c.Seed)
	if r.Machine.Scheduling == ScheduledRealTime {
		b.WriteString(", real-time scheduling")
	}
	b.WriteByte('\n')
}

// String returns how far the trace has been followed.
func (t *TraceInfo) String() string {
	text := fmt.Sprintf("%d of %d requests", t.Taken, t.Requests)
	switch {
	case t.Repeat && t.Requests > 0:
		text = fmt.Sprintf("%d requests of its %d, %s times over", t.Taken, t.Requests, trim(float64(t.Taken)/float64(t.Requests)))
	case t.Ended:
		text = fmt.Sprintf("all %d requests", t.Requests)
	}
	return text
}

func (r *Result) writeLatencies(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tp50\tp90\tp99\tp99.9\tmax\tmean\t")
	row := func(name string, s LatencyStats) {
		if s.Count > 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name,
				short(s.P50), short(s.P90), short(s.P99), short(s.P999), short(s.Max), short(s.Mean))
		}
	}
	row("latency", r.Latency)
	if r.Mode == OpenLoop {
		row("from actual send", r.Service)
		row("scheduling lag", r.Lag)
	}
	if len(r.Targets) > 1 {
		for _, target := range r.Targets {
			row(target.Target, target.Latency)
		}
	}
	// A strings.Builder does not fail.
	_ = t.Flush()
}

func (r *Result) writeOutcomes(b *strings.Builder) {
	b.WriteString("\noutcomes:")
	for o := range outcomes {
		if n := r.Outcomes[o.String()]; n > 0 {
			fmt.Fprintf(b, "  %s %d", o, n)
		}
	}
	b.WriteByte('\n')
	if len(r.Statuses) > 0 {
		b.WriteString("HTTP statuses:")
		for _, status := range sortedKeys(r.Statuses) {
			fmt.Fprintf(b, "  %d: %d", status, r.Statuses[status])
		}
		b.WriteByte('\n')
	}
	if len(r.Targets) > 1 {
		for _, target := range r.Targets {
			if target.Failed > 0 {
				fmt.Fprintf(b, "failed at %s: %d of %d\n", target.Target, target.Failed, target.Requests)
			}
		}
	}
}

func sortedKeys(m map[int]int64) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// WriteBench writes the result as a Go benchmark line, which benchstat reads.
// ns/op is the mean latency.
func (r *Result) WriteBench(w io.Writer) error {
	load := "rate=" + trim(r.Config.Rate)
	if r.Mode == ClosedLoop {
		load = "callers=" + strconv.Itoa(r.Config.Callers)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "BenchmarkLoad/target=%s/%s-%d %d %d ns/op",
		benchName(r.label), load, r.Machine.GOMAXPROCS, r.Completed, r.Latency.Mean.Nanoseconds())
	metric := func(value any, unit string) { fmt.Fprintf(&b, " %v %s", value, unit) }
	metric(r.Latency.P50.Nanoseconds(), "p50-ns")
	metric(r.Latency.P99.Nanoseconds(), "p99-ns")
	metric(r.Latency.P999.Nanoseconds(), "p99.9-ns")
	metric(r.Latency.Max.Nanoseconds(), "max-ns")
	metric(strconv.FormatFloat(r.Throughput, 'f', 2, 64), "req/s")
	metric(r.Failed, "failed")
	if r.Mode == OpenLoop {
		metric(r.Lag.P99.Nanoseconds(), "lag-p99-ns")
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteBenchHeader writes the lines that tell benchstat about the machine. They
// come before the first line of a file.
func (r *Result) WriteBenchHeader(w io.Writer) error {
	m := &r.Machine
	text := fmt.Sprintf("goos: %s\ngoarch: %s\npkg: github.com/geecache/geecache/internal/loadgen\n", m.OS, m.Arch)
	if m.CPU != "" {
		text += "cpu: " + m.CPU + "\n"
	}
	// Not as a "key: value" line: benchstat compares nothing across files in
	// which one of those differs.
	text += "# " + r.StartedAt.UTC().Format(time.RFC3339) + ", " + m.GoVersion + "\n"
	_, err := io.WriteString(w, text)
	return err
}

// benchName makes a label fit a benchmark's name.
func benchName(s string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == '/' || c == 0x7f {
			return '_'
		}
		return c
	}, s)
}

// trim formats a number without needless digits.
func trim(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

// short formats a duration with three significant digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}
