package node

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/dynamodb"
	"github.com/geecache/geecache/source/http"
	"github.com/geecache/geecache/source/slowdb"
	"github.com/geecache/geecache/source/sql"
)

// A Source is a group's source with an end.
type Source interface {
	geecache.Getter
	io.Closer
}

// An opener opens a source whose configuration has been found to make sense.
type opener func(ctx context.Context) (Source, error)

// A sourceKind is a kind of source that URLs of some schemes name.
type sourceKind struct {
	schemes []string
	usage   string // an example of a URL
	queries bool   // --query means something to it
	parse   func(raw, query string) (opener, error)
}

// sourceKinds returns all kinds of source.
func sourceKinds() []sourceKind {
	return []sourceKind{
		{schemes: []string{"slowdb"}, usage: "slowdb:users.db?latency=50ms", parse: parseSlowDB},
		{schemes: []string{"postgres", "postgresql"}, usage: "postgres://user@host/db", queries: true, parse: parseSQL},
		{schemes: []string{"mysql", "mariadb"}, usage: "mysql://user@host/db", queries: true, parse: parseSQL},
		{schemes: []string{"http", "https"}, usage: "https://origin/{key}", parse: parseHTTP},
		{schemes: []string{"dynamodb"}, usage: "dynamodb://table?region=R", parse: parseDynamoDB},
	}
}

// SourceExamples returns an example of a URL for each kind of source.
func SourceExamples() []string {
	var all []string
	for _, k := range sourceKinds() {
		all = append(all, k.usage)
	}
	return all
}

// OpenSource opens the source that a URL names by its scheme. query is the
// query of a database, empty for its default. Errors do not tell the URL's
// password.
func OpenSource(ctx context.Context, raw, query string) (Source, error) {
	open, err := parseSource(raw, query)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("--source %s: %w", RedactURL(raw), err)
	}
	return s, nil
}

// parseSource reads a URL without opening anything.
func parseSource(raw, query string) (opener, error) {
	scheme, _, found := strings.Cut(raw, ":")
	if !found {
		return nil, fmt.Errorf("--source %q: use a URL such as %s", raw, strings.Join(SourceExamples(), ", "))
	}
	for _, k := range sourceKinds() {
		if !slices.Contains(k.schemes, strings.ToLower(scheme)) {
			continue
		}
		if query != "" && !k.queries {
			return nil, fmt.Errorf("--query is for SQL databases, and --source is %s", RedactURL(raw))
		}
		open, err := k.parse(raw, query)
		if err != nil {
			return nil, fmt.Errorf("--source: %w", err)
		}
		return open, nil
	}
	return nil, fmt.Errorf("--source: nothing opens %q: use a URL such as %s", scheme+":", strings.Join(SourceExamples(), ", "))
}

func parseSlowDB(raw, _ string) (opener, error) {
	cfg, err := slowdb.ParseURL(raw)
	return func(ctx context.Context) (Source, error) { return opened(slowdb.Open(ctx, cfg)) }, err
}

func parseSQL(raw, query string) (opener, error) {
	cfg, err := sql.ParseURL(raw)
	if err == nil {
		cfg.Query = query
		err = cfg.Validate()
	}
	return func(ctx context.Context) (Source, error) { return opened(sql.Open(ctx, cfg)) }, err
}

func parseHTTP(raw, _ string) (opener, error) {
	cfg, err := http.ParseURL(raw)
	return func(ctx context.Context) (Source, error) { return opened(http.Open(ctx, cfg)) }, err
}

func parseDynamoDB(raw, _ string) (opener, error) {
	cfg, err := dynamodb.ParseURL(raw)
	return func(ctx context.Context) (Source, error) { return opened(dynamodb.Open(ctx, cfg)) }, err
}

// opened passes on what a source's Open returns. A nil pointer must not become
// a Source that is not nil.
func opened[S Source](s S, err error) (Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// RedactURL returns a source's URL as it may be shown: user, password and
// parameters of a server's URL may be secret.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		scheme, _, _ := strings.Cut(raw, ":")
		return scheme + ":..."
	}
	if u.Host == "" {
		return raw
	}
	return u.Scheme + "://" + u.Host + u.Path
}
