package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envfile"
)

const envRenderLong = `render writes, from one file that describes a deployment, what each environment takes:

  compose.yml        docker compose -f docker-native/docker-compose.yml -f rendered/compose.yml up --wait
  emulator.env       set -a; . rendered/emulator.env; set +a; localstack-setup/deploy.sh
  terraform.tfvars   aws-terraform/deploy.sh --vars rendered/terraform.tfvars

The file is YAML: name, image, nodes, memory, cache, hot, ttl, not_found_ttl,
source (url, query), registry, snapshot (url, bytes, interval, load_time, max_age),
variables and secrets, all of them optional. The sections local, docker, emulator and aws
may say each again for their environment, where it wins, and have more of their own:
those of aws are the variables of aws-terraform. What a file says and an environment has
no use for is told, here and in what is written.

Secrets are given by reference, as env:VARIABLE or file:PATH, and in the section aws
as the ARN of a secret in Secrets Manager.

With --check nothing is written: the exit status is 1, and the difference is shown, if
what was written is not what the file says now.`

// newEnvRenderCommand returns `geecache env render`.
func newEnvRenderCommand() *cobra.Command {
	var output, file string
	var check bool
	cmd := &cobra.Command{
		Use:   "render [FILE]",
		Short: "Write what each environment takes, from one file that describes a deployment",
		Long:  envRenderLong,
		Example: `  geecache env render
  geecache env render staging.yaml -o staging
  geecache env render --check`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usagef("render takes one file, and %q is another one", args[1])
			case len(args) == 1 && file != "":
				return usagef("render takes one file, and --file %s is another one than %s: leave one of them out", file, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cmp.Or(file, envfile.DefaultName)
			if len(args) > 0 {
				path = args[0]
			}
			if output == "" {
				output = filepath.Join(filepath.Dir(path), "rendered")
			}
			return renderEnv(cmd.OutOrStdout(), path, output, check)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&file, "file", "f", "", "the file, as other commands take it (default "+envfile.DefaultName+")")
	flags.StringVarP(&output, "output", "o", "", "directory to write to (default rendered, beside the file)")
	flags.BoolVar(&check, "check", false, "write nothing, and fail if what is there differs")
	return cmd
}

// readEnvFile reads and checks a file that describes a deployment.
func readEnvFile(path string) (*envfile.File, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s: name another one, or write one as geecache env render --help says", path)
	}
	if err != nil {
		return nil, err
	}
	return envfile.Parse(path, text, CheckNodeEnvironment)
}

func renderEnv(out io.Writer, path, dir string, check bool) error {
	f, err := readEnvFile(path)
	if err != nil {
		return err
	}
	all, err := f.Render()
	if err != nil {
		return err
	}
	if !check {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	drifted := 0
	for _, r := range all {
		name := filepath.Join(dir, r.Name)
		have, err := os.ReadFile(name)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return err
		}
		state := "as it was"
		switch same := !missing && bytes.Equal(have, r.Text); {
		case same:
		case check:
			drifted++
			if missing {
				state = "MISSING"
			} else {
				state = "DIFFERS"
			}
		default:
			state = "written"
			if err := os.WriteFile(name, r.Text, 0o644); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(out, "%-9s  %s\n", state, name); err != nil {
			return err
		}
		if state == "DIFFERS" {
			if _, err := out.Write(diff.Diff(name, have, path+" says", r.Text)); err != nil {
				return err
			}
		}
		for _, line := range f.Unused(r.Environment) {
			if _, err := fmt.Fprintf(out, "           not used: %s\n", line); err != nil {
				return err
			}
		}
	}
	if drifted > 0 {
		return fmt.Errorf("%d of %d files are not what %s says: change that and not these, then geecache env render", drifted, len(all), path)
	}
	return nil
}
