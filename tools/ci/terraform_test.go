//go:build unix

package main

import (
	"os"
	"testing"
)

func TestTerraformSetsAreThere(t *testing.T) {
	w := newWorkspace("../..", os.Stdout)
	for _, set := range terraformSets() {
		if !isFile(variables(w, set)) {
			t.Errorf("there is no %s", variables(w, set))
		}
	}
	files, err := os.ReadDir(w.path(terraformDir + "/examples"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(terraformSets()) {
		t.Errorf("%d examples, and %d sets that are checked", len(files), len(terraformSets()))
	}
}

func TestKeptCopy(t *testing.T) {
	if dir, err := keptCopy("copy at /tmp/x/copy\ninit ok\n"); err != nil || dir != "/tmp/x/copy" {
		t.Errorf("%q, %v", dir, err)
	}
	for _, said := range []string{"", "init FAILED\n", "copy at x\n"} {
		if _, err := keptCopy(said); err == nil {
			t.Errorf("%q: no error", said)
		}
	}
}

func TestUnreachableIsNoFinding(t *testing.T) {
	for said, want := range map[string]bool{
		"Error: Failed to query available provider packages\n\nCould not retrieve the list of available versions for provider\nhashicorp/aws: could not connect to": true,
		"Error: Unsupported argument": false,
	} {
		if unreachable.MatchString(said) != want {
			t.Errorf("%q: want %v", said, want)
		}
	}
}
