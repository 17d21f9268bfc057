//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// digestFile records what the last generation read and wrote. See
// docs/adr/0004-generated-code.md for why a digest is checked each time, and
// buf itself only when the digest does not match.
const digestFile = "tools/buf/generated.sum"

// buf, with everything it links, is a module of its own.
const bufModule = "tools/buf"

// isGenerationInput tells the files that decide what is generated, and
// isGenerated the files that are.
func isGenerationInput(p string) bool {
	return path.Ext(p) == ".proto" || p == "buf.yaml" || p == "buf.gen.yaml"
}

func isGenerated(p string) bool { return strings.HasSuffix(p, ".pb.go") }

// generated fails if the protos, the generators or the generated files have
// changed since the last generation, unless generating anew shows that they
// still belong together.
func generated(ctx context.Context, w *workspace) error {
	want, err := generationDigest(w)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(w.path(digestFile))
	if err == nil && string(got) == want {
		fmt.Fprintf(w.out, "nothing has changed since the last make generate (%s)\n", digestFile)
		return nil
	}
	fmt.Fprintf(w.out, "something has changed since the last make generate: generating anew to compare\n")
	if err := regenerated(ctx, w); err != nil {
		return err
	}
	return fmt.Errorf("the generated code is current, but %s is not: run make generate", digestFile)
}

// regenerated lints the protos, generates their code into a temporary
// directory and compares it with the tree.
func regenerated(ctx context.Context, w *workspace) error {
	dir, err := os.MkdirTemp("", "geecache-generate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := buf(ctx, w, dir); err != nil {
		return err
	}
	inTree, err := w.files(isGenerated)
	if err != nil {
		return err
	}
	fresh := &workspace{root: dir}
	inFresh, err := fresh.files(isGenerated)
	if err != nil {
		return err
	}
	if len(inFresh) == 0 {
		return errors.New("buf generated nothing")
	}
	return compareTrees(w, inTree, fresh, inFresh)
}

func compareTrees(w *workspace, inTree []string, fresh *workspace, inFresh []string) error {
	var errs []error
	for _, f := range inTree {
		if !slices.Contains(inFresh, f) {
			errs = append(errs, fmt.Errorf("%s: no .proto generates this file: remove it", f))
		}
	}
	for _, f := range inFresh {
		want, err := os.ReadFile(fresh.path(f))
		if err != nil {
			return err
		}
		got, err := os.ReadFile(w.path(f))
		switch {
		case errors.Is(err, os.ErrNotExist):
			errs = append(errs, fmt.Errorf("%s: missing", f))
		case err != nil:
			errs = append(errs, err)
		case !bytes.Equal(got, want):
			errs = append(errs, fmt.Errorf("%s: stale: it is not what its .proto generates", f))
		}
	}
	return errors.Join(errs...)
}

// generate brings the tree's generated code and its digest up to date.
func generate(ctx context.Context, w *workspace) error {
	if err := buf(ctx, w, w.root); err != nil {
		return err
	}
	sum, err := generationDigest(w)
	if err != nil {
		return err
	}
	return os.WriteFile(w.path(digestFile), []byte(sum), 0o644)
}

// buf lints the protos and generates their code below a directory.
func buf(ctx context.Context, w *workspace, into string) error {
	if err := buildTools(ctx, w); err != nil {
		return err
	}
	bin := w.path("bin") + string(filepath.Separator)
	if err := w.do(ctx, bufModule, "go", "build", "-ldflags=-s -w", "-o", bin, "tool"); err != nil {
		return err
	}
	if err := w.do(ctx, ".", "buf", "lint"); err != nil {
		return err
	}
	return w.do(ctx, ".", "buf", "generate", "--output", into)
}

// generationDigest returns one line for each file and each module version that
// generation depends on, and for each generated file.
func generationDigest(w *workspace) (string, error) {
	files, err := w.files(func(p string) bool { return isGenerationInput(p) || isGenerated(p) })
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	lines.WriteString("# Written by make generate; do not edit.\n")
	for _, f := range files {
		data, err := os.ReadFile(w.path(f))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(data), f)
	}
	for _, pin := range []struct{ file, module string }{
		{"tools/go.mod", "google.golang.org/protobuf"},
		{"tools/go.mod", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"},
		{bufModule + "/go.mod", "github.com/bufbuild/buf"},
	} {
		version, err := requiredVersion(w.path(pin.file), pin.module)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lines, "%s %s\n", pin.module, version)
	}
	return lines.String(), nil
}

// requiredVersion reads the version of a module out of a go.mod.
func requiredVersion(goMod, module string) (string, error) {
	data, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s requires no %s", goMod, module)
}
