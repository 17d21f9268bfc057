package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/geecache/geecache/geecache"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgres asks the query in the extended protocol without a named prepared
// statement: the server parses it each time, which is little beside a miss,
// and any connection pooler between carries it.
type postgres struct {
	pool  *pgxpool.Pool
	query string
	shape atomic.Pointer[shape]
}

// A shape is what the server says of the query: the types of its parameter and
// of its column.
type shape struct {
	param, column uint32
}

// format returns in which format a value of a type travels: bytes as they are,
// everything else as its text.
func format(oid uint32) int16 {
	if oid == pgtype.ByteaOID {
		return 1
	}
	return 0
}

func postgresConfig(cfg Config) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// Its text may quote what it could not mask.
		return nil, errors.New("sql: URL: PostgreSQL's driver refuses it; check the port, sslmode and other parameters, and the files that they name")
	}
	pc.MaxConns = int32(cfg.MaxConns) //nolint:gosec // Validate bounds it
	pc.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	return pc, nil
}

func openPostgres(ctx context.Context, cfg Config) (*postgres, error) {
	pc, err := postgresConfig(cfg)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, err
	}
	p := &postgres{pool: pool, query: cfg.Query}
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		return p.describe(ctx, conn.Conn().PgConn())
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return p, nil
}

// describe asks the server for the query's shape.
func (p *postgres) describe(ctx context.Context, conn *pgconn.PgConn) error {
	d, err := conn.Prepare(ctx, "", p.query, nil)
	if err != nil {
		return err
	}
	if len(d.ParamOIDs) != 1 {
		return fmt.Errorf("%w, not %d", errParameters, len(d.ParamOIDs))
	}
	if len(d.Fields) != 1 {
		return fmt.Errorf("%w, not %d", errManyColumns, len(d.Fields))
	}
	p.shape.Store(&shape{param: d.ParamOIDs[0], column: d.Fields[0].DataTypeOID})
	return nil
}

func (p *postgres) get(ctx context.Context, key string) ([]byte, error) {
	value, reused, err := p.getOnce(ctx, key)
	if err == nil || !reused || ctx.Err() != nil || !connectionDied(err) {
		return value, err
	}
	// The connection had died in the pool, so the others have most likely died
	// with it. This is no repetition of a query that failed: a new connection
	// takes the place of a stale one, once.
	p.pool.Reset()
	value, _, err = p.getOnce(ctx, key)
	return value, err
}

// connectionDied tells whether the error is about the connection and not about
// the query: it is no answer of the server, or the server's farewell.
func connectionDied(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		// Class 57P: shutdown, crash, cannot connect now, idle too long.
		return strings.HasPrefix(answer.Code, "57P")
	}
	return !errors.Is(err, geecache.ErrNotFound) && !errors.Is(err, errManyRows) && !errors.Is(err, errShape)
}

var errShape = errors.New("the type of the query's column keeps changing")

// getOnce asks on one connection. It also returns whether that connection had
// been in use before.
func (p *postgres) getOnce(ctx context.Context, key string) (value []byte, reused bool, err error) {
	fresh := p.pool.Stat().NewConnsCount()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, false, err
	}
	defer conn.Release()
	// Another caller may have made the new one: then this is merely careful.
	reused = p.pool.Stat().NewConnsCount() == fresh
	pg := conn.Conn().PgConn()
	for range 2 {
		value, err = p.ask(ctx, pg, *p.shape.Load(), key)
		if !errors.Is(err, errShape) {
			return value, reused, err
		}
		// The table has been altered since the last description.
		if err := p.describe(ctx, pg); err != nil {
			return nil, reused, err
		}
	}
	return nil, reused, err
}

// ask runs the query and reads its one row.
func (p *postgres) ask(ctx context.Context, pg *pgconn.PgConn, sh shape, key string) ([]byte, error) {
	if format(sh.param) == 0 && (!utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0) {
		return nil, geecache.ErrNotFound // no text of PostgreSQL's is equal to it
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := pg.ExecParams(ctx, p.query, [][]byte{[]byte(key)}, nil, []int16{format(sh.param)}, []int16{format(sh.column)})

	var value []byte
	found, null := false, false
	for result.NextRow() {
		fields := result.FieldDescriptions()
		if len(fields) != 1 || format(fields[0].DataTypeOID) != format(sh.column) {
			_, _ = result.Close()
			return nil, errShape
		}
		if found {
			cancel() // rather than read a whole table to its end
			_, _ = result.Close()
			return nil, errManyRows
		}
		found, null = true, result.Values()[0] == nil
		value = append(make([]byte, 0, len(result.Values()[0])), result.Values()[0]...)
	}
	if _, err := result.Close(); err != nil {
		if sh.cannotHold(err) {
			return nil, geecache.ErrNotFound
		}
		return nil, err
	}
	if !found || null {
		return nil, geecache.ErrNotFound
	}
	return value, nil
}

// cannotHold tells whether the server refused the key as a value of the
// parameter's type.
func (sh shape) cannotHold(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case "22P05": // the database's encoding lacks the character
		return true
	case "22P02", "22003", "22007", "22008": // not a number, date, uuid...; out of range
		switch sh.param {
		case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.ByteaOID:
			return false // these hold any key: it is the query that fails
		}
		return true
	}
	return false
}

func (p *postgres) close() { p.pool.Close() }
