package sql

import (
	stdsql "database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/sourcetest"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// A server is a real database with a schema of the test's own.
type server struct {
	url   string
	admin *stdsql.DB
	kind  string
}

// exec runs a statement of the test's.
func (s server) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := s.admin.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// open opens a source that asks query.
func (s server) open(t *testing.T, query string) *Source {
	t.Helper()
	src, err := Open(t.Context(), Config{URL: s.url, Query: query})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src
}

// newServer makes an empty database on the real server.
func newServer(t *testing.T, kind string) server {
	t.Helper()
	variable, driverName := "GEECACHE_TEST_POSTGRES", "pgx"
	if kind == kindMySQL {
		variable, driverName = "GEECACHE_TEST_MYSQL", "mysql"
	}
	raw := sourcetest.Server(t, variable)
	name := fmt.Sprintf("test_%d", time.Now().UnixNano())
	connect := func(raw string) *stdsql.DB {
		cfg, err := ParseURL(raw)
		if err != nil {
			t.Fatal(err)
		}
		dsn := raw
		if kind == kindMySQL {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			mc, err := mysqlConfig(cfg.withDefaults(kind), u)
			if err != nil {
				t.Fatal(err)
			}
			dsn = mc.FormatDSN()
		}
		db, err := stdsql.Open(driverName, dsn)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	root := connect(raw)
	if _, err := root.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	s := server{url: u.String(), admin: connect(u.String()), kind: kind}
	s.admin.SetMaxOpenConns(1) // so that what breaks connections can spare its own
	t.Cleanup(func() {
		_ = s.admin.Close()
		if _, err := root.Exec("DROP DATABASE " + name); err != nil {
			t.Errorf("drop: %v", err)
		}
		_ = root.Close()
	})
	return s
}

// breakAll ends all connections to the test's database but the test's own.
func (s server) breakAll(t *testing.T) {
	t.Helper()
	if s.kind == kindPostgres {
		s.exec(t, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		return
	}
	rows, err := s.admin.Query("SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()")
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		s.exec(t, fmt.Sprintf("KILL %d", id))
	}
}

// dialect is what the two kinds write differently.
type dialect struct {
	bytesTable, textTable string
	put                   string
	slow                  string
}

var dialects = map[string]dialect{
	kindPostgres: {
		bytesTable: "CREATE TABLE kv (key bytea NOT NULL, value bytea)",
		textTable:  "CREATE TABLE kv (key text NOT NULL, value text)",
		put:        "INSERT INTO kv (key, value) VALUES ($1, $2)",
		slow:       "SELECT pg_sleep(120)::text || $1::text",
	},
	kindMySQL: {
		bytesTable: "CREATE TABLE kv (`key` BLOB NOT NULL, value LONGBLOB)",
		textTable:  "CREATE TABLE kv (`key` LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL, value LONGTEXT CHARACTER SET utf8mb4)",
		put:        "INSERT INTO kv (`key`, value) VALUES (?, ?)",
		slow:       "SELECT CONCAT(SLEEP(120), ?)",
	},
}

func forEachKind(t *testing.T, test func(t *testing.T, kind string, d dialect)) {
	for kind, d := range dialects {
		t.Run(kind, func(t *testing.T) { test(t, kind, d) })
	}
}

func TestContract(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, d dialect) {
		t.Run("bytes", func(t *testing.T) { runContract(t, kind, d, d.bytesTable, nil) })
		t.Run("text", func(t *testing.T) {
			runContract(t, kind, d, d.textTable, func(key string) bool {
				return utf8.ValidString(key) && (kind == kindMySQL || !strings.Contains(key, "\x00"))
			})
		})
	})
}

func runContract(t *testing.T, kind string, d dialect, table string, holds func(key string) bool) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		s := newServer(t, kind)
		s.exec(t, table)
		return sourcetest.Fixture{
			Open: func(t *testing.T) sourcetest.Source { return s.open(t, "") },
			Put: func(t *testing.T, key string, value []byte) {
				if holds != nil {
					s.exec(t, d.put, key, string(value))
				} else {
					s.exec(t, d.put, []byte(key), value)
				}
			},
			Holds:    holds,
			OpenSlow: func(t *testing.T) sourcetest.Source { return s.open(t, d.slow) },
			Break:    s.breakAll,
		}
	})
}

// TestColumnTypes has, for each type, what its value is.
func TestColumnTypes(t *testing.T) {
	for kind, columns := range map[string]map[string]string{
		kindPostgres: {
			"'x'::text":                          "x",
			"''::text":                           "",
			"'ab'::varchar(5)":                   "ab",
			"'\\x00ff'::bytea":                   "\x00\xff",
			"630::int":                           "630",
			"(-9223372036854775808)::bigint":     "-9223372036854775808",
			"3.1400::numeric":                    "3.1400",
			"0.1::float8":                        "0.1",
			"true":                               "t",
			"'{\"a\":  [1]}'::json":              `{"a":  [1]}`,
			"'{\"a\":  [1]}'::jsonb":             `{"a": [1]}`,
			"'2024-02-29 12:30:00.5'::timestamp": "2024-02-29 12:30:00.5",
			"'2024-02-29'::date":                 "2024-02-29",
			"'00000000-0000-0000-0000-00000000000a'::uuid": "00000000-0000-0000-0000-00000000000a",
			"ARRAY[1,2]":        "{1,2}",
			"'192.0.2.1'::inet": "192.0.2.1",
		},
		kindMySQL: {
			"'x'":                                    "x",
			"''":                                     "",
			"X'00FF'":                                "\x00\xff",
			"630":                                    "630",
			"CAST(-9223372036854775808 AS SIGNED)":   "-9223372036854775808",
			"CAST(18446744073709551615 AS UNSIGNED)": "18446744073709551615",
			"CAST(3.1400 AS DECIMAL(10,4))":          "3.1400",
			"CAST(0.1 AS DOUBLE)":                    "0.1",
			"TRUE":                                   "1",
			"JSON_EXTRACT('{\"a\": [1]}', '$')":      `{"a": [1]}`,
			"TIMESTAMP '2024-02-29 12:30:00'":        "2024-02-29 12:30:00",
			"DATE '2024-02-29'":                      "2024-02-29",
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s := newServer(t, kind)
			for column, want := range columns {
				query := "SELECT " + column + " WHERE $1 <> ''"
				if kind == kindMySQL {
					query = "SELECT " + column + " FROM dual WHERE ? <> ''"
				}
				v, err := s.open(t, query).Get(t.Context(), "k")
				if err != nil || v.Bytes == nil || string(v.Bytes) != want {
					t.Errorf("%s: Get = %q, %v; want %q", column, v.Bytes, err, want)
				}
			}
		})
	}
}

func TestNullIsNotFound(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, d dialect) {
		s := newServer(t, kind)
		s.exec(t, d.textTable)
		s.exec(t, d.put, "null", nil)
		s.exec(t, d.put, "empty", "")
		src := s.open(t, "")
		wantNotFound(t, src, "null")
		if v, err := src.Get(t.Context(), "empty"); err != nil || len(v.Bytes) != 0 {
			t.Errorf("Get of an empty text = %q, %v; want an empty value", v.Bytes, err)
		}
	})
}

func wantNotFound(t *testing.T, s *Source, key string) {
	t.Helper()
	if v, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get(%q) = %q, %v; want ErrNotFound", key, v.Bytes, err)
	}
}

// TestKeysOfOtherTypes asks for keys that the parameter's type cannot hold.
func TestKeysOfOtherTypes(t *testing.T) {
	s := newServer(t, kindPostgres)
	for _, column := range []string{"int", "bigint", "numeric", "uuid", "date", "timestamptz", "bool", "inet"} {
		table := "kv_" + column
		s.exec(t, "CREATE TABLE "+table+" (key "+column+", value text)")
		src := s.open(t, "SELECT value FROM "+table+" WHERE key = $1")
		for _, key := range []string{"", "x", "99999999999999999999999", "\xff", "\x00", "2024-02-31"} {
			wantNotFound(t, src, key)
		}
	}
	s.exec(t, "INSERT INTO kv_int VALUES (630, 'Tom')")
	v, err := s.open(t, "SELECT value FROM kv_int WHERE key = $1").Get(t.Context(), "630")
	if err != nil || string(v.Bytes) != "Tom" {
		t.Errorf("Get = %q, %v; want Tom", v.Bytes, err)
	}
}

// TestFailingQueryIsNotNotFound: what fails in the query itself is an error,
// though its code is the one of a key that does not fit.
func TestFailingQueryIsNotNotFound(t *testing.T) {
	s := newServer(t, kindPostgres)
	src := s.open(t, "SELECT ($1::text)::int")
	if _, err := src.Get(t.Context(), "x"); err == nil || errors.Is(err, geecache.ErrNotFound) {
		t.Errorf("Get = %v; want the server's error", err)
	}
}

func TestQueryErrors(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, d dialect) {
		s := newServer(t, kind)
		s.exec(t, d.textTable)
		s.exec(t, d.put, "a", "1")
		s.exec(t, d.put, "b", "2")
		p := "$1"
		if kind == kindMySQL {
			p = "?"
		}
		for query, want := range map[string]string{
			"SELECT value FROM kv":                           "exactly one parameter",
			"SELECT value, value FROM kv WHERE value = " + p: "exactly one column",
			"SELECT value FROM kv WHERE value <> " + p:       "more than one row",
			"SELECT value FROM none WHERE value = " + p:      "none",
			"SELEKT " + p: "SELEKT",
		} {
			src, err := Open(t.Context(), Config{URL: s.url, Query: query})
			if err == nil {
				_, err = src.Get(t.Context(), "x")
				if errClose := src.Close(); errClose != nil {
					t.Error(errClose)
				}
			}
			if err == nil || errors.Is(err, geecache.ErrNotFound) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want an error with %q", query, err, want)
			}
		}
	})
}

// TestAlteredColumn changes the value's type under a source that runs.
func TestAlteredColumn(t *testing.T) {
	s := newServer(t, kindPostgres)
	s.exec(t, "CREATE TABLE kv (key text, value bytea)")
	s.exec(t, "INSERT INTO kv VALUES ('Tom', '630')")
	src := s.open(t, "")
	for _, column := range []string{"text USING convert_from(value, 'UTF8')", "int USING value::int", "bytea USING value::text::bytea"} {
		if v, err := src.Get(t.Context(), "Tom"); err != nil || string(v.Bytes) != "630" {
			t.Errorf("before %s: Get = %q, %v; want 630", column, v.Bytes, err)
		}
		s.exec(t, "ALTER TABLE kv ALTER value TYPE "+column)
		if v, err := src.Get(t.Context(), "Tom"); err != nil || string(v.Bytes) != "630" {
			t.Errorf("after %s: Get = %q, %v; want 630", column, v.Bytes, err)
		}
	}
}

func TestQueryTimeout(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, d dialect) {
		s := newServer(t, kind)
		src, err := Open(t.Context(), Config{URL: s.url, Query: d.slow, QueryTimeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = src.Close() }()
		if _, err := src.Get(t.Context(), "k"); !errors.Is(err, geecache.ErrLoadTimeout) {
			t.Errorf("Get = %v; want ErrLoadTimeout", err)
		}
	})
}

// TestServerAway lets the server vanish and return at the same address.
func TestServerAway(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, d dialect) {
		s := newServer(t, kind)
		s.exec(t, d.textTable)
		s.exec(t, d.put, "Tom", "630")
		u, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		p := newProxy(t, u.Host)
		u.Host = p.addr
		src := server{url: u.String()}.open(t, "")
		for range 2 {
			if v, err := src.Get(t.Context(), "Tom"); err != nil || string(v.Bytes) != "630" {
				t.Errorf("with the server: Get = %q, %v; want 630", v.Bytes, err)
			}
			p.stop()
			if _, err := src.Get(t.Context(), "Tom"); err == nil || errors.Is(err, geecache.ErrNotFound) {
				t.Errorf("without the server: Get = %v; want an error that is not ErrNotFound", err)
			}
			p.start(t)
		}
	})
}

// A proxy stands between a source and its server.
type proxy struct {
	addr, target string
	wg           sync.WaitGroup

	mu       sync.Mutex // guards the following
	listener net.Listener
	conns    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	p := &proxy{addr: "127.0.0.1:0", target: target}
	p.start(t)
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.listener, p.addr = l, l.Addr().String()
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			p.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
			p.wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
		}
	})
}

// stop ends all connections and refuses new ones.
func (p *proxy) stop() {
	p.mu.Lock()
	_ = p.listener.Close()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}
