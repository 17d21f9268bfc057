package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
)

const envBenchLong = `bench measures how long deployments and scaling take in an environment: until every
node answers at its own address and all have one ring. Beside it, in the same run, it
measures the same for as many containers of a server that only says hello: the
difference is what GeeCache itself takes.

It deploys and removes clusters of its own, called NAME and hello. Ctrl-C removes
them, too, and marks what was measured as partial.`

// newEnvBenchCommand returns `geecache env bench`.
func newEnvBenchCommand() *cobra.Command {
	var f envUpFlags
	var output string
	b := envbench.BenchConfig{Times: 5, From: 3, To: 5}
	cmd := &cobra.Command{
		Use:   "bench ENV",
		Short: "Measure how long deployments and scaling take",
		Long:  envBenchLong,
		Args:  envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			if b.Times < 1 || b.Hello == "" || b.From < 1 || b.To <= b.From {
				return usagef("bench needs --hello IMAGE, a positive --times, and --to above --from")
			}
			f.deployment.Name, f.deployment.CacheBytes = f.name, max(int64(f.cacheBytes), 0)
			b.Deployment = f.deployment
			r, err := envbench.Bench(ctx, driver, b, f.options)
			if r == nil {
				return err
			}
			r.Environment = args[0]
			v := thisVersion()
			r.Versions["geecache"] = strings.TrimSpace(v.Version + " " + v.Commit[:min(len(v.Commit), 12)])
			if output != "" {
				if e := writeBench(output, r); e != nil {
					return e
				}
			}
			return f.printBench(cmd, r, err)
		},
	}
	f.register(cmd, true)
	f.registerDeployment(cmd.Flags())
	f.registerJSON(cmd)
	flags := cmd.Flags()
	flags.StringVar(&b.Hello, "hello", "", "image of the server that only says hello")
	flags.IntVar(&b.Times, "times", b.Times, "how often everything is measured, after once for warming up")
	flags.IntVar(&b.From, "from", b.From, "nodes that are deployed")
	flags.IntVar(&b.To, "to", b.To, "nodes after scaling out")
	flags.StringVarP(&output, "output", "o", "", "file for the results, as JSON")
	return cmd
}

func writeBench(path string, r *envbench.BenchResult) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// printBench shows the medians, and then returns err.
func (f *envUpFlags) printBench(cmd *cobra.Command, r *envbench.BenchResult, err error) error {
	out := cmd.OutOrStdout()
	if f.json {
		if e := json.NewEncoder(out).Encode(r); e != nil {
			return e
		}
		return err
	}
	t := newTable(1, 2, 3)
	t.head(paletteFor(out), "WHAT", "MEDIAN S", "LEAST", "MOST")
	for _, m := range r.Results {
		least, most := m.Values[0], m.Values[0]
		for _, v := range m.Values {
			least, most = min(least, v), max(most, v)
		}
		t.row(m.Name, fmt.Sprintf("%.2f", m.Median), fmt.Sprintf("%.2f", least), fmt.Sprintf("%.2f", most))
	}
	var b strings.Builder
	t.write(&b)
	if _, e := fmt.Fprint(out, b.String()); e != nil {
		return e
	}
	return err
}
