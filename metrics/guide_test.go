package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of METRICS_SETUP.md")

const (
	guide = "../METRICS_SETUP.md"
	begin = "<!-- families: begin -->\n"
	end   = "<!-- families: end -->\n"

	beginCloudWatch = "<!-- cloudwatch: begin -->\n"
	endCloudWatch   = "<!-- cloudwatch: end -->\n"
)

// table returns the families as a Markdown table.
func table() string {
	var b strings.Builder
	b.WriteString("| Family | Type | Labels | Meaning |\n|---|---|---|---|\n")
	for _, f := range Families() {
		labels := ""
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, labels, f.Help)
	}
	return b.String()
}

// cloudWatchTable returns what CloudWatch has as a Markdown table.
func cloudWatchTable() string {
	var b strings.Builder
	b.WriteString("| Metric | Unit | Dimensions |\n|---|---|---|\n")
	for _, m := range CloudWatchMetrics() {
		var sets []string
		for _, set := range m.Dimensions {
			sets = append(sets, "`"+strings.Join(set, "`, `")+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, m.Unit, strings.Join(sets, "; "))
	}
	return b.String()
}

// The guide's tables are made from Families and CloudWatchMetrics:
// go test ./metrics -run Guide -update
func TestGuideListsTheFamilies(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for _, part := range []struct{ begin, end, table string }{
		{begin, end, table()}, {beginCloudWatch, endCloudWatch, cloudWatchTable()},
	} {
		head, rest, ok := strings.Cut(want, part.begin)
		_, tail, ok2 := strings.Cut(rest, part.end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for the table between %q and %q", guide, part.begin, part.end)
		}
		want = head + part.begin + part.table + part.end + tail
	}
	if string(text) == want {
		return
	}
	if *update {
		if err := os.WriteFile(guide, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("a table of %s is stale: run go test ./metrics -run Guide -update", guide)
}

// A query of the guide that names a family which does not exist misleads.
func TestGuideNamesOnlyFamilies(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, name := range Names() {
		known[name] = true
	}
	for _, m := range CloudWatchMetrics() {
		known[m.Name] = true
	}
	isPart := func(r rune) bool {
		return r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
	}
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return !isPart(r) }) {
		if strings.HasPrefix(word, "geecache_") && word != "geecache_" && !known[word] {
			t.Errorf("%s names %s, which is no family", guide, word)
		}
	}
}
