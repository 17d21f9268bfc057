package ecs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// DefaultPort is where the tasks of a Config without a Port listen.
const DefaultPort = 8001

// A Config says which tasks are the cluster. One of Service and Family must be
// given.
type Config struct {
	// Cluster is the name or the ARN of the ECS cluster. Default: the account's
	// cluster "default".
	Cluster string

	Service string // the service whose tasks are the members
	Family  string // or the family of their task definition

	// Port is where each of them listens. Default: 8001.
	Port int

	// Region is AWS's. Default: that of the environment.
	Region string

	// Endpoint is a URL in place of AWS's, for an emulator or an endpoint of a VPC.
	// Default: that of the environment, or AWS.
	Endpoint string

	// Credentials are shown to AWS. Default: those of the environment.
	Credentials aws.CredentialsProvider

	// Interval is the time between two lookups. Default: 2 s.
	Interval time.Duration

	// Logger is told what a caller cannot be. Default: slog.Default().
	Logger *slog.Logger

	backoff time.Duration // the poller's; tests shorten it
}

// Validate returns an error that names the first field that makes no sense, and
// the remedy.
func (c Config) Validate() error {
	switch {
	case c.Service == "" && c.Family == "":
		return errors.New("ecs: Service and Family are empty: give the name of a service, as in ecs://CLUSTER/SERVICE, or ?family=NAME")
	case c.Service != "" && c.Family != "":
		return fmt.Errorf("ecs: Service is %q and Family is %q: give one of them", c.Service, c.Family)
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("ecs: Port is %d: use a number from 1 to 65535", c.Port)
	case c.Interval < 0:
		return fmt.Errorf("ecs: Interval is %v: use a positive duration such as 2s", c.Interval)
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("ecs: Endpoint is %q: use a URL such as http://127.0.0.1:4566", c.Endpoint)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Cluster == "" {
		c.Cluster = "default"
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// ParseURL reads a configuration from
//
//	ecs://cluster/service?port=8001&region=R&interval=2s&endpoint=URL
//	ecs://cluster?family=NAME
//
// whose parameters may be left out.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("ecs: %w: use ecs://CLUSTER/SERVICE", err)
	}
	if u.Scheme != "ecs" {
		return Config{}, fmt.Errorf("ecs: %q is no URL of ECS: use ecs://CLUSTER/SERVICE", raw)
	}
	c := Config{Cluster: u.Host, Service: strings.Trim(u.Path, "/")}
	for name, values := range u.Query() {
		value := values[len(values)-1]
		var err error
		switch name {
		case "family":
			c.Family = value
		case "region":
			c.Region = value
		case "endpoint":
			c.Endpoint = value
		case "port":
			c.Port, err = strconv.Atoi(value)
		case "interval":
			c.Interval, err = time.ParseDuration(value)
		default:
			return Config{}, fmt.Errorf("ecs: %q is no parameter: there are family, port, region, endpoint and interval", name)
		}
		if err != nil {
			return Config{}, fmt.Errorf("ecs: %s is %q: %w", name, value, err)
		}
	}
	return c, c.Validate()
}
