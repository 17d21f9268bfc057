package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// CheckNodeEnvironment returns an error that names the first of the variables that
// `geecache node` does not know, or cannot start with. Values that only the machine
// knows on which it runs (files, the registry's answer) are not looked at.
func CheckNodeEnvironment(variables map[string]string) error {
	var f nodeFlags
	cmd := &cobra.Command{}
	f.register(cmd)
	var environ []string
	for name, value := range variables {
		if e := name + "=" + value; !forRegistries(e) {
			environ = append(environ, e)
		}
	}
	slices.Sort(environ)
	unknown, err := setFromEnv(cmd.Flags(), environ)
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no flag of geecache node has the variable %s", strings.Join(unknown, ", "))
	}
	f.getenv = func(name string) string { return variables[name] }
	_, err = f.nodeConfig(slog.New(slog.NewTextHandler(io.Discard, nil)))
	return err
}

// env returns the value of an environment variable that stands for no flag.
func (f *trustFlags) env(name string) string {
	if f.getenv != nil {
		return f.getenv(name)
	}
	return os.Getenv(name)
}
