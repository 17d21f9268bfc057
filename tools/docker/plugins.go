//go:build unix

package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pluginsModule pins the client's plugins.
const pluginsModule = "tools/docker/plugins"

// Plugins sees to it that `docker compose` and `docker buildx` work: what is missing
// is built, once, into the directory where the client looks for a user's plugins.
func (e *Engine) Plugins(ctx context.Context) error {
	for _, p := range []struct{ name, module, pkg, version string }{
		{"compose", "github.com/docker/compose/v2", "cmd", "internal.Version"},
		{"buildx", "github.com/docker/buildx", "cmd/buildx", "version.Version"},
	} {
		if version, err := e.Output(ctx, p.name, "version"); err == nil {
			e.say("%s", strings.TrimSpace(version))
			continue
		}
		release, err := e.output(ctx, nil, pluginsModule, "go", "list", "-m", "-f={{.Version}}", p.module)
		if err != nil {
			return err
		}
		dir, err := e.pluginDir()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "docker-"+p.name)
		e.say("docker %s is missing: building it into %s (about 90 s)", p.name, file)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := e.output(ctx, nil, pluginsModule, "go", "build", "-trimpath",
			"-ldflags=-s -w -X "+p.module+"/"+p.version+"="+strings.TrimSpace(release), "-o", file, p.module+"/"+p.pkg); err != nil {
			return err
		}
		if _, err := e.Output(ctx, p.name, "version"); err != nil {
			return fmt.Errorf("%s is built, and the client does not find it: %w", file, err)
		}
	}
	return nil
}

func (e *Engine) pluginDir() (string, error) {
	config := lookup(e.env, "DOCKER_CONFIG")
	if config == "" {
		home := lookup(e.env, "HOME")
		if home == "" {
			return "", fmt.Errorf("HOME and DOCKER_CONFIG are not set: set one, for the client's plugins")
		}
		config = filepath.Join(home, ".docker")
	}
	return filepath.Join(config, "cli-plugins"), nil
}
