package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/registries"
)

const lookupLong = `lookup asks a registry who the members are, as nodes ask it, and says how long that
took. The registry is a URL as --registry of a node takes it. Gossip and lists cannot be
asked: there, geecache stats shows what a node knows.`

const lookupExample = `  geecache lookup dns:node:8001
  geecache lookup cloudmap://geecache/nodes --times 200 --json
  docker run --rm --network geecache_cluster geecache:local lookup dns:node:8001`

// newLookupCommand returns `geecache lookup`.
func newLookupCommand() *cobra.Command {
	var cluster string
	var times int
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "lookup REGISTRY",
		Short:   "Ask a registry who the members are, and how long it takes to answer",
		Long:    lookupLong,
		Example: lookupExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("lookup needs a registry: %s", strings.Join(registries.Examples(), ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if times < 1 {
				return usagef("--times is %d: use a positive number", times)
			}
			choice, err := registries.Parse(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			r, err := choice.Open(cmd.Context(), registries.Options{Cluster: cluster, Logger: log, Insecure: true})
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			l, err := registries.Look(cmd.Context(), r.Discoverer, times)
			if err != nil {
				return err
			}
			return printLookup(cmd.OutOrStdout(), l, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cluster, "cluster-id", "geecache", "the cluster's ID, by which etcd knows its members")
	flags.IntVar(&times, "times", 1, "how often, after once that is not timed")
	flags.BoolVar(&asJSON, "json", false, "print JSON, with each time")
	return cmd
}

func printLookup(out io.Writer, l registries.Looked, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(l)
	}
	var b strings.Builder
	t := newTable()
	t.head(paletteFor(out), "MEMBER", "ADDRESS", "ZONE")
	for _, m := range l.Members {
		t.row(m.ID, m.Addr, m.Zone)
	}
	t.write(&b)
	took := slices.Sorted(slices.Values(l.Took))
	fmt.Fprintf(&b, "\n%d members; the answer came in %v", len(l.Members), took[len(took)/2].Round(time.Microsecond))
	if len(took) > 1 {
		fmt.Fprintf(&b, ", the median of %d; %v to %v", len(took), took[0].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}
