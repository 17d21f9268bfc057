//go:build docker && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// geecache env in Docker: from nothing to nothing, with a broken image between.
func TestDockerEnvironment(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	image, name := dockerImage(t), fmt.Sprintf("env-%d", os.Getpid())
	run := func(command string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), geecache, append([]string{"env", command, "docker", "--name=" + name, "--dir=.."}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	up := func(image string, args ...string) (string, error) {
		return run("up", append(args, "--image="+image, fmt.Sprintf("--api=%d", port), "--nodes=2", "--json")...)
	}
	must := func(out string, err error) emulated {
		t.Helper()
		return decode(t, out, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = exec.Command(geecache, "env", "down", "docker", "--name="+name, "--dir=..").Run()
		}
	})
	first := must(up(image))
	first.agreed(t, 2)
	again := must(up(image))
	if again.agreed(t, 2); len(again.Changed) != 0 || !slices.Equal(first.ids(), again.ids()) {
		t.Errorf("the second time changed %v; the members were %v and are %v", again.Changed, first.ids(), again.ids())
	}
	must(run("scale", "3", "--json")).agreed(t, 3)
	if out, err := run("check"); err != nil || strings.Count(out, "ok  ") != 9 {
		t.Errorf("check: %v\n%s", err, out)
	}
	broken := layered(t, name+":broken", image, `ENTRYPOINT ["/geecache", "--no-such-flag"]`)
	out, err := up(broken, "--timeout=60s")
	for _, want := range []string{"exit status 2", "its last lines:", "unknown flag --no-such-flag"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("a broken image: %v, and not %q in it:\n%s", err, want, out)
		}
	}
	for range 2 {
		if out, err := run("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	}
	r := judge(t, "docker", nil, "--image="+image, fmt.Sprintf("--api=%d", port))
	r.samples(t, "lookup/dns", 200)
	r.samples(t, "lookup/gossip", 200)
	r.samples(t, "join/total", 1)
	r.samples(t, "node-to-node", 200)
	r.samples(t, "client-to-api", 200)
	r.count(t, "reported", 2)
	r.count(t, "answering", 2)
	r.count(t, "broken/reported", 3) // one was started beside, whom nobody reaches
	r.count(t, "broken/answering", 2)
	r.count(t, "nodes-found", 2)
	r.count(t, "api-found", 1)
	for _, kind := range []string{"container", "network", "volume"} {
		args := []string{kind, "ls", "--quiet", "--filter=label=com.docker.compose.project=" + name}
		if kind == "container" {
			args = append(args, "--all")
		}
		if left := docker(t, args...); left != "" {
			t.Errorf("%ss are left: %s", kind, left)
		}
	}
}
