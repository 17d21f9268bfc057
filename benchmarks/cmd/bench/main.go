// Command bench measures this project beside its peers, keeps what it found and
// draws the tables and plots of it. The Makefile calls it; run it with -help for
// its commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/geecache/geecache/benchmarks/internal/driver"
	"github.com/geecache/geecache/benchmarks/internal/process"
	"github.com/geecache/geecache/benchmarks/internal/report"
	"github.com/geecache/geecache/benchmarks/internal/result"
	"github.com/geecache/geecache/benchmarks/internal/suite"
)

func main() {
	process.Main(suite.Roles())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	dir   string
	reps  int
	only  string
	smoke bool
	check bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.dir, "C", ".", "the `directory` of this module, with results/ and RESULTS.md")
	flags.IntVar(&o.reps, "n", 10, "repetitions of each measurement")
	flags.StringVar(&o.only, "only", "", "groups of the suite to run, with commas between; what they find is printed and not kept")
	flags.BoolVar(&o.smoke, "smoke", false, "tiny sizes, to see that everything works; what is found means nothing and is not kept")
	flags.BoolVar(&o.check, "check", false, "report: change nothing, fail if something would change")
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	switch flags.Arg(0) {
	case "run":
		return runSuites(ctx, o, flags.Args()[1:], out)
	case "report":
		return report.Write(o.dir, o.check)
	case "compare":
		return report.Compare(o.dir, out)
	}
	usage(flags)
	return errors.New("no command: name one of run, report, compare")
}

func usage(flags *flag.FlagSet) {
	fmt.Fprintf(flags.Output(), `Usage: bench [flags] COMMAND

  run SUITE...   measure, and keep the results (all, or some of: %s)
  report         write RESULTS.md and the plots from the newest results
  compare        print the figures that were promised, and which of them hold

Recorded traces are read from the directory that %s names.

Flags:
`, strings.Join(suite.Names(), ", "), suite.TracesVariable)
	flags.PrintDefaults()
}

func runSuites(ctx context.Context, o options, names []string, out io.Writer) error {
	if len(names) == 0 {
		return errors.New("run: name the suites, or all")
	}
	if slices.Contains(names, "all") {
		names = suite.Names()
	}
	traces := os.Getenv(suite.TracesVariable)
	cfg := driver.Config{Dir: o.dir, Scale: suite.Full(traces), Reps: o.reps, Progress: progress(os.Stderr)}
	if o.smoke {
		cfg.Scale, cfg.Reps = suite.Smoke(traces), 1
	}
	if o.only != "" {
		cfg.Only = strings.Split(o.only, ",")
	}
	begun := time.Now()
	for _, name := range names {
		s, err := suite.Find(name)
		if err != nil {
			return err
		}
		f, err := driver.Run(ctx, s, cfg)
		clearLine(os.Stderr)
		if errors.Is(err, driver.ErrNotReady) && len(names) > 1 {
			fmt.Fprintln(out, err)
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %v\n", name, f.Took.Round(100*time.Millisecond))
		if err := keep(o, f, out); err != nil {
			return err
		}
	}
	if len(names) > 1 {
		fmt.Fprintf(out, "all: %v\n", time.Since(begun).Round(100*time.Millisecond))
	}
	return nil
}

// keep writes a result and what is made of it, or only prints it.
func keep(o options, f *result.File, out io.Writer) error {
	if o.smoke || o.only != "" {
		return report.Tables(out, f)
	}
	if err := f.Write(o.dir + "/results"); err != nil {
		return err
	}
	return report.Write(o.dir, false)
}
