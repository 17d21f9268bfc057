package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fixtureResults = "../envbench/report/testdata/fixture-local.json"

// put writes a file of a test.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is no results file is told with its field and a remedy, and a document that is there
// stays as it is.
func TestResultsThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	good := content(t, fixtureResults)
	replaced := func(old, now string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the fixture has no %s", old)
		}
		return strings.Replace(good, old, now, 1)
	}
	const head = `{"format": 1, "environment": "local", "tests": [{"id": "deploy", "method": "", `
	for _, tt := range []struct{ name, text, want string }{
		{"truncated", good[:len(good)/2], "it ends in the middle: measure anew"},
		{"empty", "", "is no results file"},
		{"unknown-field", replaced(`"environment"`, `"surroundings"`), `unknown field "surroundings": read it with the program that has written it`},
		{"other-format", replaced(`"format": 1`, `"format": 7`), "has format 7, and this program reads 1: measure anew"},
		{"wrong-type", replaced(`"environment": "local"`, `"environment": 5`), "environment is a number"},
		{"two-in-one", good + good, "something follows its end"},
		{"unknown-environment", replaced(`"environment": "local"`, `"environment": "moon"`), `environment is "moon"`},
		{"negative-size", `{"format": 1, "environment": "local", "deployment": {"nodes": -3}, "tests": []}`, "deployment.nodes -3"},
		{"negative-sample", head + `"state": "measured", "series": [{"name": "total", "unit": "s", "samples": [1, -2]}]}]}`, "test deploy: series total has the sample -2"},
		{"negative-count", head + `"state": "measured", "counts": [{"name": "nodes", "values": [-1]}]}]}`, `test deploy: counts[0] is "nodes" with values [-1]`},
		{"no-unit", head + `"state": "measured", "series": [{"name": "total", "samples": [1]}]}]}`, `series[0] has the name "total" and the unit ""`},
		{"no-state", head + `"state": "fine"}]}`, `test deploy: state is "fine"`},
		{"no-verdict", head + `"state": "measured", "facts": [{"name": "x", "verdict": "maybe", "evidence": ""}]}]}`, `facts[0] is "x" with the verdict "maybe"`},
		{"one-test-twice", head + `"state": "measured"}, {"id": "deploy", "state": "measured"}]}`, `tests[1].id is "deploy"`},
		{"without-tests", `{"format": 1, "environment": "local", "tests": []}`, "has no test in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, tt.name+".json")
			put(t, file, tt.text)
			for command, name := range map[string]string{"compare": "COMPARISON.md", "report": "page.html"} {
				output := filepath.Join(dir, name)
				put(t, output, "what was there")
				status, _, errOut := runLine(t, "env", command, fixtureResults, file, "-o", output)
				if status != exitError || !strings.Contains(errOut, tt.want) || !strings.Contains(errOut, tt.name+".json") {
					t.Errorf("%s: status %d, %q; want %d, %q with the file's name", command, status, errOut, exitError, tt.want)
				}
				if content(t, output) != "what was there" {
					t.Errorf("%s has written over a document", command)
				}
			}
			if status, out, _ := runLine(t, "env", "advise", "--phase=dev", "--results="+dir); status != exitOK || tt.name != "without-tests" && !strings.Contains(out, tt.name+".json") {
				t.Errorf("advise: status %d, and it does not name the file that it cannot read:\n%s", status, out)
			}
		})
	}
}

func TestCommandLinesOfResults(t *testing.T) {
	dir := t.TempDir()
	document, page := filepath.Join(dir, "COMPARISON.md"), filepath.Join(dir, "page.html")
	empty := filepath.Join(dir, "project")
	if err := os.MkdirAll(filepath.Join(empty, filepath.FromSlash(resultsOfEnvironments)), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"compare missing.json -o " + document, exitError, "missing.json"},
		{"compare " + dir + " -o " + document, exitError, "is a directory"},
		{"compare --dir " + empty + " -o " + document, exitError, "geecache env bench ENV -o FILE makes some"},
		{"report --dir " + empty + " -o " + page, exitError, "geecache env bench ENV -o FILE makes some"},
		{"compare " + fixtureResults + " " + fixtureResults + " -o " + document, exitError, "fixture-local.json is named twice"},
		{"report " + fixtureResults + " " + fixtureResults + " -o " + page, exitError, "fixture-local.json is named twice"},
		{"compare --chek", exitUsage, "unknown flag --chek"},
		{"report --check -o " + page, exitUsage, "unknown flag --check"},
		{"cost --node 3", exitUsage, "unknown flag --node"},
		{"cost --nodes -1", exitUsage, "nodes are -1"},
		{"cost --memory -1", exitUsage, "-1 MiB"},
		{"cost --logs -3", exitUsage, "--logs is -3: use GB a month, 0 or more"},
		{"cost --between-zones=-1", exitUsage, "--between-zones is -1"},
		{"cost --out NaN", exitUsage, "--out is NaN"},
		{"cost --hours NaN", exitUsage, "--hours is NaN"},
		{"cost --hours -1", exitUsage, "--hours is -1"},
		{"cost --region moon", exitUsage, "moon"},
		{"advise --phase dev --results " + filepath.Join(dir, "none"), exitUsage, "there is no such folder"},
		{"advise --phase dev --budget NaN", exitUsage, "--budget is NaN"},
		{"advise --phase dev --nodes -2", exitUsage, "nodes is -2"},
		{"advise --phase dev --hour 3", exitUsage, "unknown flag --hour"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			status, out, errOut := runLine(t, append([]string{"env"}, strings.Fields(tt.line)...)...)
			if status != tt.status || !strings.Contains(errOut, tt.want) || out != "" {
				t.Errorf("status %d, %q, and on the standard output %q; want %d, %q", status, errOut, out, tt.status, tt.want)
			}
		})
	}
	for _, path := range []string{document, page} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s was written", path)
		}
	}
}

// The check of the document as continuous integration makes it fails, and says what to do,
// whatever is changed alone: a figure of the document, a chart, or the results.
func TestTheDocumentsDriftFailsTheCheck(t *testing.T) {
	project := t.TempDir()
	results := filepath.Join(project, filepath.FromSlash(resultsOfEnvironments))
	if err := os.MkdirAll(results, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"local", "emulator"} {
		put(t, filepath.Join(results, name+".json"), content(t, "../envbench/report/testdata/fixture-"+name+".json"))
	}
	document := filepath.Join(project, "DEPLOYMENT_COMPARISON.md")
	chart := filepath.Join(project, "deployment-comparison", "deploy.svg")
	run := func(more ...string) (int, string) {
		status, _, errOut := runLine(t, append([]string{"env", "compare", "--dir", project, "-o", document}, more...)...)
		return status, errOut
	}
	if status, errOut := run(); status != exitOK {
		t.Fatal(errOut)
	}
	planted := func(path, old, now string) func() {
		return func() {
			before := content(t, path)
			if !strings.Contains(before, old) {
				t.Fatalf("%s has no %q", path, old)
			}
			put(t, path, strings.Replace(before, old, now, 1))
		}
	}
	added := filepath.Join(results, "local-later.json")
	for _, tt := range []struct {
		name  string
		path  string // what is put back afterwards
		plant func()
		want  string
	}{
		{"a figure of the document", document, planted(document, "n=10", "n=11"), "DEPLOYMENT_COMPARISON.md is not what the results generate: run make env-report"},
		{"a letter of the document", document, planted(document, "## Summary", "## Summery"), "DEPLOYMENT_COMPARISON.md is not what the results generate: run make env-report"},
		{"a results file", filepath.Join(results, "emulator.json"), planted(filepath.Join(results, "emulator.json"), "400.5", "401.5"), "run make env-report"},
		{"a newer results file", "", func() {
			put(t, added, strings.Replace(content(t, filepath.Join(results, "local.json")), `"begun": "2026`, `"begun": "2036`, 1))
		}, "DEPLOYMENT_COMPARISON.md is not what the results generate: run make env-report"},
		{"a chart that is missing", chart, func() {
			if err := os.Remove(chart); err != nil {
				t.Fatal(err)
			}
		}, "deploy.svg is not what the results generate: run make env-report"},
		{"a chart that is changed", chart, planted(chart, "</svg>", " </svg>"), "deploy.svg is not what the results generate: run make env-report"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, errOut := run("--check"); status != exitOK {
				t.Fatalf("before anything is changed: status %d, %s", status, errOut)
			}
			before := ""
			if tt.path != "" {
				before = content(t, tt.path)
			}
			tt.plant()
			if status, errOut := run("--check"); status != exitError || !strings.Contains(errOut, tt.want) {
				t.Errorf("status %d, %q; want %d, %q", status, errOut, exitError, tt.want)
			}
			if tt.path != "" {
				put(t, tt.path, before)
			} else if err := os.Remove(added); err != nil {
				t.Fatal(err)
			}
		})
	}
}
