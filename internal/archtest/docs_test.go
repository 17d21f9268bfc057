package archtest

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	adrName  = regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)
	mdLink   = regexp.MustCompile(`\]\(([^)#?\s]+)[^)]*\)`)
	mdFenced = regexp.MustCompile("(?ms)^ *```.*?^ *```")
)

func TestEveryDecisionIsInTheIndex(t *testing.T) {
	index := read(t, "docs/adr/README.md")
	numbers := map[string]string{}
	for _, name := range repositoryFiles(t, ".md") {
		if path.Dir(name) != "docs/adr" || path.Base(name) == "README.md" {
			continue
		}
		m := adrName.FindStringSubmatch(name)
		if m == nil {
			t.Errorf("%s: name decisions NNNN-what-is-decided.md", name)
			continue
		}
		if other, taken := numbers[m[1]]; taken {
			t.Errorf("%s and %s have the same number", other, name)
		}
		numbers[m[1]] = name
		if !strings.Contains(index, "("+path.Base(name)+")") {
			t.Errorf("%s is not in docs/adr/README.md: add a line that links to it", name)
		}
		if body := read(t, name); !strings.Contains(body, "\nStatus: ") {
			t.Errorf("%s has no line that begins with \"Status: \": see docs/adr/0000-template.md", name)
		}
	}
	if len(numbers) == 0 {
		t.Error("no decision was found: the walk is broken")
	}
}

func TestChangelogHasWhatIsNotReleased(t *testing.T) {
	if !strings.Contains(read(t, "CHANGELOG.md"), "\n## [Unreleased]\n") {
		t.Error(`CHANGELOG.md has no section "## [Unreleased]": add it at the top`)
	}
}

// A link that leads nowhere is a document that has drifted.
func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	for _, name := range repositoryFiles(t, ".md") {
		text := mdFenced.ReplaceAllString(read(t, name), "")
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if strings.Contains(target, ":") {
				continue // another site, or mail
			}
			if _, err := os.Stat(fromRoot(path.Join(path.Dir(name), target))); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s links to %s, which does not exist", name, target)
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(fromRoot(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
