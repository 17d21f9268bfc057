package envbench

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/aws/smithy-go/logging"

	"github.com/geecache/geecache/internal/awsapi"
)

// The keys that an emulator gets: it checks none, and must never see real ones.
const emulatorKey = "test"

// callTimeout bounds a call: an emulator stops tasks one after the other in it, or hangs.
const callTimeout = time.Minute

// What a deployment's parts are called in its cluster.
const (
	nodeService   = "node"
	apiService    = "api"
	containerName = "geecache"
	mapService    = "nodes" // of Cloud Map
)

// The ports of processes in containers.
const (
	nodePort = 8001
	apiPort  = 9999
)

// A cloud deploys through the APIs of AWS, which an emulator has, too.
type cloud struct {
	Options
	environment string
	emulated    bool
	config      aws.Config
	builder     imageBuilder

	ecs     *ecs.Client
	ecr     *ecr.Client
	elb     *elasticloadbalancingv2.Client
	logs    *cloudwatchlogs.Client
	sd      *servicediscovery.Client
	secrets *secretsmanager.Client
	s3      *s3.Client
}

// newAWS returns the driver of AWS. It calls nothing yet.
func newAWS(o Options) (*awsDriver, error) {
	cfg, _, err := awsapi.Load(context.Background(), o.Region, "", "ECS")
	if err != nil {
		return nil, err
	}
	o.Region, o.Endpoint, o.longestPause = cfg.Region, "", pauseInAWS
	if cfg.BaseEndpoint != nil { // of the environment
		o.Endpoint = strings.TrimSuffix(*cfg.BaseEndpoint, "/")
	}
	c := &cloud{Options: o, environment: AWS}
	c.open(cfg)
	return &awsDriver{c}, nil
}

// EmulatorEndpoint returns where an emulator answers: where it is said to, or else the
// environment says, or the default.
func EmulatorEndpoint(said string) string {
	return strings.TrimSuffix(cmp.Or(said, os.Getenv("AWS_ENDPOINT_URL"), DefaultEndpoint), "/")
}

// newEmulator returns the driver of an emulator. It calls nothing yet.
func newEmulator(o Options) (*cloud, error) {
	o.Endpoint = EmulatorEndpoint(o.Endpoint)
	if u, err := url.Parse(o.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--endpoint is %q: use a URL such as %s", o.Endpoint, DefaultEndpoint)
	}
	if strings.Contains(o.Endpoint, ".amazonaws.com") {
		return nil, fmt.Errorf("--endpoint is %q, which is AWS's own: use the environment aws", o.Endpoint)
	}
	o.Region = cmp.Or(o.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	cfg, _, err := awsapi.Load(context.Background(), o.Region, o.Endpoint, "ECS")
	if err != nil {
		return nil, err
	}
	cfg.Credentials = credentials.NewStaticCredentialsProvider(emulatorKey, emulatorKey, "")
	cfg.BaseEndpoint = &o.Endpoint
	if h, ok := cfg.HTTPClient.(*http.Client); ok {
		h.Timeout = callTimeout
	}
	cfg.Logger = logging.Nop{} // what it says is no help to the user of a command
	c := &cloud{Options: o, environment: Emulator, emulated: true}
	c.open(cfg)
	return c, nil
}

// open makes the clients.
func (c *cloud) open(cfg aws.Config) {
	cfg.HTTPClient = patientClient{cfg.HTTPClient}
	c.config = cfg
	c.ecs = ecs.NewFromConfig(cfg)
	c.ecr = ecr.NewFromConfig(cfg)
	c.elb = elasticloadbalancingv2.NewFromConfig(cfg)
	c.logs = cloudwatchlogs.NewFromConfig(cfg)
	c.sd = servicediscovery.NewFromConfig(cfg, func(o *servicediscovery.Options) {
		if c.Endpoint != "" { // lookups go to data-HOST, which exists only at AWS
			o.APIOptions = append(o.APIOptions, awsapi.WithoutHostPrefix)
		}
	})
	c.secrets = secretsmanager.NewFromConfig(cfg)
	c.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = c.emulated // its host has no buckets' names before it
	})
}

// explain says of which part an error is, and what to do about it.
func (c *cloud) explain(part string, err error) error {
	if err == nil {
		return nil
	}
	err = awsapi.Explain(err, part)
	if c.emulated && strings.Contains(err.Error(), "connection refused") {
		return fmt.Errorf("%s: no emulator of AWS answers at %s: start one with docker compose in localstack-setup, or say where it is with --endpoint", part, c.Endpoint)
	}
	return fmt.Errorf("%s: %w", part, err)
}

// logGroup returns the name of a service's log group.
func logGroup(name, service string) string { return "/geecache/" + name + "/" + service }

// logPrefix begins the names of log streams.
const logPrefix = "task"

// secretName returns the name of a secret that tasks get as a variable.
func secretName(name, variable string) string {
	if variable == secretVariable {
		return name + "/cluster-secret"
	}
	return name + "/" + variable
}

// family returns the name of a service, and of its task definitions.
func family(name, service string) string { return name + "-" + service }

// port returns where the processes of a service listen.
func port(service string) int32 {
	if service == apiService {
		return apiPort
	}
	return nodePort
}

// last returns the part of an ARN after the last slash.
func last(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// fresh calls make unless have finds that it was made before. It notes what was made.
func fresh(changed *[]string, what string, have func() (bool, error), create func() error) error {
	found, err := have()
	if err != nil || found {
		return err
	}
	if err := create(); err != nil {
		return err
	}
	*changed = append(*changed, what+" is created")
	return nil
}
