package loadgen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// How a request can fail that got an answer.
var (
	// ErrWrongValue: the answer is not the one that the rule asks for.
	ErrWrongValue = errors.New("wrong value")

	// ErrNotFound: the key has no value, but should have one.
	ErrNotFound = errors.New("not found")
)

// An Answer is what a target said. Its Value may be looked at only during the
// call that it is handed to.
type Answer struct {
	Status int // of HTTP: 200 or 404 when a Rule sees it
	Value  []byte

	// Error is the kind of error that a GeeCache server names in a header. It
	// tells a missing key (notFoundError) from a missing group.
	Error string
}

// What GeeCache servers send with errors.
const (
	errorHeader   = "Geecache-Error"
	notFoundError = "not-found"
)

// Found reports whether the answer holds a value.
func (a Answer) Found() bool { return a.Status == http.StatusOK }

// A Rule says whether the answer for a key is right. It returns nil or an error
// that wraps [ErrWrongValue] or [ErrNotFound] and says what was expected. It is
// called by many goroutines at once.
type Rule interface {
	Check(key string, a Answer) error
}

// A RuleFunc is a function that is a [Rule].
type RuleFunc func(key string, a Answer) error

// Check calls f.
func (f RuleFunc) Check(key string, a Answer) error { return f(key, a) }

// ExpectStatus wants a value for every key, whatever it is.
func ExpectStatus() Rule {
	return RuleFunc(func(_ string, a Answer) error {
		if !a.Found() {
			return ErrNotFound
		}
		return nil
	})
}

// ExpectAny wants an answer for every key: any value, or "not found".
func ExpectAny() Rule {
	return RuleFunc(func(string, Answer) error { return nil })
}

// ExpectFormat wants fmt.Sprintf(format, key) for every key.
func ExpectFormat(format string) (Rule, error) {
	one := fmt.Sprintf(format, "one")
	if strings.Contains(one, "%!") || one == fmt.Sprintf(format, "two") {
		return nil, fmt.Errorf("format %q: use exactly one verb for the key, as in %q", format, "value-of-%s")
	}
	return RuleFunc(func(key string, a Answer) error {
		return sameValue(fmt.Sprintf(format, key), a)
	}), nil
}

// ExpectValues wants these values, and "not found" for every other key. The map
// must not change while the rule is in use.
func ExpectValues(values map[string]string) Rule {
	return RuleFunc(func(key string, a Answer) error {
		want, ok := values[key]
		if !ok {
			return notFound(a)
		}
		return sameValue(want, a)
	})
}

// ExpectNotFound wants "not found" for the keys that start with prefix, and
// what the other rule says for the rest.
func ExpectNotFound(prefix string, other Rule) Rule {
	return RuleFunc(func(key string, a Answer) error {
		if strings.HasPrefix(key, prefix) {
			return notFound(a)
		}
		return other.Check(key, a)
	})
}

func notFound(a Answer) error {
	if a.Found() {
		return fmt.Errorf("%w: expected none", ErrWrongValue)
	}
	return nil
}

func sameValue(want string, a Answer) error {
	if !a.Found() {
		return fmt.Errorf("%w: expected %s", ErrNotFound, quote(want))
	}
	if string(a.Value) != want {
		return fmt.Errorf("%w: expected %s", ErrWrongValue, quote(want))
	}
	return nil
}

// ParseRules makes a Rule of its words: status, any, sprintf:FORMAT or
// file:PATH, and any number of 404:PREFIX that come before it. No words mean
// status.
func ParseRules(words []string) (Rule, error) {
	var values Rule
	var absent []string
	for _, word := range words {
		kind, arg, _ := strings.Cut(word, ":")
		var rule Rule
		var err error
		switch kind {
		case "404":
			absent = append(absent, arg)
			continue
		case "status":
			rule = ExpectStatus()
		case "any":
			rule = ExpectAny()
		case "sprintf":
			rule, err = ExpectFormat(arg)
		case "file":
			rule, err = ruleFile(arg)
		default:
			err = errors.New("use status, any, sprintf:FORMAT, file:PATH or 404:PREFIX")
		}
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", word, err)
		}
		if values != nil {
			return nil, fmt.Errorf("rule %q: there is another one for values already: give one, and any number of 404:PREFIX", word)
		}
		values = rule
	}
	if values == nil {
		values = ExpectStatus()
	}
	for _, prefix := range absent {
		values = ExpectNotFound(prefix, values)
	}
	return values, nil
}

func ruleFile(path string) (Rule, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	values, err := ReadValues(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ExpectValues(values), nil
}

// ReadValues reads keys and values: CSV with two columns (a first row of "key"
// and "value" is a heading), or JSON lines of {"key": ..., "value": ...}, if
// the first byte is an opening brace. A JSON value that is no string stands for
// its own text.
func ReadValues(r io.Reader) (map[string]string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return values, readJSONLines(data, values)
	}
	rows := csv.NewReader(bytes.NewReader(data))
	rows.FieldsPerRecord = 2
	rows.ReuseRecord = true
	for first := true; ; first = false {
		row, err := rows.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: write KEY,VALUE rows or JSON lines", err)
		}
		if first && row[0] == "key" && row[1] == "value" {
			continue
		}
		values[row[0]] = row[1]
	}
	if len(values) == 0 {
		return nil, errors.New("no values: write KEY,VALUE rows or JSON lines")
	}
	return values, nil
}

func readJSONLines(data []byte, values map[string]string) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var row struct {
			Key   *string         `json:"key"`
			Value json.RawMessage `json:"value"`
		}
		err := dec.Decode(&row)
		if err == io.EOF {
			return nil
		}
		if err == nil && (row.Key == nil || row.Value == nil) {
			err = errors.New(`"key" or "value" is missing`)
		}
		if err != nil {
			return fmt.Errorf(`object %d: %w: write {"key": ..., "value": ...} lines`, n, err)
		}
		var text string
		if json.Unmarshal(row.Value, &text) != nil {
			text = string(row.Value)
		}
		values[*row.Key] = text
	}
}

// quote returns s quoted as in Go, cut to a length that fits a line.
func quote[S ~string | ~[]byte](s S) string {
	const most = 120
	if len(s) <= most {
		return strconv.Quote(string(s))
	}
	return strconv.Quote(string(s[:most])) + fmt.Sprintf("... (%d bytes)", len(s))
}
