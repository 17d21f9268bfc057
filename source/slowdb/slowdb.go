// Package slowdb is a source that is slow on purpose: a table of keys and
// values in SQLite, in a file or in memory, with a latency added to every
// query. It is for demonstrations, tests and small deployments; it refuses to
// be more than one table of keys and values.
package slowdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geecache/geecache/geecache"

	"modernc.org/sqlite"
)

// ErrClosed is what Get and Import return once Close has been called.
var ErrClosed = errors.New("slowdb: source is closed")

// seed is what a new database starts with.
var seed = [...]struct{ key, value string }{
	{"Tom", "630"},
	{"Jack", "589"},
	{"Sam", "567"},
}

// A Source is a [geecache.Getter] that reads from one SQLite database. Its
// methods are safe for concurrent use, by several processes on one file too.
type Source struct {
	cfg     Config
	db      *sql.DB
	lookup  *sql.Stmt
	queries atomic.Int64

	// anchor keeps a database in memory alive while the pool has no connection
	// open; nil for a file.
	anchor *sql.Conn

	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
}

// Open opens the database, and makes and seeds it if it is new. The context
// bounds only the opening.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(dataSourceName(cfg))
	if err != nil {
		return nil, fmt.Errorf("slowdb: open %s: %w", cfg.name(), err)
	}
	s := &Source{cfg: cfg, db: sql.OpenDB(connector), closed: make(chan struct{})}
	// A query takes microseconds once its latency is over, so a few connections
	// carry any number of callers.
	conns := max(4, runtime.GOMAXPROCS(0))
	s.db.SetMaxOpenConns(conns)
	s.db.SetMaxIdleConns(conns)
	if err := s.prepare(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("slowdb: open %s: %w", cfg.name(), err)
	}
	return s, nil
}

// name says which database it is, for errors.
func (c Config) name() string {
	if c.Path == "" {
		return "in memory"
	}
	return c.Path
}

// dataSourceName returns the database as a URI, in which a path may hold any
// character.
func dataSourceName(cfg Config) string {
	params := url.Values{"_busy_timeout": {"5000"}}
	if cfg.Path == "" {
		// SQLite shares a memdb database between the connections of a process
		// if its name begins with a slash; the random name keeps it apart from
		// every other Source's.
		params.Set("vfs", "memdb")
		return "file:/geecache-" + rand.Text() + "?" + params.Encode()
	}
	params.Set("_synchronous", "NORMAL")
	path := filepath.ToSlash(cfg.Path)
	if filepath.VolumeName(cfg.Path) != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if strings.HasPrefix(path, "/") {
		path = "//" + path
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
}

// prepare makes the table if it is new and readies the lookup.
func (s *Source) prepare(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	if s.cfg.Path == "" {
		s.anchor = conn
	} else {
		defer func() { _ = conn.Close() }()
	}
	found, err := checkTable(ctx, conn)
	if err == nil && !found {
		err = s.createTable(ctx, conn)
	}
	if err != nil {
		return err
	}
	s.lookup, err = s.db.PrepareContext(ctx, "SELECT value FROM kv WHERE key = ?")
	return err
}

// checkTable tells whether the database has the table, and refuses one whose
// keys SQLite would compare as text: they would never be found.
func checkTable(ctx context.Context, conn *sql.Conn) (bool, error) {
	rows, err := conn.QueryContext(ctx, "SELECT name, type FROM pragma_table_info('kv')")
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	types := map[string]string{}
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return false, err
		}
		types[name] = strings.ToUpper(kind)
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	if len(types) == 0 {
		return false, nil
	}
	for _, column := range []string{"key", "value"} {
		if types[column] != "BLOB" {
			return false, fmt.Errorf("table kv has column %s of type %q, want BLOB; import its rows into a new file", column, types[column])
		}
	}
	return true, nil
}

// createTable makes and seeds the table. When several processes open a new
// file at once, one does it and the others find it done.
func (s *Source) createTable(ctx context.Context, conn *sql.Conn) error {
	if s.cfg.Path != "" {
		if err := enterWAL(ctx, conn); err != nil {
			return err
		}
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := s.createTableLocked(ctx, conn)
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	_, endErr := conn.ExecContext(context.WithoutCancel(ctx), end)
	return errors.Join(err, endErr)
}

// createTableLocked runs in the transaction that createTable has begun.
func (s *Source) createTableLocked(ctx context.Context, conn *sql.Conn) error {
	found, err := checkTable(ctx, conn)
	if err != nil || found {
		return err
	}
	const create = "CREATE TABLE kv (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT"
	if _, err := conn.ExecContext(ctx, create); err != nil {
		return err
	}
	insert, err := conn.PrepareContext(ctx, "INSERT INTO kv VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	for _, row := range seed {
		if s.cfg.NoSeed {
			break
		}
		if _, err := insert.ExecContext(ctx, []byte(row.key), []byte(row.value)); err != nil {
			return err
		}
	}
	for i := range s.cfg.Rows {
		key := "user:" + strconv.Itoa(i)
		if _, err := insert.ExecContext(ctx, []byte(key), []byte("value-of-"+key)); err != nil {
			return err
		}
	}
	return nil
}

// enterWAL switches the file to write-ahead logging, so that readers and a
// writer do not wait for each other. The file remembers it. SQLite does not
// wait for another process that is just doing the same, hence the loop.
func enterWAL(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		_, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL")
		if !isBusy(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// isBusy tells whether another connection was in the way.
func isBusy(err error) bool {
	const busy = 5 // SQLITE_BUSY; the upper bits of a code say more
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == busy
}

// Get waits for the latency and returns the value of key. It returns an error
// that wraps [geecache.ErrNotFound] if the table has no such key.
func (s *Source) Get(ctx context.Context, key string) (geecache.Value, error) {
	s.queries.Add(1)
	if err := s.wait(ctx); err != nil {
		return geecache.Value{}, err
	}
	var value []byte
	err := s.lookup.QueryRowContext(ctx, []byte(key)).Scan(&value)
	switch {
	case err == nil:
		return geecache.Value{Bytes: value}, nil
	case errors.Is(err, sql.ErrNoRows):
		return geecache.Value{}, fmt.Errorf("slowdb: %w", geecache.ErrNotFound)
	case ctx.Err() != nil:
		return geecache.Value{}, fmt.Errorf("slowdb: query: %w", ctx.Err())
	case s.isClosed():
		return geecache.Value{}, ErrClosed
	}
	return geecache.Value{}, fmt.Errorf("slowdb: query: %w", err)
}

// wait lets the latency pass. It holds no connection meanwhile.
func (s *Source) wait(ctx context.Context) error {
	if s.isClosed() {
		return ErrClosed
	}
	if s.cfg.Latency > 0 {
		timer := time.NewTimer(s.cfg.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closed:
			return ErrClosed
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("slowdb: query: %w", err)
	}
	return nil
}

// Queries returns how many queries have begun, those that found nothing or
// were given up included.
func (s *Source) Queries() int64 { return s.queries.Load() }

func (s *Source) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Close closes the database. A Get that waits for its latency returns
// [ErrClosed] at once. Calls after the first return what the first returned.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		var errs []error
		if s.lookup != nil {
			errs = append(errs, s.lookup.Close())
		}
		if s.anchor != nil {
			errs = append(errs, s.anchor.Close())
		}
		s.closeErr = errors.Join(append(errs, s.db.Close())...)
	})
	return s.closeErr
}
