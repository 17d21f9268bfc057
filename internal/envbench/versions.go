package envbench

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
)

// Versions implements Versioner: processes need nothing but the system.
func (l *local) Versions(context.Context) map[string]string {
	return map[string]string{"go": runtime.Version()}
}

// Versions implements Versioner.
func (c *composed) Versions(ctx context.Context) map[string]string { return dockerVersions(ctx) }

// Versions implements Versioner.
func (c *cloud) Versions(ctx context.Context) map[string]string {
	if !c.emulated {
		return map[string]string{"region": c.Region}
	}
	v := dockerVersions(ctx)
	p := newProber("", true)
	defer p.close()
	var health struct{ Edition, Version string }
	body, err := p.getPlain(ctx, strings.TrimPrefix(c.Endpoint, "http://"), "/_localstack/health")
	if err == nil && json.Unmarshal(body, &health) == nil {
		v["emulator"] = strings.TrimSpace(health.Edition + " " + health.Version)
	}
	return v
}

// dockerVersions returns those of the engine and of Compose, as far as they are told.
func dockerVersions(ctx context.Context) map[string]string {
	v := make(map[string]string)
	if text, err := docker(ctx, nil, "version", "--format", "{{.Server.Version}}"); err == nil {
		v["docker"] = text
	}
	if text, err := docker(ctx, nil, "compose", "version", "--short"); err == nil {
		v["compose"] = text
	}
	return v
}
