package loadgen

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// String returns the probe as one line.
func (p Probe) String() string {
	r := p.Result
	if r == nil {
		return fmt.Sprintf("%s %s/s: %s", p.Phase, trim(p.Rate), p.Verdict)
	}
	what := p.Phase
	if p.Rate > 0 {
		what += " " + trim(p.Rate) + "/s"
	}
	text := fmt.Sprintf("%s: %s: p99 %s, p99.9 %s, %d of %d failed, lag p99 %s",
		what, p.Verdict, short(r.Latency.P99), short(r.Latency.P999), r.Failed, r.Requests, short(r.Lag.P99))
	if p.Why != "" {
		text += ": " + p.Why
	}
	return text
}

// limits returns what was asked for, in words.
func (s *Search) limits() string {
	var limits []string
	if s.P99 > 0 {
		limits = append(limits, "p99 of at most "+short(s.P99))
	}
	if s.P999 > 0 {
		limits = append(limits, "p99.9 of at most "+short(s.P999))
	}
	errs := "no errors"
	if s.Errors > 0 {
		errs = fmt.Sprintf("at most %s%% errors", trim(100*s.Errors))
	}
	return strings.Join(append(limits, errs), ", ")
}

// Answer returns what was found, in one sentence.
func (m *MaxRate) Answer() string {
	switch {
	case m.Interrupted && m.Unconfirmed > 0:
		return fmt.Sprintf("interrupted: good up to %s/s so far, which is not confirmed", trim(m.Unconfirmed))
	case m.Interrupted:
		return "interrupted before any rate was found good"
	case m.Rate > 0 && m.Saturated:
		return fmt.Sprintf("at least %s/s: at %s/s the generator was saturated, and the target's limit was not reached (%s)",
			trim(m.Rate), trim(m.TooHigh), m.Why)
	case m.Rate > 0 && m.AtLeast:
		return fmt.Sprintf("at least %s/s: %s", trim(m.Rate), m.Why)
	case m.Rate > 0:
		return fmt.Sprintf("%s/s: good at %s/s, too much at %s/s (%s)", trim(m.Rate), trim(m.Rate), trim(m.TooHigh), m.Why)
	case m.TooHigh == 0:
		return "no rate: " + m.Why
	case m.Saturated:
		return fmt.Sprintf("no answer: the generator was saturated at %s/s already (%s)", trim(m.TooHigh), m.Why)
	}
	return fmt.Sprintf("no rate: %s/s is too much already (%s)", trim(m.TooHigh), m.Why)
}

// WriteText writes the answer, and the probes that it comes from as a table.
func (m *MaxRate) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "highest rate with %s: %s\n", m.Search.limits(), m.Answer())
	if len(m.Probes) > 0 {
		m.Probes[0].Result.writeWhat(&b)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "phase\trate/s\trequests\tfailed\tp50\tp99\tp99.9\tmax\tlag p99\tverdict")
	for _, p := range m.Probes {
		r := p.Result
		l := &r.Latency
		rate := "one caller"
		if p.Rate > 0 {
			rate = trim(p.Rate)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Phase, rate, r.Requests, r.Failed,
			short(l.P50), short(l.P99), short(l.P999), short(l.Max), short(r.Lag.P99), p.Verdict)
	}
	// A strings.Builder does not fail.
	_ = t.Flush()
	if m.Confirmed != nil {
		fmt.Fprintf(&b, "\nconfirmed by:\n")
		m.Confirmed.writeHead(&b)
		m.Confirmed.writeLatencies(&b)
		for _, note := range m.Confirmed.Notes() {
			fmt.Fprintf(&b, "note: %s\n", note)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the answer and all probes as one indented JSON object.
func (m *MaxRate) WriteJSON(w io.Writer) error { return writeJSON(w, m) }

// WriteBench writes the answer as a Go benchmark line, if there is one.
func (m *MaxRate) WriteBench(w io.Writer) error {
	r := m.Confirmed
	if r == nil {
		return nil
	}
	limit := "p99=" + m.Search.P99.String()
	if m.Search.P99 == 0 {
		limit = "p99.9=" + m.Search.P999.String()
	}
	_, err := fmt.Fprintf(w, "BenchmarkMaxRate/target=%s/%s-%d %d %v max-req/s %v too-high-req/s %d p99-ns %d lag-p99-ns\n",
		benchName(r.label), limit, r.Machine.GOMAXPROCS, len(m.Probes), m.Rate, m.TooHigh, r.Latency.P99.Nanoseconds(), r.Lag.P99.Nanoseconds())
	return err
}

// WriteBenchHeader writes the lines that tell benchstat about the machine.
func (m *MaxRate) WriteBenchHeader(w io.Writer) error {
	if m.Confirmed == nil {
		return nil
	}
	return m.Confirmed.WriteBenchHeader(w)
}
