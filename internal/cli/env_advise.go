package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/advise"
	"github.com/geecache/geecache/internal/envbench/result"
	"github.com/geecache/geecache/internal/prices"
)

const envAdviseLong = `advise says in which environment to deploy, and why: each reason has its figure, and
the results file or price table that the figure is from. What nobody has measured it
says, too, with the command that does.

  dev    the program changes, and is looked at again: what redeploys fastest
  test   it is tried together with AWS's calls: what really does them
  ci     tests run by themselves: what is up first from a fresh clone
  perf   figures are wanted that hold in production
  prod   production

Without --phase it asks, on a terminal. It answers from the results of each
environment in ` + resultsOfEnvironments + `, each test from the newest that have it whole. The exit status is 1 if no environment has all
that is asked for.`

// newEnvAdviseCommand returns `geecache env advise`.
func newEnvAdviseCommand() *cobra.Command {
	a := advise.Answers{Hours: prices.HoursPerMonth, Nodes: envbench.DefaultNodes}
	var dir, region string
	budget, account := -1.0, true
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "advise",
		Short: "Say in which environment to deploy, and why",
		Long:  envAdviseLong,
		Example: `  geecache env advise --phase dev
  geecache env advise --phase test --needs autoscaling,iam --budget 50
  geecache env advise --phase ci --offline --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.Budget, a.NoAccount = math.NaN(), !account
			if cmd.Flags().Changed("budget") {
				if math.IsNaN(budget) {
					return usagef("--budget is %v: use dollars a month, 0 or more", budget)
				}
				a.Budget = budget
			}
			if cmd.Flags().Changed("results") {
				if info, err := os.Stat(dir); err != nil || !info.IsDir() {
					return usagef("--results is %q, and there is no such folder: name one with results of geecache env bench", dir)
				}
			}
			if a.Phase == "" {
				in, isFile := cmd.InOrStdin().(*os.File)
				if _, terminal := onTerminal(in); !isFile || !terminal || asJSON {
					return usagef("advise needs --phase: %s", strings.Join(advise.Phases(), ", "))
				}
				if err := askAll(in, cmd.OutOrStdout(), &a); err != nil {
					return err
				}
			}
			table, err := prices.In(region)
			if err != nil {
				return &usageError{err}
			}
			if err := a.Validate(); err != nil {
				return &usageError{err}
			}
			if a.Metrics, err = CountSentMetrics(map[string]string{"GEECACHE_EMF": "true"}, a.Nodes+prices.Standard().APIs); err != nil {
				return err
			}
			results, unread, err := readResults(dir)
			if err != nil {
				return err
			}
			advice, err := advise.Advise(a, results, table)
			if err != nil {
				return err
			}
			advice.Missing = append(advice.Missing, unread...)
			if err := printAdvice(cmd.OutOrStdout(), advice, len(results), dir, asJSON); err != nil {
				return err
			}
			if advice.Environment == "" {
				return advise.ErrNone
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&a.Phase, "phase", "", "what it is for: "+strings.Join(advise.Phases(), ", "))
	flags.BoolVar(&a.Offline, "offline", false, "there is no network")
	flags.Float64Var(&budget, "budget", budget, "US dollars a month that AWS may cost (default: any)")
	flags.Lookup("budget").DefValue = ""
	flags.Float64Var(&a.Hours, "hours", a.Hours, "hours a month that it runs")
	flags.IntVar(&a.Nodes, "nodes", a.Nodes, "cache nodes")
	flags.StringSliceVar(&a.Needs, "needs", nil, "what has to be as in AWS: "+strings.Join(advise.Needs(), ", "))
	flags.BoolVar(&account, "account", true, "there is an account with AWS; --account=false: there is none")
	flags.StringVar(&region, "region", "us-west-2", "region of AWS whose prices are meant: "+strings.Join(prices.Regions(), " or "))
	flags.StringVar(&dir, "results", filepath.FromSlash(resultsOfEnvironments), "folder of results files")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// readResults reads the results files in a folder, which may be empty or not be there. Those
// that cannot be read are named with why.
func readResults(dir string) (all []advise.Results, unread []string, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		f, err := result.Load(path)
		if err != nil {
			unread = append(unread, err.Error())
			continue
		}
		all = append(all, advise.Results{Name: filepath.ToSlash(path), File: f})
	}
	return all, unread, nil
}

// askAll asks the questions whose answers flags would be. An empty answer is the default.
func askAll(in io.Reader, out io.Writer, a *advise.Answers) error {
	lines := bufio.NewScanner(in)
	ask := func(question string, take func(answer string) error) error {
		for {
			if _, err := fmt.Fprintf(out, "%s ", question); err != nil {
				return err
			}
			if !lines.Scan() {
				return errors.Join(errors.New("the questions were not answered to the end"), lines.Err())
			}
			err := take(strings.TrimSpace(lines.Text()))
			if err == nil {
				return nil
			}
			fmt.Fprintf(out, "%v\n", err)
		}
	}
	yes := func(into *bool, meaning bool) func(string) error {
		return func(answer string) error {
			switch strings.ToLower(answer) {
			case "y", "yes":
				*into = meaning
			case "", "n", "no":
				*into = !meaning
			default:
				return errors.New("answer y or n")
			}
			return nil
		}
	}
	valid := func(change func()) error {
		before := *a
		change()
		if err := a.Validate(); err != nil {
			*a = before
			return err
		}
		return nil
	}
	questions := []struct {
		text string
		take func(string) error
	}{
		{"What is it for: " + strings.Join(advise.Phases(), ", ") + "?", func(s string) error {
			return valid(func() { a.Phase = s })
		}},
		{"Must it work without a network? [y/N]", yes(&a.Offline, true)},
		{"Is there an account with AWS? [y/N]", yes(&a.NoAccount, false)},
		{"How many US dollars a month may AWS cost? [any]", func(s string) error {
			if s == "" {
				return nil
			}
			dollars, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsNaN(dollars) {
				return errors.New("answer with a number")
			}
			return valid(func() { a.Budget = dollars })
		}},
		{"What has to be as in AWS: " + strings.Join(advise.Needs(), ", ") + "? [nothing]", func(s string) error {
			return valid(func() {
				a.Needs = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
			})
		}},
	}
	for _, q := range questions {
		if err := ask(q.text, q.take); err != nil {
			return err
		}
	}
	return nil
}

// printAdvice shows an advice.
func printAdvice(out io.Writer, a *advise.Advice, results int, dir string, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(a)
	}
	p := paletteFor(out)
	var b strings.Builder
	if a.Environment != "" {
		fmt.Fprintf(&b, "%s\n", p.bold(p.green("Deploy in "+a.Environment)))
	} else {
		fmt.Fprintf(&b, "%s\n", p.bold(p.red("No environment has all that is asked for")))
	}
	for _, r := range a.Reasons {
		sign := p.red("-")
		if r.For {
			sign = p.green("+")
		}
		fmt.Fprintf(&b, "  %s %-8s %s %s\n", sign, r.Environment, r.Text, p.faint("["+r.Source+"]"))
	}
	if results == 0 {
		fmt.Fprintf(&b, "There are no results in %s: this is from rules and prices alone.\n", dir)
	}
	for i, m := range a.Missing {
		if i == 0 {
			b.WriteString("Not known:\n")
		}
		fmt.Fprintf(&b, "    %s\n", m)
	}
	for i, c := range a.Commands {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  %s\n", c)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
