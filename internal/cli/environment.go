package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/node"
	"github.com/geecache/geecache/metrics"
)

// CheckNodeEnvironment returns an error that names the first of the variables that
// `geecache node` does not know, or cannot start with. Values that only the machine
// knows on which it runs (files, the registry's answer) are not looked at.
func CheckNodeEnvironment(variables map[string]string) error {
	_, _, err := configOf(variables)
	return err
}

// SentMetrics returns what `geecache node` with these variables may send to CloudWatch:
// nil, if it sends nothing.
func SentMetrics(variables map[string]string) ([]metrics.CloudWatchMetric, error) {
	cfg, emf, err := configOf(variables)
	if err != nil || !emf && cfg.CloudWatch == "" {
		return nil, err
	}
	return cfg.SentMetrics(), nil
}

// CountSentMetrics returns how many metrics so many processes with these variables have in
// CloudWatch: those of the cluster, and those that each process has. A label counts as
// one.
func CountSentMetrics(variables map[string]string, processes int) (n int, err error) {
	sent, err := SentMetrics(variables)
	for _, m := range sent {
		for _, set := range m.Dimensions {
			if slices.Contains(set, "node") {
				n += processes
			} else {
				n++
			}
		}
	}
	return n, err
}

// configOf returns the configuration of `geecache node` with these variables, and whether
// it writes EMF.
func configOf(variables map[string]string) (node.Config, bool, error) {
	var f nodeFlags
	cmd := &cobra.Command{}
	f.register(cmd)
	var environ []string
	for name, value := range variables {
		if name == "GEECACHE_SOURCE" {
			value = withoutFiles(value)
		}
		if e := name + "=" + value; !forRegistries(e) {
			environ = append(environ, e)
		}
	}
	slices.Sort(environ)
	unknown, err := setFromEnv(cmd.Flags(), environ)
	if err != nil {
		return node.Config{}, false, err
	}
	if len(unknown) > 0 {
		return node.Config{}, false, fmt.Errorf("no flag of geecache node has the variable %s", strings.Join(unknown, ", "))
	}
	f.getenv = func(name string) string { return variables[name] }
	cfg, err := f.nodeConfig(slog.New(slog.NewTextHandler(io.Discard, nil)))
	return cfg, f.emf, err
}

// withoutFiles returns a database's URL without the parameters that name files of the machine
// on which the node runs: PostgreSQL's driver reads them to find out whether the URL is good.
func withoutFiles(source string) string {
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return source
	}
	q, removed := u.Query(), false
	for _, name := range []string{"sslrootcert", "sslcert", "sslkey", "passfile", "servicefile"} {
		removed = removed || q.Has(name)
		q.Del(name)
	}
	if !removed {
		return source
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// env returns the value of an environment variable that stands for no flag.
func (f *trustFlags) env(name string) string {
	if f.getenv != nil {
		return f.getenv(name)
	}
	return os.Getenv(name)
}
