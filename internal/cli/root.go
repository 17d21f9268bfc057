// Package cli is the command line of geecache: one file a command. What a
// command does is in other packages; here are its flags, its words and its exit
// status.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geecache/geecache/internal/words"
)

const rootLong = `GeeCache is a distributed read-through cache: each key is owned by one node, and
a miss is loaded from a slow source once for the whole cluster.

  geecache cluster      three nodes and an API server on this machine
  geecache node         one node, or an API server`

// The exit statuses of commands that have none of their own.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Main runs the command line of this process and returns its exit status.
func Main() int {
	return Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run runs a command line and returns its exit status: 0, 1 for a failure, 2
// for a command line that makes no sense, or the command's own.
func Run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(flagsAlone(args))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(errOut, "geecache: %v\n", err)
	var usage *usageError
	var own interface{ ExitCode() int }
	var process *exec.ExitError // has the method, too, and its status is not ours
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(errOut, "Run '%s --help' for what there is.\n", cmd.CommandPath())
		return exitUsage
	case errors.As(err, &process):
		return exitError
	case errors.As(err, &own):
		return own.ExitCode()
	}
	return exitError
}

// newRootCommand returns the command with all its commands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "geecache",
		Short:         "A distributed read-through cache",
		Long:          rootLong,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newClusterCommand(),
		newNodeCommand(),
		newHealthCommand(),
		newGetCommand(),
		newRingCommand(),
		newStatsCommand(),
		newTopCommand(),
		newDoctorCommand(),
		newCertCommand(),
		newSecretCommand(),
		newSlowDBCommand(),
		newLookupCommand(),
		newLoadCommand(),
		newEnvCommand(),
		newVersionCommand(),
	)
	return root
}

// A usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// unknownCommand refuses arguments of the root: they are commands that there
// are not.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return usagef("unknown command %q%s", args[0], words.DidYouMean(args[0], names, ""))
}

// noArgs refuses arguments of a command that has only flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s takes no arguments, and %q is one: flags begin with --", cmd.Name(), args[0])
}

// flagError makes a usage error of what the flags' parser returns, and helps
// with misspelt names.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		name := unknown.GetSpecifiedName()
		return usagef("unknown flag --%s%s", name, words.DidYouMean(name, names, "--"))
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return usagef("--%s is %q: %w", invalid.GetFlag().Name, invalid.GetValue(), remedy(invalid.GetFlag(), invalid.Unwrap()))
	}
	return &usageError{err}
}

// remedy returns what is wrong with a flag's value: the flag's own words, or,
// for the types that come with the flags' parser, what to write instead.
func remedy(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "bool":
		return errors.New("use true or false")
	case "int", "int64", "uint64":
		return errors.New("use a number")
	case "float64":
		return errors.New("use a number such as 1.5")
	case "duration":
		return errors.New("use a duration such as 500ms, 10s or 5m")
	}
	return err
}

// briefPorts are those of the nodes of the form without a command: three on one machine.
func briefPorts() []string { return []string{"8001", "8002", "8003"} }

// flagsAlone understands the form without a command, geecache -port=8001 -api:
// it is `geecache node` with flags that may have one dash. In that form the
// peers are the nodes on ports 8001, 8002 and 8003, unless others are named.
func flagsAlone(args []string) []string {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") || args[0] == "-" || args[0] == "--" {
		return args
	}
	switch args[0] {
	case "-h", "--help", "-help":
		return append([]string{"--help"}, args[1:]...)
	case "-v", "-version", "--version":
		return append([]string{"version"}, args[1:]...)
	}
	var out []string
	port, peers := "8001", false
	if p, set := os.LookupEnv(envName("port")); set {
		port = p
	}
	for i, arg := range args {
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && len(name) > 1 {
			arg = "--" + strings.TrimLeft(arg, "-")
			peers = peers || name == "peers"
			if name == "port" && hasValue {
				port = value
			} else if name == "port" && i+1 < len(args) {
				port = args[i+1]
			}
		}
		out = append(out, arg)
	}
	if _, set := os.LookupEnv(envName("peers")); set || peers || !slices.Contains(briefPorts(), port) {
		return append([]string{"node"}, out...)
	}
	return append([]string{"node", "--peers=127.0.0.1:" + strings.Join(briefPorts(), ",127.0.0.1:")}, out...)
}
