package envbench

import (
	"context"
	"fmt"
	"time"
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

// A Versioner tells the versions of what an environment is made of.
type Versioner interface {
	Versions(ctx context.Context) map[string]string
}
