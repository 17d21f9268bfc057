package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The file of variables is where the caller says, wherever the scripts are.
func TestVariablesAreBesideTheCaller(t *testing.T) {
	text, err := os.ReadFile("../../deployment.sh")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	scripts, caller := filepath.Join(root, "aws-terraform"), filepath.Join(root, "work")
	for name, text := range map[string]string{
		filepath.Join(scripts, "deployment.sh"): string(text), filepath.Join(scripts, "x.tfvars"): "",
		filepath.Join(caller, "x.tfvars"): "", filepath.Join(caller, "sub", "y.tfvars"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"x.tfvars": filepath.Join(caller, "x.tfvars"), "sub/y.tfvars": filepath.Join(caller, "sub", "y.tfvars"),
		"../aws-terraform/x.tfvars": filepath.Join(scripts, "x.tfvars"), filepath.Join(scripts, "x.tfvars"): filepath.Join(scripts, "x.tfvars"),
		"none.tfvars": "",
	} {
		cmd := exec.Command("bash", "-c", `. ../aws-terraform/deployment.sh; use_vars "$1"; printf %s "$vars"`, "deploy.sh", file)
		cmd.Dir = caller
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if want == "" {
			if none := filepath.Join(caller, file); err == nil || !strings.Contains(said.String(), "there is no file "+none) {
				t.Errorf("%s: %v, %s; want an error that names %s", file, err, &said, none)
			}
			continue
		}
		remembered, _ := os.ReadFile(filepath.Join(scripts, ".last-vars"))
		if err != nil || string(out) != want || string(remembered) != want+"\n" {
			t.Errorf("%s: %q, remembered %q, want %q (%v: %s)", file, out, remembered, want, err, &said)
		}
	}
}
