package judge

import (
	"os"
	"strings"
	"testing"

	"github.com/geecache/geecache/internal/envbench"
)

// What is counted is what the documents say.
func TestGuidesAreThoseOfTheDocuments(t *testing.T) {
	document := func(name string) string {
		text, err := os.ReadFile("../../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	section := func(title string) string {
		_, rest, found := strings.Cut(document("DEPLOYMENT.md"), "\n## "+title+"\n")
		if !found {
			t.Fatalf("DEPLOYMENT.md has no section %q", title)
		}
		text, _, _ := strings.Cut(rest, "\n## ")
		return text
	}
	texts := map[string]string{
		envbench.Local: document("README.md"), envbench.Docker: section("Docker"),
		envbench.Emulator: section("A local AWS"), envbench.AWS: section("AWS with Terraform"),
	}
	for environment, g := range guides() {
		text := texts[environment]
		for _, need := range g.needs {
			if !strings.Contains(text, need) {
				t.Errorf("%s: the guide does not speak of %s", environment, need)
			}
		}
		at := 0
		for _, command := range g.commands {
			i := strings.Index(text[at:], "    "+command)
			if i < 0 {
				t.Errorf("%s: the guide has no command %q after the one before", environment, command)
				continue
			}
			at += i
		}
	}
	if len(guides()) != len(envbench.Environments()) {
		t.Errorf("%d guides for %d environments", len(guides()), len(envbench.Environments()))
	}
}
