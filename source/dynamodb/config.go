package dynamodb

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// The names of the attributes of a Config without them.
const (
	DefaultKeyAttribute   = "key"
	DefaultValueAttribute = "value"
)

// A Config says which table a [Source] asks. Only Table is required. It holds
// no credentials: those come from where the AWS SDK looks for them.
type Config struct {
	// Table is the table's name. Its primary key must be a partition key alone.
	Table string

	// KeyAttribute is the partition key. Empty means "key".
	KeyAttribute string

	// KeyType is the partition key's type: S, B or N. Empty means that Open asks
	// the table, for which it must be allowed to describe it.
	KeyType string

	// ValueAttribute holds the value, of type S, B or N. Empty means "value".
	ValueAttribute string

	// TTLAttribute holds when the item expires, in seconds of the Unix epoch, as
	// DynamoDB's Time to Live has it. Empty means that no item expires.
	TTLAttribute string

	// ConsistentRead makes every read see all writes before it, for twice the
	// price.
	ConsistentRead bool

	// Endpoint is the address of another server than AWS's, such as an emulator,
	// as a http:// or https:// URL. One at this machine needs no credentials.
	Endpoint string

	// Region is the AWS region. Empty means that of the environment, or
	// us-east-1 if there is an Endpoint.
	Region string

	// Timeout bounds one Get. 0 means 30 s.
	Timeout time.Duration
}

var tableName = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,255}$`)

// maxAttributeName is the length of the longest name of a key attribute, in
// bytes.
const maxAttributeName = 255

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	if !tableName.MatchString(c.Table) {
		return fmt.Errorf("dynamodb: Table: %q is no table's name, which has 3 to 255 letters, digits, _, . and -", c.Table)
	}
	for field, name := range map[string]string{"KeyAttribute": c.KeyAttribute, "ValueAttribute": c.ValueAttribute, "TTLAttribute": c.TTLAttribute} {
		if len(name) > maxAttributeName {
			return fmt.Errorf("dynamodb: %s: is longer than %d bytes", field, maxAttributeName)
		}
	}
	switch c.KeyType {
	case "", "S", "B", "N":
	default:
		return fmt.Errorf("dynamodb: KeyType: %q; give S, B or N, or leave it out to ask the table", c.KeyType)
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("dynamodb: Endpoint: is no http:// or https:// URL")
		}
	}
	if c.Timeout < 0 {
		return fmt.Errorf("dynamodb: Timeout: %v is negative; give for example 30s", c.Timeout)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.KeyAttribute == "" {
		c.KeyAttribute = DefaultKeyAttribute
	}
	if c.ValueAttribute == "" {
		c.ValueAttribute = DefaultValueAttribute
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

// isLocal tells whether the endpoint is at this machine.
func (c Config) isLocal() bool {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// ParseURL reads a Config from its URL form, dynamodb://table, with the
// parameters key, value and ttl (names of attributes), type (S, B or N, of the
// key), consistent (true or false), endpoint and region, all optional.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("dynamodb: URL: %w", errors.Unwrap(err))
	}
	if u.Scheme != "dynamodb" || u.User != nil || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return Config{}, errors.New("dynamodb: URL: write dynamodb://table?key=name&value=name")
	}
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("dynamodb: URL: %w", err)
	}
	cfg := Config{Table: u.Host}
	for name, values := range params {
		value := values[len(values)-1]
		switch name {
		case "key":
			cfg.KeyAttribute = value
		case "type":
			cfg.KeyType = value
		case "value":
			cfg.ValueAttribute = value
		case "ttl":
			cfg.TTLAttribute = value
		case "endpoint":
			cfg.Endpoint = value
		case "region":
			cfg.Region = value
		case "consistent":
			if cfg.ConsistentRead, err = strconv.ParseBool(value); err != nil {
				return Config{}, fmt.Errorf("dynamodb: URL: consistent=%q; write consistent=true or consistent=false", value)
			}
		default:
			return Config{}, fmt.Errorf("dynamodb: URL: unknown parameter %q; there are key, type, value, ttl, consistent, endpoint and region", name)
		}
	}
	return cfg, cfg.Validate()
}
