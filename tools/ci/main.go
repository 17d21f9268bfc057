//go:build unix

// Command ci runs the project's checks, one named step after the other. It
// prints what it runs and how long each step took, stops at the first failure,
// and says what to do about it.
//
// It refuses to be clever: a step is a command that can be typed by hand, and
// the command is printed before it runs. The Makefile calls it; run it with
// -help for its steps.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "ci: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("ci", flag.ContinueOnError)
	root := flags.String("root", "..", "the repository's `directory`")
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return fmt.Errorf("-root: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return fmt.Errorf("-root must name the repository: %w", err)
	}
	steps, err := choose(flags.Args())
	if err != nil {
		return err
	}
	w := newWorkspace(dir, out)
	defer w.close()
	return runSteps(ctx, w, steps)
}

func usage(flags *flag.FlagSet) {
	out := flags.Output()
	fmt.Fprint(out, "Usage: ci [-root DIR] SET|STEP...\n\nSets:\n")
	for _, s := range sets() {
		fmt.Fprintf(out, "  %-12s %s\n", s.name, strings.Join(s.steps, " "))
	}
	fmt.Fprint(out, "\nSteps:\n")
	for _, s := range allSteps() {
		fmt.Fprintf(out, "  %-12s %s\n", s.name, s.what)
	}
	fmt.Fprint(out, "\nFlags:\n")
	flags.PrintDefaults()
}

// choose returns the steps that names ask for, each of which is a set or a step.
func choose(names []string) ([]step, error) {
	if len(names) == 0 {
		return nil, errors.New("no step given: name a set or steps (-help lists them)")
	}
	all := allSteps()
	var chosen []step
	for _, name := range names {
		expanded := []string{name}
		if i := slices.IndexFunc(sets(), func(s set) bool { return s.name == name }); i >= 0 {
			expanded = sets()[i].steps
		}
		for _, stepName := range expanded {
			i := slices.IndexFunc(all, func(s step) bool { return s.name == stepName })
			if i < 0 {
				return nil, fmt.Errorf("no step or set %q (-help lists them)", stepName)
			}
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// runSteps runs steps in order and stops at the first that fails. The summary
// comes before the last step, so that the lines of a final go test stay last.
func runSteps(ctx context.Context, w *workspace, steps []step) error {
	begun := time.Now()
	var summary []string
	for i, s := range steps {
		if i == len(steps)-1 && len(summary) > 1 {
			fmt.Fprintf(w.out, "\n=== so far: %s\n", strings.Join(summary, ", "))
		}
		fmt.Fprintf(w.out, "\n=== [%d/%d] %s: %s\n", i+1, len(steps), s.name, s.what)
		start := time.Now()
		err := s.run(ctx, w)
		took := seconds(time.Since(start))
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("stopped in step %q after %s: %w", s.name, took, context.Cause(ctx))
			}
			fmt.Fprintf(w.out, "\n=== FAILED: %s, after %s\n", s.name, took)
			return fmt.Errorf("step %q: %w\nremedy: %s\nthis step alone: make step STEP=%s", s.name, err, s.remedy, s.name)
		}
		summary = append(summary, s.name+" "+took)
		fmt.Fprintf(w.out, "=== ok: %s, %s\n", s.name, took)
	}
	if len(steps) > 1 {
		fmt.Fprintf(w.out, "=== ok: all %d steps, %s\n", len(steps), seconds(time.Since(begun)))
	}
	return nil
}

func seconds(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }
