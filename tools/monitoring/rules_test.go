package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A rule is one rule of Prometheus.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

var (
	ruleDir = filepath.Join(root, "monitoring", "prometheus", "rules")
	caseDir = filepath.Join(root, "monitoring", "prometheus", "tests")
	runbook = filepath.Join(root, "monitoring", "RUNBOOK.md")
)

// rules returns the rules of all files.
func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, path := range ruleFiles(t) {
		var file struct{ Groups []struct{ Rules []rule } }
		decode(t, path, &file)
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

func ruleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(ruleDir, "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	return files
}

func decode(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// program returns a program of Debian's package prometheus.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not on the PATH: make step STEP='install monitoring'", name)
	}
	return path
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	for _, args := range [][]string{
		append([]string{"check", "rules"}, ruleFiles(t)...),
		{"test", "rules", filepath.Join(caseDir, "alerts_test.yml")},
	} {
		if out, err := exec.Command(program(t, "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// An alert that nobody has seen fire may never; one that nobody has seen silent may
// always.
func TestEveryAlertHasBothCases(t *testing.T) {
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, filepath.Join(caseDir, "alerts_test.yml"), &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.AlertRuleTest {
			if len(c.ExpAlerts) > 0 {
				fires[c.Alertname] = true
			} else {
				silent[c.Alertname] = true
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && (!fires[r.Alert] || !silent[r.Alert]) {
			t.Errorf("%s has no case in which it fires, or none in which it does not", r.Alert)
		}
	}
}

var heading = regexp.MustCompile(`(?m)^## (\w+)$`)

func TestEveryAlertHasItsSectionInTheRunbook(t *testing.T) {
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{} // by anchor: of one word it is that in lower case
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		sections[strings.ToLower(m[1])] = true
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "monitoring/RUNBOOK.md#")
		if anchor != strings.ToLower(r.Alert) || !sections[anchor] {
			t.Errorf("%s links to %q, which is no section of the runbook", r.Alert, r.Annotations["runbook_url"])
		}
		delete(sections, anchor)
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s says not what is wrong", r.Alert)
		}
	}
	for s := range sections {
		t.Errorf("the runbook has a section #%s, and no alert links to it", s)
	}
	for _, m := range regexp.MustCompile(`\]\(#(\w+)\)`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(strings.ToLower(string(text)), "\n## "+m[1]+"\n") {
			t.Errorf("the runbook links to #%s, which it does not have", m[1])
		}
	}
}
