// Package sql is a source that asks a PostgreSQL, MySQL or MariaDB database
// one parameterised query for each key. It reads only what that query says,
// and it does not repeat a query that failed: that is the cache's decision.
package sql

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/geecache/geecache/geecache"
)

// ErrClosed is what Get returns once Close has been called.
var ErrClosed = errors.New("sql: source is closed")

// A database is one kind's way to run the query.
type database interface {
	// get returns the value, or geecache.ErrNotFound.
	get(ctx context.Context, key string) ([]byte, error)
	// close waits for the queries that run.
	close()
}

// A Source is a [geecache.Getter] that asks a database. Its methods are safe
// for concurrent use.
//
// The value is the column as it is if its type is one of bytes (bytea, BLOB,
// BINARY), and its text form otherwise. A NULL is no value: not found, as if
// there were no row. An empty string is a value.
//
// The key is passed as bytes where the parameter is of bytes, and as text
// otherwise. A key that the parameter's type cannot hold (bytes that are not
// UTF-8 for a text, letters for a number) has no row, so it is not found.
// MySQL compares texts by their collation: unless that is a binary one, the
// keys tom and Tom have the same row.
type Source struct {
	cfg Config
	db  database

	open      context.Context // ends with Close
	end       context.CancelFunc
	closeOnce sync.Once
}

// Open connects to the database and checks the query, as far as the database
// can tell without running it. The context bounds only the opening.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	kind, u, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults(kind)
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	var db database
	if kind == kindPostgres {
		db, err = openPostgres(ctx, cfg)
	} else {
		db, err = openMySQL(ctx, cfg, u)
	}
	if err != nil {
		return nil, fmt.Errorf("sql: open %v: %w", cfg, err)
	}
	s := &Source{cfg: cfg, db: db}
	s.open, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Get asks for the value of key. It returns an error that wraps
// [geecache.ErrNotFound] if there is none, and [geecache.ErrLoadTimeout] if
// the database did not answer within the QueryTimeout. A context that ends
// ends the query too.
func (s *Source) Get(ctx context.Context, key string) (geecache.Value, error) {
	if s.open.Err() != nil {
		return geecache.Value{}, ErrClosed
	}
	queryCtx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	stop := context.AfterFunc(s.open, cancel)
	defer stop()

	value, err := s.db.get(queryCtx, key)
	switch {
	case err == nil:
		return geecache.Value{Bytes: value}, nil
	case errors.Is(err, geecache.ErrNotFound):
		return geecache.Value{}, fmt.Errorf("sql: %w", geecache.ErrNotFound)
	case s.open.Err() != nil:
		return geecache.Value{}, ErrClosed
	case ctx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("sql: query: %w", ctx.Err())
	case queryCtx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("sql: no answer within %v: %w", s.cfg.QueryTimeout, geecache.ErrLoadTimeout)
	}
	return geecache.Value{}, fmt.Errorf("sql: query: %w", err)
}

// Close ends the queries that run, which return [ErrClosed], and closes the
// connections. It always returns nil.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		s.end()
		s.db.close()
	})
	return nil
}

// Errors of a query that is not of the kind that a Source can ask.
var (
	errManyRows    = errors.New("query: it finds more than one row for a key; add a condition or LIMIT 1")
	errManyColumns = errors.New("query: it must have exactly one column, the value")
	errParameters  = errors.New("query: it must have exactly one parameter, the key ($1 in PostgreSQL, ? in MySQL)")
)
