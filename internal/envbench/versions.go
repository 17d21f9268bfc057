package envbench

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
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
	if c.emulated {
		v := dockerVersions(ctx)
		v["emulator"] = emulatorAt(ctx, c.Endpoint)
		return v
	}
	v := map[string]string{"region": c.Region}
	if other := notAWS(c.Endpoint); other != "" { // what is found there must not pass for AWS
		v["emulator"] = emulatorAt(ctx, other)
	}
	return v
}

// notAWS returns an address, of those to which the SDK's calls go, that is none of AWS's.
// Empty: there is none.
func notAWS(endpoint string) string {
	all := []string{endpoint}
	for _, variable := range os.Environ() { // also those of one service
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			all = append(all, value)
		}
	}
	for _, address := range all {
		u, err := url.Parse(address)
		if address != "" && (err != nil || !strings.HasSuffix(u.Hostname(), ".amazonaws.com") && !strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn") && !strings.HasSuffix(u.Hostname(), ".api.aws")) {
			return address
		}
	}
	return ""
}

// emulatorAt returns what an emulator says that it is, or where it is.
func emulatorAt(ctx context.Context, endpoint string) string {
	p := newProber("", true)
	defer p.close()
	var health struct{ Edition, Version string }
	body, err := p.getPlain(ctx, strings.TrimSuffix(strings.TrimPrefix(endpoint, "http://"), "/"), "/_localstack/health")
	if err == nil && json.Unmarshal(body, &health) == nil && health.Version != "" {
		return strings.TrimSpace(health.Edition + " " + health.Version)
	}
	return "of an unknown version at " + endpoint
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
