package cli

import "github.com/spf13/cobra"

// newEnvLogsCommand returns `geecache env logs`.
func newEnvLogsCommand() *cobra.Command {
	var f envFlags
	var lines int
	cmd := &cobra.Command{
		Use:   "logs ENV",
		Short: "Show the last lines of each process's log",
		Args:  envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 1 {
				return usagef("--tail is %d: use a positive number of lines", lines)
			}
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			return absent(driver.Logs(ctx, f.name, cmd.OutOrStdout(), lines), args[0], f.name)
		},
	}
	f.register(cmd, false)
	cmd.Flags().IntVar(&lines, "tail", 20, "how many lines of each")
	return cmd
}
