package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/geecache/geecache/internal/loadgen"
	"github.com/geecache/geecache/internal/tracefile"
)

// registerModes registers the flags of steps and of the search.
func (f *loadFlags) registerModes(flags *pflag.FlagSet) {
	flags.StringVar(&f.steps, "steps", "", "one rate after the other (see above)")
	s := &f.search
	flags.BoolVar(&f.find, "find-max-rate", false, "search the highest rate that is within --p99 or --p99.9")
	flags.DurationVar(&s.P99, "p99", 0, "search: what the 99th percentile of the latency may be")
	flags.DurationVar(&s.P999, "p99.9", 0, "search: what the 99.9th percentile may be")
	flags.Float64Var(&s.Errors, "error-share", 0, "search: share of the requests that may fail, e.g. 0.001")
	flags.Float64Var(&s.From, "from-rate", 0, fmt.Sprintf("search: the first rate that is tried (default %d)", loadgen.DefaultSearchFrom))
	flags.Float64Var(&s.Lowest, "min-rate", 0, fmt.Sprintf("search: where it gives up (default %d)", loadgen.DefaultSearchLowest))
	flags.Float64Var(&s.Highest, "max-rate", 0, fmt.Sprintf("search: above it, nothing is tried (default %d)", int(loadgen.DefaultSearchHighest)))
	flags.Float64Var(&s.Precision, "precision", 0, fmt.Sprintf("search: how far good and too much may be apart, as a share (default %v)", loadgen.DefaultSearchPrecision))
	flags.DurationVar(&s.Probe, "probe", 0, fmt.Sprintf("search: how long each rate is held at least (default %v)", loadgen.DefaultSearchProbe))
}

// completeModes reads the trace and refuses flags that do not go together.
func (f *loadFlags) completeModes() error {
	switch c := &f.cfg; {
	case f.steps != "" && f.find:
		return errors.New("--steps, --find-max-rate: give one of them")
	case (f.steps != "" || f.find) && (c.Rate != 0 || c.Callers != 0 || c.Duration != 0 || c.Count != 0):
		return errors.New("--rate, --callers, --duration, --count: --steps and --find-max-rate say how much is sent: leave them out")
	case !f.find && f.search != (loadgen.Search{}):
		return errors.New("--p99, --p99.9, --error-share, --from-rate, --min-rate, --max-rate, --precision, --probe: they go with --find-max-rate")
	case f.find && f.maxErrors != 0:
		return errors.New("--max-errors: with --find-max-rate use --error-share")
	case f.find && f.search.P99 == 0 && f.search.P999 == 0:
		return errors.New("--find-max-rate: what is to hold? Give --p99 or --p99.9, for example --p99 5ms")
	}
	var err error
	if f.steps != "" {
		if f.parsed, err = loadgen.ParseSteps(f.steps); err != nil {
			return fmt.Errorf("--steps: %w", err)
		}
	}
	if f.trace == "" {
		return nil
	}
	if f.keyFile != "" {
		return errors.New("--trace, --key-file: give one of them")
	}
	if f.cfg.Keys.Trace, err = tracefile.Open(f.trace, tracefile.Format(f.format)); err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	f.cfg.Keys.Repeat = f.cfg.Keys.Repeat || f.find
	return nil
}

func (f *loadFlags) validate() error {
	err := f.cfg.Validate()
	if f.find {
		err = errors.Join(err, f.search.Validate())
	}
	return err
}

// A loadReport is a result of any kind.
type loadReport interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
	WriteBench(w io.Writer) error
	WriteBenchHeader(w io.Writer) error
}

func (f *loadFlags) measure(ctx context.Context, p *loadProgress) (loadReport, error) {
	switch {
	case f.find:
		return loadgen.FindMaxRate(ctx, f.cfg, f.search, func(probe loadgen.Probe) { p.say("%s", probe) })
	case f.steps != "":
		done := 0
		return loadgen.RunSteps(ctx, f.cfg, f.parsed, func(r *loadgen.Result) {
			done++
			p.say("step %d of %d: %v/s: p99 %v, %d of %d failed, lag p99 %v", done, len(f.parsed), r.Config.Rate,
				r.Latency.P99.Round(time.Microsecond), r.Failed, r.Requests, r.Lag.P99.Round(time.Microsecond))
		})
	}
	if p.view == nil && f.cfg.Warmup > 0 {
		f.cfg.Counting = func() { p.say(loadgen.CountingLine) }
	}
	return loadgen.Run(ctx, f.cfg)
}

// saturatedError ends a run whose figures are about the generator.
type saturatedError struct{ why string }

func (e *saturatedError) Error() string { return "load: generator saturated: " + e.why }
func (e *saturatedError) ExitCode() int { return exitSaturated }

// judge makes the exit status of what was measured.
func (f *loadFlags) judge(report loadReport) error {
	failed := func(failed, requests int64) error {
		return fmt.Errorf("load: %d of %d requests failed (--max-errors %d)", failed, requests, f.maxErrors)
	}
	saturated := false
	why := "the figures are not the target's: lower the rate, or give load more processor time (--realtime)"
	switch r := report.(type) {
	case *loadgen.Result:
		if !r.WithinErrors(f.maxErrors) {
			return failed(r.Failed, r.Requests)
		}
		saturated = r.Saturated
	case *loadgen.StepsResult:
		if n, all := r.Failed(); n > f.maxErrors || all == 0 {
			return failed(n, all)
		}
		saturated = r.Saturated
	case *loadgen.MaxRate:
		saturated, why = r.Saturated, r.Answer()
		if r.Interrupted || r.Rate == 0 && (!saturated || f.saturated) {
			return fmt.Errorf("load: %s", r.Answer())
		}
	}
	if saturated && !f.saturated {
		return &saturatedError{why}
	}
	return nil
}

// loadProgress tells how a run is doing: on a terminal by a live view, and
// everywhere by a line for each part of a series.
type loadProgress struct {
	w    io.Writer
	view *loadgen.LiveView // nil where there is no terminal
}

func (f *loadFlags) newProgress(w io.Writer) *loadProgress {
	if f.quiet {
		return &loadProgress{w: io.Discard}
	}
	p := &loadProgress{w: w}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.view = loadgen.NewLiveView(w)
	}
	return p
}

// draw returns what shows snapshots, or nil.
func (p *loadProgress) draw() func(loadgen.Snapshot) {
	if p.view == nil {
		return nil
	}
	return p.view.Draw
}

func (p *loadProgress) clear() {
	if p.view != nil {
		p.view.Clear()
	}
}

// say writes a line above the live view.
func (p *loadProgress) say(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}
