//go:build unix

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

const (
	distDir   = "dist"                 // what is uploaded, and nothing else
	notesFile = "bin/release-notes.md" // what is said of it
	sumsName  = "SHA256SUMS"
)

// releasePlatforms are the systems that binaries are made for, and imagePlatforms those
// of the image.
var (
	releasePlatforms = []string{
		"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64",
		"windows/amd64", "windows/arm64", "freebsd/amd64", "freebsd/arm64",
	}
	imagePlatforms = []string{"linux/amd64", "linux/arm64"}
)

// buildArgs returns the arguments of go that make a binary as the Dockerfile does:
// whatever the directory, the same source makes the same bytes.
func buildArgs(version, output string) []string {
	return []string{
		"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X github.com/geecache/geecache/internal/node.version=" + version, "-o", output, ".",
	}
}

// release makes dist/ for the tag that HEAD has.
func release(ctx context.Context, w *workspace) error {
	return makeRelease(ctx, w, releasePlatforms)
}

// makeRelease makes dist/ anew, with an archive and an SBOM for each platform and the sums
// of all, and the release's notes.
func makeRelease(ctx context.Context, w *workspace, platforms []string) error {
	version, err := releaseTag(ctx, w)
	if err != nil {
		return err
	}
	changes, err := os.ReadFile(w.path("CHANGELOG.md"))
	if err != nil {
		return err
	}
	notes, err := releaseNotes(string(changes), strings.TrimPrefix(version, "v"))
	if err != nil {
		return err
	}
	when, err := commitTime(ctx, w)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(w.path(distDir)); err != nil {
		return err
	}
	for _, dir := range []string{distDir, "bin"} {
		if err := os.MkdirAll(w.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(w.path(notesFile), []byte(notes), 0o644); err != nil {
		return err
	}
	for _, platform := range platforms {
		if err := pack(ctx, w, version, platform, when); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	return writeSums(w)
}

// releaseTag returns the version that HEAD is tagged with, if there is exactly one and
// nothing has changed since.
func releaseTag(ctx context.Context, w *workspace) (string, error) {
	out, err := w.output(ctx, ".", "git", "tag", "--points-at", "HEAD", "--list", "v*")
	if err != nil {
		return "", err
	}
	tags := strings.Fields(out)
	if len(tags) != 1 {
		return "", fmt.Errorf("HEAD must have one tag v*, and has %q: git tag -a vMAJOR.MINOR.PATCH", tags)
	}
	// Canonical leaves out metadata (+...), and fills in what is missing.
	if tag := tags[0]; semver.Canonical(tag) != tag {
		return "", fmt.Errorf("the tag %s is no version: it must be vMAJOR.MINOR.PATCH or vMAJOR.MINOR.PATCH-PRERELEASE", tag)
	}
	if out, err = w.output(ctx, ".", "git", "status", "--porcelain"); err != nil {
		return "", err
	}
	if out != "" {
		return "", fmt.Errorf("the tree is not what is tagged %s; commit or remove:\n%s", tags[0], out)
	}
	return tags[0], nil
}

// commitTime returns when HEAD was committed, which is the time of all that is made of it.
func commitTime(ctx context.Context, w *workspace) (time.Time, error) {
	out, err := w.output(ctx, ".", "git", "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("git log: %w", err)
	}
	return time.Unix(sec, 0).UTC(), nil
}

var (
	section  = regexp.MustCompile(`(?m)^## \[(.+?)\](?: - (.*))?$`)
	linkLine = regexp.MustCompile(`(?m)^\[.+?\]: .*$`)
)

// releaseNotes returns what a changelog says of a version (without v). It must be the
// newest one, with a date, and nothing may be left under Unreleased.
func releaseNotes(changelog, version string) (string, error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("CHANGELOG.md does not agree with the tag v%s: %s", version, fmt.Sprintf(format, args...))
	}
	all := section.FindAllStringSubmatchIndex(changelog, -1)
	body := func(i int) string {
		end := len(changelog)
		if i+1 < len(all) {
			end = all[i+1][0]
		}
		return strings.TrimSpace(linkLine.ReplaceAllString(changelog[all[i][1]:end], ""))
	}
	group := func(i, n int) string {
		if all[i][2*n] < 0 {
			return ""
		}
		return changelog[all[i][2*n]:all[i][2*n+1]]
	}
	first := 0
	if len(all) > 0 && group(0, 1) == "Unreleased" {
		if body(0) != "" {
			return "", wrong("its section [Unreleased] is not empty: move what it says to ## [%s] - YYYY-MM-DD", version)
		}
		first = 1
	}
	if len(all) == first || group(first, 1) != version {
		return "", wrong("its newest section is not ## [%s] - YYYY-MM-DD", version)
	}
	if _, err := time.Parse(time.DateOnly, group(first, 2)); err != nil {
		return "", wrong("the section's date is %q, want YYYY-MM-DD", group(first, 2))
	}
	if body(first) == "" {
		return "", wrong("the section is empty: say what has changed")
	}
	return body(first) + "\n", nil
}

// pack builds the program for a platform, and writes its archive and its SBOM to dist/.
func pack(ctx context.Context, w *workspace, version, platform string, when time.Time) error {
	dir, err := os.MkdirTemp("", "geecache-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	goos, goarch, _ := strings.Cut(platform, "/")
	program := "geecache"
	if goos == "windows" {
		program += ".exe"
	}
	binary := filepath.Join(dir, program)
	env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch, "GOFLAGS="}
	if err := w.doEnv(ctx, ".", env, "go", buildArgs(version, binary)...); err != nil {
		return err
	}
	base := filepath.Join(w.path(distDir), fmt.Sprintf("geecache_%s_%s_%s", strings.TrimPrefix(version, "v"), goos, goarch))
	sbom, err := sbomOf(binary, version, when)
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".cdx.json", sbom, 0o644); err != nil {
		return err
	}
	files := []packed{{program, binary, 0o755}}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		files = append(files, packed{name, w.path(name), 0o644})
	}
	write, ending := writeTar, ".tar.gz"
	if goos == "windows" {
		write, ending = writeZip, ".zip"
	}
	out, err := os.Create(base + ending)
	if err != nil {
		return err
	}
	return errors.Join(write(out, filepath.Base(base), files, when), out.Close())
}

// A packed file is one of an archive.
type packed struct {
	name, path string
	mode       int64
}

// writeTar writes files into the directory dir of an archive. Nothing in it tells of the
// machine that wrote it.
func writeTar(out io.Writer, dir string, files []packed, when time.Time) error {
	compressed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		content, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: dir + "/" + f.name, Mode: f.mode, Size: int64(len(content)), ModTime: when, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

// writeZip is writeTar in the form that Windows knows.
func writeZip(out io.Writer, dir string, files []packed, when time.Time) error {
	archive := zip.NewWriter(out)
	for _, f := range files {
		content, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: dir + "/" + f.name, Method: zip.Deflate, Modified: when}
		header.SetMode(os.FileMode(f.mode))
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(content); err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeSums writes the sums of all that is in dist/, as sha256sum -c reads them.
func writeSums(w *workspace) error {
	entries, err := os.ReadDir(w.path(distDir)) // in order
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		if e.Name() == sumsName {
			continue
		}
		content, err := os.ReadFile(filepath.Join(w.path(distDir), e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	_, err = fmt.Fprintf(w.out, "%s:\n%s", filepath.Join(distDir, sumsName), sums.String())
	return errors.Join(err, os.WriteFile(filepath.Join(w.path(distDir), sumsName), sums.Bytes(), 0o644))
}

// releaseImage pushes the release's image for all its platforms, with the attestations of
// what is in it and how it was made, and adds its SBOMs to dist/. The client must have
// logged in.
func releaseImage(ctx context.Context, w *workspace) error {
	version, err := releaseTag(ctx, w)
	if err != nil {
		return err
	}
	name := strings.ToLower(os.Getenv("GEECACHE_RELEASE_IMAGE"))
	if name == "" {
		return errors.New("GEECACHE_RELEASE_IMAGE is not set: it names the image without a tag, as in ghcr.io/OWNER/geecache")
	}
	when, err := commitTime(ctx, w)
	if err != nil {
		return err
	}
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix())}
	if err := w.doEnv(ctx, ".", env, "docker", imageArgs(name, version)...); err != nil {
		return err
	}
	for _, platform := range imagePlatforms {
		sbom, err := w.output(ctx, ".", "docker", "buildx", "imagetools", "inspect", imageTags(name, version)[0],
			"--format", fmt.Sprintf(`{{json (index .SBOM %q).SPDX}}`, platform))
		if err != nil {
			return err
		}
		if !strings.Contains(sbom, "SPDX-") {
			return fmt.Errorf("the image for %s has no SBOM: %.100s", platform, sbom)
		}
		file := fmt.Sprintf("%s/geecache_%s_image_%s.spdx.json", distDir, strings.TrimPrefix(version, "v"), strings.ReplaceAll(platform, "/", "_"))
		if err := os.WriteFile(w.path(file), []byte(sbom), 0o644); err != nil {
			return err
		}
	}
	return writeSums(w)
}

// imageTags returns the image's names: that of the version, and latest unless the version
// is one before a release.
func imageTags(name, version string) []string {
	tags := []string{name + ":" + strings.TrimPrefix(version, "v")}
	if semver.Prerelease(version) == "" {
		tags = append(tags, name+":latest")
	}
	return tags
}

func imageArgs(name, version string) []string {
	args := []string{
		"buildx", "build", "--file=docker-native/Dockerfile", "--platform=" + strings.Join(imagePlatforms, ","),
		"--build-arg=VERSION=" + version, "--sbom=true", "--provenance=mode=max", "--push",
	}
	for _, tag := range imageTags(name, version) {
		args = append(args, "--tag="+tag)
	}
	return append(args, ".")
}

// releasePublish makes the release of what is in dist/, on GitHub.
func releasePublish(ctx context.Context, w *workspace) error {
	version, err := releaseTag(ctx, w)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(w.path(distDir + "/*"))
	if err != nil {
		return err
	}
	if !slices.Contains(files, w.path(distDir+"/"+sumsName)) {
		return errors.New("there is no dist/" + sumsName + ": run make release")
	}
	args := []string{"release", "create", version, "--verify-tag", "--title=" + version, "--notes-file=" + notesFile}
	if semver.Prerelease(version) != "" {
		args = append(args, "--prerelease")
	}
	return w.do(ctx, ".", "gh", append(args, files...)...)
}
