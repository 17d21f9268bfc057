// Package envfile reads geecache.yaml, which describes one deployment in all
// environments, and writes from it what each environment takes: an override for
// Compose, parameters for an emulator of AWS, variables for Terraform.
package envfile

import (
	"cmp"
	"maps"
	"reflect"
	"strings"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/words"
)

// DefaultName is the name that a file has if none is given.
const DefaultName = "geecache.yaml"

// A File is what geecache.yaml says. What is not in it stays as each environment has
// it by itself. [Parse] makes one that has been checked.
type File struct {
	// Name is the cluster's ID, and begins the name of all that is made for it: 3 to
	// 20 small letters, digits and hyphens.
	Name string `yaml:"name"`

	// Settings hold in every environment, unless its own section says them again.
	Settings `yaml:",inline"`

	Local    Local    `yaml:"local"`
	Docker   Docker   `yaml:"docker"`
	Emulator Emulator `yaml:"emulator"`
	AWS      AWS      `yaml:"aws"`

	source string           // the file's name, for messages
	given  map[string]given // what is in the file, by its path
}

// A given is a value in the file, which is no struct or map.
type given struct {
	line  int
	value reflect.Value
	tag   reflect.StructTag // of the field; empty for what is in a map
}

// Settings are what every environment has.
type Settings struct {
	Image string `yaml:"image"` // what containers run
	Nodes int    `yaml:"nodes"` // how many cache nodes

	Memory string `yaml:"memory"` // of each node, such as 512MiB
	Cache  string `yaml:"cache"`  // budget of each group's main cache
	Hot    string `yaml:"hot"`    // budget of copies of what other nodes own

	TTL         string `yaml:"ttl"`           // how long a value is kept whose source does not say
	NotFoundTTL string `yaml:"not_found_ttl"` // how long "not found" is kept

	Source   Source   `yaml:"source"`
	Registry string   `yaml:"registry"` // how nodes find each other
	Snapshot Snapshot `yaml:"snapshot"`

	// Variables are more environment variables of each node, such as GEECACHE_LOG_LEVEL.
	Variables map[string]string `yaml:"variables"`

	// Secrets are environment variables by reference: env:NAME, file:PATH, or for AWS
	// the ARN of a secret in Secrets Manager.
	Secrets map[string]string `yaml:"secrets"`
}

// A Source is what misses are loaded from.
type Source struct {
	URL   string `yaml:"url"`
	Query string `yaml:"query"`
}

// A Snapshot says where and when nodes save what they use most.
type Snapshot struct {
	URL      string `yaml:"url"`
	Bytes    string `yaml:"bytes"`
	Interval string `yaml:"interval"`
	LoadTime string `yaml:"load_time"`
	MaxAge   string `yaml:"max_age"`
}

// Local are processes of this machine. They are not rendered: `geecache env up local`
// reads the file.
type Local struct {
	Settings `yaml:",inline"`
	Port     int `yaml:"port" range:"1 65535"`     // of the first node
	APIPort  int `yaml:"api_port" range:"1 65535"` // of the API server
}

// Docker is Compose, with docker-native/docker-compose.yml.
type Docker struct {
	Settings       `yaml:",inline"`
	APIPort        int `yaml:"api_port" range:"1 65535"` // on this machine, as the others
	PrometheusPort int `yaml:"prometheus_port" range:"1 65535"`
	GrafanaPort    int `yaml:"grafana_port" range:"1 65535"`
}

// Emulator is an emulator of AWS, with localstack-setup/.
type Emulator struct {
	Settings `yaml:",inline"`
	Kind     string `yaml:"kind" oneof:"ministack localstack"` // ministack or localstack
	Port     int    `yaml:"port"`                              // of the emulator on this machine
	Region   string `yaml:"region"`
}

// AWS is Terraform, with aws-terraform/. Its fields are variables of that name but
// for the sizes: cpu in units of 1024 for a vCPU, and memory. A nil field is not given.
type AWS struct {
	Settings `yaml:",inline"`

	CPU       int    `yaml:"cpu" tf:"-"`
	APICPU    int    `yaml:"api_cpu" tf:"-"`
	APIMemory string `yaml:"api_memory" tf:"-"`

	Region       *string           `yaml:"region"`
	Tags         map[string]string `yaml:"tags"`
	LearnerLab   *bool             `yaml:"learner_lab"`
	Architecture *string           `yaml:"architecture" oneof:"X86_64 ARM64"`

	NodeCountMax *int `yaml:"node_count_max" range:"1 1000"`
	APICount     *int `yaml:"api_count" range:"1 1000"`
	APICountMax  *int `yaml:"api_count_max" range:"1 1000"`
	SpotPercent  *int `yaml:"spot_percent" range:"0 100"`
	OnDemandBase *int `yaml:"on_demand_base" range:"0 1000"`
	StopTimeout  *int `yaml:"stop_timeout" range:"30 120"`

	SourceAccess    map[string]Access `yaml:"source_access"`
	AutoScaling     *bool             `yaml:"auto_scaling"`
	CPUTarget       *float64          `yaml:"cpu_target" range:"1 100"`
	EvictionsTarget *float64          `yaml:"evictions_target" range:"0 1e9"`
	NodeScaleIn     *bool             `yaml:"node_scale_in"`

	VPCCIDR            *string  `yaml:"vpc_cidr"`
	Zones              *int     `yaml:"zones" range:"2 3"`
	Egress             *string  `yaml:"egress" oneof:"nat endpoints public"`
	NATPerZone         *bool    `yaml:"nat_per_zone"`
	FlowLogs           *bool    `yaml:"flow_logs"`
	AllowedCIDRs       []string `yaml:"allowed_cidrs"`
	CertificateARN     *string  `yaml:"certificate_arn"`
	DeletionProtection *bool    `yaml:"deletion_protection"`

	ContainerInsights    *bool    `yaml:"container_insights"`
	CloudWatchMetrics    *bool    `yaml:"cloudwatch_metrics"`
	CloudWatchDimensions *string  `yaml:"cloudwatch_dimensions" oneof:"cluster node"`
	CloudWatchNames      []string `yaml:"cloudwatch_names"`
	LogRetentionDays     *int     `yaml:"log_retention_days" range:"1 3653"`
	OwnKey               *bool    `yaml:"own_key"`
	Alarms               *bool    `yaml:"alarms"`
	AlarmEmails          []string `yaml:"alarm_emails"`
	MonthlyBudget        *float64 `yaml:"monthly_budget" range:"0 1e9"`

	Snapshots       *bool   `yaml:"snapshots"`
	SnapshotDays    *int    `yaml:"snapshot_days" range:"1 3653"`
	Database        *bool   `yaml:"database"`
	DatabaseClass   *string `yaml:"database_class"`
	DatabaseMultiAZ *bool   `yaml:"database_multi_az"`
	DatabaseCAFile  *string `yaml:"database_ca_file"`
}

// An Access is where nodes may connect to for their source.
type Access struct {
	Port int    `yaml:"port" range:"1 65535" cty:"port"`
	CIDR string `yaml:"cidr" cty:"cidr"`
}

// settings returns what holds in an environment: its own section over the rest.
func (f *File) settings(environment string) Settings {
	own := map[string]Settings{
		envbench.Local: f.Local.Settings, envbench.Docker: f.Docker.Settings,
		envbench.Emulator: f.Emulator.Settings, envbench.AWS: f.AWS.Settings,
	}[environment]
	s := f.Settings
	for _, field := range []struct{ to, own *string }{
		{&s.Image, &own.Image}, {&s.Memory, &own.Memory}, {&s.Cache, &own.Cache}, {&s.Hot, &own.Hot}, {&s.TTL, &own.TTL},
		{&s.NotFoundTTL, &own.NotFoundTTL}, {&s.Registry, &own.Registry},
		{&s.Snapshot.URL, &own.Snapshot.URL}, {&s.Snapshot.Bytes, &own.Snapshot.Bytes}, {&s.Snapshot.Interval, &own.Snapshot.Interval},
		{&s.Snapshot.LoadTime, &own.Snapshot.LoadTime}, {&s.Snapshot.MaxAge, &own.Snapshot.MaxAge},
	} {
		*field.to = cmp.Or(*field.own, *field.to)
	}
	s.Nodes = cmp.Or(own.Nodes, s.Nodes)
	if own.Source.URL != "" { // the other one's query is not for it
		s.Source = own.Source
	}
	s.Source.Query = cmp.Or(own.Source.Query, s.Source.Query)
	s.Variables, s.Secrets = merged(s.Variables, own.Variables), merged(s.Secrets, own.Secrets)
	return s
}

func merged(base, own map[string]string) map[string]string {
	all := make(map[string]string, len(base)+len(own))
	maps.Copy(all, base)
	maps.Copy(all, own)
	return all
}

// A stood is a field of Settings that stands for a variable of nodes.
type stood struct{ field, variable, value string }

// stoods returns the fields that stand for variables, apart from the source.
func (s Settings) stoods() []stood {
	return []stood{
		{"cache", "GEECACHE_CACHE_BYTES", s.Cache}, {"hot", "GEECACHE_HOT_BYTES", s.Hot},
		{"ttl", "GEECACHE_TTL", s.TTL}, {"not_found_ttl", "GEECACHE_NOT_FOUND_TTL", s.NotFoundTTL},
		{"snapshot.url", snapshotVariable, s.Snapshot.URL}, {"snapshot.bytes", "GEECACHE_SNAPSHOT_BYTES", s.Snapshot.Bytes},
		{"snapshot.interval", "GEECACHE_SNAPSHOT_INTERVAL", s.Snapshot.Interval},
		{"snapshot.load_time", "GEECACHE_SNAPSHOT_LOAD_TIME", s.Snapshot.LoadTime},
		{"snapshot.max_age", "GEECACHE_SNAPSHOT_MAX_AGE", s.Snapshot.MaxAge},
	}
}

// The variables that are given by fields in some environments, and otherwise in others.
const (
	cacheVariable    = "GEECACHE_CACHE_BYTES"
	snapshotVariable = "GEECACHE_SNAPSHOT"
	sourceVariable   = "GEECACHE_SOURCE"
	queryVariable    = "GEECACHE_QUERY"
	registryVariable = "GEECACHE_REGISTRY"
	secretVariable   = "GEECACHE_SECRET"
)

// variables returns the variables of nodes in an environment that are no secrets,
// without the source and the registry.
func (f *File) variables(environment string) map[string]string {
	s := f.settings(environment)
	all := merged(s.Variables, nil)
	for _, v := range s.stoods() {
		if v.value != "" && f.unused(environment, v.field) == "" {
			all[v.variable] = v.value
		}
	}
	return all
}

// Deployment returns what envbench is to deploy in an environment.
func (f *File) Deployment(environment string) envbench.Deployment {
	s := f.settings(environment)
	d := envbench.Deployment{
		Name: f.Name, Image: s.Image, Nodes: s.Nodes, Source: s.Source.URL, Query: s.Source.Query,
		Variables: f.variables(environment), Secrets: make(map[string]string),
	}
	if bytes, err := words.Bytes(s.Cache); err == nil {
		d.CacheBytes = bytes
	}
	d.Snapshot = d.Variables[snapshotVariable]
	delete(d.Variables, cacheVariable)
	delete(d.Variables, snapshotVariable)
	for name, ref := range s.Secrets {
		if f.unused(environment, "secrets."+name) == "" {
			d.Secrets[name] = ref
		}
	}
	if f.unused(environment, "registry") == "" {
		d.Registry = s.Registry
	}
	if f.unused(environment, "image") != "" {
		d.Image = ""
	}
	switch environment {
	case envbench.Local:
		d.Port, d.APIPort = f.Local.Port, f.Local.APIPort
	case envbench.Docker:
		d.APIPort = f.Docker.APIPort
	}
	return d
}

// unused says why a field that is given has no effect in an environment; empty: it has
// one. field is its path without the name of a section.
func (f *File) unused(environment, field string) string {
	const containers = "containers cannot write to a directory: use s3:"
	s := f.settings(environment)
	switch environment + " " + field {
	case "local image":
		return "this program runs"
	case "local memory":
		return "nodes share what the machine has"
	case "local registry":
		return "nodes gossip"
	case "docker secrets." + secretVariable:
		return "the cluster makes a secret of its own"
	case "docker snapshot.url", "emulator snapshot.url":
		if strings.HasPrefix(s.Snapshot.URL, "file:") {
			return containers
		}
	case "emulator memory":
		return "emulators keep no limits"
	case "aws image":
		if f.AWS.Image == "" {
			return "deploy.sh builds an image and pushes it: aws.image names another one"
		}
	case "aws registry":
		return "Terraform chooses Cloud Map, or in a Learner Lab the API of ECS"
	case "aws snapshot.url":
		return "Terraform makes a bucket, and lets nodes into no other"
	}
	if name, is := strings.CutPrefix(field, "secrets."); is && environment == envbench.AWS && f.AWS.Secrets[name] == "" {
		return "Terraform would keep its value in the state: aws.secrets names one of Secrets Manager"
	}
	return ""
}
