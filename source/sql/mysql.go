package sql

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/geecache/geecache/geecache"

	driverpkg "github.com/go-sql-driver/mysql"
)

// mysql asks the query as a prepared statement, which database/sql prepares
// once on each connection.
type mysql struct {
	db   *stdsql.DB
	stmt *stdsql.Stmt
}

func mysqlConfig(cfg Config, u *url.URL) (*driverpkg.Config, error) {
	if u.Hostname() == "" {
		return nil, errors.New("sql: URL: has no host; write mysql://user:password@host:3306/database")
	}
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	// The driver has its own form of URL, with other rules for special
	// characters: only the address, whose name TLS verifies, and the parameters
	// go through it.
	mc, err := driverpkg.ParseDSN("tcp(" + addr + ")/?" + strings.ReplaceAll(u.RawQuery, "/", "%2F"))
	if err != nil {
		return nil, errors.New("sql: URL: MySQL's driver refuses it; see its documentation for the parameters that there are")
	}
	mc.Net, mc.Addr = "tcp", addr
	mc.DBName = strings.TrimPrefix(u.Path, "/")
	if mc.DBName == "" {
		return nil, errors.New("sql: URL: has no database; write mysql://user:password@host:3306/database")
	}
	mc.User = u.User.Username()
	mc.Passwd, _ = u.User.Password()
	mc.Timeout = cfg.ConnectTimeout
	mc.ParseTime = false // the text form is the value
	mc.CheckConnLiveness = true
	mc.Logger = &driverpkg.NopLogger{} // errors are returned
	return mc, nil
}

func openMySQL(ctx context.Context, cfg Config, u *url.URL) (*mysql, error) {
	mc, err := mysqlConfig(cfg, u)
	if err != nil {
		return nil, err
	}
	connector, err := driverpkg.NewConnector(mc)
	if err != nil {
		return nil, err
	}
	db := stdsql.OpenDB(connector)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	m := &mysql{db: db}
	if err := m.prepare(ctx, cfg.Query); err != nil {
		_ = db.Close()
		return nil, err
	}
	return m, nil
}

func (m *mysql) prepare(ctx context.Context, query string) error {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(raw any) error {
		preparer, ok := raw.(driver.ConnPrepareContext)
		if !ok {
			return fmt.Errorf("driver's connection %T cannot prepare", raw)
		}
		stmt, err := preparer.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		if n := stmt.NumInput(); n != 1 {
			return fmt.Errorf("%w, not %d", errParameters, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.stmt, err = m.db.PrepareContext(ctx, query)
	return err
}

func (m *mysql) get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := m.stmt.QueryContext(ctx, []byte(key))
	if err == nil {
		value, err := m.read(rows, cancel)
		return value, keyError(err, key)
	}
	return nil, keyError(err, key)
}

// read returns the one value.
func (m *mysql) read(rows *stdsql.Rows, cancel func()) ([]byte, error) {
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if len(columns) != 1 {
		return nil, fmt.Errorf("%w, not %d", errManyColumns, len(columns))
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, geecache.ErrNotFound
	}
	var value []byte // database/sql writes every type's text form, and nil for NULL
	if err := rows.Scan(&value); err != nil {
		return nil, err
	}
	if rows.Next() {
		cancel() // rather than read a whole table to its end
		return nil, errManyRows
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if value == nil {
		return nil, geecache.ErrNotFound
	}
	return value, nil
}

// keyError turns the server's refusal of a key that the column's character set
// cannot hold into not found.
func keyError(err error, key string) error {
	var answer *driverpkg.MySQLError
	if !errors.As(err, &answer) || isASCII(key) {
		return err
	}
	switch answer.Number {
	case 1267, 1270, 1271, // cannot be compared in one character set
		1300, 1366, 3854, 3988: // not a string of the character set
		return geecache.ErrNotFound
	}
	return err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// close drops what the driver says: it says only which connections were broken
// already.
func (m *mysql) close() {
	_ = m.stmt.Close()
	_ = m.db.Close()
}
