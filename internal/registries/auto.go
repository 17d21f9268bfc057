package registries

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/geecache/geecache/internal/ecstask"
)

// Auto is the name that chooses a registry by what the process can see.
const Auto = "auto"

// The environment variables that Auto looks at, besides that of ECS.
const (
	VariableEtcd     = "GEECACHE_ETCD"     // HOST:PORT,HOST:PORT/PREFIX
	VariableCloudMap = "GEECACHE_CLOUDMAP" // NAMESPACE/SERVICE
	VariableDNS      = "GEECACHE_DNS"      // NAME:PORT
	variableEtcdctl  = "ETCDCTL_ENDPOINTS" // etcd's own
)

// Variables returns the names of those that begin with GEECACHE_.
func Variables() []string { return []string{VariableEtcd, VariableCloudMap, VariableDNS} }

// Detect returns the URL of the registry that the process sees, and why it is that
// one; an empty URL if it sees none. peers are those that it was given.
func Detect(ctx context.Context, peers int) (raw, why string, err error) {
	for _, v := range []struct{ variable, prefix string }{
		{VariableEtcd, "etcd://"}, {VariableCloudMap, "cloudmap://"}, {VariableDNS, "dns:"},
	} {
		if value := os.Getenv(v.variable); value != "" {
			return v.prefix + strings.TrimPrefix(value, v.prefix), v.variable + " is set", nil
		}
	}
	switch endpoints := os.Getenv(variableEtcdctl); {
	case endpoints != "":
		prefix := "etcd://"
		if strings.Contains(endpoints, "https://") {
			prefix = "etcd+https://"
		}
		return prefix + strings.NewReplacer("http://", "", "https://", "").Replace(endpoints), variableEtcdctl + " is set", nil
	case ecstask.In():
		t, err := ecstask.Read(ctx)
		if err != nil {
			return "", "", fmt.Errorf("auto: %w", err)
		}
		if t.Service != "" {
			return fmt.Sprintf("ecs://%s/%s", t.Cluster, t.Service), "the process is a task of an ECS service", nil
		}
		return fmt.Sprintf("ecs://%s?family=%s", t.Cluster, t.Family), "the process is a task of ECS, and its service is not told: all tasks of its family", nil
	case peers > 0:
		return "", "peers are given, and nothing else is to be seen", nil
	}
	return "", "neither ECS nor a variable of " + strings.Join(Variables(), ", ") + " is to be seen: the node is alone", nil
}
