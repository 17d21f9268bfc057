//go:build unix

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// testVersion is what the copies of the tree are tagged with.
const testVersion = "v1.2.3-rc.1"

// TestRelease makes a release of this tree twice, in directories of different names, for
// two of the platforms that step cross compiles too.
func TestRelease(t *testing.T) {
	platforms := []string{"darwin/arm64", "windows/amd64"}
	first, second := releasable(t), releasable(t)
	for _, w := range []*workspace{first, second} {
		if err := makeRelease(t.Context(), w, platforms); err != nil {
			t.Fatalf("%v\n%s", err, w.out)
		}
	}
	names := distNames(t, first)
	want := []string{
		"SHA256SUMS", "geecache_1.2.3-rc.1_darwin_arm64.cdx.json", "geecache_1.2.3-rc.1_darwin_arm64.tar.gz",
		"geecache_1.2.3-rc.1_windows_amd64.cdx.json", "geecache_1.2.3-rc.1_windows_amd64.zip",
	}
	if !slices.Equal(names, want) {
		t.Fatalf("dist/ has %q, want %q", names, want)
	}
	for _, name := range names {
		if !bytes.Equal(distFile(t, first, name), distFile(t, second, name)) {
			t.Errorf("%s: two releases of one commit differ", name)
		}
	}
	if notes, err := os.ReadFile(first.path(notesFile)); err != nil || string(notes) != "### Added\n\n- Something.\n" {
		t.Errorf("the notes are %q, %v", notes, err)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first.path(distDir)
	if out, err := check.CombinedOutput(); err != nil || bytes.Count(out, []byte(": OK")) != len(names)-1 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}

	unix := unpackTar(t, distFile(t, first, "geecache_1.2.3-rc.1_darwin_arm64.tar.gz"))
	checkArchive(t, unix, "geecache_1.2.3-rc.1_darwin_arm64/", "geecache")
	checkSBOM(t, distFile(t, first, "geecache_1.2.3-rc.1_darwin_arm64.cdx.json"), unix["geecache_1.2.3-rc.1_darwin_arm64/geecache"])
	windows := unpackZip(t, distFile(t, first, "geecache_1.2.3-rc.1_windows_amd64.zip"))
	checkArchive(t, windows, "geecache_1.2.3-rc.1_windows_amd64/", "geecache.exe")
	checkSBOM(t, distFile(t, first, "geecache_1.2.3-rc.1_windows_amd64.cdx.json"), windows["geecache_1.2.3-rc.1_windows_amd64/geecache.exe"])
}

// checkArchive looks at the files of an archive, by their names.
func checkArchive(t *testing.T, files map[string][]byte, dir, program string) {
	t.Helper()
	for _, name := range []string{program, "LICENSE", "README.md", "CHANGELOG.md"} {
		if len(files[dir+name]) == 0 {
			t.Errorf("the archive has no %s", dir+name)
		}
	}
	if len(files) != 4 {
		t.Errorf("the archive has %d files, want 4", len(files))
	}
	if !bytes.Contains(files[dir+program], []byte(testVersion)) {
		t.Errorf("the program does not know its version %s", testVersion)
	}
}

// checkSBOM compares a bill of materials with its schema, and with what go says of the
// program.
func checkSBOM(t *testing.T, sbom, program []byte) {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(sbom))
	if err != nil {
		t.Fatal(err)
	}
	if err := sbomSchema(t).Validate(document); err != nil {
		t.Errorf("the SBOM does not fit its schema: %v", err)
	}
	var bom cdx.BOM
	if err := json.Unmarshal(sbom, &bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; c.Name != "github.com/geecache/geecache" || c.Version != testVersion {
		t.Errorf("the SBOM is of %s %s", c.Name, c.Version)
	}
	var got []string
	for _, c := range *bom.Components {
		if c.Name != "std" {
			got = append(got, c.Name+" "+c.Version)
		}
	}

	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, program, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		switch f := strings.Fields(line); f[0] {
		case "dep":
			want = append(want, f[1]+" "+f[2])
		case "=>":
			want[len(want)-1] = f[1] + " " + f[2]
		}
	}
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("the SBOM has %d modules, and go version -m %d:\n%q\n%q", len(got), len(want), got, want)
	}
}

// sbomSchema returns the schema that the module of the encoder brings.
func sbomSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f={{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema*.json"} {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "schema", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("%q are %s: %v", found, name, err)
		}
		file := found[0]
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		id, _ := document.(map[string]any)["$id"].(string)
		if err := compiler.AddResource(strings.TrimSuffix(id, "#"), document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestReleaseOfWhatIsNotTagged(t *testing.T) {
	w := repository(t, map[string]string{"CHANGELOG.md": "## [Unreleased]\n"})
	fails := func(want string) {
		t.Helper()
		if err := makeRelease(t.Context(), w, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	fails("HEAD must have one tag v*")
	git(t, w, "tag", "v1.2")
	fails("the tag v1.2 is no version")
	git(t, w, "tag", "v1.2.0")
	fails(`["v1.2" "v1.2.0"]`)
	git(t, w, "tag", "-d", "v1.2")
	fails("CHANGELOG.md does not agree with the tag v1.2.0")
	write(t, w.path("more"), "")
	fails("the tree is not what is tagged v1.2.0")
}

func TestReleaseNotes(t *testing.T) {
	const good = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-22\n\n### Added\n\n- A [link].\n\n## [1.2.2] - 2026-01-01\n\n- Old.\n\n[1.2.3]: https://x\n"
	if notes, err := releaseNotes(good, "1.2.3"); err != nil || notes != "### Added\n\n- A [link].\n" {
		t.Errorf("%q, %v", notes, err)
	}
	if notes, err := releaseNotes("## [1.0.0] - 2026-11-22\n\n- All.\n\n[1.0.0]: https://x\n", "1.0.0"); err != nil || notes != "- All.\n" {
		t.Errorf("of the only section: %q, %v", notes, err)
	}
	for _, c := range []struct{ changelog, version, want string }{
		{good, "1.2.2", "newest section is not ## [1.2.2]"},
		{good, "1.2.4", "newest section is not ## [1.2.4]"},
		{"", "1.2.3", "newest section is not ## [1.2.3]"},
		{strings.Replace(good, "[Unreleased]\n", "[Unreleased]\n\n- New.\n", 1), "1.2.3", "[Unreleased] is not empty"},
		{strings.Replace(good, " - 2026-11-22", "", 1), "1.2.3", `date is ""`},
		{strings.Replace(good, "2026-11-22", "22 November", 1), "1.2.3", `date is "22 November"`},
		{"## [1.2.3] - 2026-11-22\n\n[1.2.3]: https://x\n", "1.2.3", "section is empty"},
	} {
		if _, err := releaseNotes(c.changelog, c.version); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one that says %q", err, c.want)
		}
	}
}

// The image and the archives hold what the same command builds.
func TestDockerfileBuildsAsReleaseDoes(t *testing.T) {
	text, err := os.ReadFile("../../docker-native/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	args := buildArgs("$VERSION", "/geecache")
	i := slices.Index(args, "-ldflags") + 1
	args[i] = `"` + args[i] + `"`
	if want := "go " + strings.Join(args, " "); !strings.Contains(string(text), want) {
		t.Errorf("the Dockerfile does not say %s", want)
	}
}

func TestImageTags(t *testing.T) {
	for version, want := range map[string][]string{
		"v1.2.3":      {"r/x:1.2.3", "r/x:latest"},
		"v1.2.3-rc.1": {"r/x:1.2.3-rc.1"},
	} {
		if got := imageTags("r/x", version); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}

// releasable returns a copy of this tree in a directory of its own that can be released.
func releasable(t *testing.T) *workspace {
	t.Helper()
	root := newWorkspace(filepath.Join("..", ".."), io.Discard)
	out, err := root.output(t.Context(), ".", "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		content, err := os.ReadFile(root.path(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // removed, and not yet committed
			t.Fatal(err)
		}
		if err == nil {
			files[name] = string(content)
		}
	}
	files["CHANGELOG.md"] = "## [" + strings.TrimPrefix(testVersion, "v") + "] - 2026-11-22\n\n### Added\n\n- Something.\n"
	w := repository(t, files)
	git(t, w, "tag", testVersion)
	return w
}

// repository returns a workspace with one commit, of a fixed time.
func repository(t *testing.T, files map[string]string) *workspace {
	t.Helper()
	w := tree(t, files)
	git(t, w, "init", "--quiet")
	git(t, w, "add", "--all")
	git(t, w, "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "x")
	return w
}

func git(t *testing.T, w *workspace, args ...string) {
	t.Helper()
	env := []string{"GIT_COMMITTER_DATE=2026-11-22T10:00:00Z", "GIT_CONFIG_GLOBAL=/dev/null"}
	if err := w.doEnv(t.Context(), ".", env, "git", args...); err != nil {
		t.Fatalf("%v\n%s", err, w.out)
	}
}

func distNames(t *testing.T, w *workspace) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(w.path(distDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func distFile(t *testing.T, w *workspace, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(w.path(distDir), name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func unpackTar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func unpackZip(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range r.File {
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(content); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
