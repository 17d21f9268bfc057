package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/trust"
)

const secretLong = `secret writes a random secret to FILE: for --secret-file, --api-token-file or
--admin-token-file. A file that holds a secret already stays as it is, so that
it can be run before each start.

Only the file's owner can read it; with --shared others can too, and can enter
its directory: for a volume that containers of several users mount.`

// newSecretCommand returns `geecache secret`.
func newSecretCommand() *cobra.Command {
	var prefix string
	var shared bool
	cmd := &cobra.Command{
		Use:     "secret FILE",
		Short:   "Write a random secret to a file, unless it has one",
		Long:    secretLong,
		Example: "  geecache secret cluster.secret\n  geecache node --listen 10.0.0.5 --secret-file cluster.secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("secret takes one argument, and has %d: name the file to write", len(args))
			}
			made, err := trust.MakeSecret(args[0], prefix, shared)
			if err != nil {
				return fmt.Errorf("secret: %w", err)
			}
			what := "has a secret already"
			if made {
				what = "a new secret"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], what)
			return err
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "what to write before the secret, such as '*:*:*:*:' for a password file of PostgreSQL's clients")
	cmd.Flags().BoolVar(&shared, "shared", false, "let other users read it")
	return cmd
}
