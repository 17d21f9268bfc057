//go:build docker && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// interruptions are moments in the middle of what is measured in containers. Of the tests
// that make nothing beside the deployment one is drawn, and all of them are with
// GEECACHE_E2E_FULL=1.
func interruptions() []cut {
	alike := []cut{
		{"discovery", "lookups by each method", syscall.SIGHUP},
		{"scale", "scaling out and in, 0 of", syscall.SIGTERM},
		{"logs", "markers in the log, 0 of", syscall.SIGINT},
		{"metrics", "Metrics that arrive", syscall.SIGTERM},
		{"network", "round trips", syscall.SIGINT},
		{"recovery", "a node is killed, 0 of", syscall.SIGINT},
	}
	if os.Getenv("GEECACHE_E2E_FULL") == "" {
		i := rand.IntN(len(alike))
		alike = alike[i : i+1]
	}
	return append(alike, []cut{
		{"deploy", "deployments, 0 of", syscall.SIGINT},
		{"redeploy", "redeployments, 0 of", syscall.SIGTERM},
		{"counts", "is planted", syscall.SIGINT},
		{"cache", "stampede of 300, 0 of", syscall.SIGTERM},
		{"setup", "from a clone to the first deployment, 0 of", syscall.SIGHUP},
		{"fidelity", "CPU limit", syscall.SIGINT},
	}...)
}

// listed returns what a command of Docker's client lists.
func listed(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).Output()
	if err != nil {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

// some returns a check that a command of Docker's client lists at least n.
func some(t *testing.T, n int, args ...string) func() error {
	return func() error {
		if all := listed(t, args...); len(all) < n {
			return fmt.Errorf("there are only %v", all)
		}
		return nil
	}
}

// dockerLeft fails if Docker has anything of a project, or an image that was built for it.
func dockerLeft(t *testing.T, name string) {
	t.Helper()
	project := "label=com.docker.compose.project=" + name
	for what, args := range map[string][]string{
		"containers": {"ps", "--all", "--quiet", "--filter", project},
		"networks":   {"network", "ls", "--quiet", "--filter", project},
		"volumes":    {"volume", "ls", "--quiet", "--filter", project},
		"images":     {"image", "ls", "--quiet", "geecache-" + name},
	} {
		if left := listed(t, args...); len(left) > 0 {
			t.Errorf("%s are left: %v", what, left)
		}
	}
}

// A measurement of Docker that is interrupted leaves no container, network, volume or image.
func TestDockerBenchInterrupted(t *testing.T) {
	image := dockerImage(t)
	api := freeAddr(t)
	for _, c := range interruptions() {
		t.Run(c.id, func(t *testing.T) {
			b := newBenchRun(t, "GEECACHE_BUILD_NETWORK=host")
			begun := some(t, 1, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=e2e-bench")
			if c.id == "setup" {
				begun = b.some(t, 2)
			}
			b.interrupt(t, "docker", c, begun, "--name=e2e-bench", "--image="+image, "--api="+api[strings.LastIndexByte(api, ':')+1:])
			b.nothingLeft(t)
			dockerLeft(t, "e2e-bench")
		})
	}
}

// What one that was killed leaves, the next one removes before it begins.
func TestDockerBenchKilled(t *testing.T) {
	image := dockerImage(t)
	api := freeAddr(t)
	b := newBenchRun(t)
	args := []string{"--name=e2e-bench", "--image=" + image, "--api=" + api[strings.LastIndexByte(api, ':')+1:]}
	b.kill(t, "docker", cut{id: "counts", moment: "is planted"}, some(t, 4, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=e2e-bench"), args...)
	b.afterwards(t, append([]string{"env", "bench", "docker", "--only=cost"}, args...)...)
	b.nothingLeft(t)
	dockerLeft(t, "e2e-bench")
}

// nothingOfBench fails if an emulator, or Docker beside it, has anything of a measurement.
func (e *emulator) nothingOfBench(t *testing.T) {
	t.Helper()
	project := strings.TrimPrefix(e.env[1], "EMULATOR_PROJECT=")
	e.nothingLeft(t)
	if left := listed(t, "ps", "--all", "--quiet", "--filter", "network="+project); len(left) != 1 {
		t.Errorf("on the emulator's network are %v: want the emulator alone", left)
	}
	for _, repository := range []string{"geecache-e2e", strings.TrimPrefix(e.endpoint, "http://") + "/e2e"} {
		if left := listed(t, "image", "ls", "--quiet", repository); len(left) > 0 {
			t.Errorf("images of %s are left: %v", repository, left)
		}
	}
}

// The same in an emulator of AWS: nothing that its APIs know of is left, and no container.
func TestEmulatorBenchInterrupted(t *testing.T) {
	e := newEmulator(t)
	project := strings.TrimPrefix(e.env[1], "EMULATOR_PROJECT=")
	for _, c := range interruptions() {
		t.Run(c.id, func(t *testing.T) {
			b := newBenchRun(t, "GEECACHE_BUILD_NETWORK=host")
			begun := some(t, 2, "ps", "--all", "--quiet", "--filter", "network="+project)
			if c.id == "setup" {
				begun = b.some(t, 2)
			}
			b.interrupt(t, "emulator", c, begun, "--name=e2e", "--image="+e.image, "--endpoint="+e.endpoint)
			b.nothingLeft(t)
			e.nothingOfBench(t)
		})
	}
}

// What trials have made beside a deployment is removed with what else a killed measurement
// leaves.
func TestEmulatorBenchKilled(t *testing.T) {
	e := newEmulator(t)
	project := strings.TrimPrefix(e.env[1], "EMULATOR_PROJECT=")
	b := newBenchRun(t)
	b.kill(t, "emulator", cut{id: "fidelity", moment: "ecs:CreateService:"}, some(t, 6, "ps", "--all", "--quiet", "--filter", "network="+project), "--name=e2e", "--image="+e.image, "--endpoint="+e.endpoint)
	b.afterwards(t, "env", "down", "emulator", "--name=e2e", "--endpoint="+e.endpoint)
	b.nothingLeft(t)
	e.nothingOfBench(t)
}
