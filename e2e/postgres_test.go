//go:build unix

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

const rowCount = 100_000

// A database is a PostgreSQL with a table of this test's own.
type database struct {
	url, table string
	conn       *pgx.Conn
}

// newDatabase fills a table with the keys user:0 to user:99999. It is dropped
// at the end.
func newDatabase(t *testing.T) *database {
	t.Helper()
	db := &database{url: os.Getenv("GEECACHE_TEST_POSTGRES"), table: fmt.Sprintf("e2e_%016x", rand.Uint64())}
	if db.url == "" {
		const remedy = `no PostgreSQL: GEECACHE_TEST_POSTGRES is not set: eval "$(scripts/test-servers up)" starts one and sets it`
		if os.Getenv("CI") != "" || os.Getenv("GEECACHE_TEST_SERVERS") == "1" {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if db.conn, err = pgx.Connect(ctx, db.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := db.conn.Exec(ctx, "DROP TABLE IF EXISTS "+db.table); err != nil {
			t.Error(err)
		}
		if err := db.conn.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	fill := fmt.Sprintf("CREATE TABLE %s (key text PRIMARY KEY, value text NOT NULL);"+
		"INSERT INTO %[1]s SELECT 'user:' || n, 'value of user:' || n FROM generate_series(0, %d) n;"+
		"ANALYZE %[1]s", db.table, rowCount-1)
	if _, err := db.conn.Exec(ctx, fill); err != nil {
		t.Fatal(err)
	}
	return db
}

// calls returns how often the database has run queries that begin with a text
// and name the table, and how many rows they gave, by its own statistics.
func (db *database) calls(t *testing.T, begin string) (calls, rows int) {
	t.Helper()
	const query = `SELECT coalesce(sum(calls), 0), coalesce(sum(rows), 0) FROM pg_stat_statements
		WHERE starts_with(query, $1) AND strpos(query, $2) > 0`
	if err := db.conn.QueryRow(t.Context(), query, begin, db.table).Scan(&calls, &rows); err != nil {
		t.Fatalf("%v (the server needs the extension pg_stat_statements)", err)
	}
	return calls, rows
}

// TestPostgres: through all nodes and the API the values are the database's, and
// its own statistics show one query a distinct key.
func TestPostgres(t *testing.T) {
	db := newDatabase(t)
	c := startCluster(t, clusterConfig{source: db.url, nodeArgs: []string{
		"--query", fmt.Sprintf("SELECT value FROM %s WHERE key = $1", db.table),
	}})
	r := rand.New(rand.NewPCG(1, 2))
	const asked = 10_000
	keys := make(map[string]bool)
	type request struct {
		key string
		p   *process
	}
	requests := make(chan request)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for q := range requests {
				resp, value, err := c.ask(q.p, q.key)
				if err != nil || resp.StatusCode != http.StatusOK || string(value) != "value of "+q.key {
					t.Errorf("%s: %s: %v, %.100q, %v", q.p.name, q.key, resp, value, err)
				}
			}
		})
	}
	for range asked {
		key := fmt.Sprintf("user:%d", r.IntN(rowCount))
		keys[key] = true
		// All doors at about the same time, in an order of their own.
		for _, i := range r.Perm(4) {
			requests <- request{key, c.all()[i]}
		}
	}
	close(requests)
	wg.Wait()
	calls, rows := db.calls(t, "SELECT value FROM")
	counted, _ := c.loads(t)
	if calls != len(keys) || rows != len(keys) || counted != int64(len(keys)) {
		t.Errorf("%d distinct keys: the database has run %d queries for %d rows, the nodes have counted %d loads; want one each",
			len(keys), calls, rows, counted)
	}
	t.Logf("%d requests for %d distinct keys: %d queries", 4*asked, len(keys), calls)
}

// TestPostgresColdKeyIsLoadedOnce: 300 callers at once, one query of 200 ms.
func TestPostgresColdKeyIsLoadedOnce(t *testing.T) {
	db := newDatabase(t)
	const begin = "SELECT value FROM pg_sleep(0.2)"
	c := startCluster(t, clusterConfig{source: db.url, nodeArgs: []string{
		"--query", fmt.Sprintf("%s, %s WHERE key = $1", begin, db.table),
	}})
	callers(t, c, c.all(), 300, "user:7", []byte("value of user:7"))
	// The statistics know a constant as a parameter.
	if calls, _ := db.calls(t, "SELECT value FROM pg_sleep("); calls != 1 {
		t.Errorf("the database has run %d queries, want 1", calls)
	}
	if counted, _ := c.loads(t); counted != 1 {
		t.Errorf("the nodes have counted %d loads, want 1", counted)
	}
}
