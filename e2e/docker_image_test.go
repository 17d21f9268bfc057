//go:build docker && linux

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// maxImage is what the image may have, compressed.
const maxImage = 25e6

// An imageInspect is what the engine tells of an image.
type imageInspect struct {
	Architecture string
	Config       struct {
		User        string
		Entrypoint  []string
		Healthcheck struct{ Test []string }
		Labels      map[string]string
	}
	RootFS struct{ Layers []string }
}

func inspectImage(t *testing.T, name string) imageInspect {
	t.Helper()
	var all []imageInspect
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", name)), &all); err != nil || len(all) != 1 {
		t.Fatalf("%d images %s, %v", len(all), name, err)
	}
	return all[0]
}

// TestDockerImage looks at what the Dockerfile makes: its base and one file.
func TestDockerImage(t *testing.T) {
	name := dockerImage(t)
	image := inspectImage(t, name)
	if image.Config.User != "65532:65532" {
		t.Errorf("the image runs as %q, want 65532:65532", image.Config.User)
	}
	if want := []string{"CMD", "/geecache", "health"}; !slices.Equal(image.Config.Healthcheck.Test, want) {
		t.Errorf("its health check is %q, want %q", image.Config.Healthcheck.Test, want)
	}
	version := image.Config.Labels["org.opencontainers.image.version"]
	if out := docker(t, "run", "--rm", "--network=none", "--read-only", name, "version"); version == "" || !strings.HasPrefix(out, "geecache "+version+"\n") {
		t.Errorf("it is of version %q, and its program says %q", version, out)
	}

	base := inspectImage(t, baseOf(t, "../docker-native/Dockerfile"))
	n := len(base.RootFS.Layers)
	if len(image.RootFS.Layers) != n+1 || !slices.Equal(image.RootFS.Layers[:n], base.RootFS.Layers) {
		t.Fatalf("its layers are %q; want those of its base, %q, and one more", image.RootFS.Layers, base.RootFS.Layers)
	}
	layers, size := saved(t, name)
	if want := []string{"geecache"}; !slices.Equal(layers[n], want) {
		t.Errorf("it adds %q to its base, want %q", layers[n], want)
	}
	if size > maxImage {
		t.Errorf("compressed it has %d bytes, want at most %d", size, int(maxImage))
	}
	t.Logf("the image: %d bytes compressed, %d layers, one file more than its base", size, n+1)
}

// baseOf returns the image that the last stage of a Dockerfile begins with.
func baseOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^FROM (\S+)$`).FindAllStringSubmatch(string(text), -1)
	if len(all) != 1 {
		t.Fatalf("%s has %d stages that are not named, want 1", name, len(all))
	}
	return all[0][1]
}

// saved returns the files of each layer of an image, without directories above others, and
// the size of the whole, compressed as registries do.
func saved(t *testing.T, name string) (layers [][]string, size int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", "save", name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	counted := new(counter)
	packed := gzip.NewWriter(counted)
	both := io.TeeReader(out, packed)
	files := make(map[string][]string) // by layer
	var manifest []struct{ Layers []string }
	archive := tar.NewReader(both)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.Name == "manifest.json":
			if err := json.NewDecoder(archive).Decode(&manifest); err != nil {
				t.Fatal(err)
			}
		case h.Typeflag == tar.TypeReg:
			if names, err := fileNames(archive); err == nil {
				files[h.Name] = names
			}
		}
	}
	if _, err := io.Copy(io.Discard, both); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(packed.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 {
		t.Fatalf("docker save wrote %d images", len(manifest))
	}
	for _, layer := range manifest[0].Layers {
		layers = append(layers, files[layer])
	}
	return layers, counted.n
}

// fileNames returns what is in an archive, which some engines compress.
func fileNames(r io.Reader) (names []string, err error) {
	content := bufio.NewReader(r)
	r = content
	if magic, err := content.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		if r, err = gzip.NewReader(content); err != nil {
			return nil, err
		}
	}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(h.Name, "./"))
	}
}

// A counter counts what is written.
type counter struct{ n int }

func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// standInLabel marks a base that was made on this machine, of its own processor alone.
const standInLabel = "geecache.stand-in"

// TestDockerImageForARM: the same Dockerfile makes the image for the other processor. It is
// not run here.
func TestDockerImageForARM(t *testing.T) {
	name := fmt.Sprintf("geecache:e2e-arm64-%d", os.Getpid())
	dockerfile, err := os.ReadFile("../docker-native/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	base := baseOf(t, "../docker-native/Dockerfile")
	if inspectImage(t, base).Config.Labels[standInLabel] != "" {
		// It has no program, and so fits any processor.
		own := "\nFROM --platform=linux/" + runtime.GOARCH + " " + base + "\n"
		dockerfile = bytes.Replace(dockerfile, []byte("\nFROM "+base+"\n"), []byte(own), 1)
	}
	t.Cleanup(func() {
		if _, err := tryDocker(context.WithoutCancel(t.Context()), nil, "image", "rm", "--force", name); err != nil {
			t.Error(err)
		}
	})
	build := exec.CommandContext(t.Context(), "docker", "buildx", "build", "--platform=linux/arm64", "--network=host",
		"--file=-", "--build-arg=VERSION=v0.0.1-arm", "--load", "--tag="+name, "..")
	build.Stdin = bytes.NewReader(dockerfile)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("docker buildx build: %v\n%s", err, out)
	}
	if image := inspectImage(t, name); image.Architecture != "arm64" || image.Config.User != "65532:65532" {
		t.Errorf("the image is for %s, and runs as %s", image.Architecture, image.Config.User)
	}

	file := filepath.Join(t.TempDir(), "geecache")
	copyFromImage(t, "linux/arm64", name, "/geecache", file)
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	if program.Machine != elf.EM_AARCH64 {
		t.Errorf("the program is for %v", program.Machine)
	}
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs the libraries %q, %v", libraries, err)
	}
	content, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(content, []byte("v0.0.1-arm")) {
		t.Errorf("the program does not know its version, %v", err)
	}
}

// copyFromImage copies a file of an image.
func copyFromImage(t *testing.T, platform, image, from, to string) {
	t.Helper()
	container := strings.TrimSpace(docker(t, "create", "--platform="+platform, image))
	docker(t, "cp", container+":"+from, to)
	docker(t, "rm", container)
}
