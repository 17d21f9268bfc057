package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// newEnvDownCommand returns `geecache env down`.
func newEnvDownCommand() *cobra.Command {
	var f envFlags
	cmd := &cobra.Command{
		Use:   "down ENV",
		Short: "Remove all that up has made, and look whether anything is left",
		Args:  envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			if err := errors.Join(driver.Down(ctx, f.name), f.removeLeft(ctx, cmd, args[0], driver)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "nothing of %s is left in the environment %s\n", f.name, args[0])
			return err
		},
	}
	f.register(cmd, false)
	return cmd
}
