package sql

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// The queries that a Config without one asks.
const (
	DefaultPostgresQuery = "SELECT value FROM kv WHERE key = $1"
	DefaultMySQLQuery    = "SELECT value FROM kv WHERE `key` = ?"
)

// A Config says which database a [Source] asks, and what. Only URL is
// required. It holds a password: its String and LogValue leave that out.
type Config struct {
	// URL is the database:
	//
	//	postgres://user:password@host:5432/database?sslmode=verify-full
	//	mysql://user:password@host:3306/database?tls=true
	//
	// The parameters are those of the drivers, pgx and go-sql-driver/mysql. A
	// character with a meaning in URLs is written %XX in user and password.
	URL string

	// Query is the one query, with one parameter, the key ($1 in PostgreSQL, ?
	// in MySQL), and one column, the value. It should find at most one row.
	// Empty means [DefaultPostgresQuery] or [DefaultMySQLQuery].
	Query string

	// MaxConns is how many connections the pool may open. 0 means 16.
	MaxConns int

	// ConnectTimeout bounds one attempt to connect. 0 means 5 s.
	ConnectTimeout time.Duration

	// QueryTimeout bounds one Get, the wait for a connection included. 0 means
	// 30 s.
	QueryTimeout time.Duration
}

// The kinds of database.
const (
	kindPostgres = "postgres"
	kindMySQL    = "mysql"
)

// ParseURL returns the Config of a database's URL, or an error that says what
// is wrong with it, without its password.
func ParseURL(raw string) (Config, error) {
	cfg := Config{URL: raw}
	return cfg, cfg.Validate()
}

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	kind, u, err := c.parse()
	if err != nil {
		return err
	}
	if kind == kindPostgres {
		_, err = postgresConfig(c.withDefaults(kind))
	} else {
		_, err = mysqlConfig(c.withDefaults(kind), u)
	}
	if err != nil {
		return err
	}
	switch {
	case c.MaxConns < 0 || c.MaxConns > 10_000:
		return fmt.Errorf("sql: MaxConns: %d is out of range; give 1 to 10000, or 0 for the default", c.MaxConns)
	case c.ConnectTimeout < 0:
		return fmt.Errorf("sql: ConnectTimeout: %v is negative; give for example 5s", c.ConnectTimeout)
	case c.QueryTimeout < 0:
		return fmt.Errorf("sql: QueryTimeout: %v is negative; give for example 30s", c.QueryTimeout)
	case c.Query != "" && strings.TrimSpace(c.Query) == "":
		return errors.New("sql: Query: is blank; give one with one parameter, or leave it out for the default")
	}
	return nil
}

// parse splits the URL. What the parser says of a bad one may quote a part of
// the password, so it is not passed on.
func (c Config) parse() (kind string, u *url.URL, err error) {
	if c.URL == "" {
		return "", nil, errors.New("sql: URL: is empty; give postgres://user:password@host/database, or the same with mysql")
	}
	u, err = url.Parse(c.URL)
	if err != nil {
		return "", nil, errors.New("sql: URL: is not a valid URL; write special characters of user and password as %XX")
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		kind = kindPostgres
	case "mysql", "mariadb":
		kind = kindMySQL
	default:
		return "", nil, errors.New("sql: URL: unknown scheme; it begins with postgres:// or mysql://")
	}
	return kind, u, nil
}

func (c Config) withDefaults(kind string) Config {
	if c.Query == "" {
		c.Query = DefaultMySQLQuery
		if kind == kindPostgres {
			c.Query = DefaultPostgresQuery
		}
	}
	if c.MaxConns == 0 {
		c.MaxConns = 16
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.QueryTimeout == 0 {
		c.QueryTimeout = 30 * time.Second
	}
	return c
}

// String names the database without user, password and parameters, any of
// which may be secret.
func (c Config) String() string {
	_, u, err := c.parse()
	if err != nil {
		return "sql: invalid URL"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// LogValue is what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// GoString is what String returns.
func (c Config) GoString() string { return c.String() }
