package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of METRICS_SETUP.md")

const (
	guide = "../METRICS_SETUP.md"
	begin = "<!-- families: begin -->\n"
	end   = "<!-- families: end -->\n"
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

// The guide's table is made from Families: go test ./metrics -run Guide -update
func TestGuideListsTheFamilies(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table between %q and %q", guide, begin, end)
	}
	want := head + begin + table() + end + tail
	if string(text) == want {
		return
	}
	if *update {
		if err := os.WriteFile(guide, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table of %s is stale: run go test ./metrics -run Guide -update", guide)
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
