package trust

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// The bounds of a file of secrets.
const (
	minSecret  = 16
	maxSecrets = 8
)

// OpenSecrets reads the file that a flag names: a secret on each line, the one
// to prove first. The function that it returns reads it again when it has changed.
func OpenSecrets(flag, path string, log *slog.Logger) (func() []string, error) {
	f, err := open(flag, log, func(contents [][]byte) ([]string, error) { return ParseSecrets(string(contents[0])) }, path)
	if err != nil {
		return nil, err
	}
	return f.get, nil
}

// ParseSecrets reads secrets, one a line. Empty lines, and those that begin with
// '#', are left out, and so is the mark that some editors begin a file with.
func ParseSecrets(text string) ([]string, error) {
	var secrets []string
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case len(line) < minSecret:
			return nil, fmt.Errorf("line %d has %d bytes: use at least %d random ones, such as `openssl rand -hex 32` makes", i+1, len(line), minSecret)
		default:
			secrets = append(secrets, line)
		}
	}
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets: write 1 to %d, one a line", len(secrets), maxSecrets)
	}
	return secrets, nil
}

// A Bearer is asked for on a door whose clients are no nodes. The zero value asks
// for nothing.
type Bearer struct {
	tokens func() []string // nil: nothing is asked for
}

// OpenBearer reads a file of tokens, which has the form of a file of secrets.
// Each of them is taken, so that one can take another's place.
func OpenBearer(flag, path string, log *slog.Logger) (Bearer, error) {
	tokens, err := OpenSecrets(flag, path, log)
	return Bearer{tokens}, err
}

// NewBearer reads tokens from a text of the same form.
func NewBearer(text string) (Bearer, error) {
	tokens, err := ParseSecrets(text)
	if err != nil {
		return Bearer{}, err
	}
	return Bearer{func() []string { return tokens }}, nil
}

// Asks reports whether a token is asked for.
func (b Bearer) Asks() bool { return b.tokens != nil }

// Takes reports whether a request has one of the tokens. It takes as long for a
// wrong one as for a right one.
func (b Bearer) Takes(r *http.Request) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if b.tokens == nil || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(given)))
	found := 0
	for _, t := range b.tokens() {
		want := sha256.Sum256([]byte(t))
		found |= subtle.ConstantTimeCompare(digest[:], want[:])
	}
	return found == 1
}
