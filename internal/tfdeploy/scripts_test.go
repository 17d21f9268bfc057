//go:build unix

package tfdeploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs one of the scripts with programs of its own on the path, and returns
// what it says and whether it has failed.
func script(t *testing.T, name string, programs map[string]string, args ...string) (said string, failed bool) {
	t.Helper()
	bin := t.TempDir()
	for program, text := range programs {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", append([]string{"../../aws-terraform/" + name}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

func TestScriptsTellInPlainWordsWhatIsWrongWithCredentials(t *testing.T) {
	const unreached = "echo reached >&2; exit 3"
	for said, want := range map[string]string{
		"An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security token included in the request is expired": "the credentials have expired",
		"Unable to locate credentials. You can configure credentials by running \\\"aws configure\\\".":                                        "there are no credentials",
		"An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation":                                                "does not know these credentials",
		"Could not connect to the endpoint URL": "Could not connect to the endpoint URL",
	} {
		aws := `case "$*" in "sts get-caller-identity"*) echo "` + said + `" >&2; exit 254;; esac; ` + unreached
		programs := map[string]string{"aws": aws, "terraform": unreached, "docker": unreached}
		for _, name := range []string{"deploy.sh", "benchmark.sh", "fix-and-deploy.sh", "destroy.sh"} {
			got, failed := script(t, name, programs)
			if !failed || !strings.Contains(got, want) || strings.Contains(got, "reached\n") {
				t.Errorf("%s: %q, want %q before anything else", name, got, want)
			}
		}
	}
}

func TestScriptsRefuseWhatTheyDoNotKnow(t *testing.T) {
	for name, args := range map[string][]string{
		"deploy.sh": {"--destroy-after", "soon"}, "destroy.sh": {"--after", "4 h"}, "benchmark.sh": {"--fast"},
	} {
		if got, failed := script(t, name, nil, args...); !failed || !strings.Contains(got, name+": ") {
			t.Errorf("%s %v: %q", name, args, got)
		}
	}
}
