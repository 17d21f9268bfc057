package envbench

import (
	"context"
	"fmt"
	"time"

	"github.com/geecache/geecache/internal/envbench/result"
)

// An Unsupported is the error for what an environment cannot do. It is a finding, and no
// failure: results hold it with its evidence.
type Unsupported struct {
	What     string // such as "replacing a node that dies"
	Evidence string // what was tried and what came of it, or what is missing
}

// Error implements error.
func (u *Unsupported) Error() string {
	return fmt.Sprintf("%s is not supported here: %s", u.What, u.Evidence)
}

// A Rebuilder makes the program anew, as after a change of its source.
type Rebuilder interface {
	// Rebuild builds the program, or the image, of the project's folder with a version
	// of its own, and returns d as it is to be deployed then, and how long the parts took.
	// What it makes is removed by Clean.
	Rebuild(ctx context.Context, d Deployment, version string) (Deployment, []Stage, error)

	// Clean removes what Rebuild has made.
	Clean(ctx context.Context) error
}

// A Sweeper removes what is beside a deployment and not of it: what a measurement makes.
type Sweeper interface {
	// Sweep removes images that a process has built by Rebuild, and what Fidelity has made.
	// It is no error if there is nothing.
	Sweep(ctx context.Context, name string, pid int) error
}

// A Killer ends a process without a word, as a machine does that fails.
type Killer interface {
	// Kill ends a member of a deployment, and returns when it was asked to.
	Kill(ctx context.Context, name string, m Member) (time.Time, error)

	// Replaces reports whether the environment starts another process for one that died.
	Replaces() bool
}

// A Breaker plants a node that cannot work, as a mistake in its configuration makes one: it
// runs, and listens where nobody reaches it.
type Breaker interface {
	// Break breaks a deployment, returns once the environment counts what is broken as it
	// does for good, and says what was done.
	Break(ctx context.Context, d Deployment) (string, error)

	// Mend undoes what Break has done, as far as Up does not.
	Mend(ctx context.Context, d Deployment) error
}

// A LogSeeker looks for what processes have logged, where the environment keeps it.
type LogSeeker interface {
	// SeekLogs counts the log streams of a deployment, and the events in them that hold a text.
	SeekLogs(ctx context.Context, name, text string) (LogView, error)
}

// A LogView is what a LogSeeker has found.
type LogView struct {
	Place   string         // such as "CloudWatch Logs, /geecache/NAME/node"
	Streams map[string]int // by the service that they are of
	Events  map[string]int // that hold the text, by stream
}

// A MetricLister lists what the environment itself knows of a deployment's metrics.
type MetricLister interface {
	// ListMetrics returns the names by where they were found, such as "CloudWatch GeeCache",
	// "CloudWatch ECS/ContainerInsights" or "/metrics of the nodes".
	ListMetrics(ctx context.Context, name string) (map[string][]string, error)
}

// An Insighter has its environment watch a deployment's containers.
type Insighter interface {
	// WatchContainers asks for Container Insights, and returns what the environment then
	// says of it.
	WatchContainers(ctx context.Context, name string) (string, error)
}

// A Forwardee's environment takes metrics from nodes by CloudWatch's API, and not only by
// way of their log.
type Forwardee interface {
	// ForwardTo returns where the processes of a deployment reach it, as --cloudwatch-endpoint
	// has it.
	ForwardTo(ctx context.Context, name string) (string, error)

	// NodeMetrics returns the names of the metrics in our own namespace that are of one node,
	// by whichever way they have come.
	NodeMetrics(ctx context.Context, node string) ([]string, error)
}

// A Finder knows at which address this machine reaches a process whose own address only
// the others resolve.
type Finder interface {
	Where(ctx context.Context, addr string) (string, error)
}

// A Looker finds a deployment's nodes by each way that the environment has.
type Looker interface {
	// LookUp asks each registry of the environment n times, one lookup after the other,
	// by the code that nodes ask it with.
	LookUp(ctx context.Context, name string, n int) []Lookup
}

// A Lookup is what came of asking one registry.
type Lookup struct {
	Method string // as package registries calls the registry: cloudmap, ecs, dns or etcd
	Mode   string // who asked whom, and how: with a client that keeps connections, say
	Nodes  int    // in the last answer
	Took   []time.Duration
	Err    error // *Unsupported: the environment has no such registry
}

// A FidelityProber finds out what an environment does of what deployments rely on.
type FidelityProber interface {
	// Fidelity tries each call and each behaviour by itself, beside and on a deployment that
	// is up, and reports what came of it. What it makes for that it removes again. It may
	// leave the deployment with a node fewer.
	Fidelity(ctx context.Context, d Deployment, report func(result.Fact)) error
}

// A Versioner tells the versions of what an environment is made of.
type Versioner interface {
	Versions(ctx context.Context) map[string]string
}
