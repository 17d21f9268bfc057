package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
)

// newEnvScaleCommand returns `geecache env scale`.
func newEnvScaleCommand() *cobra.Command {
	var f envFlags
	cmd := &cobra.Command{
		Use:   "scale ENV N",
		Short: "Change the number of nodes, and wait until they agree",
		Long: `scale changes the number of cache nodes, and returns once so many answer and all
have the same ring. Nodes that end hand over what is used most before.`,
		Args: envArgs(1, " and a number of nodes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := strconv.Atoi(args[1])
			if err != nil || nodes < 1 || nodes > envbench.MaxNodes {
				return usagef("the number of nodes is %q: use 1 to %d", args[1], envbench.MaxNodes)
			}
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			s, err := driver.Scale(ctx, f.name, nodes)
			if err != nil {
				return absent(err, args[0], f.name)
			}
			return f.print(cmd.OutOrStdout(), s)
		},
	}
	f.register(cmd, true)
	f.registerJSON(cmd)
	return cmd
}
