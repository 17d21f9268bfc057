package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// newEnvStatusCommand returns `geecache env status`.
func newEnvStatusCommand() *cobra.Command {
	var f envFlags
	cmd := &cobra.Command{
		Use:   "status ENV",
		Short: "Say what the environment reports, and what really answers",
		Long: `status asks the environment what it runs, and then every process at its own address
what it is. The exit status is 0 if all nodes answer and agree on one ring, else 1.`,
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
			if err := f.print(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			if !s.Agree {
				return errors.New("the nodes do not all answer with one ring")
			}
			return nil
		},
	}
	f.register(cmd, false)
	f.registerJSON(cmd)
	return cmd
}
