package slowdb

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The formats that Import reads.
const (
	FormatCSV   = "csv"
	FormatJSONL = "jsonl"
)

const (
	// maxLineBytes is the longest JSON line that Import reads.
	maxLineBytes = 64 << 20
	// progressRows is how many rows lie between two calls of progress.
	progressRows = 10_000
	// insertRows is how many rows go into one statement: enough to make the
	// cost of a statement small beside that of its rows.
	insertRows = 100
)

// Import reads keys and values from r and writes them to the table, all or
// none: after an error the table is as it was. A key that is already there, or
// comes twice, gets the last value. It returns how many rows it read.
//
// The format csv is a file of two columns, with or without the header
// key,value; a value may hold any bytes, but a carriage return before a line
// feed is dropped. The format jsonl has on each line an object
// {"key": "...", "value": ...}, whose value is a string, or any other JSON,
// which is stored as its text. An error names the line it is about.
//
// Progress, which may be nil, is called now and then and at the end with how
// many rows and bytes have been read.
func (s *Source) Import(ctx context.Context, r io.Reader, format string, progress func(rows, bytes int64)) (int64, error) {
	if s.isClosed() {
		return 0, ErrClosed
	}
	counted := &countingReader{r: r}
	var next rowReader
	switch format {
	case FormatCSV:
		next = csvRows(counted)
	case FormatJSONL:
		next = jsonRows(counted)
	default:
		return 0, fmt.Errorf("slowdb: import: unknown format %q; there are %s and %s", format, FormatCSV, FormatJSONL)
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	rows, err := s.importRows(ctx, next, func(rows int64) { progress(rows, counted.n) })
	if err != nil {
		return 0, fmt.Errorf("slowdb: import: %w", err)
	}
	return rows, nil
}

// importRows collects the rows in a table of this connection alone and then
// moves them in one statement: a long import keeps no reader waiting, and one
// that fails has changed nothing.
func (s *Source) importRows(ctx context.Context, next rowReader, progress func(rows int64)) (n int64, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if s.cfg.Path == "" {
		if _, err := conn.ExecContext(ctx, "PRAGMA temp_store = MEMORY"); err != nil {
			return 0, err
		}
	}
	const create = "CREATE TEMP TABLE imported (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL)"
	if _, err := conn.ExecContext(ctx, create); err != nil {
		return 0, err
	}
	defer func() {
		_, dropErr := conn.ExecContext(context.WithoutCancel(ctx), "DROP TABLE temp.imported")
		err = errors.Join(err, dropErr)
	}()
	if n, err = stage(ctx, conn, next, progress); err != nil {
		return 0, err
	}
	if _, err := conn.ExecContext(ctx, "REPLACE INTO main.kv (key, value) SELECT key, value FROM temp.imported"); err != nil {
		return 0, err
	}
	progress(n)
	return n, nil
}

// stage reads all rows into the temporary table.
func stage(ctx context.Context, conn *sql.Conn, next rowReader, progress func(rows int64)) (int64, error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	full, err := tx.PrepareContext(ctx, insertStatement(insertRows))
	if err != nil {
		return 0, err
	}
	defer func() { _ = full.Close() }()

	var n int64
	batch := make([]any, 0, 2*insertRows)
	for {
		key, value, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		n++
		batch = append(batch, key, value)
		if len(batch) == cap(batch) {
			if _, err := full.ExecContext(ctx, batch...); err != nil {
				return 0, err
			}
			batch = batch[:0]
		}
		if n%progressRows == 0 {
			progress(n)
		}
	}
	if len(batch) > 0 {
		if _, err := tx.ExecContext(ctx, insertStatement(len(batch)/2), batch...); err != nil {
			return 0, err
		}
	}
	return n, tx.Commit()
}

func insertStatement(rows int) string {
	return "REPLACE INTO temp.imported VALUES (?, ?)" + strings.Repeat(", (?, ?)", rows-1)
}

// A rowReader returns the next row, as bytes that it will not change, or
// io.EOF. Neither slice is nil.
type rowReader func() (key, value []byte, err error)

// csvRows reads rows of two columns.
func csvRows(r io.Reader) rowReader {
	in := csv.NewReader(skipByteOrderMark(r))
	in.FieldsPerRecord = -1 // checked here, with a clearer error
	in.ReuseRecord = true
	first := true
	return func() ([]byte, []byte, error) {
		for {
			record, err := in.Read()
			if err != nil {
				return nil, nil, err // a csv.ParseError names the line
			}
			if len(record) != 2 {
				line, _ := in.FieldPos(0)
				return nil, nil, fmt.Errorf("line %d: has %d columns; want 2, the key and the value", line, len(record))
			}
			header := first && strings.EqualFold(record[0], "key") && strings.EqualFold(record[1], "value")
			first = false
			if !header {
				return []byte(record[0]), []byte(record[1]), nil
			}
		}
	}
}

// jsonRows reads one object a line. Empty lines are skipped.
func jsonRows(r io.Reader) rowReader {
	in := bufio.NewScanner(skipByteOrderMark(r))
	in.Buffer(nil, maxLineBytes)
	line := 0
	return func() ([]byte, []byte, error) {
		for in.Scan() {
			line++
			if len(bytes.TrimSpace(in.Bytes())) == 0 {
				continue
			}
			key, value, err := parseJSONRow(in.Bytes())
			if err != nil {
				return nil, nil, fmt.Errorf("line %d: %w", line, err)
			}
			return key, value, nil
		}
		if errors.Is(in.Err(), bufio.ErrTooLong) {
			return nil, nil, fmt.Errorf("line %d: longer than %d bytes", line+1, maxLineBytes)
		}
		if in.Err() != nil {
			return nil, nil, in.Err()
		}
		return nil, nil, io.EOF
	}
}

func parseJSONRow(line []byte) (key, value []byte, err error) {
	if !utf8.Valid(line) {
		return nil, nil, errors.New("is not valid UTF-8, which JSON must be; use csv for other bytes")
	}
	var row struct {
		Key   *string         `json:"key"`
		Value json.RawMessage `json:"value"`
	}
	in := json.NewDecoder(bytes.NewReader(line))
	in.DisallowUnknownFields()
	if err := in.Decode(&row); err != nil {
		return nil, nil, fmt.Errorf(`%w; want {"key": "...", "value": ...}`, err)
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, nil, errors.New("has more after the object; write one object a line")
	}
	if row.Key == nil {
		return nil, nil, errors.New(`has no "key"`)
	}
	if row.Value == nil {
		return nil, nil, errors.New(`has no "value"`)
	}
	value = row.Value
	if value[0] == '"' {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, nil, err
		}
		value = []byte(text)
	}
	return []byte(*row.Key), value, nil
}

// skipByteOrderMark drops the mark that some programs put before UTF-8 text.
func skipByteOrderMark(r io.Reader) io.Reader {
	in := bufio.NewReader(r)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = in.Discard(3)
	}
	return in
}

// A countingReader counts the bytes that were read through it.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
