package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
)

// newEnvCheckCommand returns `geecache env check`.
func newEnvCheckCommand() *cobra.Command {
	var f envFlags
	e := envbench.DemoExpect()
	cmd := &cobra.Command{
		Use:   "check ENV",
		Short: "Check that the cluster answers as it should, at the API and at each node",
		Long: `check looks whether all nodes answer and agree, whether a key has its value through
the API (the load balancer's, where there is one) and at each node alike, and whether
a key that there is not is "not found" everywhere. Without flags it asks for what the
demonstration database holds. The exit status is 0 if all is as it should be, else 1.`,
		Args: envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			s, err := driver.Status(ctx, f.name)
			if err != nil {
				return absent(err, args[0], f.name)
			}
			secret := ""
			if keeper, ok := driver.(interface {
				Secret(context.Context, string) (string, error)
			}); ok {
				if secret, err = keeper.Secret(ctx, f.name); err != nil {
					return err
				}
			}
			return f.report(cmd, envbench.Check(ctx, s, secret, e))
		},
	}
	f.register(cmd, false)
	f.registerJSON(cmd)
	flags := cmd.Flags()
	flags.StringVar(&e.Group, "group", e.Group, "the group that is asked")
	flags.StringVar(&e.Key, "key", e.Key, "a key that there is")
	flags.StringVar(&e.Value, "value", e.Value, "its value")
	flags.StringVar(&e.Absent, "absent", e.Absent, "a key that there is not")
	return cmd
}

// report prints what was found.
func (f *envFlags) report(cmd *cobra.Command, all []envbench.Finding) error {
	out := cmd.OutOrStdout()
	wrong := 0
	p := paletteFor(out)
	for _, finding := range all {
		mark := p.green("ok")
		text := finding.What
		if finding.Err != "" {
			wrong++
			mark, text = p.red("WRONG"), text+": "+finding.Err
		}
		if !f.json {
			if _, err := fmt.Fprintf(out, "%s  %s\n", mark, text); err != nil {
				return err
			}
		}
	}
	if f.json {
		if err := json.NewEncoder(out).Encode(all); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d things are not as they should be", wrong, len(all))
	}
	return nil
}
