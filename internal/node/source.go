package node

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/slowdb"
)

// A Source is a group's source with an end.
type Source interface {
	geecache.Getter
	io.Closer
}

// A sourceOpener opens the sources of some schemes.
type sourceOpener struct {
	schemes []string
	usage   string // an example of a URL
	// queries says that --query means something to it.
	queries bool
	open    func(ctx context.Context, raw, query string) (Source, error)
}

// sourceOpeners returns all kinds of source.
func sourceOpeners() []sourceOpener {
	return []sourceOpener{
		{schemes: []string{"slowdb"}, usage: "slowdb:scores.db?latency=50ms", open: openSlowDB},
	}
}

// SourceSchemes returns an example of a URL for each kind of source.
func SourceSchemes() []string {
	var all []string
	for _, o := range sourceOpeners() {
		all = append(all, o.usage)
	}
	return all
}

// OpenSource opens the source that a URL names by its scheme. query is the
// query of a database, empty for its default. Errors do not tell the URL's
// password.
func OpenSource(ctx context.Context, raw, query string) (Source, error) {
	scheme, _, found := strings.Cut(raw, ":")
	if !found {
		return nil, fmt.Errorf("--source %q: use a URL such as %s", raw, strings.Join(SourceSchemes(), ", "))
	}
	for _, o := range sourceOpeners() {
		if !slices.Contains(o.schemes, strings.ToLower(scheme)) {
			continue
		}
		if query != "" && !o.queries {
			return nil, fmt.Errorf("--query is for SQL databases, and --source is %s", RedactURL(raw))
		}
		s, err := o.open(ctx, raw, query)
		if err != nil {
			return nil, fmt.Errorf("--source %s: %w", RedactURL(raw), err)
		}
		return s, nil
	}
	return nil, fmt.Errorf("--source: nothing opens %q: use a URL such as %s", scheme+":", strings.Join(SourceSchemes(), ", "))
}

func openSlowDB(ctx context.Context, raw, _ string) (Source, error) {
	cfg, err := slowdb.ParseURL(raw)
	if err != nil {
		return nil, err
	}
	return slowdb.Open(ctx, cfg)
}

// RedactURL returns a URL as it may be shown: without its password.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		scheme, _, _ := strings.Cut(raw, ":")
		return scheme + ":..."
	}
	return u.Redacted()
}
