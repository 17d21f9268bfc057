//go:build docker && linux

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestDockerComposeFile: the file is one for each set of profiles and each file of an
// environment, and nothing in it may do more than it needs.
func TestDockerComposeFile(t *testing.T) {
	for name, args := range map[string][]string{
		"without":    nil,
		"monitoring": {"--profile=monitoring"},
		"etcd":       {"--env-file=../docker-native/etcd.env"},
		"postgres":   {"--env-file=../docker-native/postgres.env"},
		"all":        {"--profile=*"},
	} {
		t.Run(name, func(t *testing.T) {
			config := append(append([]string{"compose", "--file=" + composeFile}, args...), "config")
			docker(t, append(config, "--quiet")...)
			var file struct {
				Services map[string]composeService
				Networks map[string]struct {
					DriverOpts map[string]string `json:"driver_opts"`
				}
			}
			if err := json.Unmarshal([]byte(docker(t, append(config, "--format=json")...)), &file); err != nil {
				t.Fatal(err)
			}
			if len(file.Services) < 4 {
				t.Errorf("it has %d services, want 4 and more", len(file.Services))
			}
			for name, s := range file.Services {
				for _, wrong := range s.complaints() {
					t.Errorf("service %s: %s", name, wrong)
				}
			}
			for name, n := range file.Networks {
				if n.DriverOpts["com.docker.network.bridge.host_binding_ipv4"] != "127.0.0.1" {
					t.Errorf("network %s publishes beyond loopback", name)
				}
			}
		})
	}
}

// A composeService is a service, as docker compose config prints it.
type composeService struct {
	Image       string
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	MemLimit    string   `json:"mem_limit"`
	StopGrace   string   `json:"stop_grace_period"`
	Privileged  bool
	Ports       []struct {
		HostIP string `json:"host_ip"`
	}
	HealthCheck *struct {
		Disable       bool
		StartInterval string `json:"start_interval"`
	}
	Environment map[string]*string
}

// complaints returns what a service may do and need not.
func (s composeService) complaints() (wrong []string) {
	if !s.ReadOnly || s.Privileged || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		wrong = append(wrong, "it may do more than it needs: read_only, cap_drop and security_opt are those of x-hardened")
	}
	if s.MemLimit == "" || s.StopGrace != "30s" {
		wrong = append(wrong, "it has no mem_limit, or stop_grace_period is not 30s")
	}
	if s.HealthCheck == nil || s.HealthCheck.StartInterval != "" {
		wrong = append(wrong, "it has no health check, or one with start_interval, which engines before release 25 refuse")
	}
	if image, tag, found := strings.Cut(s.Image, ":"); !found || tag == "latest" {
		wrong = append(wrong, "the image "+image+" has no release")
	}
	for _, p := range s.Ports {
		if p.HostIP != "127.0.0.1" {
			wrong = append(wrong, "it publishes a port beyond loopback")
		}
	}
	for name := range s.Environment {
		secret := strings.Contains(name, "SECRET") || strings.Contains(name, "PASSWORD") || strings.Contains(name, "TOKEN")
		if secret && !strings.HasSuffix(name, "_FILE") {
			wrong = append(wrong, "the secret "+name+" is written down")
		}
	}
	return wrong
}
