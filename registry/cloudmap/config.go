package cloudmap

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

// The defaults of a Config.
const (
	DefaultPort    = 8001
	DefaultRefresh = 10 * time.Second
)

// What Config.Register may be.
const (
	RegisterAuto   = "auto"
	RegisterAlways = "true"
	RegisterNever  = "false"
)

// A Config says which service of Cloud Map to use. Namespace and Service must be
// given.
type Config struct {
	Namespace string // its name
	Service   string // its name in the namespace

	// Region is AWS's. Default: that of the environment.
	Region string

	// Endpoint is a URL in place of AWS's, for an emulator or an endpoint of a VPC.
	// The data calls, too, go exactly there. Default: that of the environment, or AWS.
	Endpoint string

	// Port is that of instances which are registered without one, as ECS does
	// for a service without SRV records. Default: 8001.
	Port int

	// Register says whether Register registers: RegisterAlways, RegisterNever, or
	// RegisterAuto, which does unless ECS has done it. Default: RegisterAuto.
	Register string

	// Credentials are shown to AWS. Default: those of the environment.
	Credentials aws.CredentialsProvider

	// Interval is the time between two lookups. Default: 2 s.
	Interval time.Duration

	// Refresh is how often all instances are read even if their revision is the
	// same: their health has none. Default: 10 s.
	Refresh time.Duration

	// Logger is told what a caller cannot be. Default: slog.Default().
	Logger *slog.Logger

	backoff time.Duration // the poller's; tests shorten it
}

// Validate returns an error that names the first field that makes no sense, and
// the remedy.
func (c Config) Validate() error {
	switch {
	case c.Namespace == "":
		return errors.New("cloudmap: Namespace is empty: give the name of a Cloud Map namespace, as in cloudmap://NAMESPACE/SERVICE")
	case c.Service == "":
		return errors.New("cloudmap: Service is empty: give the name of a service of the namespace, as in cloudmap://NAMESPACE/SERVICE")
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("cloudmap: Port is %d: use a number from 1 to 65535", c.Port)
	case c.Interval < 0:
		return fmt.Errorf("cloudmap: Interval is %v: use a positive duration such as 2s", c.Interval)
	case c.Refresh < 0:
		return fmt.Errorf("cloudmap: Refresh is %v: use a positive duration such as 10s", c.Refresh)
	}
	switch c.Register {
	case "", RegisterAuto, RegisterAlways, RegisterNever:
	default:
		return fmt.Errorf("cloudmap: Register is %q: use %s, %s or %s", c.Register, RegisterAuto, RegisterAlways, RegisterNever)
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("cloudmap: Endpoint is %q: use a URL such as http://127.0.0.1:4566", c.Endpoint)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Register == "" {
		c.Register = RegisterAuto
	}
	if c.Refresh == 0 {
		c.Refresh = DefaultRefresh
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// ParseURL reads a configuration from
//
//	cloudmap://namespace/service?region=R&port=8001&register=auto&interval=2s&refresh=10s&endpoint=URL
//
// whose parameters may be left out.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("cloudmap: %w: use cloudmap://NAMESPACE/SERVICE", err)
	}
	if u.Scheme != "cloudmap" {
		return Config{}, fmt.Errorf("cloudmap: %q is no URL of Cloud Map: use cloudmap://NAMESPACE/SERVICE", raw)
	}
	c := Config{Namespace: u.Host, Service: strings.Trim(u.Path, "/")}
	for name, values := range u.Query() {
		value := values[len(values)-1]
		var err error
		switch name {
		case "region":
			c.Region = value
		case "endpoint":
			c.Endpoint = value
		case "register":
			c.Register = value
		case "port":
			c.Port, err = strconv.Atoi(value)
		case "interval":
			c.Interval, err = time.ParseDuration(value)
		case "refresh":
			c.Refresh, err = time.ParseDuration(value)
		default:
			return Config{}, fmt.Errorf("cloudmap: %q is no parameter: there are region, endpoint, register, port, interval and refresh", name)
		}
		if err != nil {
			return Config{}, fmt.Errorf("cloudmap: %s is %q: %w", name, value, err)
		}
	}
	return c, c.Validate()
}
