package judge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

func setupTest() test {
	return test{
		id: "setup", title: "Effort to set it up",
		method: "Counted: the programs and accounts that DEPLOYMENT.md asks for, the commands that it gives from a clone to an answer, and the resources " +
			"that a deployment from nothing has made. What documents say is counted once, for it is the same each time. Timed: git clone, building anew with another version, " +
			"and the deployment, with Go's modules, its build cache, base images and an emulator at hand, as after the first time. Whether it works without a network is tried as " +
			"often where it can be tried; where it is concluded from how it is deployed, once.",
		run: setup,
	}
}

// A guide is what DEPLOYMENT.md, or README.md, asks of whoever deploys.
type guide struct {
	needs, commands []string
}

// guides returns the guide of each environment. A test holds them against the documents.
func guides() map[string]guide {
	return map[string]guide{
		envbench.Local: {
			needs:    []string{"Go"},
			commands: []string{"go run . cluster"},
		},
		envbench.Docker: {
			needs:    []string{"Docker", "Compose"},
			commands: []string{"cd docker-native", "docker compose up --wait"},
		},
		envbench.Emulator: {
			needs: []string{"Linux", "Docker", "Compose", "Go"},
			commands: []string{
				"docker build -f docker-native/Dockerfile -t geecache .",
				"docker compose -f localstack-setup/docker-compose.yml up --wait",
				"localstack-setup/deploy.sh",
			},
		},
		envbench.AWS: {
			needs:    []string{"Terraform", "AWS CLI", "Docker", "Go", "git", "Credentials"},
			commands: []string{"cd aws-terraform", "./deploy.sh --vars examples/default.tfvars"},
		},
	}
}

// setup counts and times what it takes to begin.
func setup(ctx context.Context, s *session, t *result.Test) error {
	g := guides()[s.Environment]
	t.AddCount("prerequisites", len(g.needs)).Note = strings.Join(g.needs, ", ")
	t.AddCount("commands", len(g.commands)).Note = strings.Join(g.commands, "; ")
	if s.Environment == envbench.AWS {
		t.Facts = append(t.Facts, s.offline(ctx))
		return nil // Terraform has made it, and would have to make it again
	}
	// First: what is tried without a network listens on the same ports.
	if err := s.driver.Down(ctx, s.Deployment.Name); err != nil {
		return err
	}
	first := s.offline(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	rounds := [][]result.Fact{{first}}
	t.Facts = merged(rounds)
	return s.repeat(ctx, "from a clone to the first deployment", func(ctx context.Context, count bool) error {
		took, resources, err := s.fromClone(ctx)
		if err != nil || !count {
			return err
		}
		t.Add("from-clone", "s", took.Seconds()).Warmups = 1
		t.AddCount("resources", resources)
		if s.Environment == envbench.Local && len(t.Find("from-clone").Samples) > 1 { // the first was tried before
			again := s.offline(ctx)
			if err := ctx.Err(); err != nil {
				return err
			}
			rounds = append(rounds, []result.Fact{again})
			t.Facts = merged(rounds)
		}
		return nil
	})
}

// fromClone clones the project's folder, builds what is there with a version of its own,
// deploys that, and removes all of it. It returns how long the first three took.
func (s *session) fromClone(ctx context.Context) (took time.Duration, resources int, err error) {
	parent, err := envbench.TempDir("clone")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = os.RemoveAll(parent) }()
	begun := time.Now()
	dir := filepath.Join(parent, "geecache")
	out, err := envbench.NewCommand(ctx, "git", "clone", "--quiet", "--no-local", s.Options.Dir, dir).CombinedOutput()
	if ctx.Err() != nil {
		return 0, 0, err
	}
	if err != nil {
		return 0, 0, &envbench.Unsupported{What: "a fresh clone", Evidence: fmt.Sprintf("git clone %s: %v: %s", s.Options.Dir, err, strings.TrimSpace(string(out)))}
	}
	o := s.Options
	o.Dir = dir
	driver, err := s.open(s.Environment, o)
	if err != nil {
		return 0, 0, err
	}
	rebuilder, ok := driver.(envbench.Rebuilder)
	if !ok {
		return 0, 0, &envbench.Unsupported{What: "building in a fresh clone", Evidence: "the driver builds nothing"}
	}
	d, _, err := rebuilder.Rebuild(ctx, s.Deployment, fmt.Sprintf("clone-%d", begun.UnixNano()))
	if err == nil {
		var status *envbench.Status
		if status, err = driver.Up(ctx, d); err == nil {
			took, resources = time.Since(begun), len(status.Changed)
		}
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	if e := driver.Down(clean, s.Deployment.Name); err == nil {
		err = e
	}
	if e := rebuilder.Clean(clean); err == nil {
		err = e
	}
	return took, resources, err
}

// offlineName returns what a cluster in a network of its own is called.
func offlineName(name string) string {
	const most, suffix = 20, "-off"
	return name[:min(len(name), most-len(suffix))] + suffix
}

// offlineScript deploys a cluster, checks it, and removes it, whatever it is interrupted in.
const offlineScript = `trap : INT TERM HUP; ip link set lo up && "$0" env up local --name "$1" --nodes 2 && "$0" env check local --name "$1"; s=$?; "$0" env down local --name "$1"; exit $s`

// ports returns the variables that give a cluster the ports of the deployment.
func (s *session) ports() (env []string) {
	if p := s.Deployment.Port; p != 0 {
		env = append(env, fmt.Sprintf("GEECACHE_ENV_PORT=%d", p))
	}
	if p := s.Deployment.APIPort; p != 0 {
		env = append(env, fmt.Sprintf("GEECACHE_ENV_API=%d", p))
	}
	return env
}

// offline finds out whether the environment works without a network.
func (s *session) offline(ctx context.Context) result.Fact {
	f := result.Fact{Name: "works without a network", Verdict: result.Unknown}
	switch s.Environment {
	case envbench.Local:
		program := s.Options.Program
		if program == "" {
			program, _ = os.Executable() // without it the command fails, and says so
		}
		cmd := envbench.NewCommand(ctx, "unshare", "--user", "--map-root-user", "--net", "sh", "-c", offlineScript, program, offlineName(s.Deployment.Name))
		cmd.Env = append(os.Environ(), s.ports()...) // a cluster in another network namespace has the same door, a file called after its port
		out, err := cmd.CombinedOutput()
		if err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			f.Evidence = fmt.Sprintf("a cluster in a network namespace of its own: %v: %s", err, lines[len(lines)-1])
			return f
		}
		f.Verdict, f.Evidence = result.Done, "a cluster of two nodes was deployed and checked in a network namespace that has nothing but loopback"
	case envbench.Docker:
		f.Verdict = result.Done
		f.Evidence = "once the image is there: Compose is told to pull and to build nothing, and all addresses are of this machine's networks; building it asks for Go's modules and base images"
	case envbench.Emulator:
		f.Evidence = "the emulator answers at " + s.Options.Endpoint + ": whether it asks for something itself was not tried"
		if host := strings.TrimPrefix(s.Options.Endpoint, "http://"); strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "localhost") {
			f.Verdict = result.Done
			f.Evidence = "once the images are there: the image is pushed to " + host + ", and every call goes there; an emulator that asks for a licence asks over the network"
		}
	case envbench.AWS:
		f.Verdict, f.Evidence = result.Refused, "AWS is reached over the network"
	}
	return f
}
