package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/cli"
	"github.com/geecache/geecache/internal/prices"
	"github.com/geecache/geecache/metrics"
)

var update = flag.Bool("update", false, "write the table of METRICS_SETUP.md")

const (
	guide    = "../../../METRICS_SETUP.md"
	modules  = "../../modules"
	begin    = "<!-- costs: begin -->\n"
	end      = "<!-- costs: end -->\n"
	fewer    = 4 // processes
	more     = 12
	emf      = "GEECACHE_EMF"
	finely   = "GEECACHE_CLOUDWATCH_DIMENSIONS"
	patterns = "GEECACHE_CLOUDWATCH_METRICS"
)

// named returns the names of our metrics that Terraform's files name.
func named(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(modules, "*", "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no modules: %v", err)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(geecache_\w+)"`).FindAllStringSubmatch(string(text), -1) {
			if slices.ContainsFunc(metrics.CloudWatchMetrics(), func(c metrics.CloudWatchMetric) bool { return c.Name == m[1] }) {
				names = append(names, m[1])
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The guide says what each choice costs: go test ./aws-terraform/cmd/tfdeploy -update
func TestGuideSaysWhatMetricsCost(t *testing.T) {
	table, err := prices.In("us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	names := named(t)
	var b strings.Builder
	fmt.Fprintf(&b, "| Choice | Metrics, %d processes | USD a month | %d processes | USD a month |\n|---|---|---|---|---|\n", fewer, more)
	for _, c := range []struct {
		what      string
		variables map[string]string
	}{
		{"the default: `--cloudwatch-dimensions cluster`", map[string]string{emf: "true"}},
		{"`--cloudwatch-dimensions node`", map[string]string{emf: "true", finely: "node"}},
		{"the names below alone", map[string]string{emf: "true", patterns: strings.Join(names, ",")}},
	} {
		few, many := cloudWatchMetrics(c.variables, fewer), cloudWatchMetrics(c.variables, more)
		price := table.Of(prices.MetricMonth)
		fmt.Fprintf(&b, "| %s | %d | %.2f | %d | %.2f |\n", c.what, few, float64(few)*price, many, float64(many)*price)
	}
	fmt.Fprintf(&b, "\nPrices of %s and us-west-2 as of %s. What the alarms, the scaling and the dashboard of `aws-terraform/` need, as `cloudwatch_names`\n"+
		"there or `--cloudwatch-metrics`:\n\n```\n%s\n```\n", table.Region, prices.Date, strings.Join(names, ",\n"))
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table between %q and %q", guide, begin, end)
	}
	want := head + begin + b.String() + end + tail
	switch {
	case string(text) == want:
	case *update:
		if err := os.WriteFile(guide, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("a table of %s is stale: run go test ./aws-terraform/cmd/tfdeploy -update", guide)
	}
}

// API servers own no keys, and are told nothing that would make them send what nodes are
// scaled by.
func TestTasksSendWhatTheyAreToldTo(t *testing.T) {
	node := map[string]string{emf: "true", "GEECACHE_REGISTRY": "ecs://c/n"}
	api := map[string]string{emf: "true", "GEECACHE_REGISTRY": "ecs://c/n", "GEECACHE_ROLE": "client"}
	for _, c := range []struct {
		variables map[string]string
		name      string
		ok        bool
	}{
		{node, metrics.EvictionsPerSecond, true},
		{api, metrics.EvictionsPerSecond, false},
		{api, "geecache_node_info", true},
		{map[string]string{}, "geecache_node_info", false}, // it sends nothing
		{map[string]string{emf: "true", patterns: "geecache_hits_total,geecache_load_*"}, "geecache_node_info", false},
		{nil, metrics.EvictionsPerSecond, true},
	} {
		if err := emitted(c.variables, c.name, []string{"cluster"}); (err == nil) != c.ok {
			t.Errorf("%v: %s: %v", c.variables, c.name, err)
		}
	}
	if err := emitted(node, metrics.EvictionsPerSecond, []string{"cluster", "node"}); err == nil {
		t.Error("a node is told apart by default")
	}
	if err := cli.CheckNodeEnvironment(map[string]string{patterns: ""}); err != nil {
		t.Errorf("no names are all names: %v", err)
	}
}
