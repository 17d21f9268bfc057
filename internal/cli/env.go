package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envfile"
	"github.com/geecache/geecache/internal/words"
)

const envLong = `env deploys one and the same cluster in an environment, and asks every node whether
it answers and who is on its ring: it takes no environment's count at its word.

  local      processes of this machine, as geecache cluster runs them
  docker     containers, by the compose file in docker-native/
  emulator   an emulator of AWS, MiniStack or LocalStack: see localstack-setup/
  aws        AWS itself, on what Terraform has made: see aws-terraform/

One file can describe the deployment in all of them: see geecache env render --help.

Each command may be repeated: the second time it changes nothing.`

const envExample = `  geecache env up local
  geecache env up emulator --image geecache:latest
  geecache env up docker -f geecache.yaml
  geecache env scale emulator 5
  geecache env status emulator --json
  geecache env logs emulator
  geecache env down emulator`

// newEnvCommand returns `geecache env`.
func newEnvCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "env",
		Short:   "Deploy a cluster: on this machine, in Docker, in an emulator of AWS, in AWS",
		Long:    envLong,
		Example: envExample,
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEnvUpCommand(), newEnvScaleCommand(), newEnvStatusCommand(), newEnvCheckCommand(), newEnvLogsCommand(), newEnvDownCommand(), newEnvBenchCommand(), newEnvCostCommand(), newEnvAdviseCommand(), newEnvCompareCommand(), newEnvReportCommand())
	cmd.AddCommand(newEnvRenderCommand())
	return cmd
}

// envFlags are the flags of all commands below `geecache env`.
type envFlags struct {
	name    string
	file    string
	options envbench.Options
	json    bool

	description *envfile.File // what the file says; nil: there is none
}

// register adds the flags. changes says that the command waits for nodes.
func (f *envFlags) register(cmd *cobra.Command, changes bool) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.file, "file", "f", "", "a "+envfile.DefaultName+" that describes the deployment; flags win over it")
	flags.StringVar(&f.name, "name", envbench.DefaultName, "the cluster's ID, which begins the names of all that is made for it")
	flags.StringVar(&f.options.Endpoint, "endpoint", "", "where the emulator of AWS answers (default AWS_ENDPOINT_URL, or "+envbench.DefaultEndpoint+")")
	flags.StringVar(&f.options.Region, "region", "", "AWS's region (default AWS_REGION; for an emulator us-east-1)")
	flags.StringVar(&f.options.Dir, "dir", ".", "the project's folder, which holds docker-native/ and aws-terraform/")
	if changes {
		flags.DurationVar(&f.options.StartWithin, "timeout", envbench.DefaultStartWithin, "how long nodes may take to answer and to agree on one ring")
	}
}

// registerJSON adds the flag of commands that print a status.
func (f *envFlags) registerJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

// envArgs checks that there is an environment and n more arguments, called what.
func envArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s needs an environment: %s", cmd.Name(), strings.Join(envbench.Environments(), ", "))
		}
		if !slices.Contains(envbench.Environments(), args[0]) {
			return usagef("%w%s", envbench.UnknownEnvironment(args[0]), words.DidYouMean(args[0], envbench.Environments(), ""))
		}
		if len(args) != n+1 {
			return usagef("%s takes an environment%s", cmd.Name(), what)
		}
		return nil
	}
}

// open checks the command line, and makes the driver. The context ends with a signal.
func (f *envFlags) open(cmd *cobra.Command, environment string) (context.Context, context.CancelFunc, envbench.Driver, error) {
	if _, err := setFromEnv(cmd.Flags(), envVariables(os.Environ())); err != nil {
		return nil, nil, nil, err
	}
	if err := f.fromFile(cmd.Flags(), environment); err != nil {
		return nil, nil, nil, err
	}
	if f.options.StartWithin < 0 {
		return nil, nil, nil, usagef("--timeout is %v: use a positive duration such as 2m", f.options.StartWithin)
	}
	f.options.Progress = envProgress(cmd.ErrOrStderr())
	d, err := envbench.New(environment, f.options)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := untilSignal(cmd.Context())
	return ctx, cancel, d, nil
}

// untilSignal returns a context that ends with a signal which asks for the end: that of a
// terminal which is closed, too, unless whoever started this process wants it to stay.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// fromFile takes from the file what neither a flag nor a variable has said.
func (f *envFlags) fromFile(flags *pflag.FlagSet, environment string) (err error) {
	if f.file == "" {
		return nil
	}
	if f.description, err = readEnvFile(f.file); err != nil {
		return err
	}
	for _, said := range f.description.Flags(environment) {
		if flag := flags.Lookup(said.Name); flag != nil && !flag.Changed {
			if err := flags.Set(said.Name, said.Value); err != nil {
				return fmt.Errorf("%s: --%s: %w", f.file, said.Name, err)
			}
		}
	}
	return nil
}

// envVariables returns the variables that stand for flags of these commands:
// GEECACHE_ENV_NAME is --name. Those of nodes are not theirs.
func envVariables(environ []string) []string {
	const prefix = envPrefix + "ENV_"
	var own []string
	for _, e := range environ {
		if rest, ok := strings.CutPrefix(e, prefix); ok {
			own = append(own, envPrefix+rest)
		}
	}
	return own
}

// envProgress shows what happens on a terminal, and nothing elsewhere.
func envProgress(w io.Writer) func(envbench.Event) {
	if _, live := onTerminal(w); !live {
		return nil
	}
	p := paletteFor(w)
	return func(e envbench.Event) {
		if e.Took > 0 {
			fmt.Fprintf(w, "%s\n", p.faint(fmt.Sprintf("%-10s %s", e.Stage, shortDuration(e.Took.Round(time.Millisecond)))))
			return
		}
		fmt.Fprintf(w, "%-10s %s\n", e.Stage, e.Text)
	}
}

// absent says what to do if there is nothing.
func absent(err error, environment, name string) error {
	if errors.Is(err, envbench.ErrAbsent) {
		return fmt.Errorf("there is no cluster %q in the environment %s: geecache env up %s makes one", name, environment, environment)
	}
	return err
}

// print shows a status.
func (f *envFlags) print(out io.Writer, s *envbench.Status) error {
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	p := paletteFor(out)
	var b strings.Builder
	agreed := p.red("the nodes do not agree on one ring")
	if s.Agree {
		agreed = p.green("all agree on one ring") + ", epoch " + s.Epoch
	}
	fmt.Fprintf(&b, "%s in %s: %d of %d nodes answer, %s\n", p.bold(s.Name), s.Environment, s.Answering, s.Desired, agreed)
	if s.Reported != s.Answering {
		fmt.Fprintf(&b, "%s says that %d run\n", s.Environment, s.Reported)
	}
	t := newTable(3)
	t.head(p, "MEMBER", "ADDRESS", "STATE", "RING")
	for _, m := range s.Members {
		state := p.state(m.State)
		if m.Error != "" {
			state += ": " + m.Error
		}
		id := m.ID
		if m.API {
			id += " (API)"
		}
		t.row(id, m.Addr, state, fmt.Sprint(m.Ring))
	}
	t.write(&b)
	if s.API != "" {
		fmt.Fprintf(&b, "\n  curl '%s/api?key=Tom'\n", s.API)
	}
	for _, c := range s.Changed {
		fmt.Fprintf(&b, "changed: %s\n", c)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
