package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/slowdb"
)

const slowdbImportLong = `import reads keys and values from FILE, or from standard input for -, and writes
them into the database: all of them, or none if a line makes no sense. A key
that is already there gets the new value.

The format csv has the two columns key and value, with or without a heading.
The format jsonl has on each line an object {"key": "...", "value": ...}. auto
goes by the file's name, and by its first character if that says nothing.`

const slowdbImportExample = `  geecache slowdb import users.csv --db users.db
  zcat users.jsonl.gz | geecache slowdb import - --db slowdb:///var/lib/users.db
  geecache cluster --source 'slowdb:users.db?latency=50ms'`

// newSlowDBCommand returns `geecache slowdb` with its commands.
func newSlowDBCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slowdb",
		Short: "Fill and ask the slow database, a source in one SQLite file",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("slowdb: unknown command %q: there are import and query", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSlowDBImportCommand(), newSlowDBQueryCommand())
	return cmd
}

func newSlowDBImportCommand() *cobra.Command {
	var db, format string
	cmd := &cobra.Command{
		Use:     "import FILE|-",
		Short:   "Import keys and values from a CSV or JSON lines file",
		Long:    slowdbImportLong,
		Example: slowdbImportExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("slowdb import: give one FILE, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return failed(slowdbImport(ctx, db, format, args[0], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&format, "format", "auto", "csv, jsonl or auto")
	registerDB(cmd, &db)
	return cmd
}

func newSlowDBQueryCommand() *cobra.Command {
	var db string
	cmd := &cobra.Command{
		Use:     "query KEY",
		Short:   "Ask the database for a key, without any cache",
		Example: `  geecache slowdb query user:7 --db 'slowdb:users.db?latency=0'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("slowdb query: give one KEY")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return slowdbQuery(cmd.Context(), db, args[0], cmd.OutOrStdout())
		},
	}
	registerDB(cmd, &db)
	return cmd
}

func registerDB(cmd *cobra.Command, db *string) {
	cmd.Flags().StringVar(db, "db", "", "the database: a file, or a URL such as slowdb:///var/lib/users.db")
}

// slowdbConfig understands a file's name as well as a URL. There must be a file:
// what is in memory ends with this command.
func slowdbConfig(db string) (slowdb.Config, error) {
	if db == "" {
		return slowdb.Config{}, usagef("--db is missing: name the database file, such as --db users.db")
	}
	cfg := slowdb.Config{Path: db}
	if strings.HasPrefix(db, "slowdb:") {
		var err error
		if cfg, err = slowdb.ParseURL(db); err != nil {
			return cfg, usagef("--db: %w", err)
		}
	} else if scheme, _, ok := strings.Cut(db, "://"); ok {
		return cfg, usagef("--db: %s is no slow database: use slowdb:///path or a file's name", scheme)
	}
	if cfg.Path == "" {
		return cfg, usagef("--db: %s is a database in memory, which ends with this command: name a file", db)
	}
	return cfg, nil
}

func slowdbImport(ctx context.Context, db, format, file string, stdin io.Reader, out, errOut io.Writer) (err error) {
	cfg, err := slowdbConfig(db)
	if err != nil {
		return err
	}
	// The user brings the rows: a new file starts without the demonstration's,
	// unless he asks for them.
	if !strings.Contains(db, "seed=") {
		cfg.NoSeed = true
	}
	in, size := stdin, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("slowdb import: %w", err)
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	buffered := bufio.NewReaderSize(in, 64<<10)
	if format, err = importFormat(format, file, buffered); err != nil {
		return err
	}
	source, err := slowdb.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()

	start := time.Now()
	progress, clear := importProgress(errOut, size, start)
	rows, err := source.Import(ctx, buffered, format, progress)
	clear()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "imported %d rows into %s in %s\n", rows, cfg.Path, shortDuration(time.Since(start)))
	return err
}

// importFormat decides what auto means: by the name, else by the first
// character that is no white space, which is a brace in JSON lines.
func importFormat(format, file string, in *bufio.Reader) (string, error) {
	switch format {
	case slowdb.FormatCSV, slowdb.FormatJSONL:
		return format, nil
	case "auto":
	default:
		return "", usagef("--format: %q: use csv, jsonl or auto", format)
	}
	switch strings.ToLower(filepath.Ext(file)) {
	case ".csv":
		return slowdb.FormatCSV, nil
	case ".jsonl", ".ndjson", ".json":
		return slowdb.FormatJSONL, nil
	}
	start, err := in.Peek(512)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("slowdb import: %w", err)
	}
	start = bytes.TrimSpace(bytes.TrimPrefix(start, []byte("\ufeff")))
	if len(start) > 0 && start[0] == '{' {
		return slowdb.FormatJSONL, nil
	}
	return slowdb.FormatCSV, nil
}

// importProgress returns what shows an import's progress on a terminal, and
// what takes it away. Nothing is shown elsewhere.
func importProgress(w io.Writer, size int64, start time.Time) (show func(rows, read int64), clear func()) {
	if _, ok := onTerminal(w); !ok {
		return nil, func() {}
	}
	show = func(rows, read int64) {
		text := fmt.Sprintf("%s rows, %s", countText(rows), bytesText(float64(read)))
		if size > 0 {
			text += fmt.Sprintf(" of %s (%s)", bytesText(float64(size)), percentText(min(read, size), size))
		}
		fmt.Fprintf(w, "\r\x1b[K%s, %s", text, rateText(rows, time.Since(start)))
	}
	return show, func() { fmt.Fprint(w, "\r\x1b[K") }
}

// slowdbQuery writes the value of key as it is.
func slowdbQuery(ctx context.Context, db, key string, out io.Writer) (err error) {
	cfg, err := slowdbConfig(db)
	if err != nil {
		return failed(err)
	}
	if _, err := os.Stat(cfg.Path); errors.Is(err, fs.ErrNotExist) {
		return failed(fmt.Errorf("slowdb query: there is no database %s: make it with `geecache slowdb import`", cfg.Path))
	}
	source, err := slowdb.Open(ctx, cfg)
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, failed(source.Close())) }()
	value, err := source.Get(ctx, key)
	switch {
	case errors.Is(err, geecache.ErrNotFound):
		return &clientError{err: fmt.Errorf("%s not exist", keyText(key)), code: exitNotFound}
	case err != nil:
		return failed(err)
	}
	data := value.Bytes
	if _, live := onTerminal(out); live {
		data = append(data[:len(data):len(data)], '\n')
	}
	_, err = out.Write(data)
	return failed(err)
}
