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
	VariableCloudMap = "GEECACHE_CLOUDMAP" // NAMESPACE/SERVICE
)

// Variables returns the names of those that begin with GEECACHE_.
func Variables() []string { return []string{VariableCloudMap} }

// Detect returns the URL of the registry that the process sees, and why it is that
// one; an empty URL if it sees none. peers are those that it was given.
func Detect(ctx context.Context, peers int) (raw, why string, err error) {
	named := os.Getenv(VariableCloudMap)
	switch {
	case named != "":
		return "cloudmap://" + strings.TrimPrefix(named, "cloudmap://"), VariableCloudMap + " is set", nil
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
