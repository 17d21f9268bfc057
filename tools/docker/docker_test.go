//go:build unix

package docker

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestBaseImages(t *testing.T) {
	const dockerfile = `
ARG GO=1.26
FROM --platform=$BUILDPLATFORM golang:${GO}-bookworm AS build
RUN echo FROM nowhere
from build AS tested
FROM scratch AS empty
FROM gcr.io/distroless/static-debian12:nonroot
FROM golang:1.26-bookworm
`
	got := BaseImages([]byte(dockerfile))
	if want := []string{"golang:1.26-bookworm", "gcr.io/distroless/static-debian12:nonroot"}; !reflect.DeepEqual(got, want) {
		t.Errorf("BaseImages = %q, want %q", got, want)
	}
}

func TestRepository(t *testing.T) {
	for name, want := range map[string][2]string{
		"golang:1.26-bookworm":                      {"golang", "1.26-bookworm"},
		"golang":                                    {"golang", "latest"},
		"docker.io/library/golang:1":                {"golang", "1"},
		"docker.io/prom/prometheus:v3":              {"prom/prometheus", "v3"},
		"gcr.io/distroless/static-debian12:nonroot": {"gcr.io/distroless/static-debian12", "nonroot"},
		"localhost:5000/golang":                     {"localhost:5000/golang", "latest"},
	} {
		repository, tag := split(name)
		if got := [2]string{repository, tag}; got != want {
			t.Errorf("split(%q) = %q, want %q", name, got, want)
		}
	}
}

// A registry that answers, and does not have the image, is no reason for a stand-in.
func TestUnreachable(t *testing.T) {
	for text, want := range map[string]bool{
		`Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host`: true,
		`Get "https://gcr.io/v2/": net/http: TLS handshake timeout`:                                                  true,
		`Get "https://quay.io/v2/": dial tcp 1.2.3.4:443: connect: connection refused`:                               true,
		`manifest for golang:9.9 not found: manifest unknown: manifest unknown`:                                      false,
		`pull access denied for nobody/nothing, repository does not exist or may require 'docker login'`:             false,
		`toomanyrequests: You have reached your unauthenticated pull rate limit`:                                     false,
	} {
		if got := unreachable(errors.New(text)); got != want {
			t.Errorf("unreachable(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestRootfs(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a/b": "content", "a/skipped/c": "", "program": "#!/bin/sh\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("b", filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	r := &rootfs{tar: tar.NewWriter(&image), seen: make(map[string]bool)}
	users(r, "app:x:7:8:app:/home/app:/bin/sh")
	r.tree(filepath.Join(dir, "a"), "/opt/a", "skipped")
	r.dir("opt/a", 0o700, 7) // is there already
	r.dir("home/app", 0o700, 7)
	if err := errors.Join(r.err, r.tar.Close()); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*tar.Header)
	contents := make(map[string]string)
	for in := tar.NewReader(&image); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if found[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		found[h.Name], contents[h.Name] = h, string(text)
	}
	if contents["opt/a/b"] != "content" || found["opt/a/skipped/c"] != nil || found["opt/a/"].Mode != 0o755 {
		t.Errorf("the tree is %v", contents)
	}
	if l := found["opt/a/link"]; l == nil || l.Linkname != "b" {
		t.Errorf("the link is %+v", l)
	}
	if !strings.Contains(contents["etc/passwd"], "app:x:7:8:") || !strings.Contains(contents["etc/group"], "app:x:8:") {
		t.Errorf("users are %q, groups %q", contents["etc/passwd"], contents["etc/group"])
	}
	if h := found["home/app/"]; h == nil || h.Uid != 7 || h.Mode != 0o700 {
		t.Errorf("the home is %+v", h)
	}

	r = &rootfs{tar: tar.NewWriter(io.Discard), seen: make(map[string]bool)}
	r.copy(filepath.Join(dir, "missing"), "/missing")
	r.dir("after", 0o755, 0)
	if !errors.Is(r.err, os.ErrNotExist) || r.seen["after/"] {
		t.Errorf("after a missing file the error is %v, and what was written %v", r.err, r.seen)
	}
}
