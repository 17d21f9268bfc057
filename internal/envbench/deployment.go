package envbench

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// The defaults of a Deployment.
const (
	DefaultName  = "geecache"
	DefaultNodes = 3
	DefaultImage = "geecache:latest"
	MaxNodes     = 64
)

// secretVariable is the environment variable that gives a process the cluster's secret.
const secretVariable = "GEECACHE_SECRET"

// snapshotVariable is the one that says where a node saves snapshots.
const snapshotVariable = "GEECACHE_SNAPSHOT"

// A Deployment describes a cluster, whatever the environment. Its zero value is three
// nodes and an API server in front of the demonstration database.
type Deployment struct {
	// Name is the cluster's ID, and begins the name of all that is made for it: up to
	// 20 small letters, digits and hyphens. Default: DefaultName.
	Name string `json:"name"`

	// Image is what containers run, as this machine's Docker calls it. Default:
	// DefaultImage. Local runs Options.Program.
	Image string `json:"image,omitempty"`

	// Nodes is how many cache nodes there are. Default: DefaultNodes.
	Nodes int `json:"nodes"`

	// CacheBytes is the budget of each node's cache. Default: the program's own.
	CacheBytes int64 `json:"cache_bytes,omitempty"`

	// Source and Query are what misses are loaded from; see `geecache node --help`. A URL
	// that holds a password belongs in Secrets, as GEECACHE_SOURCE.
	Source string `json:"source,omitempty"`
	Query  string `json:"query,omitempty"`

	// Snapshot is where nodes save what they use most, to be warm when they start:
	// s3://BUCKET/PREFIX, or, in the environment local, file:///DIR. An emulator's bucket is
	// made, and removed with the deployment, unless there is one already.
	Snapshot string `json:"snapshot,omitempty"`

	// Registry is how nodes find each other. Default: what the environment has: gossip,
	// DNS or Cloud Map. "ecs" is the API of ECS, for accounts without Cloud Map.
	Registry string `json:"registry,omitempty"`

	// Port and APIPort are those on this machine, where the environment has any.
	// Defaults: the environment's.
	Port    int `json:"port,omitempty"`
	APIPort int `json:"api_port,omitempty"`

	// Secrets are environment variables by reference: "env:NAME" is that variable of
	// this process, "file:PATH" a file. Without GEECACHE_SECRET here, one is made where
	// the environment needs it.
	Secrets map[string]string `json:"secrets,omitempty"`

	// Variables are more environment variables of each node, such as GEECACHE_TTL.
	Variables map[string]string `json:"variables,omitempty"`

	// Hello deploys Image as it is, without anything of GeeCache: servers that answer
	// GET / on the ports of nodes and API. It is what a measurement compares with.
	Hello bool `json:"hello,omitempty"`
}

// WithDefaults returns the deployment with its zero fields filled in.
func (d Deployment) WithDefaults() Deployment {
	d.Name = cmp.Or(d.Name, DefaultName)
	d.Image = cmp.Or(d.Image, DefaultImage)
	d.Nodes = cmp.Or(d.Nodes, DefaultNodes)
	return d
}

var (
	namePattern     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,18}[a-z0-9]$`) // a target group's name holds 32
	snapshotPattern = regexp.MustCompile(`^(s3://[a-z0-9]|file:///.)`)     // the program's own flag checks the rest
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate returns an error that names the first field that makes no sense, and the
// remedy.
func (d Deployment) Validate() error {
	d = d.WithDefaults()
	if err := checkName(d.Name); err != nil {
		return err
	}
	switch {
	case d.Nodes < 1 || d.Nodes > MaxNodes:
		return fmt.Errorf("nodes is %d: use 1 to %d", d.Nodes, MaxNodes)
	case d.CacheBytes < 0:
		return fmt.Errorf("cache bytes are %d: use a positive number", d.CacheBytes)
	case d.Port < 0 || d.Port > 65535 || d.APIPort < 0 || d.APIPort > 65535:
		return fmt.Errorf("the ports are %d and %d: use numbers up to 65535", d.Port, d.APIPort)
	}
	if _, twice := d.Variables[snapshotVariable]; twice && d.Snapshot != "" {
		return fmt.Errorf("snapshot is %q, and the variable %s is given too: leave one of them out", d.Snapshot, snapshotVariable)
	}
	if s := d.snapshot(); s != "" && !snapshotPattern.MatchString(s) {
		return fmt.Errorf("snapshot is %q: use s3://BUCKET/PREFIX, or file:///DIR in the environment %s", s, Local)
	}
	for name, ref := range d.Secrets {
		if !variablePattern.MatchString(name) {
			return fmt.Errorf("secret %q: name an environment variable, such as %s", name, secretVariable)
		}
		if kind, rest, _ := strings.Cut(ref, ":"); kind != "env" && kind != "file" || rest == "" {
			return fmt.Errorf("secret %s is %q: secrets are given by reference, as env:NAME or file:PATH", name, ref)
		}
	}
	for name := range d.Variables {
		if !variablePattern.MatchString(name) {
			return fmt.Errorf("variable %q: use letters, digits and _", name)
		}
	}
	return nil
}

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("name is %q: use 2 to 20 small letters, digits and hyphens, a letter first", name)
	}
	return nil
}

// snapshot returns where snapshots are; empty: there are none.
func (d Deployment) snapshot() string { return cmp.Or(d.Snapshot, d.Variables[snapshotVariable]) }

// checkDisk refuses snapshots on the disk of a container: it goes with the container.
func (d Deployment) checkDisk() error {
	if s := d.snapshot(); strings.HasPrefix(s, "file:") {
		return fmt.Errorf("snapshot is %q: a container's disk goes with it: use s3://BUCKET/PREFIX", s)
	}
	return nil
}

// secrets returns what the references stand for.
func (d Deployment) secrets() (map[string]string, error) {
	values := make(map[string]string, len(d.Secrets))
	for name, ref := range d.Secrets {
		kind, rest, _ := strings.Cut(ref, ":")
		var value string
		switch kind {
		case "env":
			value = strings.TrimSpace(os.Getenv(rest)) // as of a file: a newline at the end is nobody's wish
		case "file":
			text, err := os.ReadFile(rest)
			if err != nil {
				return nil, fmt.Errorf("secret %s: %w", name, err)
			}
			value = strings.TrimSpace(string(text))
		}
		if value == "" {
			return nil, fmt.Errorf("secret %s: %s is empty", name, ref)
		}
		values[name] = value
	}
	return values, nil
}

// variables returns the environment of each node, without its secrets and what the
// environment adds: NAME=VALUE, sorted.
func (d Deployment) variables() []string {
	var all []string
	add := func(name, value string) {
		if value != "" {
			all = append(all, name+"="+value)
		}
	}
	if d.CacheBytes > 0 {
		add("GEECACHE_CACHE_BYTES", fmt.Sprint(d.CacheBytes))
	}
	add("GEECACHE_SOURCE", d.Source)
	add("GEECACHE_QUERY", d.Query)
	add(snapshotVariable, d.Snapshot)
	for name, value := range d.Variables {
		add(name, value)
	}
	slices.Sort(all)
	return all
}

// digest returns a short hash of anything, by which a later run sees whether it has
// changed.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of values that are all JSON's own
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
