package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/judge"
	"github.com/geecache/geecache/internal/envbench/result"
)

const envBenchLong = `bench measures an environment: how long it takes to deploy and to change a cluster
there, what of it really runs, and what becomes of requests meanwhile. It does the
same in each environment, each thing once for warming up and then --times times, and
half as often, but five times at least, if one takes 10 s or more.

The results are JSON with every sample, and beside it, with the ending .txt, lines
of Go benchmarks, which benchstat reads. What an environment cannot do is a result,
too, with the evidence.

The load that some tests send comes from geecache load --realtime, a process of its own
that runs before all others where that is permitted (Linux, root or CAP_SYS_NICE). Where
it is not, it may be late on a busy machine, which the results say.

It deploys and removes clusters of its own. Ctrl-C removes them, too, and marks what
was measured as partial. If it is killed, the next env bench, env up or env down of
that name and environment removes what it has left.

The exit status is 0 if all was measured or found not to be possible, else 1.`

const envBenchExample = `  geecache env bench local -o local.json
  geecache env bench docker --only deploy,scale --times 3 -o docker.json
  geecache env bench emulator --hello geecache-hello -o emulator.json`

// newEnvBenchCommand returns `geecache env bench`.
func newEnvBenchCommand() *cobra.Command {
	var f envUpFlags
	var output string
	c := judge.Config{Times: judge.DefaultTimes, CloudWatchMetrics: func(processes int) int {
		n, _ := CountSentMetrics(map[string]string{"GEECACHE_EMF": "true"}, processes) // its own variable is no error
		return n
	}}
	cmd := &cobra.Command{
		Use:     "bench ENV",
		Short:   "Measure an environment",
		Long:    envBenchLong,
		Example: envBenchExample,
		Args:    envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.options.Tied = true // a measurement that is killed leaves no process
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			// Who reads what it says may end before it: it removes what it has made all the same.
			unheard := make(chan os.Signal, 1)
			signal.Notify(unheard, syscall.SIGPIPE)
			defer signal.Stop(unheard)
			switch {
			case c.Times < 1:
				return usagef("--times is %d: use a positive number", c.Times)
			case output != "" && filepath.Ext(output) != ".json":
				return usagef("--output is %q: use a name that ends with .json", output)
			}
			for _, id := range c.Only {
				if !slices.Contains(judge.IDs(), id) {
					return usagef("--only: there is no test %q: there are %s", id, strings.Join(judge.IDs(), ", "))
				}
			}
			f.complete(args[0])
			c.Deployment = f.deployment
			f.measured(cmd, args[0], &c)
			r, err := judge.Run(ctx, driver, c)
			if r == nil {
				return err
			}
			v := thisVersion()
			r.Versions["geecache"] = strings.TrimSpace(v.Version + " " + v.Commit[:min(len(v.Commit), 12)])
			if output != "" {
				if e := r.Write(output); e != nil {
					return e
				}
			}
			if e := f.printBench(cmd.OutOrStdout(), r); e != nil {
				return e
			}
			return err
		},
	}
	f.register(cmd, true)
	f.registerDeployment(cmd.Flags())
	f.registerJSON(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "", "file for the results; it ends with .json")
	flags.StringSliceVar(&c.Only, "only", nil, "measure only these: "+strings.Join(judge.IDs(), ", "))
	flags.IntVar(&c.Times, "times", c.Times, "how often everything is measured")
	flags.StringVar(&c.Hello, "hello", "", "image of a static server that is deployed beside, such as that of localstack-setup/hello")
	return cmd
}

// measured fills in what a measurement has to know of the environment and of others. Where
// the user has no folder, it is not known what another one has left.
func (f *envFlags) measured(cmd *cobra.Command, environment string, c *judge.Config) {
	c.Environment, c.Options, c.Deployment.Name, c.Progress = environment, f.options, f.name, benchProgress(cmd.ErrOrStderr())
	c.StateDir, _ = envbench.StateDir()
}

// removeLeft removes what a measurement of the deployment has left that was killed.
func (f *envFlags) removeLeft(ctx context.Context, cmd *cobra.Command, environment string, d envbench.Driver) error {
	var c judge.Config
	f.measured(cmd, environment, &c)
	return judge.RemoveLeft(ctx, d, c)
}

// benchProgress says what is measured now, a line each.
func benchProgress(w io.Writer) func(test, text string) {
	p := paletteFor(w)
	return func(test, text string) {
		fmt.Fprintf(w, "%s %s\n", p.faint(fmt.Sprintf("%-10s", test)), text)
	}
}

// printBench shows the medians, the counts and what is not to be had.
func (f *envUpFlags) printBench(out io.Writer, r *result.File) error {
	if f.json {
		return json.NewEncoder(out).Encode(r)
	}
	p := paletteFor(out)
	var b strings.Builder
	for _, t := range r.Tests {
		fmt.Fprintf(&b, "%s (%s): %s, %.0f s\n", p.bold(judge.Title(t.ID)), t.ID, t.State, t.Seconds)
		if t.Evidence != "" {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(t.Evidence, "\n", "\n  "))
		}
		rows := newTable(1, 2, 3, 4)
		rows.head(p, "  WHAT", "MEDIAN", "LEAST", "MOST", "TIMES")
		for _, s := range t.Series {
			if len(s.Samples) == 0 {
				continue
			}
			rows.row("  "+s.Name, fmt.Sprintf("%.3f %s", s.Median(), s.Unit), fmt.Sprintf("%.3f", slices.Min(s.Samples)), fmt.Sprintf("%.3f", slices.Max(s.Samples)), fmt.Sprint(len(s.Samples)))
		}
		if len(rows.rows) > 1 {
			rows.write(&b)
		}
		for _, s := range t.Series {
			if len(s.Samples) == 0 {
				fmt.Fprintf(&b, "  %s: %s\n", s.Name, why(s))
			}
		}
		for _, n := range t.Counts {
			fmt.Fprintf(&b, "  %s: %s\n", n.Name, strings.Trim(fmt.Sprint(n.Values), "[]"))
		}
		for _, fact := range t.Facts {
			fmt.Fprintf(&b, "  %s: %s: %s\n", fact.Name, fact.Verdict, fact.Evidence)
		}
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "  note: %s\n", n)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// why says why a series has no samples.
func why(s result.Series) string {
	if s.NotMeasured != "" {
		return "not measured: " + s.NotMeasured
	}
	return "none: " + s.Unsupported
}
