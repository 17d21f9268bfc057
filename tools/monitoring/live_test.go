package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// A server is a Prometheus.
type server struct {
	name, url string
	native    bool // it keeps native histograms, and no classic buckets
}

// startPrometheus starts a Prometheus which scrapes the cluster each second through
// discovery by a file, and evaluates the rules of the repository each second, with "for"
// cut down to two: that alerts wait as long as they should is promtool's affair.
func startPrometheus(t *testing.T, c *cluster, native bool) *server {
	t.Helper()
	dir := t.TempDir()
	waits := regexp.MustCompile(`(?m)^( *for): .*$`)
	intervals := regexp.MustCompile(`(?m)^( *interval): .*$`)
	for _, path := range ruleFiles(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = intervals.ReplaceAll(waits.ReplaceAll(data, []byte("$1: 2s")), []byte("$1: 1s"))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["` + dir + `/*.yml"]
scrape_configs:
  - job_name: geecache
    scheme: https
    tls_config: {ca_file: "` + c.dir + `/ca.pem"}
    authorization: {credentials_file: "` + c.dir + `/token"}
    file_sd_configs: [{files: ["` + c.dir + `/targets.json"]}]
`
	path := filepath.Join(dir, "prometheus.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddrs(t, 1)[0]
	s := &server{name: "Prometheus", url: "http://" + addr, native: native}
	args := []string{"--config.file=" + path, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + addr}
	if native {
		s.name += " with native histograms"
		args = append(args, "--enable-feature=native-histograms")
	}
	start(t, s.name, program(t, "prometheus"), args...)
	return s
}

// ask returns the data of an answer of Prometheus' API.
func (s *server) ask(ctx context.Context, path string, form url.Values, into any) error {
	code, body, err := get(ctx, http.DefaultClient, s.url+path+"?"+form.Encode())
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("%s: %d: %s", path, code, body)
	}
	answer := struct{ Data any }{into}
	return json.Unmarshal(body, &answer)
}

// answers says that an expression has at least one sample.
func (s *server) answers(ctx context.Context, expr string) error {
	var data struct {
		Result []json.RawMessage
	}
	if err := s.ask(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return err
	}
	if len(data.Result) == 0 {
		return errors.New("no data")
	}
	return nil
}

// series returns the labels of all series that a selector has ever chosen.
func (s *server) series(ctx context.Context, selector string) ([]map[string]string, error) {
	var found []map[string]string
	err := s.ask(ctx, "/api/v1/series", url.Values{"match[]": {selector}}, &found)
	return found, err
}

// firing returns the names of the alerts that fire.
func (s *server) firing(ctx context.Context) ([]string, error) {
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	err := s.ask(ctx, "/api/v1/alerts", nil, &data)
	var names []string
	for _, a := range data.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// variablesSet puts in what Grafana puts in for variables.
var variablesSet = strings.NewReplacer("$environment", ".*", "$cluster", clusterID, "$group", "scores", "$__rate_interval", "10s")

// TestLive runs a cluster under load, a Prometheus that keeps classic histograms and one
// that keeps native ones.
func TestLive(t *testing.T) {
	emulator := os.Getenv("GEECACHE_TEST_MINISTACK")
	if emulator == "" {
		t.Fatal(`GEECACHE_TEST_MINISTACK is not set: eval "$(scripts/test-servers up)", or make step STEP="servers monitoring"`)
	}
	c := startCluster(t, emulator)
	servers := []*server{startPrometheus(t, c, false), startPrometheus(t, c, true)}
	c.load(t)

	// A node is killed, and the source has failed for some keys all the time.
	for _, s := range servers {
		eventually(t, s.name+" scrapes all processes", func() error {
			return s.answers(t.Context(), `count(up{job="geecache"} == 1) == 4 and on() cluster:geecache_nodes:count == 3`)
		})
		names, err := s.firing(t.Context())
		if err != nil || slices.ContainsFunc([]string{"GeeCacheNodeDown", "GeeCachePeerUnreachable", "GeeCacheCertificateExpiresNow", "GeeCacheSnapshotOld"},
			func(alert string) bool { return slices.Contains(names, alert) }) {
			t.Errorf("%s: before a node is killed these fire: %v, %v", s.name, names, err)
		}
	}
	if err := c.nodes[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		for _, alert := range []string{"GeeCacheNodeDown", "GeeCachePeerUnreachable", "GeeCachePeerBreakerOpen", "GeeCacheNodesMissing",
			"GeeCacheSourceErrors", "GeeCacheErrorBudgetFast", "GeeCacheCertificateExpires"} {
			eventually(t, s.name+": "+alert+" fires", func() error {
				names, err := s.firing(t.Context())
				if err == nil && !slices.Contains(names, alert) {
					err = fmt.Errorf("these fire: %v", names)
				}
				return err
			})
		}
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { askAll(t, s) })
	}
	// A node that leaves hands over.
	if err := c.nodes[1].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	t.Run("CloudWatch", func(t *testing.T) { askCloudWatch(t, emulator) })
}

// askAll asks for the data of every panel and every recording rule. They have what
// patience is left of one deadline, so that all that lack data are named.
func askAll(t *testing.T, s *server) {
	deadline := time.Now().Add(patience)
	hasData := func(where, expr string) {
		t.Helper()
		if err := eventuallyBy(deadline, func() error { return s.answers(t.Context(), expr) }); err != nil {
			t.Errorf("%s: %s: %v", where, expr, err)
		}
	}
	for _, b := range boards() {
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, q := range p.prom {
					expr := variablesSet.Replace(q.promQL())
					hasData(b.uid+": "+p.title, expr)
					checkSelectors(t, s, b.uid+": "+p.title, expr)
				}
			}
		}
	}
	for _, r := range rules(t) {
		name := r.Record + r.Alert
		checkSelectors(t, s, name, r.Expr)
		if r.Record != "" {
			hasData("recording", r.Record)
		}
	}
}

// checkSelectors finds series for each selector of an expression, and each label that it
// groups by on one of them. Of a histogram that is asked for in both forms, one is kept.
func checkSelectors(t *testing.T, s *server, where, expr string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			if s.keeps(n.Name) && len(find(t, s, n)) == 0 {
				t.Errorf("%s: %s: no node emits %s", s.name, where, n)
			}
		case *parser.AggregateExpr:
			checkGrouping(t, s, where, n)
		}
		return nil
	})
}

var histogramPart = regexp.MustCompile(`^geecache_.*_duration_seconds(_bucket)?$`)

// keeps tells whether the server has that form of a histogram.
func (s *server) keeps(name string) bool {
	return !histogramPart.MatchString(name) || s.native != strings.HasSuffix(name, "_bucket")
}

func find(t *testing.T, s *server, n *parser.VectorSelector) []map[string]string {
	t.Helper()
	bare := *n
	bare.OriginalOffset, bare.Offset = 0, 0
	found, err := s.series(t.Context(), bare.String())
	if err != nil {
		t.Errorf("%s: %v", n, err)
	}
	return found
}

func checkGrouping(t *testing.T, s *server, where string, agg *parser.AggregateExpr) {
	t.Helper()
	if agg.Without {
		return
	}
	known := map[string]bool{}
	kept := false
	parser.Inspect(agg.Expr, func(node parser.Node, _ []parser.Node) error {
		if n, ok := node.(*parser.VectorSelector); ok && s.keeps(n.Name) {
			kept = true
			for _, labels := range find(t, s, n) {
				for l := range labels {
					known[l] = true
				}
			}
		}
		return nil
	})
	for _, l := range agg.Grouping {
		if kept && !known[l] {
			t.Errorf("%s: %s: nothing has the label %s of %s", s.name, where, l, agg)
		}
	}
}
