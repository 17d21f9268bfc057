//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	terraformDir = "aws-terraform"
	// The oldest that is supported; where a machine has another, that is used.
	terraformModule = "github.com/hashicorp/terraform@v1.5.7"
	checkovVersion  = "3.3.30"
)

// terraformSets are the sets of variables that must plan and apply.
func terraformSets() []string { return []string{"default", "minimal", "learner_lab", "production"} }

// terraform checks the deployment to AWS: its form, its rules, and, with a checker
// that stands in for the provider, what becomes of it when it is applied.
func terraform(ctx context.Context, w *workspace) error {
	program, err := findTerraform(ctx, w)
	if err != nil {
		return err
	}
	if err := w.do(ctx, ".", program, "fmt", "-check", "-recursive", "-diff", terraformDir); err != nil {
		return fmt.Errorf("not formatted (terraform fmt -recursive %s): %w", terraformDir, err)
	}
	if source := os.Getenv("GEECACHE_TFCHECK"); source != "" {
		err = applied(ctx, w, program, source)
	} else {
		err = validated(ctx, w, program)
	}
	if err != nil {
		return err
	}
	return checkov(ctx, w)
}

// findTerraform returns the machine's terraform, or builds one.
func findTerraform(ctx context.Context, w *workspace) (string, error) {
	if own := w.path("bin/terraform"); isFile(own) {
		return own, nil
	}
	if found, err := exec.LookPath("terraform"); err == nil {
		return found, nil
	}
	fmt.Fprintln(w.out, "there is no terraform: it is built, which takes some minutes")
	err := w.doEnv(ctx, ".", []string{"GOBIN=" + w.path("bin"), "GOFLAGS=-mod=mod"}, "go", "install", terraformModule)
	return w.path("bin/terraform"), err
}

// unreachable is what terraform says when it cannot get the provider.
var unreachable = regexp.MustCompile(`(?s)could not connect to|no such host|failed to request discovery|connection refused|[Cc]ould not retrieve the list of available\s+versions`)

// validated checks names and types against the provider itself. One that cannot be
// reached is not a finding, but must not look like a clean run either.
func validated(ctx context.Context, w *workspace, program string) error {
	dir, err := os.MkdirTemp("", "geecache-terraform-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(filepath.Join(dir, terraformDir), os.DirFS(w.path(terraformDir))); err != nil {
		return err
	}
	chdir := "-chdir=" + filepath.Join(dir, terraformDir)
	var said bytes.Buffer
	cmd := w.command(ctx, ".", program, chdir, "init", "-backend=false", "-input=false", "-no-color")
	w.announce(".", nil, program, cmd.Args[1:])
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if unreachable.MatchString(said.String()) {
			fmt.Fprintln(w.out, "NOT CHECKED against the provider: it cannot be had here, and GEECACHE_TFCHECK names no checker that stands in for it")
			return nil
		}
		return fmt.Errorf("terraform init: %w\n%s", err, said.String())
	}
	if err := w.do(ctx, ".", program, chdir, "validate", "-no-color"); err != nil {
		return err
	}
	fmt.Fprintln(w.out, "NOT CHECKED by plan and apply: GEECACHE_TFCHECK names no checker that stands in for AWS")
	return nil
}

// applied plans, applies, plans again and destroys each set of variables with the
// checker, and looks at what has been made.
func applied(ctx context.Context, w *workspace, program, source string) error {
	checker := w.path("bin/tfcheck")
	if err := w.do(ctx, ".", "go", "build", "-C", source, "-o", checker, "."); err != nil {
		return err
	}
	for _, set := range terraformSets() {
		if err := w.do(ctx, ".", checker, "-terraform", program, "-plan", "-apply", "-var-file="+variables(w, set), terraformDir); err != nil {
			return fmt.Errorf("the variables %s: %w", set, err)
		}
	}
	said, err := w.output(ctx, ".", checker, "-terraform", program, "-keep", terraformDir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	dir, err := keptCopy(said)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(dir)) }()
	env := []string{"TF_CLI_CONFIG_FILE=" + filepath.Join(filepath.Dir(dir), "terraform.rc"), "TF_IN_AUTOMATION=1"}
	for _, set := range terraformSets() {
		if err := checkState(ctx, w, program, dir, set, env); err != nil {
			return fmt.Errorf("the variables %s: %w", set, err)
		}
	}
	return importable(ctx, w, program, dir, env)
}

// importable finds out whether a resource can be adopted without a state: then each
// key of a for_each must be known before AWS is asked anything. The checker's provider
// imports nothing, and says so when it is asked to.
func importable(ctx context.Context, w *workspace, program, dir string, env []string) error {
	cmd := w.command(ctx, ".", program, "-chdir="+dir, "import", "-input=false", "-no-color", "-state="+filepath.Join(dir, "none.tfstate"),
		"-var-file="+variables(w, "production"), `module.network.aws_subnet.private["a"]`, "subnet-0123456789abcdef0")
	cmd.Env = append(cmd.Env, env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err == nil || !strings.Contains(said.String(), "Import is not served") {
		return fmt.Errorf("terraform import does not get as far as the provider (%w):\n%s", err, said.String())
	}
	return nil
}

// keptCopy returns the directory that the checker says it has kept.
func keptCopy(said string) (string, error) {
	first, _, _ := strings.Cut(said, "\n")
	dir, found := strings.CutPrefix(first, "copy at ")
	if !found || !filepath.IsAbs(dir) {
		return "", fmt.Errorf("the checker does not say where its copy is, but %q", first)
	}
	return dir, nil
}

// checkState applies a set of variables in the checker's copy, and checks the state.
func checkState(ctx context.Context, w *workspace, program, dir, set string, env []string) error {
	state := filepath.Join(dir, set+".tfstate")
	apply := w.command(ctx, ".", program, "-chdir="+dir, "apply", "-auto-approve", "-input=false", "-no-color", "-state="+state, "-var-file="+variables(w, set))
	apply.Env = append(apply.Env, env...)
	var said bytes.Buffer
	apply.Stdout, apply.Stderr = &said, &said
	if err := apply.Run(); err != nil {
		return fmt.Errorf("terraform apply: %w\n%s", err, said.String())
	}
	show := w.command(ctx, ".", program, "-chdir="+dir, "show", "-json", state)
	show.Env = append(show.Env, env...)
	show.Stdout = nil
	text, err := show.Output()
	if err != nil {
		return fmt.Errorf("terraform show: %w", err)
	}
	if err := os.WriteFile(state+".json", text, 0o600); err != nil {
		return err
	}
	tfdeploy := []string{"run", "./" + terraformDir + "/cmd/tfdeploy"}
	if err := w.do(ctx, ".", "go", append(tfdeploy, "check", state+".json")...); err != nil || set != "default" {
		return err
	}
	// A state has no variables: what metrics cost is not in it.
	cost := w.command(ctx, ".", "go", append(tfdeploy, "cost", "-standard")...)
	cost.Stdin = bytes.NewReader(text)
	return cost.Run()
}

func variables(w *workspace, set string) string {
	return w.path(terraformDir + "/examples/" + set + ".tfvars")
}

// checkov runs the rules of that name. It has an environment of Python of its own.
func checkov(ctx context.Context, w *workspace) error {
	venv := w.path("bin/checkov-" + checkovVersion)
	program := filepath.Join(venv, "bin", "checkov")
	if !isFile(program) {
		if err := w.do(ctx, ".", "python3", "-m", "venv", venv); err != nil {
			return errors.Join(err, errors.New("python3 with its module venv is needed (Debian: apt-get install python3-venv)"))
		}
		if err := w.do(ctx, ".", filepath.Join(venv, "bin", "pip"), "install", "--quiet", "checkov=="+checkovVersion); err != nil {
			return err
		}
	}
	return w.do(ctx, ".", program, "--directory", terraformDir, "--framework", "terraform", "--quiet", "--compact", "--skip-download")
}
