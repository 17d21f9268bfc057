//go:build docker && linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// What an emulator does is tried thing by thing, and nothing of that is left. What the trials
// make of a behaviour is checked where it is known: that of containers is Docker's.
func TestEmulatorFidelity(t *testing.T) {
	e := newEmulator(t)
	file := filepath.Join(t.TempDir(), "emulator.json")
	if out, err := e.run(t.Context(), geecache, "env", "bench", "emulator", "--only=fidelity", "--times=1", "--endpoint="+e.endpoint, "--image="+e.image, "-o", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Tests []struct {
			Facts []struct{ Name, Verdict, Evidence string }
		}
	}
	if err := json.Unmarshal(text, &r); err != nil || len(r.Tests) != 1 {
		t.Fatalf("%v in %s", err, text)
	}
	want := map[string]string{
		"ecs:CreateService": "done", "task ceiling: 12 tasks": "done", "rolling update": "done", "circuit breaker rolls back": "done",
		"a process that died is replaced": "done", "secrets reach processes": "done", "metadata endpoint V4": "done",
		"permissions are enforced": "accepted but not done", "memory limit": "accepted but not done", "service registries fill Cloud Map": "accepted but not done",
		"stop timeout": "accepted but not done", "health checks of targets": "accepted but not done",
		"application-autoscaling:RegisterScalableTarget": "refused",
	}
	for _, f := range r.Tests[0].Facts {
		t.Logf("%s: %s: %s", f.Name, f.Verdict, f.Evidence)
		if verdict, known := want[f.Name]; known && f.Verdict != verdict {
			t.Errorf("%s is %s: %s; want %s", f.Name, f.Verdict, f.Evidence, verdict)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("not tried at all: %v", want)
	}
	e.nothingLeft(t)
}
