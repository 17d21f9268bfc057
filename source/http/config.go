package http

import (
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"net/url"
	"strings"
	"time"
)

// placeholder stands for the key in a URL.
const placeholder = "{key}"

// A Config says which origin a [Source] asks. Only URL is required. It may
// hold a password or a token: its String and LogValue leave them out.
type Config struct {
	// URL is the address of a value, http:// or https://, with {key} in place
	// of the key in the path or the query:
	//
	//	https://origin.example/scores/{key}
	//	https://origin.example/score?of={key}
	URL string

	// Header is sent with every request, such as an Authorization.
	Header nethttp.Header

	// Timeout bounds one Get, redirects and body included. 0 means 30 s.
	Timeout time.Duration

	// MaxBytes is the size of the largest body that is read, in bytes; a larger
	// one is an error that wraps geecache.ErrTooLarge. 0 means 8 MiB.
	MaxBytes int64

	// MaxRedirects is how many redirects in a row are followed. 0 means 3, a
	// negative number none. They must lead to the same host.
	MaxRedirects int

	// Transport sends the requests. Nil means one of the Source's own, which
	// uses the proxy of the environment.
	Transport nethttp.RoundTripper
}

// ParseURL returns the Config of an origin's URL.
func ParseURL(raw string) (Config, error) {
	cfg := Config{URL: raw}
	return cfg, cfg.Validate()
}

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	if _, err := parseTemplate(c.URL); err != nil {
		return err
	}
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("http: Timeout: %v is negative; give for example 30s", c.Timeout)
	case c.MaxBytes < 0:
		return fmt.Errorf("http: MaxBytes: %d is negative; give a number of bytes", c.MaxBytes)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 8 << 20
	}
	switch {
	case c.MaxRedirects == 0:
		c.MaxRedirects = 3
	case c.MaxRedirects < 0:
		c.MaxRedirects = 0
	}
	return c
}

// String names the origin without what may be secret.
func (c Config) String() string {
	t, err := parseTemplate(c.URL)
	if err != nil {
		return "http: invalid URL"
	}
	return t.origin.Scheme + "://" + t.origin.Host
}

// LogValue is what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// GoString is what String returns.
func (c Config) GoString() string { return c.String() }

// A template is a URL with places for the key.
type template struct {
	raw    string
	origin *url.URL // the URL of some key
}

// parseTemplate checks that the key stands where it can change neither the
// host nor which path and which parameter it is in.
func parseTemplate(raw string) (template, error) {
	if raw == "" {
		return template{}, errors.New("http: URL: is empty; write for example https://host/scores/{key}")
	}
	if !strings.Contains(raw, placeholder) {
		return template{}, errors.New("http: URL: has no {key}; write for example https://host/scores/{key}")
	}
	t := template{raw: raw}
	const mark = "geecache-key"
	u, err := url.Parse(strings.ReplaceAll(raw, placeholder, mark))
	if err != nil { // its text may quote a password
		return template{}, errors.New("http: URL: is not a valid URL; write special characters as %XX")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return template{}, errors.New("http: URL: begins with neither http:// nor https://")
	case u.Hostname() == "":
		return template{}, errors.New("http: URL: has no host")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return template{}, errors.New("http: URL: has a fragment, which is never sent; remove it or write # as %23")
	}
	count := strings.Count(u.EscapedPath(), mark) + strings.Count(u.RawQuery, mark)
	if count != strings.Count(raw, placeholder) {
		return template{}, errors.New("http: URL: {key} may stand in the path and in the query only")
	}
	t.origin = u
	return t, nil
}

// expand returns the URL of key.
func (t template) expand(key string) string {
	return strings.ReplaceAll(t.raw, placeholder, escape(key))
}

// escape escapes all of key but letters, digits and -_~. so that it has no
// meaning in a path or a query. A key of dots alone is escaped too, or it would
// be taken for a folder.
func escape(key string) string {
	const hex = "0123456789ABCDEF"
	onlyDots := strings.Trim(key, ".") == ""
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '~', c == '.' && !onlyDots:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
