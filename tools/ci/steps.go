//go:build unix

package main

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// A step is one check: it returns an error when the tree fails it.
type step struct {
	name   string
	what   string
	remedy string // what to do when it fails
	run    func(context.Context, *workspace) error
}

// A set is a named list of steps.
type set struct {
	name  string
	steps []string
}

func sets() []set {
	return []set{
		{"check", []string{"format", "vet", "unit"}},
		{"lint", []string{"tools", "format", "vet", "staticcheck", "workflows", "scripts"}},
		{"test", []string{
			"install", "tools", "format", "modules", "generated", "vet", "staticcheck", "workflows",
			"scripts", "dockerfiles", "terraform", "vulns", "runner", "cross", "engine", "docker", "emulator", "servers", "benchmarks", "monitoring", "race", "sockets", "chaos", "decoders",
		}},
	}
}

// allSteps returns every step there is. Within the set "test" cheap steps come
// first, and the tests last.
func allSteps() []step {
	return []step{
		{"install", "what the steps need beyond Go", "install what the message names, or run as root on Debian", install},
		{"tools", "the pinned tools, into bin/", "read the compiler's message; versions are in tools/go.mod", buildTools},
		{"format", "gofmt", "run: gofmt -w .", format},
		{"modules", "go.mod and go.sum are tidy and true", "run go mod tidy beside the go.mod that is named", modules},
		{"generated", "generated code is what its sources generate", "run: make generate", generated},
		{"regenerate", "lint the protos, generate them anew and compare", "run: make generate", regenerated},
		{"generate", "lint the protos and generate their code", "mend the .proto files that buf names", generate},
		{"vet", "go vet", "mend what vet names", vet},
		{"staticcheck", "staticcheck", "mend what it names; staticcheck -explain CHECK says why", staticcheck},
		{"workflows", "actionlint", "mend the workflow that it names", workflows},
		{"scripts", "shellcheck", "mend what it names; its wiki explains each SC number", scripts},
		{"dockerfiles", "hadolint", "mend what it names; its wiki explains each DL number", dockerfiles},
		{"terraform", "the deployment to AWS: fmt, validate, plan and apply against a stand-in, its rules, checkov", "mend what is named in aws-terraform/; an exception from checkov is argued beside it", terraform},
		{"vulns", "govulncheck: known vulnerabilities that the code reaches", "update the module or the Go release that it names", vulns},
		{"runner", "the tests of these steps themselves", "mend tools/ci", runner},
		{"release", "dist/ for the tag of HEAD: archives, SBOMs, sums", "see what it says of the tag and CHANGELOG.md", release},
		{"release-image", "push the image of the release for its platforms, with attestations (after release)", "log in with docker login, and set GEECACHE_RELEASE_IMAGE", releaseImage},
		{"release-publish", "make the release of dist/ on GitHub (after release)", "gh must be logged in; gh release delete removes a half one", releasePublish},
		{"cross", "builds for the other systems", "mend the code for the system that is named, or give it a build constraint", cross},
		{"benchmarks", "the module of benchmarks: vet, staticcheck, its tests, and that its documents are what the results generate", "mend benchmarks/, or run make bench-report; no time is asserted there", benchmarks},
		{"monitoring", "dashboards, rules and alerts: what they are made of, and what a Prometheus that scrapes a cluster answers (after servers)", "run make dashboards if they have drifted; else see which panel, rule or metric is named", monitoring},
		{"engine", "a Docker engine, with compose and buildx", "start Docker, or run as root on Debian; see what the message says", engine},
		{"image", "the nodes' image, of docker-native/Dockerfile", "see what docker build says", image},
		{"docker", "a cluster of containers: it comes up, grows, shrinks and loses a node under load", "see what the test says; the containers' last words are with it", cluster},
		{"emulator", "an emulator of AWS with real containers: deploy, test, scale, break and destroy, by the scripts of localstack-setup", "see what the test says; make step STEP=emulator runs it alone", emulator},
		{"servers", "real servers for the integration tests", "see what scripts/test-servers says", servers},
		{"fuzz", "each fuzz target for a moment, from new inputs", "the failing input is in the package's testdata/fuzz: keep it with the mended code", fuzz},
		{"decoders", "the fuzz targets that read what comes from the network, 60 s each", "the failing input is in the package's testdata/fuzz: keep it with the mended code", fuzzDecoders},
		{"race", "all tests, with the race detector, in random order", "mend what fails, or give a test that skips what it needs; -shuffle=N with the number printed repeats an order", race},
		{"sockets", "the tests of all that talks over the network, built as for users: with the race detector it reads and writes in another way", "mend what fails; -shuffle=N with the number printed repeats an order", sockets},
		{"chaos", "a cluster under load while its nodes, network, registry and source break", "see which bound of the table is over; -run=TestChaos/NAME in e2e, with -tags=chaos, is one scenario alone", chaos},
		{"chaos-full", "the same, for a minute or so each", "see which bound of the table is over", chaosFull},
		{"unit", "all tests that need only Go", "mend what fails; -shuffle=N with the number printed repeats an order", unit},
	}
}

func install(ctx context.Context, w *workspace) error {
	return w.do(ctx, ".", w.path("scripts/install-deps"))
}

func buildTools(ctx context.Context, w *workspace) error {
	return w.do(ctx, "tools", "go", "build", "-o", "../bin/", "tool")
}

func format(ctx context.Context, w *workspace) error {
	files, err := w.files(func(p string) bool { return path.Ext(p) == ".go" })
	if err != nil || len(files) == 0 {
		return err
	}
	out, err := w.output(ctx, ".", "gofmt", append([]string{"-l"}, files...)...)
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("not formatted as gofmt does:\n%s", out)
	}
	return nil
}

func modules(ctx context.Context, w *workspace) error {
	dirs, err := moduleDirs(w)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := w.do(ctx, dir, "go", "mod", "tidy", "-diff"); err != nil {
			return fmt.Errorf("%s/go.mod: %w", dir, err)
		}
	}
	return w.do(ctx, ".", "go", "mod", "verify")
}

// moduleDirs returns the directories that hold a go.mod.
func moduleDirs(w *workspace) ([]string, error) {
	files, err := w.files(func(p string) bool { return path.Base(p) == "go.mod" })
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = path.Dir(f)
	}
	return files, nil
}

func vet(ctx context.Context, w *workspace) error {
	if err := w.do(ctx, ".", "go", "vet", "./..."); err != nil {
		return err
	}
	return w.do(ctx, ".", "go", "vet", "-tags=chaos,docker", "./e2e")
}

func staticcheck(ctx context.Context, w *workspace) error {
	if err := w.do(ctx, ".", "staticcheck", "./..."); err != nil {
		return err
	}
	return w.do(ctx, ".", "staticcheck", "-tags=chaos,docker", "./e2e")
}

func workflows(ctx context.Context, w *workspace) error {
	return w.do(ctx, ".", "actionlint", "-color")
}

func scripts(ctx context.Context, w *workspace) error {
	files, err := w.files(isShell(w))
	if err != nil || len(files) == 0 {
		return err
	}
	return w.do(ctx, ".", "shellcheck", append([]string{"--severity=style", "-x"}, files...)...)
}

// dockerfiles runs hadolint, which has shellcheck for what is in RUN.
func dockerfiles(ctx context.Context, w *workspace) error {
	files, err := w.files(func(p string) bool { return path.Base(p) == "Dockerfile" })
	if err != nil || len(files) == 0 {
		return err
	}
	return w.do(ctx, ".", "hadolint", append([]string{"--failure-threshold=style"}, files...)...)
}

// cross builds everything for systems that the machine is not, as releases are built.
// The program for linux/arm64 is built with the image.
func cross(ctx context.Context, w *workspace) error {
	for _, target := range []string{"darwin/arm64", "windows/amd64"} {
		goos, goarch, _ := strings.Cut(target, "/")
		env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch}
		if err := w.doEnv(ctx, ".", env, "go", "build", "-trimpath", "./..."); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return nil
}

func runner(ctx context.Context, w *workspace) error {
	if err := w.do(ctx, "tools", "go", "vet", "./..."); err != nil {
		return err
	}
	return w.do(ctx, "tools", "go", "test", "-shuffle=on", "-timeout=20m", "./...")
}

// benchmarks checks the module that measures: its tests run every suite with tiny
// sizes.
func benchmarks(ctx context.Context, w *workspace) error {
	for _, args := range [][]string{{"go", "vet", "./..."}, {"staticcheck", "./..."}, {"go", "test", "-shuffle=on", "./..."}} {
		if err := w.do(ctx, "benchmarks", args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// monitoring checks the module of the dashboards, whose tests run a Prometheus.
func monitoring(ctx context.Context, w *workspace) error {
	for _, args := range [][]string{{"go", "vet", "./..."}, {"staticcheck", "./..."}, {"go", "test", "-count=1", "-timeout=10m", "./..."}} {
		if err := w.do(ctx, "tools/monitoring", args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

func unit(ctx context.Context, w *workspace) error {
	return w.do(ctx, ".", "go", "test", "-shuffle=on", "./...")
}
