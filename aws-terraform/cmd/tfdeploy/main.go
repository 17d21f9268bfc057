// Command tfdeploy is what the scripts of aws-terraform/ do in Go: it checks what
// Terraform plans or has made, estimates its cost, writes what is to be adopted, and
// waits until a deployment really answers.
package main

import (
	"bytes"
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

	"github.com/geecache/geecache/internal/cli"
	"github.com/geecache/geecache/internal/prices"
	"github.com/geecache/geecache/internal/tfdeploy"
	"github.com/geecache/geecache/metrics"
)

const usage = `usage: tfdeploy COMMAND [flags]

  check FILE          what is wrong with a state (terraform show -json)
  cost -region R      what a plan costs; its JSON on standard input
       [-standard]    fails unless that is what package prices has for no variables at all
  adopt -plan FILE    what to import, ADDRESS<tab>ID, because AWS holds it already; that on standard input
  wait -url U -nodes N [-timeout 10m]
                      until the API answers and knows all nodes; its token in GEECACHE_API_TOKEN
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "tfdeploy: %v\n", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("no command is given")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	switch args[0] {
	case "check":
		return check(flags, args[1:], out)
	case "cost":
		return cost(flags, args[1:], in, out)
	case "adopt":
		return adopt(flags, args[1:], in, out)
	case "wait":
		return wait(ctx, flags, args[1:], out)
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("there is no command %q", args[0])
}

func check(flags *flag.FlagSet, args []string, out io.Writer) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := readFile(flags.Arg(0))
	if err != nil {
		return err
	}
	wrong := tfdeploy.Check(p, tfdeploy.Rules{Namespace: metrics.Namespace, Metric: emitted, Environment: cli.CheckNodeEnvironment})
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	_, err = fmt.Fprintf(out, "%d resources: policies, ports, metrics and tasks are as they ought to be\n", len(p.Resources))
	return err
}

// emitted returns an error if a process with these variables (none: one that sends all)
// sends no such metric to CloudWatch.
func emitted(variables map[string]string, name string, dimensions []string) error {
	sent := metrics.CloudWatchMetrics()
	if variables != nil {
		var err error
		if sent, err = cli.SentMetrics(variables); err != nil {
			return err
		}
	}
	for _, m := range sent {
		if m.Name != name {
			continue
		}
		want := slices.Sorted(slices.Values(dimensions))
		for _, set := range m.Dimensions {
			if slices.Equal(slices.Sorted(slices.Values(set)), want) {
				return nil
			}
		}
		return fmt.Errorf("%s is sent with the dimensions %v, and not %v", name, m.Dimensions, dimensions)
	}
	return fmt.Errorf("%s is not sent", name)
}

func cost(flags *flag.FlagSet, args []string, in io.Reader, out io.Writer) error {
	region := flags.String("region", "us-west-2", "the deployment's `region`")
	standard := flags.Bool("standard", false, "fail unless it costs what the deployment without variables is known to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := tfdeploy.Read(in)
	if err != nil {
		return err
	}
	t, err := prices.In(*region)
	if err != nil {
		// A deployment is not to fail for it.
		_, err = fmt.Fprintf(out, "No estimate: %v.\n", err)
		return err
	}
	lines := tfdeploy.Estimate(p, t, cloudWatchMetrics)
	if known := t.Lines(prices.Standard().Configuration()); *standard && !slices.Equal(lines, known) {
		return fmt.Errorf("package prices has another standard deployment: it knows %v, and this is %v", known, lines)
	}
	return tfdeploy.Print(out, lines, *region)
}

// cloudWatchMetrics returns how many metrics so many processes with these variables have
// in CloudWatch.
func cloudWatchMetrics(variables map[string]string, processes int) int {
	n, err := cli.CountSentMetrics(variables, processes)
	if err != nil {
		return 0 // Terraform's own variables are checked, and say what is wrong
	}
	return n
}

func adopt(flags *flag.FlagSet, args []string, in io.Reader, out io.Writer) error {
	plan := flags.String("plan", "", "`file` of the plan, as terraform show -json writes it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := readFile(*plan)
	if err != nil {
		return err
	}
	found, err := tfdeploy.ReadFound(in)
	if err != nil {
		return err
	}
	imports, ambiguous := tfdeploy.Adopt(p, found)
	if len(ambiguous) > 0 {
		return fmt.Errorf("these are there more than once; delete the ones that are not wanted:\n  %s", strings.Join(ambiguous, "\n  "))
	}
	return tfdeploy.WriteImports(out, imports)
}

func wait(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	url := flags.String("url", "", "the API's `URL`")
	nodes := flags.Int("nodes", 0, "how many nodes there are to be")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long to wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *url == "" || *nodes < 1 {
		return errors.New("give -url and -nodes")
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	start := time.Now()
	since := func() time.Duration { return time.Since(start).Round(time.Second) }
	w := tfdeploy.Waiter{
		URL: strings.TrimSuffix(*url, "/"), Token: os.Getenv("GEECACHE_API_TOKEN"), Nodes: *nodes,
		Progress: func(text string) { fmt.Fprintf(out, "  %s %s\n", since(), text) },
	}
	if err := w.Wait(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d nodes answer and are in the ring, after %s\n", *nodes, since())
	return err
}

func readFile(name string) (*tfdeploy.Plan, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return tfdeploy.Read(bytes.NewReader(text))
}
