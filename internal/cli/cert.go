package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/trust"
)

const certLong = `cert makes certificates for those who have no authority of their own: one for the
cluster, and one signed by it for each node. Keys are ECDSA P-256; the files can
be read by their owner alone, and none is overwritten.

Nodes take new files without a restart: put them in the old ones' place.`

const certExample = `  geecache cert ca
  geecache cert node --host 10.0.0.5,cache-1.internal
  geecache node --listen 10.0.0.5 --tls-cert node.pem --tls-key node-key.pem --tls-ca ca.pem`

// newCertCommand returns `geecache cert`.
func newCertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cert",
		Short:   "Make a certificate authority, and certificates for nodes",
		Long:    certLong,
		Example: certExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertCACommand(), newCertNodeCommand())
	return cmd
}

// certFlags are where certificates are written and how long they live.
type certFlags struct {
	dir  string
	days int
}

func (f *certFlags) register(cmd *cobra.Command, days int) {
	cmd.Flags().StringVar(&f.dir, "dir", ".", "directory of the files")
	cmd.Flags().IntVar(&f.days, "days", days, "for how long the certificate is valid")
}

// maxDays is more than anybody should want.
const maxDays = 36500

func (f *certFlags) life() (time.Duration, error) {
	if f.days < 1 || f.days > maxDays {
		return 0, usagef("--days is %d: use 1 to %d", f.days, maxDays)
	}
	return time.Duration(f.days) * 24 * time.Hour, nil
}

func (f *certFlags) path(name string) string { return filepath.Join(f.dir, name) }

// The files of an authority.
const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca-key.pem"
)

func newCertCACommand() *cobra.Command {
	var f certFlags
	var name string
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make a certificate authority: ca.pem and ca-key.pem",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			life, err := f.life()
			if err != nil {
				return err
			}
			if strings.TrimSpace(name) == "" {
				return usagef("--name is %q: give the authority a name, or leave it out", name)
			}
			if err := trust.MakeCA(f.path(caCertFile), f.path(caKeyFile), name, life); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: for all nodes and clients\n%s: keep it where no node is; whoever has it can make nodes\n",
				f.path(caCertFile), f.path(caKeyFile))
			return err
		},
	}
	f.register(cmd, 3650)
	cmd.Flags().StringVar(&name, "name", "GeeCache cluster", "the authority's name")
	return cmd
}

func newCertNodeCommand() *cobra.Command {
	var f certFlags
	var hosts []string
	var out string
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Make a node's certificate, signed by ca.pem and ca-key.pem of the same directory",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			life, err := f.life()
			switch {
			case err != nil:
				return err
			case len(hosts) == 0:
				return usagef("--host is missing: name the addresses and names that others reach the node at, such as 10.0.0.5,localhost")
			case strings.Trim(out, ".") == "" || filepath.Base(out) != out:
				return usagef("--name is %q: use a file's name, without a directory (--dir) and an ending", out)
			}
			for _, h := range hosts {
				if err := trust.CheckHost(h); err != nil {
					return usagef("--host: %w", err)
				}
			}
			cert, key := f.path(out+".pem"), f.path(out+"-key.pem")
			if err := trust.MakeNode(f.path(caCertFile), f.path(caKeyFile), cert, key, hosts, life); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "--tls-cert %s --tls-key %s --tls-ca %s\n", cert, key, f.path(caCertFile))
			return err
		},
	}
	f.register(cmd, 365)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "names and addresses that others reach the node at, comma separated")
	cmd.Flags().StringVar(&out, "name", "node", "the files' name: NAME.pem and NAME-key.pem")
	return cmd
}
