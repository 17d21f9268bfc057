package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/prices"
)

const envCostLong = `cost says what a deployment in AWS costs by the hour and by the month, item by item,
from a table of prices with a date. It asks nobody, and needs no account. The flags
are those of aws-terraform's variables that matter for it; without any it is the
deployment that aws-terraform makes by itself.

What depends on traffic is added when you say how much there is: --logs, --out,
--between-zones, --through-nat and --through-endpoints in GB a month, and what is
kept: --logs-kept, --images and --snapshots in GB.

--hours is how long it runs in a month: 730 is always, 160 eight hours on working
days. Traffic, and what is kept, is that of the month all the same. The other environments charge nothing by the hour.`

// newEnvCostCommand returns `geecache env cost`.
func newEnvCostCommand() *cobra.Command {
	shape, metrics, dimensions := prices.Standard(), true, ""
	var traffic prices.Traffic
	var asJSON bool
	region, hours := "us-west-2", float64(prices.HoursPerMonth)
	cmd := &cobra.Command{
		Use:   "cost",
		Short: "Say what a deployment in AWS costs, item by item",
		Long:  envCostLong,
		Example: `  geecache env cost
  geecache env cost --nodes 6 --spot 70 --zones 3 --egress endpoints
  geecache env cost --hours 160 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := shape.Validate(); err != nil {
				return &usageError{err}
			}
			if !(hours > 0 && hours <= 744) {
				return usagef("--hours is %v: use up to 744, the hours of the longest month", hours)
			}
			for _, name := range []string{"logs", "out", "between-zones", "through-nat"} {
				gb, err := cmd.Flags().GetFloat64(name)
				if err != nil {
					return err
				}
				if !(gb >= 0) || math.IsInf(gb, 0) {
					return usagef("--%s is %v: use GB a month, 0 or more", name, gb)
				}
			}
			table, err := prices.In(region)
			if err != nil {
				return &usageError{err}
			}
			if metrics {
				variables := map[string]string{"GEECACHE_EMF": "true"}
				if dimensions != "" {
					variables["GEECACHE_CLOUDWATCH_DIMENSIONS"] = dimensions
				}
				if shape.Metrics, err = CountSentMetrics(variables, shape.Nodes+shape.APIs); err != nil {
					return &usageError{err}
				}
			}
			for _, f := range []string{"logs", "logs-kept", "out", "between-zones", "through-nat", "through-endpoints", "images", "snapshots"} {
				if gb, err := cmd.Flags().GetFloat64(f); err != nil || !(gb >= 0 && gb <= 1e9) {
					return usagef("--%s is %v GB: use a number from 0 on", f, gb)
				}
			}
			c := shape.Configuration()
			c.Traffic = traffic
			return printCost(cmd, table, table.LinesOf(c, hours), hours, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&region, "region", region, "region of AWS: "+strings.Join(prices.Regions(), " or "))
	flags.IntVar(&shape.Nodes, "nodes", shape.Nodes, "cache nodes")
	flags.IntVar(&shape.APIs, "apis", shape.APIs, "API servers")
	flags.IntVar(&shape.CPU, "cpu", shape.CPU, "CPU units of a task, 1024 are one vCPU")
	flags.IntVar(&shape.Memory, "memory", shape.Memory, "MiB of memory of a task")
	flags.BoolVar(&shape.ARM, "arm", false, "processors of ARM, which cost less")
	flags.IntVar(&shape.SpotPercent, "spot", 0, "percent of the tasks on Fargate Spot, beyond one of each service; its price moves")
	flags.IntVar(&shape.Zones, "zones", shape.Zones, "availability zones")
	flags.StringVar(&shape.Egress, "egress", shape.Egress, "how tasks reach AWS: nat, endpoints or public")
	flags.BoolVar(&shape.NATPerZone, "nat-per-zone", false, "a NAT gateway in each zone")
	flags.BoolVar(&shape.Insights, "container-insights", true, "ECS's own metrics")
	flags.BoolVar(&metrics, "metrics", true, "the nodes' metrics in CloudWatch")
	flags.StringVar(&dimensions, "cloudwatch-dimensions", "", "which of them, as geecache node --cloudwatch-dimensions has it")
	flags.BoolVar(&shape.Alarms, "alarms", true, "alarms")
	flags.Float64Var(&traffic.LogsGB, "logs", 0, "GB of logs a month")
	flags.Float64Var(&traffic.OutGB, "out", 0, "GB a month to the internet")
	flags.Float64Var(&traffic.ZonesGB, "between-zones", 0, "GB a month between zones")
	flags.Float64Var(&traffic.NATGB, "through-nat", 0, "GB a month through NAT gateways")
	flags.Float64Var(&traffic.EndpointGB, "through-endpoints", 0, "GB a month through VPC endpoints")
	flags.Float64Var(&traffic.LogsKeptGB, "logs-kept", 0, "GB of logs that CloudWatch keeps")
	flags.Float64Var(&traffic.ImageGB, "images", 0, "GB of images that ECR keeps")
	flags.Float64Var(&traffic.StoredGB, "snapshots", 0, "GB of snapshots that S3 keeps")
	flags.Float64Var(&hours, "hours", hours, "hours a month that it runs")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printCost shows what lines cost.
func printCost(cmd *cobra.Command, table prices.Table, lines []prices.Line, hours float64, asJSON bool) error {
	out := cmd.OutOrStdout()
	hourly := prices.Sum(lines)
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Environment string        `json:"environment"`
			Region      string        `json:"region"`
			Date        string        `json:"prices_of"`
			Hours       float64       `json:"hours_a_month"`
			Items       []prices.Line `json:"items"`
			Hourly      float64       `json:"dollars_per_hour"`
			Monthly     float64       `json:"dollars_per_month"`
		}{envbench.AWS, table.Region, prices.Date, hours, lines, hourly, hourly * hours})
	}
	p := paletteFor(out)
	t := newTable(0, 1, 2)
	t.head(p, "NUMBER", "USD/HOUR", "USD/MONTH", "WHAT")
	row := func(number string, dollars float64, what string) {
		t.row(number, fmt.Sprintf("%.4f", dollars), fmt.Sprintf("%.2f", dollars*hours), what)
	}
	for _, l := range lines {
		row(fmt.Sprintf("%.4g", l.Count), l.Dollars, l.What)
	}
	row("", hourly, p.bold("in all"))
	var b strings.Builder
	t.write(&b)
	fmt.Fprintf(&b, "\nPrices of %s as of %s, %g hours a month. What traffic costs is in it as far as you have said.\n", table.Region, prices.Date, hours)
	_, err := fmt.Fprint(out, b.String())
	return err
}
