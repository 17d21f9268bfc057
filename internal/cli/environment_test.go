package cli

import (
	"strings"
	"testing"
)

func TestCheckNodeEnvironment(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	tests := []struct {
		name      string
		variables map[string]string
		want      string // in the error; empty for none
	}{
		{"a node", map[string]string{"GEECACHE_LISTEN": "0.0.0.0:8001", "GEECACHE_SECRET": secret, "GEECACHE_REGISTRY": "ecs://cluster/service"}, ""},
		{"not of ours", map[string]string{"AWS_REGION": "us-west-2"}, ""},
		{"of a registry", map[string]string{"GEECACHE_DNS": "name:8001"}, ""},
		{"unknown", map[string]string{"GEECACHE_CACHE_BITES": "1MiB"}, "GEECACHE_CACHE_BITES"},
		{"bad value", map[string]string{"GEECACHE_DRAIN_TIMEOUT": "soon"}, "GEECACHE_DRAIN_TIMEOUT"},
		{"no registry of ours", map[string]string{"GEECACHE_REGISTRY": "eks://cluster/service"}, "eks"},
		{"without a secret", map[string]string{"GEECACHE_LISTEN": "0.0.0.0:8001"}, "--secret-file"},
		{"a client without a token", map[string]string{"GEECACHE_ROLE": "client", "GEECACHE_LISTEN": "0.0.0.0:9999", "GEECACHE_SECRET": secret, "GEECACHE_REGISTRY": "ecs://cluster/service"}, "--api-token-file"},
		{"a client with a token", map[string]string{"GEECACHE_ROLE": "client", "GEECACHE_LISTEN": "0.0.0.0:9999", "GEECACHE_SECRET": secret, "GEECACHE_API_TOKEN": secret, "GEECACHE_REGISTRY": "ecs://cluster/service"}, ""},
		{"authorities that the image holds", map[string]string{
			"GEECACHE_SOURCE": "postgres://app@db.example:5432/app?sslmode=verify-full&sslrootcert=/rds.pem", "GEECACHE_QUERY": "select v from t where k = $1",
		}, ""},
		{"a mode of TLS that is none", map[string]string{
			"GEECACHE_SOURCE": "postgres://app@db.example:5432/app?sslmode=perhaps&sslrootcert=/rds.pem", "GEECACHE_QUERY": "select v from t where k = $1",
		}, "sslmode"},
		{"a short token", map[string]string{"GEECACHE_API_TOKEN": "short"}, "GEECACHE_API_TOKEN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckNodeEnvironment(tt.variables)
			if got := errorText(err); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("CheckNodeEnvironment: %q, want %q", got, tt.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
