package cli

import (
	"math"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/envbench/advise"
)

func TestEnvAdvise(t *testing.T) {
	const results = "--results=../envbench/report/testdata"
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		out    string
		errOut string
	}{
		{"from results", []string{results, "--phase=dev"}, exitOK, "Deploy in local", ""},
		{"a reason has its file", []string{results, "--phase=dev"}, exitOK, "fixture-local.json]", ""},
		{"JSON", []string{results, "--phase=dev", "--json"}, exitOK, `"environment": "local"`, ""},
		{"without results", []string{"--results=" + t.TempDir(), "--phase=prod"}, exitOK, "from rules and prices alone", ""},
		{"what is no results file", []string{"--results=../machine", "--phase=prod"}, exitOK, "Deploy in aws", ""},
		{"nothing fits", []string{results, "--phase=prod", "--budget=0"}, exitError, "No environment", "ask for less"},
		{"no terminal to ask on", []string{results}, exitUsage, "", "advise needs --phase: dev, test, ci, perf, prod"},
		{"a phase that there is not", []string{results, "--phase=prd"}, exitUsage, "", `phase is "prd"`},
		{"a region without prices", []string{results, "--phase=dev", "--region=nowhere"}, exitUsage, "", "nowhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out, errOut := runLine(t, append([]string{"env", "advise"}, tt.args...)...)
			if status != tt.status || !strings.Contains(out, tt.out) || !strings.Contains(errOut, tt.errOut) {
				t.Errorf("status %d, %q, %q; want %d, %q, %q", status, out, errOut, tt.status, tt.out, tt.errOut)
			}
		})
	}
}

func TestQuestionsAreAsked(t *testing.T) {
	a := advise.Answers{Budget: math.NaN(), Hours: 730, Nodes: 3, NoAccount: true}
	var out strings.Builder
	if err := askAll(strings.NewReader("production\ntest\nn\nperhaps\ny\nmuch\n50\niam, limits\n"), &out, &a); err != nil {
		t.Fatal(err)
	}
	if a.Phase != advise.Test || a.Offline || a.NoAccount || a.Budget != 50 || strings.Join(a.Needs, " ") != "iam limits" {
		t.Errorf("the answers are %+v", a)
	}
	for _, want := range []string{`phase is "production"`, "answer y or n", "answer with a number"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
	out.Reset()
	if err := askAll(strings.NewReader("dev\n"), &out, &a); err == nil || !strings.Contains(err.Error(), "to the end") {
		t.Errorf("without all answers: %v", err)
	}
	if strings.Contains(out.String(), "US dollars") {
		t.Errorf("it goes on asking when nobody answers any more: %q", out.String())
	}
}
