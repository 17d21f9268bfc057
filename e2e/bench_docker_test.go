//go:build docker && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// interruptions are moments in the middle of what is measured in containers.
func interruptions() []struct {
	id, moment string
	sig        os.Signal
} {
	return []struct {
		id, moment string
		sig        os.Signal
	}{
		{"deploy", "deployments, 0 of", os.Interrupt},
		{"redeploy", "redeployments, 0 of", syscall.SIGTERM},
		{"counts", "is planted", os.Interrupt},
		{"scale", "scaling out and in, 0 of", syscall.SIGTERM},
		{"recovery", "a node is killed, 0 of", os.Interrupt},
	}
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

// A measurement of Docker that is interrupted leaves no container, network, volume or image.
func TestDockerBenchInterrupted(t *testing.T) {
	image := dockerImage(t)
	api := freeAddr(t)
	for _, tt := range interruptions() {
		t.Run(tt.id, func(t *testing.T) {
			b := newBenchRun(t, "GEECACHE_BUILD_NETWORK=host")
			b.interrupt(t, "docker", tt.id, tt.moment, tt.sig, some(t, 1, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=e2e-bench"), "--name=e2e-bench", "--image="+image, "--api="+api[strings.LastIndexByte(api, ':')+1:])
			b.nothingLeft(t)
			const project = "label=com.docker.compose.project=e2e-bench"
			for what, args := range map[string][]string{
				"containers": {"ps", "--all", "--quiet", "--filter", project},
				"networks":   {"network", "ls", "--quiet", "--filter", project},
				"volumes":    {"volume", "ls", "--quiet", "--filter", project},
				"images":     {"image", "ls", "--quiet", "geecache-e2e-bench"},
			} {
				if left := listed(t, args...); len(left) > 0 {
					t.Errorf("%s are left: %v", what, left)
				}
			}
		})
	}
}

// The same in an emulator of AWS: nothing that its APIs know of is left, and no container.
func TestEmulatorBenchInterrupted(t *testing.T) {
	e := newEmulator(t)
	project := strings.TrimPrefix(e.env[1], "EMULATOR_PROJECT=")
	for _, tt := range interruptions() {
		t.Run(tt.id, func(t *testing.T) {
			b := newBenchRun(t, "GEECACHE_BUILD_NETWORK=host")
			b.interrupt(t, "emulator", tt.id, tt.moment, tt.sig, some(t, 2, "ps", "--all", "--quiet", "--filter", "network="+project), "--name=e2e", "--image="+e.image, "--endpoint="+e.endpoint)
			b.nothingLeft(t)
			e.nothingLeft(t)
			if left := listed(t, "ps", "--all", "--quiet", "--filter", "network="+project); len(left) != 1 {
				t.Errorf("on the emulator's network are %v: want the emulator alone", left)
			}
			if left := listed(t, "image", "ls", "--quiet", "geecache-e2e"); len(left) > 0 {
				t.Errorf("images are left: %v", left)
			}
		})
	}
}
