package envfile

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/geecache/geecache/internal/envbench"
)

// A Rendered is a file for one environment.
type Rendered struct {
	Environment string
	Name        string // without a directory
	Text        []byte
}

// Render returns what is written from the file.
func (f *File) Render() ([]Rendered, error) {
	compose, err := f.compose()
	if err != nil {
		return nil, err
	}
	emulator, err := f.parameters()
	if err != nil {
		return nil, err
	}
	terraform, err := f.terraform()
	if err != nil {
		return nil, err
	}
	return []Rendered{
		{envbench.Docker, "compose.yml", compose},
		{envbench.Emulator, "emulator.env", emulator},
		{envbench.AWS, "terraform.tfvars", terraform},
	}, nil
}

// Unused returns what the file says and an environment has no use for, with the reason
// for each: lines that begin with the field. Sections of other environments are not among it.
func (f *File) Unused(environment string) (all []string) {
	for _, path := range slices.Sorted(maps.Keys(f.given)) {
		section, rest := split(path)
		if section != "" && section != environment {
			continue
		}
		if why := f.unused(environment, rest); why != "" {
			all = append(all, path+": "+why)
		}
	}
	return all
}

// heading returns the comment that a file begins with.
func (f *File) heading(comment, environment string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s Written from %s by `geecache env render`: change that, and render again.\n", comment, filepath.Base(f.source))
	for _, line := range f.Unused(environment) {
		fmt.Fprintf(&b, "%s Not used here: %s.\n", comment, line)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// literal keeps Compose from taking $ for the beginning of a variable.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// compose returns what is to be added to docker-native/docker-compose.yml.
func (f *File) compose() ([]byte, error) {
	s := f.settings(envbench.Docker)
	services := make(map[string]map[string]any)
	of := func(service string) map[string]any {
		if services[service] == nil {
			services[service] = make(map[string]any)
		}
		return services[service]
	}
	node, common := make(map[string]string), make(map[string]string)
	for name, value := range f.variables(envbench.Docker) {
		node[name] = literal(value)
	}
	if s.Source.URL != "" {
		node[sourceVariable] = literal(s.Source.URL)
	}
	if s.Source.Query != "" {
		node[queryVariable] = literal(s.Source.Query)
	}
	for name, ref := range f.Deployment(envbench.Docker).Secrets {
		kind, rest, _ := strings.Cut(ref, ":")
		if kind == "env" {
			node[name] = fmt.Sprintf("${%s:?%s takes it as %s}", rest, filepath.Base(f.source), name)
		} else {
			node[name] = fmt.Sprintf("${%s:?set it to what the file %s holds}", name, strings.NewReplacer("$", "", "{", "", "}", "").Replace(rest))
		}
	}
	if s.Registry != "" {
		common[registryVariable] = literal(s.Registry)
	}
	if f.Name != "" {
		common["GEECACHE_CLUSTER_ID"] = f.Name
	}
	if all := merged(common, node); len(all) > 0 {
		of("node")["environment"] = all
	}
	if len(common) > 0 {
		of("api")["environment"] = common
	}
	if s.Image != "" {
		for _, service := range []string{"node", "api", "secrets", "metrics-token", "postgres-password"} {
			of(service)["image"] = s.Image
		}
	}
	if s.Memory != "" {
		of("node")["mem_limit"] = s.Memory
	}
	if s.Nodes != 0 {
		of("node")["deploy"] = map[string]any{"replicas": s.Nodes}
	}
	for _, p := range []struct {
		service    string
		port, here int
	}{{"api", 9999, f.Docker.APIPort}, {"prometheus", 9090, f.Docker.PrometheusPort}, {"grafana", 3000, f.Docker.GrafanaPort}} {
		if p.here != 0 {
			of(p.service)["ports"] = &yaml.Node{ // in place of those in the other file, and not added to them
				Kind: yaml.SequenceNode, Tag: "!override", Content: []*yaml.Node{{
					Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: fmt.Sprintf("127.0.0.1:%d:%d", p.here, p.port),
				}},
			}
		}
	}
	all := make(map[string]any)
	if f.Name != "" {
		all["name"] = f.Name
	}
	if len(services) > 0 {
		all["services"] = services
	}
	b := bytes.NewBuffer(f.heading("#", envbench.Docker))
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	if err := enc.Encode(all); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// A Flag is one of `geecache env`, with its value.
type Flag struct{ Name, Value string }

// Flags returns what the file says as flags of `geecache env`. Those of maps are not
// among them.
func (f *File) Flags(environment string) []Flag {
	d := f.Deployment(environment)
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	all := []Flag{
		{"name", d.Name}, {"image", d.Image}, {"nodes", number(int64(d.Nodes))}, {"cache-bytes", number(d.CacheBytes)},
		{"source", d.Source}, {"query", d.Query}, {"snapshot", d.Snapshot}, {"registry", d.Registry}, {"port", number(int64(d.Port))}, {"api", number(int64(d.APIPort))},
	}
	switch environment {
	case envbench.Emulator:
		all = append(all, Flag{"region", f.Emulator.Region})
		if f.Emulator.Port != 0 {
			all = append(all, Flag{"endpoint", fmt.Sprintf("http://127.0.0.1:%d", f.Emulator.Port)})
		}
	case envbench.AWS:
		if f.AWS.Region != nil {
			all = append(all, Flag{"region", *f.AWS.Region})
		}
	}
	return slices.DeleteFunc(all, func(f Flag) bool { return f.Value == "" })
}

// parameters returns the variables of a shell that localstack-setup/ and `geecache env`
// go by.
func (f *File) parameters() ([]byte, error) {
	b := bytes.NewBuffer(f.heading("#", envbench.Emulator))
	line := func(name, value string) {
		fmt.Fprintf(b, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	if f.Emulator.Kind != "" {
		line("EMULATOR", f.Emulator.Kind)
	}
	if f.Emulator.Port != 0 {
		line("EMULATOR_PORT", strconv.Itoa(f.Emulator.Port))
	}
	for _, flag := range f.Flags(envbench.Emulator) {
		line("GEECACHE_ENV_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")), flag.Value)
	}
	d := f.Deployment(envbench.Emulator)
	for _, m := range []struct {
		name  string
		value map[string]string
	}{{"GEECACHE_ENV_SECRET", d.Secrets}, {"GEECACHE_ENV_VAR", d.Variables}} {
		if len(m.value) == 0 {
			continue
		}
		text, err := pairs(m.value)
		if err != nil {
			return nil, err
		}
		line(m.name, text)
	}
	return b.Bytes(), nil
}

// pairs writes a map as the value of a flag: NAME=VALUE for one, and as a line of CSV
// for what would otherwise be several.
func pairs(m map[string]string) (string, error) {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, name+"="+m[name])
	}
	if len(all) == 1 && strings.Count(all[0], "=") == 1 {
		return all[0], nil
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.Write(all); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n"), w.Error()
}
