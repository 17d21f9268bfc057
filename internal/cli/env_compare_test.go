package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnvCompareAndReport(t *testing.T) {
	dir := t.TempDir()
	document, page := filepath.Join(dir, "COMPARISON.md"), filepath.Join(dir, "page.html")
	files := []string{"../envbench/report/testdata/fixture-local.json", "../envbench/report/testdata/fixture-emulator.json"}
	line := func(command string, more ...string) []string {
		return append(append([]string{"env", command}, files...), more...)
	}
	tests := []struct {
		name   string
		args   []string
		status int
		want   string // in the error; empty for none
	}{
		{"a document", line("compare", "-o", document), exitOK, ""},
		{"it is current", line("compare", "-o", document, "--check"), exitOK, ""},
		{"of other results it is not", []string{"env", "compare", files[0], "-o", document, "--check"}, exitError, "COMPARISON.md is not what the results generate"},
		{"a page", line("report", "-o", page), exitOK, ""},
		{"a document without a name", line("compare"), exitUsage, "-o"},
		{"a page without a name", line("report"), exitUsage, "-o"},
		{"no results", []string{"env", "compare", "-o", document, "--dir", dir}, exitError, "geecache env bench"},
		{"no results file", []string{"env", "report", "env_compare_test.go", "-o", page}, exitError, "no results file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, _, errOut := runLine(t, tt.args...)
			if status != tt.status || !strings.Contains(errOut, tt.want) || tt.want == "" && errOut != "" {
				t.Errorf("status %d, %q; want %d, %q", status, errOut, tt.status, tt.want)
			}
		})
	}
	for path, want := range map[string]string{document: "## Comparison", filepath.Join(dir, "comparison", "deploy.svg"): "<svg", page: "<!doctype html>"} {
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s (%v) lacks %q", path, err, want)
		}
	}
}
