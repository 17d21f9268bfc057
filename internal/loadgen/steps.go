package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A Step is a rate and how long it is held.
type Step struct {
	Rate     float64 // requests per second
	Duration time.Duration
}

// maxSteps is more than anybody reads, and fewer than a typing error makes.
const maxSteps = 1000

// ParseSteps reads steps as they are written on a command line, with commas
// between them: RATE:DURATION is one step, FROM..TO+STEP:DURATION several that
// rise by STEP, and FROM..TOxFACTOR:DURATION several that rise by a factor. TO
// is one of them only if the steps meet it.
func ParseSteps(text string) ([]Step, error) {
	var steps []Step
	for part := range strings.SplitSeq(text, ",") {
		some, err := parseSteps(strings.TrimSpace(part))
		if err == nil && len(steps)+len(some) > maxSteps {
			err = fmt.Errorf("more than %d steps", maxSteps)
		}
		if err != nil {
			return nil, fmt.Errorf("step %q: %w: write it as 1000:10s, 1000..8000+1000:10s or 1000..16000x2:10s", part, err)
		}
		steps = append(steps, some...)
	}
	return steps, nil
}

func parseSteps(text string) ([]Step, error) {
	rates, long, ok := strings.Cut(text, ":")
	if !ok {
		return nil, errors.New("it has no duration")
	}
	d, err := time.ParseDuration(long)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf("%q is no positive duration", long)
	}
	number := func(s string) float64 {
		f, convErr := strconv.ParseFloat(s, 64)
		if err == nil && (convErr != nil || !(f > 0 && f <= maxRate)) {
			err = fmt.Errorf("%q is no number from 0 to %d", s, int64(maxRate))
		}
		return f
	}
	from, rest, isRange := strings.Cut(rates, "..")
	if !isRange {
		rate := number(rates)
		return []Step{{rate, d}}, err
	}
	to, by, adds := strings.Cut(rest, "+")
	if !adds {
		var multiplies bool
		if to, by, multiplies = strings.Cut(rest, "x"); !multiplies {
			return nil, errors.New("it has no +STEP or xFACTOR")
		}
	}
	first, last, step := number(from), number(to), number(by)
	switch {
	case err != nil:
		return nil, err
	case first > last:
		return nil, fmt.Errorf("%s is more than %s", from, to)
	case !adds && step <= 1:
		return nil, fmt.Errorf("the factor %s is not more than 1", by)
	}
	var steps []Step
	// A little over the end: sums and products of fractions may miss it.
	for rate := first; rate <= last*(1+1e-9) && len(steps) <= maxSteps; {
		steps = append(steps, Step{rate, d})
		if adds {
			rate = first + float64(len(steps))*step
		} else {
			rate *= step
		}
	}
	return steps, nil
}

// A StepsResult is what came of a series of rates.
type StepsResult struct {
	Steps []*Result `json:"steps"` // those that were run

	// Planned is how many there were to be: more than were run if the context
	// or the trace ended first.
	Planned int `json:"planned"`

	// Saturated tells that the generator was, in at least one step.
	Saturated   bool `json:"generator_saturated"`
	Interrupted bool `json:"interrupted"`
}

// RunSteps runs one step after the other, each after all requests of the one
// before have ended, over connections and through keys that go on. cfg has
// neither Rate nor Duration nor Count; its Warmup comes before each step, at the
// step's rate. done is called with each step's result as it ends, unless it is
// nil. The error is about cfg and the steps only.
func RunSteps(ctx context.Context, cfg Config, steps []Step, done func(*Result)) (*StepsResult, error) {
	if len(steps) == 0 {
		return nil, errors.New("loadgen: steps: there are none: give at least one")
	}
	if cfg.Rate != 0 || cfg.Callers != 0 || cfg.Duration != 0 || cfg.Count != 0 {
		return nil, errors.New("loadgen: Rate, Callers, Duration, Count: steps say how much is sent: leave them out")
	}
	for i, s := range steps {
		if !(s.Rate > 0 && s.Rate <= maxRate) || s.Duration <= 0 {
			return nil, fmt.Errorf("loadgen: steps[%d]: %v/s for %v: use a rate from 0 to %d and a positive duration",
				i, s.Rate, s.Duration, int64(maxRate))
		}
	}
	session, err := newSession(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer session.close()
	res := &StepsResult{Planned: len(steps)}
	for i, s := range steps {
		r := session.run(func(c *Config) {
			c.Rate, c.Duration, c.Count = s.Rate, s.Duration, 0
			c.part = fmt.Sprintf("step %d of %d", i+1, len(steps))
		})
		res.Steps = append(res.Steps, r)
		res.Saturated = res.Saturated || r.Saturated
		if done != nil {
			done(r)
		}
		if r.Interrupted || r.Trace != nil && r.Trace.Ended {
			res.Interrupted = r.Interrupted
			break
		}
	}
	return res, nil
}

// Failed returns how many requests failed, and of how many.
func (r *StepsResult) Failed() (failed, requests int64) {
	for _, s := range r.Steps {
		failed += s.Failed
		requests += s.Requests
	}
	return failed, requests
}

// WriteText writes a line a step, and what has to be known about each.
func (r *StepsResult) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(r.Steps) > 0 {
		r.Steps[0].writeWhat(&b)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "rate/s\tcompleted/s\tfor\trequests\tfailed\tp50\tp90\tp99\tp99.9\tmax\tlag p99\t")
	for _, s := range r.Steps {
		l := &s.Latency
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", trim(s.Config.Rate), trim(s.Throughput), short(s.Elapsed),
			s.Requests, s.Failed, short(l.P50), short(l.P90), short(l.P99), short(l.P999), short(l.Max), short(s.Lag.P99))
	}
	// A strings.Builder does not fail.
	_ = t.Flush()
	for _, s := range r.Steps {
		for _, note := range s.Notes() {
			fmt.Fprintf(&b, "note: at %s/s: %s\n", trim(s.Config.Rate), note)
		}
		for _, f := range s.Failures[:min(len(s.Failures), 3)] {
			fmt.Fprintf(&b, "  at %s/s: %s\n", trim(s.Config.Rate), f)
		}
	}
	if n := len(r.Steps); n < r.Planned {
		fmt.Fprintf(&b, "note: %d of %d steps were run\n", n, r.Planned)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes all results as one indented JSON object.
func (r *StepsResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// WriteBench writes a Go benchmark line for each step.
func (r *StepsResult) WriteBench(w io.Writer) error {
	for _, s := range r.Steps {
		if err := s.WriteBench(w); err != nil {
			return err
		}
	}
	return nil
}

// WriteBenchHeader writes the lines that tell benchstat about the machine.
func (r *StepsResult) WriteBenchHeader(w io.Writer) error {
	if len(r.Steps) == 0 {
		return nil
	}
	return r.Steps[0].WriteBenchHeader(w)
}
