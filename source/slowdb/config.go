package slowdb

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultLatency is the latency of a URL that names none.
const DefaultLatency = 50 * time.Millisecond

// maxLatency is the longest latency that Validate accepts. A longer one is
// more likely a forgotten unit than a wish.
const maxLatency = 10 * time.Minute

// A Config says which database a [Source] opens and how slow it is. The zero
// Config is a seeded database in memory without any latency.
type Config struct {
	// Path is the database file. It is made if there is none; its folder must
	// exist. Empty means a database in memory that ends with the Source.
	Path string

	// Latency is added to every query, 0 to 10 minutes.
	Latency time.Duration

	// NoSeed leaves a new database empty. Otherwise a new database starts with
	// the scores Tom 630, Jack 589 and Sam 567. A file that already has the
	// table is never seeded.
	NoSeed bool

	// Rows is how many rows more a new database starts with, for measurements: user:0
	// has the value value-of-user:0, and so on. 0 to a million.
	Rows int
}

// maxRows bounds Config.Rows: each process with a database in memory has them all.
const maxRows = 1_000_000

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	if strings.ContainsRune(c.Path, 0) {
		return errors.New("slowdb: Path: holds a zero byte; give the name of a file")
	}
	if c.Latency < 0 || c.Latency > maxLatency {
		return fmt.Errorf("slowdb: Latency: %v is out of range; give 0 to %v", c.Latency, maxLatency)
	}
	if c.Rows < 0 || c.Rows > maxRows {
		return fmt.Errorf("slowdb: Rows: %d is out of range; give 0 to %d", c.Rows, maxRows)
	}
	return nil
}

// ParseURL reads a Config from its URL form:
//
//	slowdb:                      in memory
//	slowdb:scores.db             a file, relative to the working directory
//	slowdb:///var/lib/scores.db  a file by its absolute path
//
// The parameters are latency (a duration such as 200ms, [DefaultLatency] if it
// is left out), seed (true or false, default true) and rows (a number, default 0).
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("slowdb: URL: %w", errors.Unwrap(err))
	}
	if u.Scheme != "slowdb" {
		return Config{}, fmt.Errorf("slowdb: URL: scheme is %q, want %q", u.Scheme, "slowdb:")
	}
	if u.Host != "" || u.User != nil {
		return Config{}, fmt.Errorf("slowdb: URL: %q names a host; write slowdb:///absolute/path or slowdb:relative/path", u.Host)
	}
	if u.Fragment != "" {
		return Config{}, errors.New("slowdb: URL: has a fragment; write # in a path as %23")
	}
	cfg := Config{Path: u.Path, Latency: DefaultLatency}
	if u.Opaque != "" {
		if cfg.Path, err = url.PathUnescape(u.Opaque); err != nil {
			return Config{}, fmt.Errorf("slowdb: URL: %w", err)
		}
	}
	if err := cfg.parseParameters(u.RawQuery); err != nil {
		return Config{}, err
	}
	return cfg, cfg.Validate()
}

func (c *Config) parseParameters(rawQuery string) error {
	params, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fmt.Errorf("slowdb: URL: %w", err)
	}
	for name, values := range params {
		value := values[len(values)-1]
		switch name {
		case "latency":
			if c.Latency, err = time.ParseDuration(value); err != nil {
				return fmt.Errorf("slowdb: URL: latency=%q is no duration; write for example latency=50ms", value)
			}
		case "seed":
			switch value {
			case "true":
				c.NoSeed = false
			case "false":
				c.NoSeed = true
			default:
				return fmt.Errorf("slowdb: URL: seed=%q; write seed=true or seed=false", value)
			}
		case "rows":
			if c.Rows, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("slowdb: URL: rows=%q is no number; write for example rows=10000", value)
			}
		default:
			return fmt.Errorf("slowdb: URL: unknown parameter %q; there are latency, seed and rows", name)
		}
	}
	return nil
}
